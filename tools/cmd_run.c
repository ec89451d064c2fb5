/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pfs run
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/text.h"
#include "client.h"
#include "commands.h"
#include "present.h"
#include "run/json_bytes.h"
#include "run_child.h"
#include "run_memo.h"
#include "run_params.h"
#include "run_relay.h"
#include "run_report.h"
#include "run_request.h"
#include "run_wait.h"

/* A run that has begun. */
struct running {
	struct target mount;
	struct client *client;
	char *id, *dir, *root; /* owned; the latter as paths of this machine */
	struct relay *relay;
	struct signals signals;
	struct ended ended;
	struct memo_input input;
	bool has_view; /* the command sees nothing else of the mount, as far as is known */
	json_t *repeated; /* what a former run's repetition has come to; owned; NULL: it is run */
};

/* One that the caller has closed is closed for the command as well, and never is one of ours. */
static int fill_standard_files(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

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
			"--param wants KEY=VALUE, KEY as text of at most %d bytes and VALUE of "
			"at most %d, not `%.100s`",
			PARAM_KEY_MAX, PARAM_VALUE_MAX, arg));
}

/* What a former run printed. */
static int print_again(const json_t *line)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	json_t *out = json_object_get(line, "stdout"), *err = json_object_get(line, "stderr");
	int r = json_to_bytes(out ?: err, &bytes);

	return r < 0 ? r : write_all(out ? STDOUT_FILENO : STDERR_FILENO, bytes.data, bytes.len);
}

static int take_begun(json_t *line, void *ctx)
{
	struct running *x = ctx;

	if (x->id)
		return print_again(line);
	x->id = strdup(field_text(line, "id"));
	x->dir = strf("%s/%s", x->mount.mount, field_text(line, "dir"));
	x->root = strf("%s/%s", x->mount.mount, field_text(line, "root"));
	if (json_object_get(line, "memo"))
		x->repeated = json_incref(line);
	return x->id && x->dir && x->root ? 0 : -ENOMEM;
}

static int begin(struct running *x, struct run_options *o, bool memo, const char *dir)
{
	json_t *q;
	int r = target_find_mount(dir, &x->mount);

	if (r < 0)
		return r;
	if (memo)
		o->memo = memo_around(&x->mount, o->argv, &x->input);
	q = run_request(o, &x->mount);
	r = q ? client_open(&x->mount, CLIENT_CHANGES, &x->client) : -EINVAL;
	if (r < 0) {
		json_decref(q);
		return r;
	}
	client_converse(x->client);
	r = client_ask(x->client, q, take_begun, x);
	return r == 0 && !x->id ? -EBADMSG : r;
}

/* It is recorded as what it was: a command that has ended with @code. */
static int has_not_run(struct running *x, int code)
{
	x->ended = (struct ended){ .status = code << 8 };
	return code;
}

/* The command from its start to its end: 0, or an exit code that is not its own, said. */
static int run_command(struct running *x, const struct run_options *o)
{
	struct child_options c = {
		.mount = x->mount.mount,
		.view = x->root,
		.argv = o->argv,
		.mask = &x->signals.mask,
		.on_child = &x->signals.on_child,
	};
	pid_t pid;
	int r = relay_new(o->memo, &x->relay);

	if (r == 0 && (o->log || o->memo))
		r = relay_log_to(x->relay, x->dir);
	if (r == 0 && (setenv("PFS_RUN", x->dir, 1) < 0 || setenv("PFS_RUN_ID", x->id, 1) < 0))
		r = -errno;
	if (r == 0)
		r = signals_take(&x->signals);
	if (r < 0) {
		cli_error("the run cannot be prepared: %s", strerror(-r));
		return has_not_run(x, EXIT_PFS_FAILED);
	}
	c.relay = x->relay;
	if (o->memo)
		memo_adopt();
	r = run_child(&c, &pid, &x->has_view);
	if (r != 0)
		return has_not_run(x, r);
	r = relay_start(x->relay);
	if (r == 0)
		r = wait_for_command(pid, &x->signals, x->relay, &x->ended);
	if (r < 0) {
		cli_error("its end cannot be waited for: %s", strerror(-r));
		relay_stop(x->relay);
		return has_not_run(x, EXIT_PFS_FAILED);
	}
	/* Who was asked to end does not wait for who does not read. */
	if (x->ended.signal == 0)
		relay_stop(x->relay);
	return 0;
}

/* An output that is not on its branch. */
static void tell_kept(const struct running *x, const json_t *output, bool is_unpublished)
{
	const char *repo = field_text(output, "repo"), *branch = field_text(output, "branch"),
		   *kept = field_text(output, "kept");

	if (!*kept)
		return;
	if (is_unpublished && field_number(output, "conflicts") > 0)
		cli_note("pfs: %s/%s has changed meanwhile where the run has changed it", repo,
			 branch);
	cli_note("pfs: what run %s has written is not on %s/%s, but kept as %s/%s", x->id, repo,
		 branch, repo, kept);
}

/* Tells of what did not go as wished, and where it is: 0 or EXIT_DIVERGED. */
static int tell(const struct running *x, const json_t *answer)
{
	bool is_unpublished = strcmp(field_text(answer, "status"), "unpublished") == 0;
	const json_t *outputs = json_object_get(answer, "outputs"),
		     *errors = json_object_get(answer, "error");

	for (size_t i = 0; i < json_array_size(outputs); i++)
		tell_kept(x, json_array_get(outputs, i), is_unpublished);
	for (size_t i = 0; i < json_array_size(errors); i++) {
		const json_t *error = json_array_get(errors, i);

		if (json_is_string(error))
			cli_note("pfs: run %s: %s", x->id, json_string_value(error));
	}
	return is_unpublished ? EXIT_DIVERGED : EXIT_DONE;
}

/* Tells the mount of the end: 0, EXIT_DIVERGED, or EXIT_PFS_FAILED. */
static int finish(struct running *x, const struct run_options *o)
{
	struct run_place place = {
		.id = x->id, .dir = x->dir, .root = x->root, .has_view = x->has_view
	};
	json_t *q = run_report(x->client, &place, &x->ended, x->ended.signal ? NULL : x->relay),
	       *answer = NULL;
	int r;

	if (o->memo && x->has_view && x->relay && x->ended.signal == 0 && relay_has_all(x->relay) &&
	    memo_is_whole(&x->input))
		json_object_set_new(q, "memo", json_true());
	r = client_ask_one(x->client, q, &answer);
	if (r < 0) {
		cli_error(
			"the end of run %s is not recorded yet; it will be as soon as the mount can",
			x->id);
		return EXIT_PFS_FAILED;
	}
	r = tell(x, answer);
	json_decref(answer);
	return r;
}

static void running_release(struct running *x)
{
	client_free(x->client);
	json_decref(x->repeated);
	target_release(&x->mount);
	free(x->id);
	free(x->dir);
	free(x->root);
	closep(&x->signals.fd);
}

/* Exits as the command did; @code is what counts where it ended well. */
static int end_as(const struct ended *e, int code)
{
	if (WIFSIGNALED(e->status))
		end_by_signal(WTERMSIG(e->status));
	return WEXITSTATUS(e->status) ?: code;
}

static int run_all(struct run_options *o, bool memo, const char *dir)
{
	struct running x = { .signals.fd = -1, .has_view = true };
	int code, r = begin(&x, o, memo, dir);

	if (r < 0 || x.repeated) {
		code = r < 0 ? EXIT_PFS_FAILED : tell(&x, x.repeated);
		running_release(&x);
		return code;
	}
	code = run_command(&x, o);
	r = finish(&x, o);
	running_release(&x);
	/* Somebody asked for the end: the relay may still be running. */
	if (x.ended.signal != 0)
		return code ?: end_as(&x.ended, r);
	if (code == 0)
		relay_leave(x.relay);
	relay_free(x.relay);
	return code ?: end_as(&x.ended, r);
}

static void options_release(struct run_options *o)
{
	json_decref(o->memo);
	json_decref(o->out);
	json_decref(o->params);
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
		LONG_HELP,
		LONG_END,
	};
	_cleanup_(options_release) struct run_options o = { .params = json_array(),
							    .out = json_array() };
	const char *dir = NULL;
	bool memo = false;
	int r;

	if (fill_standard_files() < 0)
		return EXIT_PFS_FAILED;
	while ((r = cli_option(self, argc, argv, "+hn:", longs)) >= 0) {
		if (r == 'n')
			o.name = optarg;
		else if (r == OPT_OUT)
			add_out(self, o.out, optarg);
		else if (r == OPT_PARAM)
			add_param(self, o.params, optarg);
		else if (r == OPT_GROUP)
			o.group = optarg;
		else if (r == OPT_MOUNT)
			dir = optarg;
		o.log |= r == OPT_LOG;
		memo |= r == OPT_MEMO;
		o.keep_going |= r == OPT_KEEP_GOING;
	}
	if (optind >= argc)
		return cli_usage(self, "which command?");
	o.argv = argv + optind;
	if (json_array_size(o.out) == 0) {
		json_decref(o.out);
		o.out = NULL;
	}
	return run_all(&o, memo, dir);
}

const struct command cmd_run = {
	.name = "run",
	.summary = "run a command, and record what it reads and makes",
	.help = "Usage: pfs run [-n NAME] [--out REPO/BRANCH]... [--param KEY=VALUE]... [--memo] [--] COMMAND...\n"
		"\n"
		"Runs COMMAND in a view of the mount: it reads every branch as it was at the start, and\n"
		"what it writes comes onto the branches together when it has ended well. Recorded is\n"
		"what it was told, what it read, looked for and made; `pfs runs`, `pfs why` and\n"
		"`pfs uses` ask for that. What a command that fails has written is kept as the branch\n"
		"run-ID.\n"
		"\n"
		"  -n, --name NAME     what to call the run\n"
		"  --out REPO/BRANCH   may be written to, and nothing else; as often as wanted\n"
		"  --param KEY=VALUE   a parameter to record; those in COMMAND's arguments, in the\n"
		"                      configuration files it reads and in $PFS_RUN/params are as well\n"
		"  --group GROUP       runs that belong together\n"
		"  --log               keep all it prints, not just the first and last 64 KiB\n"
		"  --memo              where a former run with --memo did the same, on files that are as\n"
		"                      they were: publish what that made, print what it printed, and run\n"
		"                      nothing; for commands that need no network, clock or chance\n"
		"  --keep-going        publish what it wrote even if it fails\n"
		"  --mount DIR         the mount, where the current directory is in none and there are\n"
		"                      several\n"
		"\n"
		"Exits as COMMAND does; with 3 when it ended well and what it wrote could not be\n"
		"published, since others have changed the same; 125 when pfs failed, 126 when COMMAND\n"
		"cannot be run, 127 when there is none.\n"
		"\n"
		"Example:\n"
		"  pfs run -n baseline --param seed=7 python train.py --lr 0.1\n",
	.run = run,
};
