/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Updates (run_update.h).
 *
 * The plan is made once; before a step is run it is asked again whether it would see something
 * else, for what the steps before it have made may be what it was. Each step is a process of its
 * own, which tells how it ended by what it writes to a pipe.
 */
#include "run_update.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/deadline.h"
#include "base/fdio.h"
#include "base/text.h"
#include "cli.h"
#include "present.h"
#include "record/json_bytes.h"
#include "record/record.h"
#include "run_child.h"
#include "run_former.h"
#include "run_once.h"
#include "run_redirect.h"
#include "run_wait.h"
#include "runs.h"

enum {
	ANSWER_MAX = 4 << 20, /* bytes that a step tells */
	REASONS_SHOWN = 5, /* of a step */
};

struct update {
	const struct update_options *o;
	struct target mount;
	struct client *client;
	json_t *steps; /* owned; lines of run-plan, with "result" once that is known */
	char group[RUN_ID_LEN + 16];
	size_t count, at; /* steps that are to be run, and the one that is */
	bool is_incomplete; /* something is not up to date */
};

/* ---- signals ---- */

static volatile sig_atomic_t asked_to_end;
static volatile sig_atomic_t child;
static const int ends[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM };
static struct sigaction were[ARRAY_SIZE(ends)];

/* One from the terminal has reached the step already. */
static void on_signal(int signal, siginfo_t *info, void *ctx)
{
	asked_to_end = signal;
	if (info->si_code <= 0 && child > 0)
		kill(child, signal);
}

static void take_signals(void)
{
	struct sigaction a = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		sigaction(ends[i], NULL, &were[i]);
		if (were[i].sa_handler != SIG_IGN)
			sigaction(ends[i], &a, NULL);
	}
}

static void hold_signals(int how)
{
	sigset_t all;

	sigemptyset(&all);
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
		sigaddset(&all, ends[i]);
	sigprocmask(how, &all, NULL);
}

static void give_signals_back(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
		sigaction(ends[i], &were[i], NULL);
}

/* ---- what is planned ---- */

static int take_step(json_t *line, void *ctx)
{
	struct update *u = ctx;

	if (run_aside(line))
		return 0;
	return json_array_append(u->steps, line) < 0 ? -ENOMEM : 0;
}

static const char *id_of(const json_t *step)
{
	return field_text(json_object_get(step, "run"), "id");
}

/* What the targets are: paths of the mount, as the answer's verb wants them. */
static int find_paths(struct update *u, char *const *paths, json_t *ret)
{
	_cleanup_free_ char *repo = NULL;
	int r = 0;

	for (char *const *p = paths; r == 0 && *p; p++) {
		_cleanup_target_ struct target t = { 0 };

		r = target_find(NULL, *p, &t);
		if (r == 0 && !t.mount) {
			cli_error("%s is in no mount: what is mounted can be updated", *p);
			r = -EINVAL;
		}
		if (r == 0 && u->mount.mount)
			r = target_check_same(&u->mount, &t);
		if (r < 0)
			return r;
		json_array_append_new(ret, json_of_bytes(buf_span(&t.path)));
		if (!u->mount.mount) {
			u->mount = t;
			t = (struct target){ 0 };
		}
	}
	if (*paths)
		return 0;
	r = target_find_mount(u->o->mount, &u->mount);
	if (r < 0)
		return r;
	repo = target_repo(&u->mount);
	return json_array_append_new(ret, json_of_bytes(span_str(repo ?: "")));
}

static json_t *plan_request(const struct update *u)
{
	json_t *q = request_new("run-plan");

	json_object_set_new(q, "force", json_boolean(u->o->force));
	return q;
}

static int plan(struct update *u, char *const *paths)
{
	json_t *q = plan_request(u), *where = json_array();
	int r = find_paths(u, paths, where);

	json_object_set_new(q, "paths", where);
	if (r == 0)
		r = client_open(&u->mount, CLIENT_CHANGES, &u->client);
	if (r == 0)
		return client_ask(u->client, q, take_step, u);
	json_decref(q);
	return r;
}

/* ---- what is told ---- */

static void print_reason(const json_t *reason)
{
	const char *run = field_text(reason, "run"), *was = field_text(reason, "was"),
		   *now = field_text(reason, "now");

	fputs("    ", stdout);
	print_name(json_object_get(reason, "path"), "");
	if (*run)
		printf(" may become another, by run %s\n", run);
	else if (!json_object_get(reason, "was") && !json_object_get(reason, "now"))
		puts(" has other names");
	else if (!json_object_get(reason, "was"))
		puts(" is new");
	else if (!json_object_get(reason, "now"))
		puts(" is gone");
	else
		printf(": %.12s -> %.12s\n", *was ? was : "(empty)", *now ? now : "(empty)");
}

static void print_plan(const struct update *u)
{
	json_t *step, *reason;
	size_t i, k;

	json_array_foreach (u->steps, i, step) {
		const json_t *reasons = json_object_get(step, "reasons");

		print_run_line(json_object_get(step, "run"), "");
		json_array_foreach (reasons, k, reason)
			if (k < REASONS_SHOWN)
				print_reason(reason);
		if (k > REASONS_SHOWN)
			printf("    and %zu more\n", k - REASONS_SHOWN);
		if (*field_text(step, "skip"))
			printf("    not run: %s\n", field_text(step, "skip"));
	}
	if (json_array_size(u->steps) == 0)
		puts("Everything is up to date.");
}

/* "[2/5] NAME  COMMAND", and how it goes; at the end with its id in front. */
static void tell(const struct update *u, const json_t *step, const char *more)
{
	const json_t *row = json_object_get(step, "run");
	const char *name = field_text(row, "name");
	_cleanup_free_ char *place =
		u->at > 0 ? strf("[%zu/%zu]", u->at, u->count) : strf("pfs: run %s", id_of(step));
	_cleanup_free_ char *text = strf("%s%s%.200s%s%s", name, *name ? "  " : "",
					 field_text(row, "command"), *more ? ": " : "", more);

	cli_note("%s %s", place ?: "", text ?: "");
}

static void set_result(struct update *u, json_t *step, const char *result, const char *why)
{
	json_object_set_new(step, "result", json_string(result));
	if (why)
		json_object_set_new(step, "why", json_of_bytes(span_str(why)));
	u->is_incomplete |= strcmp(result, "done") != 0 && strcmp(result, "same") != 0;
}

/* ---- a step ---- */

static void write_answer(struct client *c, const json_t *answer, void *ctx)
{
	_cleanup_free_ char *text = json_dumps(answer, JSON_COMPACT);

	if (text)
		write_all(*(int *)ctx, text, strlen(text));
}

static int open_stdin(const struct update *u, const json_t *at)
{
	_cleanup_free_ char *path = run_path(u->mount.mount, at);
	_cleanup_close_ int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	if (!at)
		return run_stdin_null();
	if (fd >= 0 && dup2(fd, STDIN_FILENO) >= 0)
		return 0;
	cli_error("its stdin, %s, cannot be opened: %s", path ?: "a file", strerror(errno));
	return -EIO;
}

static int no_stdout(void)
{
	_cleanup_close_ int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	return null < 0 || dup2(null, STDOUT_FILENO) < 0 ? -errno : 0;
}

/* In a process of its own: an exit code. */
static int be_step(const struct update *u, const json_t *step, int told)
{
	_cleanup_former_ struct former f = { 0 };
	_cleanup_client_ struct client *c = NULL;
	struct once once = {
		.memo = true, .mount = u->mount.mount, .then = write_answer, .ctx = &told
	};
	struct run_options *o = &once.options;
	int r = client_open(&u->mount, CLIENT_READS, &c);

	if (r == 0)
		r = former_load(c, id_of(step), &f);
	if (r == 0)
		r = former_options(&f, o);
	if (r == 0)
		r = former_surround(&f, u->mount.mount, true);
	if (r == 0)
		r = open_stdin(u, o->stdin_at);
	if (r == 0 && u->o->json)
		r = no_stdout();
	if (r == 0)
		r = redirect_again(u->mount.mount, f.start);
	if (r == 0) {
		o->group = u->group;
		o->update = f.id;
		o->take_back = json_incref(json_object_get(step, "take_back"));
		o->is_quiet = u->o->json;
		o->cwd = o->stdin_at = o->printed_as = NULL;
		r = run_once(&once);
	} else {
		r = EXIT_PFS_FAILED;
	}
	run_options_release(o);
	return r;
}

static json_t *read_answer(int fd)
{
	_cleanup_buf_ struct buf b = { 0 };
	ssize_t n;

	do {
		if (buf_reserve(&b, 1 << 16) < 0 || b.len > ANSWER_MAX)
			return NULL;
		n = read(fd, b.data + b.len, 1 << 16);
		b.len += (size_t)MAX(n, (ssize_t)0);
	} while (n > 0 || (n < 0 && errno == EINTR));
	return json_loadb((const char *)b.data, b.len, 0, NULL);
}

/* Its exit status as wait(2) has it, or -errno; *@ret is what it told, or NULL. */
static int run_step(struct update *u, const json_t *step, json_t **ret)
{
	const pid_t self = getpid();
	int told[2], status = 0;
	pid_t pid;

	if (pipe2(told, O_CLOEXEC) < 0)
		return -errno;
	fflush(NULL);
	hold_signals(SIG_BLOCK);
	child = pid = asked_to_end ? -1 : fork();
	if (pid == 0) {
		give_signals_back();
		/* Who is killed has no steps. */
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (getppid() != self)
			_exit(EXIT_PFS_FAILED);
		hold_signals(SIG_UNBLOCK);
		close(told[0]);
		exit(cli_finish(be_step(u, step, told[1])));
	}
	hold_signals(SIG_UNBLOCK);
	close(told[1]);
	*ret = pid > 0 ? read_answer(told[0]) : NULL;
	close(told[0]);
	if (pid < 0)
		return asked_to_end ? -EINTR : -errno;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	child = 0;
	return status;
}

static void note_end(struct update *u, json_t *step, int status, const json_t *answer)
{
	const char *word = field_text(answer, "status");
	char why[80];

	if (answer)
		json_object_set(step, "id", json_object_get(answer, "id"));
	if (json_object_get(json_object_get(answer, "memo"), "of"))
		json_object_set(step, "of", json_object_get(json_object_get(answer, "memo"), "of"));
	if (status == 0 && strcmp(word, "ok") == 0) {
		set_result(u, step, "done", NULL);
		return;
	}
	if (strcmp(word, "unpublished") == 0)
		snprintf(why, sizeof(why), "what it wrote could not be published");
	else if (status < 0)
		snprintf(why, sizeof(why), "it could not be started: %s", strerror(-status));
	else if (WIFSIGNALED(status))
		snprintf(why, sizeof(why), "it was killed by signal %d", WTERMSIG(status));
	else
		snprintf(why, sizeof(why), "it failed with exit status %d", WEXITSTATUS(status));
	set_result(u, step, "failed", why);
	tell(u, step, why);
}

/* Is something that it needs not as it is to be? Its id, or NULL. */
static const char *blocked_by(const struct update *u, const json_t *step)
{
	const json_t *after = json_object_get(step, "after"), *id, *other;
	size_t i, k;

	json_array_foreach (after, i, id) {
		json_array_foreach (u->steps, k, other) {
			const char *result = field_text(other, "result");

			if (strcmp(id_of(other), json_string_value(id)) == 0 &&
			    (strcmp(result, "failed") == 0 || strcmp(result, "blocked") == 0))
				return json_string_value(id);
		}
	}
	return NULL;
}

/* As of now: its line of a plan of its own, the caller's; NULL, said. */
static json_t *ask_again(struct update *u, const json_t *step)
{
	json_t *q = plan_request(u), *line = NULL, *all = u->steps;
	int r;

	u->steps = json_array();
	json_object_set_new(q, "run", json_string(id_of(step)));
	if (json_object_get(step, "take_back"))
		json_object_set(q, "behind", json_object_get(step, "take_back"));
	r = client_ask(u->client, q, take_step, u);
	if (r == 0)
		line = json_incref(json_array_get(u->steps, 0));
	json_decref(u->steps);
	u->steps = all;
	return line;
}

/* A run that has changed what the step made, and is not among those that were told to be run after
 * it; NULL: none. */
static const char *changed_meanwhile(const json_t *step, const json_t *now)
{
	const json_t *planned = json_object_get(step, "take_back"), *id, *other;
	size_t i, k;

	json_array_foreach (json_object_get(now, "take_back"), i, id) {
		bool is_planned = false;

		json_array_foreach (planned, k, other)
			is_planned |= json_equal(id, other);
		if (!is_planned)
			return json_string_value(id);
	}
	return NULL;
}

static void skip(struct update *u, json_t *step, const char *result, const char *why)
{
	set_result(u, step, result, why);
	tell(u, step, why);
}

static void run_now(struct update *u, json_t *step)
{
	json_t *answer = NULL;
	int status;

	tell(u, step, "");
	status = run_step(u, step, &answer);
	note_end(u, step, status, answer);
	json_decref(answer);
}

/* What of it is as of now. */
static void renew(json_t *step, const json_t *now)
{
	static const char *const keys[] = { "reasons", "take_back" };

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		json_t *value = json_object_get(now, keys[i]);

		if (value)
			json_object_set(step, keys[i], value);
		else
			json_object_del(step, keys[i]);
	}
}

/* Is it to be run, as it is now? If not, that has been said. */
static bool must_be_run(struct update *u, json_t *step)
{
	json_t *now = ask_again(u, step);
	const char *other = changed_meanwhile(step, now);
	_cleanup_free_ char *why = NULL;
	bool must = false;

	if (!now) {
		skip(u, step, "failed", "whether it must be run cannot be told");
	} else if (*field_text(now, "skip")) {
		skip(u, step, "skipped", field_text(now, "skip"));
	} else if (strcmp(field_text(now, "state"), "current") == 0) {
		skip(u, step, "same", "all that it reads is as it was");
	} else if (other) {
		why = strf("run %s has changed what it made meanwhile", other);
		skip(u, step, "skipped", why);
	} else {
		renew(step, now);
		must = true;
	}
	json_decref(now);
	return must;
}

static void take_one(struct update *u, json_t *step)
{
	const char *needs = blocked_by(u, step);
	_cleanup_free_ char *why =
		needs ? strf("it is not run, since run %s was not", needs) : NULL;

	if (needs)
		skip(u, step, "blocked", why);
	else if (must_be_run(u, step))
		run_now(u, step);
}

static void take_all(struct update *u)
{
	json_t *step;
	size_t i;

	json_array_foreach (u->steps, i, step)
		u->count += !*field_text(step, "skip");
	json_array_foreach (u->steps, i, step) {
		if (asked_to_end) {
			set_result(u, step, "blocked", "the update was stopped");
		} else if (*field_text(step, "skip")) {
			set_result(u, step, "skipped", field_text(step, "skip"));
		} else {
			u->at++;
			take_one(u, step);
		}
	}
	u->at = 0;
}

/* What is not up to date, and why. */
static void tell_rest(struct update *u)
{
	json_t *step;
	size_t i;

	json_array_foreach (u->steps, i, step) {
		const char *result = field_text(step, "result");

		if (strcmp(result, "done") != 0 && strcmp(result, "same") != 0)
			tell(u, step, field_text(step, "why"));
	}
}

static void print_document(struct update *u)
{
	json_t *doc = json_object();

	if (!u->o->dry_run)
		json_object_set_new(doc, "group", json_string(u->group));
	json_object_set(doc, "steps", u->steps);
	print_json(doc);
	json_decref(doc);
}

int run_update(const struct update_options *o, char *const *paths)
{
	struct timespec now = now_wall();
	struct update u = { .o = o, .steps = json_array() };
	int r;

	snprintf(u.group, sizeof(u.group), "update:%s",
		 run_id_new((int64_t)now.tv_sec * 1000000000 + now.tv_nsec, 0).s);
	r = plan(&u, paths);
	if (r == 0 && !o->dry_run) {
		take_signals();
		take_all(&u);
		tell_rest(&u);
	}
	if (r == 0 && o->json)
		print_document(&u);
	else if (r == 0 && (o->dry_run || json_array_size(u.steps) == 0))
		print_plan(&u);
	json_decref(u.steps);
	client_free(u.client);
	target_release(&u.mount);
	if (asked_to_end) {
		fflush(NULL);
		end_by_signal(asked_to_end);
	}
	return r < 0 ? EXIT_PFS_FAILED : u.is_incomplete ? EXIT_FAILED : EXIT_DONE;
}
