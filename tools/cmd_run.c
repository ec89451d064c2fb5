/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pfs run
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "commands.h"
#include "record/json_bytes.h"
#include "run_child.h"
#include "run_once.h"
#include "run_params.h"
#include "run_update.h"

enum {
	OPT_UPDATE = 1000,
	OPT_DRY_RUN,
	OPT_FORCE,
};

/* "R/B", as said or as a path in the mount. */
static void add_out(const struct command *self, json_t *out, const char *arg)
{
	_cleanup_target_ struct target t = { 0 };
	_cleanup_free_ char *text = NULL;
	const char *slash;
	size_t n;

	if (arg[0] == '/' || arg[0] == '.') {
		if (target_find(NULL, arg, &t) < 0)
			exit(EXIT_PFS_FAILED);
		arg = (const char *)t.path.data;
	}
	n = strlen(arg);
	while (n > 0 && arg[n - 1] == '/')
		n--;
	text = strndup(arg, n);
	slash = text ? strchr(text, '/') : NULL;
	if (!slash || slash == text || strchr(slash + 1, '/'))
		exit(cli_usage(self, "--out wants REPO/BRANCH, not `%s`", arg));
	json_array_append_new(out, json_of_bytes(span_str(text)));
}

static void add_param(const struct command *self, json_t *params, const char *arg)
{
	if (param_add_text(params, span_str(arg), "option") < 0)
		exit(cli_usage(
			self,
			"--param wants KEY=VALUE, KEY as text of at most %d bytes and VALUE of at "
			"most %d, not `%.100s`",
			PARAM_KEY_MAX, PARAM_VALUE_MAX, arg));
}

/* Then there is no command whose options are its own. */
static bool starts_with_update(char *const *argv)
{
	for (char *const *a = argv + 1; *a && **a == '-' && strcmp(*a, "--") != 0; a++)
		if (strcmp(*a, "--update") == 0)
			return true;
	return false;
}

static void once_release(struct once *o)
{
	run_options_release(&o->options);
}

static int run(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "name", required_argument, NULL, 'n' },
		{ "out", required_argument, NULL, OPT_OUT },
		{ "param", required_argument, NULL, OPT_PARAM },
		{ "group", required_argument, NULL, OPT_GROUP },
		{ "log", no_argument, NULL, OPT_LOG },
		{ "memo", no_argument, NULL, OPT_MEMO },
		{ "keep-going", no_argument, NULL, OPT_KEEP_GOING },
		{ "mount", required_argument, NULL, OPT_MOUNT },
		{ "update", no_argument, NULL, OPT_UPDATE },
		{ "dry-run", no_argument, NULL, OPT_DRY_RUN },
		{ "force", no_argument, NULL, OPT_FORCE },
		LONG_JSON,
		LONG_HELP,
		LONG_END,
	};
	_cleanup_(once_release) struct once once = {
		.options = { .params = json_array(), .out = json_array() },
	};
	struct run_options *o = &once.options;
	struct update_options update = { 0 };
	const char *letters = starts_with_update(argv) ? "hn:" : "+hn:";
	bool is_update = false, has_other = false;
	int r;

	if (run_fill_standard_files() < 0)
		return EXIT_PFS_FAILED;
	while ((r = cli_option(self, argc, argv, letters, longs)) >= 0) {
		if (r == 'n')
			o->name = optarg;
		else if (r == OPT_OUT)
			add_out(self, o->out, optarg);
		else if (r == OPT_PARAM)
			add_param(self, o->params, optarg);
		else if (r == OPT_GROUP)
			o->group = optarg;
		else if (r == OPT_MOUNT)
			update.mount = once.mount = optarg;
		is_update |= r == OPT_UPDATE;
		update.dry_run |= r == OPT_DRY_RUN;
		update.force |= r == OPT_FORCE;
		update.json |= r == OPT_JSON;
		has_other |= r == 'n' || (r >= OPT_OUT && r <= OPT_KEEP_GOING);
		o->log |= r == OPT_LOG;
		once.memo |= r == OPT_MEMO;
		o->keep_going |= r == OPT_KEEP_GOING;
	}
	if (is_update && has_other)
		return cli_usage(self,
				 "an update runs what was run, as it was run: --update goes with "
				 "--dry-run, --force, --json and --mount alone");
	if (is_update)
		return run_update(&update, argv + optind);
	if (update.dry_run || update.force || update.json)
		return cli_usage(self, "--dry-run, --force and --json go with --update");
	if (optind >= argc)
		return cli_usage(self, "which command?");
	o->argv = argv + optind;
	if (json_array_size(o->out) == 0) {
		json_decref(o->out);
		o->out = NULL;
	}
	return run_once(&once);
}

const struct command cmd_run = {
	.name = "run",
	.summary = "run a command, and record what it reads and makes",
	.help = "Usage: pfs run [OPTION]... [--] COMMAND [ARGUMENT]...\n"
		"       pfs run --update [--dry-run] [--force] [--json] [PATH...]\n"
		"\n"
		"Runs COMMAND in a view of the mount: it reads every branch as it was at the\n"
		"start, and what it writes comes onto the branches together when it has ended\n"
		"well. Recorded is what it was told, what it read, looked for and made;\n"
		"`pfs runs`, `pfs why` and `pfs uses` ask for that. What a command that fails has\n"
		"written is kept as the branch run-ID.\n"
		"\n"
		"  -n, --name NAME     what to call the run\n"
		"  --out REPO/BRANCH   may be written to, and nothing else; as often as wanted\n"
		"  --param KEY=VALUE   a parameter to record; those in COMMAND's arguments, in\n"
		"                      the configuration files it reads and in $PFS_RUN/params\n"
		"                      are as well\n"
		"  --group GROUP       runs that belong together\n"
		"  --log               keep all it prints, not just the first and last 64 KiB\n"
		"  --memo              where a former run with --memo did the same, on files that\n"
		"                      are as they were: publish what that made, print what it\n"
		"                      printed, and run nothing; for commands that need no\n"
		"                      network, clock or chance, and no file's time as make does\n"
		"  --keep-going        publish what it wrote even if it fails\n"
		"  --mount DIR         the mount, where the current directory is in none and\n"
		"                      there are several\n"
		"\n"
		"--update runs again, in order and as it was run, what has made files out of\n"
		"something that is another now: PATHs, or all of the repo of the current\n"
		"directory, or all repos. Where what it reads has come out the same, it is not\n"
		"run. What would be written over something that was changed since is named, and\n"
		"not run.\n"
		"\n"
		"  --dry-run           only tell what would be run, and why\n"
		"  --force             run also what writes over something that was changed\n"
		"                      since; what several have added to is begun anew\n"
		"  --json              one JSON value; the commands' stdout is recorded alone\n"
		"\n"
		"Exits as COMMAND does; with 3 when it ended well and what it wrote could not be\n"
		"published, since others have changed the same; 125 when pfs failed, 126 when\n"
		"COMMAND cannot be run, 127 when there is none. An update exits with 1 when\n"
		"something is not up to date after it.\n"
		"\n"
		"Examples:\n"
		"  pfs run -n baseline --param seed=7 python train.py --lr 0.1\n"
		"  pfs run --update --dry-run /pfs/report/main/table.csv\n",
	.run = run,
};
