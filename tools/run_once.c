/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A run from its begin to its end (run_once.h).
 */
#include "run_once.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/text.h"
#include "cli.h"
#include "present.h"
#include "record/json_bytes.h"
#include "run_child.h"
#include "run_memo.h"
#include "run_redirect.h"
#include "run_relay.h"
#include "run_report.h"
#include "run_wait.h"

int run_fill_standard_files(void)
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

/* A run that has begun. */
struct running {
	struct target mount;
	struct client *client;
	char *id, *dir, *root; /* owned; the latter as paths of this machine */
	struct relay *relay;
	struct signals signals;
	struct ended ended;
	struct memo_input input;
	struct redirected own; /* stdout and stderr as they were when the run began */
	bool has_view; /* the command sees nothing else of the mount, as far as is known */
	json_t *repeated; /* what a former run's repetition has come to; owned; NULL: it is run */
};

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

static int begin(struct running *x, struct once *once)
{
	struct run_options *o = &once->options;
	json_t *q;
	int r = target_find_mount(once->mount, &x->mount);

	if (r < 0)
		return r;
	if (once->memo)
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

int run_stdin_null(void)
{
	_cleanup_close_ int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	return null < 0 || dup2(null, STDIN_FILENO) < 0 ? -errno : 0;
}

/* What it reads from is what the run sees there. 0 or an exit code, said. */
static int open_stdin(const struct running *x, const struct run_options *o)
{
	_cleanup_free_ char *path = run_path(x->root, o->stdin_at);
	_cleanup_close_ int fd = -1;

	if (!o->stdin_at)
		return 0;
	fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd >= 0 && dup2(fd, STDIN_FILENO) >= 0)
		return 0;
	cli_error("its stdin, %s, cannot be opened: %s", path ?: "a file", strerror(errno));
	return EXIT_PFS_FAILED;
}

/* With stdin, stdout and stderr as they are. As run_command(). */
static int run_with_streams(struct running *x, const struct run_options *o)
{
	_cleanup_free_ char *cwd = run_path(x->mount.mount, o->cwd);
	struct child_options c = {
		.mount = x->mount.mount,
		.view = x->root,
		.place = o->place,
		.cwd = cwd,
		.argv = o->argv,
		.mask = &x->signals.mask,
		.on_child = &x->signals.on_child,
	};
	pid_t pid;
	int r = relay_new(o->is_quiet ? RELAY_ALL
			  : o->memo   ? RELAY_FILES
				      : RELAY_STREAMS,
			  &x->relay);

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

/* The command from its start to its end: 0, or an exit code that is not its own, said. */
static int run_command(struct running *x, const struct run_options *o)
{
	int r = open_stdin(x, o);

	x->own = redirect_keep();
	if (r == 0 && o->printed_as && redirect_again(x->root, o->printed_as) < 0)
		r = EXIT_PFS_FAILED;
	r = r == 0 ? run_with_streams(x, o) : has_not_run(x, r);
	/* Nothing of the view is ours when the run ends; finish() gives the rest back. */
	if (o->stdin_at)
		run_stdin_null();
	return r;
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
	cli_note(
		"pfs: what run %s has written is kept as %s/%s: `pfs merge %s --into %s/%s` brings "
		"it there",
		x->id, repo, kept, kept, repo, branch);
}

/* Tells of what did not go as wished, and where it is: 0 or EXIT_DIVERGED. */
static int tell(const struct running *x, const json_t *answer, const struct once *once)
{
	bool is_unpublished = strcmp(field_text(answer, "status"), "unpublished") == 0;
	const json_t *outputs = json_object_get(answer, "outputs"),
		     *errors = json_object_get(answer, "error");

	for (size_t i = 0; !once->options.rerun && i < json_array_size(outputs); i++)
		tell_kept(x, json_array_get(outputs, i), is_unpublished);
	for (size_t i = 0; i < json_array_size(errors); i++) {
		const json_t *error = json_array_get(errors, i);

		if (json_is_string(error))
			cli_note("pfs: run %s: %s", x->id, json_string_value(error));
	}
	if (once->then)
		once->then(x->client, answer, once->ctx);
	return is_unpublished ? EXIT_DIVERGED : EXIT_DONE;
}

/* Tells the mount of the end: 0, EXIT_DIVERGED, or EXIT_PFS_FAILED. */
static int finish(struct running *x, const struct once *once)
{
	const struct run_options *o = &once->options;
	struct run_place place = {
		.id = x->id, .dir = x->dir, .root = x->root, .has_view = x->has_view
	};
	json_t *q, *answer = NULL;
	int r;

	redirect_flush();
	q = run_report(x->client, &place, &x->ended, x->ended.signal ? NULL : x->relay);
	redirect_restore(&x->own);
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
	r = tell(x, answer, once);
	json_decref(answer);
	return r;
}

/* For who sits there: what it printed once is all that others get. */
static void tell_repeated(const struct running *x)
{
	if (isatty(STDERR_FILENO))
		cli_note("pfs: nothing was run: run %s did the same",
			 field_text(json_object_get(x->repeated, "memo"), "of"));
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

int run_once(struct once *o)
{
	struct running x = { .signals.fd = -1, .has_view = true };
	int code, r = begin(&x, o);

	if (r < 0 || x.repeated) {
		if (r == 0)
			tell_repeated(&x);
		code = r < 0 ? EXIT_PFS_FAILED : tell(&x, x.repeated, o);
		running_release(&x);
		return code;
	}
	code = run_command(&x, &o->options);
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
