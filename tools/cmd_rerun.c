/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pfs rerun
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fdio.h"
#include "client.h"
#include "commands.h"
#include "present.h"
#include "run_child.h"
#include "run_former.h"
#include "run_once.h"
#include "run_params.h"
#include "runs.h"

enum {
	OPT_CHECK = 1000,
};

struct rerun {
	struct former former;
	bool json;
	int real_stdout; /* with json; owned; -1: none */
	bool is_made_otherwise; /* some file, or how it ended */
	bool has_first;
	json_t *outside, *compared; /* owned; with json */
};

/* ---- what is told ---- */

static bool is_outside(const json_t *line)
{
	static const char *const parts[] = { "executable.", "interpreter.", "packages." };
	const char *key = field_text(line, "key");

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		if (strcmp(field_text(line, "what"), "environment") == 0 &&
		    strncmp(key, parts[i], strlen(parts[i])) == 0)
			return true;
	return false;
}

static int take_difference(json_t *line, void *ctx)
{
	struct rerun *x = ctx;
	const char *key = field_text(line, "key");

	if (run_aside(line) || !is_outside(line))
		return 0;
	if (x->json)
		return json_array_append(x->outside, line);
	cli_note("pfs: outside of pfs something is not as it was for run %s: %s", x->former.id,
		 key);
	return 0;
}

static void print_side(const json_t *side)
{
	_cleanup_free_ char *text = NULL;

	if (json_object_get(side, "size"))
		printf("%" PRIu64 " bytes", field_number(side, "size"));
	else if (json_object_get(side, "removed"))
		fputs("removed", stdout);
	else if (side && !json_is_object(side) && (text = run_value_text(side)))
		print_run_text(text);
	else
		fputs(side ? "a special file" : "nothing", stdout);
}

static void print_change(const json_t *a, const json_t *b)
{
	const json_t *size = json_object_get(a, "size"), *id = json_object_get(a, "id");

	fputs(": ", stdout);
	if (!size || !json_equal(size, json_object_get(b, "size"))) {
		print_side(a);
		fputs(" -> ", stdout);
		print_side(b);
	} else if (!json_equal(id, json_object_get(b, "id"))) {
		print_side(a);
		fputs(", others", stdout);
	} else {
		printf("mode %04o -> %04o", (unsigned)field_number(a, "mode"),
		       (unsigned)field_number(b, "mode"));
	}
}

static void print_comparison(const json_t *line)
{
	const json_t *a = json_object_get(line, "a"), *b = json_object_get(line, "b"),
		     *path = json_object_get(line, "path");
	bool same = field_bool(line, "same");

	printf("%-11s ", same ? "same" : !a ? "only here" : !b ? "only there" : "changed");
	if (path)
		print_name(path, "");
	else if (strcmp(field_text(line, "what"), "metric") == 0)
		printf("metric ");
	else if (!json_object_get(line, "key"))
		fputs(field_text(line, "what"), stdout);
	print_run_text(field_text(line, "key"));
	if (!same && a && b)
		print_change(a, b);
	putchar('\n');
}

static int take_comparison(json_t *line, void *ctx)
{
	struct rerun *x = ctx;
	const char *what = field_text(line, "what");

	if (run_aside(line) || !*what)
		return 0;
	if (strcmp(what, "output") == 0 || strcmp(what, "ended") == 0)
		x->is_made_otherwise |= !field_bool(line, "same");
	if (x->json)
		return json_array_append(x->compared, line);
	print_comparison(line);
	return 0;
}

static json_t *request_of_both(const char *verb, const struct rerun *x, const json_t *answer)
{
	json_t *q = request_new(verb);

	json_object_set_new(q, "a", json_string(x->former.id));
	json_object_set_new(q, "b", json_string(field_text(answer, "id")));
	return q;
}

static void print_head(const struct rerun *x, const json_t *answer)
{
	const json_t *outputs = json_object_get(answer, "outputs"), *o;
	size_t i;

	printf("rerun %s of %s\n", field_text(answer, "id"), x->former.id);
	json_array_foreach (outputs, i, o)
		if (*field_text(o, "kept"))
			printf("kept        %s/%s\n", field_text(o, "repo"), field_text(o, "kept"));
}

/* On the stdout that the command had none of. */
static void print_document(const struct rerun *x, const json_t *answer)
{
	json_t *doc = json_pack("{s:s, s:s, s:O, s:O, s:O}", "run", field_text(answer, "id"), "of",
				x->former.id, "status", json_object_get(answer, "status"),
				"outside", x->outside, "compared", x->compared);
	json_t *outputs = json_object_get(answer, "outputs");
	int quiet = dup(STDOUT_FILENO);

	if (outputs)
		json_object_set(doc, "outputs", outputs);
	dup2(x->real_stdout, STDOUT_FILENO);
	print_json(doc);
	fflush(stdout);
	if (quiet >= 0) {
		dup2(quiet, STDOUT_FILENO);
		close(quiet);
	}
	json_decref(doc);
}

static void compare(struct client *c, const json_t *answer, void *ctx)
{
	struct rerun *x = ctx;

	if (!x->json)
		print_head(x, answer);
	if (client_ask(c, request_of_both("run-diff", x, answer), take_difference, x) < 0)
		return;
	if (client_ask(c, request_of_both("run-made", x, answer), take_comparison, x) < 0)
		return;
	if (x->json)
		print_document(x, answer);
	else
		fflush(stdout);
}

/* ---- what is run ---- */

/* The command has its stdout where nobody reads it. */
static int keep_quiet(struct rerun *x)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	fflush(stdout);
	x->real_stdout = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (null < 0 || x->real_stdout < 0 || dup2(null, STDOUT_FILENO) < 0)
		return -errno;
	close(null);
	return 0;
}

static int load(struct rerun *x, const struct target *mount, const char *run)
{
	_cleanup_client_ struct client *c = NULL;
	int r = client_open(mount, CLIENT_READS, &c);

	return r < 0 ? r : former_load(c, run, &x->former);
}

static int rerun(struct rerun *x, const char *run, const char *dir, char *const *params, bool check)
{
	_cleanup_target_ struct target mount = { 0 };
	struct once once = { .then = compare, .ctx = x };
	struct run_options *o = &once.options;
	int r = target_find_mount(dir, &mount);

	if (r == 0)
		r = load(x, &mount, run);
	if (r == 0)
		r = former_options(&x->former, o);
	for (; r == 0 && *params; params++)
		r = former_replace(&x->former, o, *params);
	if (r == 0)
		r = former_surround(&x->former, mount.mount, false);
	if (r == 0)
		r = run_stdin_null();
	if (r == 0 && x->json)
		r = keep_quiet(x);
	if (r == 0) {
		once.mount = mount.mount;
		o->rerun = x->former.id;
		o->name = NULL; /* which goes on meaning the former run */
		o->log = true;
		o->is_quiet = x->json;
		r = run_once(&once);
	} else {
		r = EXIT_PFS_FAILED;
	}
	run_options_release(o);
	return r ?: check && x->is_made_otherwise ? EXIT_FAILED : EXIT_DONE;
}

static int run(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "param", required_argument, NULL, OPT_PARAM },
		{ "check", no_argument, NULL, OPT_CHECK },
		{ "mount", required_argument, NULL, OPT_MOUNT },
		LONG_JSON,
		LONG_HELP,
		LONG_END,
	};
	_cleanup_free_ char **params = calloc((size_t)argc + 1, sizeof(*params));
	struct rerun x = { .real_stdout = -1, .outside = json_array(), .compared = json_array() };
	const char *dir = NULL;
	bool check = false;
	char **args;
	size_t n = 0;
	int r;

	if (!params || run_fill_standard_files() < 0)
		return EXIT_PFS_FAILED;
	while ((r = cli_option(self, argc, argv, "h", longs)) >= 0) {
		if (r == OPT_PARAM && !param_is_text(optarg))
			return cli_usage(
				self,
				"--param wants KEY=VALUE, KEY as text of at most %d bytes and VALUE of at "
				"most %d, not `%.100s`",
				PARAM_KEY_MAX, PARAM_VALUE_MAX, optarg);
		if (r == OPT_PARAM)
			params[n++] = optarg;
		else if (r == OPT_MOUNT)
			dir = optarg;
		x.json |= r == OPT_JSON;
		check |= r == OPT_CHECK;
	}
	cli_arguments(self, argc, argv, 1, 1, &args);
	r = rerun(&x, args[0], dir, params, check);
	former_release(&x.former);
	json_decref(x.outside);
	json_decref(x.compared);
	closep(&x.real_stdout);
	return r;
}

const struct command cmd_rerun = {
	.name = "rerun",
	.summary = "run what was run, on what it was run on, and compare",
	.help = "Usage: pfs rerun [--param KEY=VALUE]... [--check] [--json] [--mount DIR] RUN\n"
		"\n"
		"Runs RUN's command again, in a view that has the commits which RUN read, with\n"
		"its directory and its chosen environment. What it writes becomes the branch\n"
		"rerun-ID, and none is changed; then it tells what of that, and of what it\n"
		"printed and measured, is the same as RUN's. RUN is an id, the beginning of one,\n"
		"or a name (its last run). What lies outside of the mount is as it is now; stdin\n"
		"is nothing, or the file in the mount that it was.\n"
		"\n"
		"  --param KEY=VALUE   another value of a parameter that was in the command's\n"
		"                      arguments; as often as wanted\n"
		"  --check             exit with 1 when it has made other files than RUN, or\n"
		"                      ended otherwise\n"
		"  --json              one JSON value instead of text; the command's stdout is\n"
		"                      recorded alone\n"
		"  --mount DIR         the mount, where the current directory is in none and\n"
		"                      there are several\n"
		"\n"
		"Exits as the command does; 125 when pfs failed.\n"
		"\n"
		"Examples:\n"
		"  pfs rerun baseline\n"
		"  pfs rerun 20260115-143052-7f3a --param lr=0.2\n",
	.run = run,
};
