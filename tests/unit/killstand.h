/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A mount with runs whose process is killed before each of its steps in turn. A step changes a
 * directory, since every object and every note is complete before it has its name; or it is a
 * write, since the journal of heads is only added to.
 *
 * Included once in a program, whose calls it takes.
 */
#pragma once

#include <dirent.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "runstand.h"

enum {
	STEPS_MAX = 2000,
	STEPS_MIN = 10, /* there are at least so many */
	SURVIVED = 77,
	GONE_MS = 120 * 1000,
	SAID_MAX = 4096,
};

/* The process ends before its n-th step; 0: it does not. */
static atomic_long steps_left;

static void step(void)
{
	if (steps_left && atomic_fetch_sub(&steps_left, 1) == 1)
		_exit(0);
}

int renameat(int from, const char *old, int to, const char *new)
{
	step();
	return (int)syscall(SYS_renameat2, from, old, to, new, 0);
}

int linkat(int from, const char *old, int to, const char *new, int flags)
{
	step();
	return (int)syscall(SYS_linkat, from, old, to, new, flags);
}

int unlinkat(int dir, const char *name, int flags)
{
	step();
	return (int)syscall(SYS_unlinkat, dir, name, flags);
}

int mkdirat(int dir, const char *name, mode_t mode)
{
	step();
	return (int)syscall(SYS_mkdirat, dir, name, mode);
}

ssize_t write(int fd, const void *data, size_t len)
{
	step();
	return syscall(SYS_write, fd, data, len);
}

static inline void close_stand(struct runstand *s)
{
	runs_free(s->runs);
	stand_close(&s->h);
}

static inline void open_stand(struct runstand *s)
{
	stand_open(&s->h);
	runstand_open_runs(s);
}

/* The child tells what it is about. */
static inline void say(int told, const char *text)
{
	if (syscall(SYS_write, told, text, strlen(text)) != (long)strlen(text))
		_exit(1);
}

static inline bool is_there(struct runstand *s, const char *id)
{
	_cleanup_free_ char *dir = strf("%s/runs/%s", s->h.state, id);

	return access(dir, F_OK) == 0;
}

/* How many names state/runs has. */
static inline unsigned names_left(struct runstand *s)
{
	_cleanup_free_ char *path = strf("%s/runs", s->h.state);
	DIR *d = opendir(path);
	struct dirent *e;
	unsigned n = 0;

	assert_non_null(d);
	while ((e = readdir(d)))
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	closedir(d);
	return n;
}

static inline int count_private(struct view *head, struct span label, void *ctx)
{
	++*(unsigned *)ctx;
	return 0;
}

/* Until nothing of any run is left in the state directory: no directory, no private head. */
static inline void wait_until_all_gone(struct runstand *s)
{
	struct deadline dl = deadline_in_ms(GONE_MS);
	unsigned privates = 0;

	while (names_left(s) > 0) {
		assert_ok(deadline_check(&dl));
		usleep(2000);
	}
	assert_ok(heads_each_private(s->h.heads, count_private, &privates));
	assert_int_equal(privates, 0);
}

/*
 * In a process of its own @act is done on a mount that is not open yet; it has the number of the
 * step before which it is to die, and ends with _exit(SURVIVED) when there are not so many. What it
 * said is judged in the mount after it, when no run is left there.
 */
static inline void kill_at_each_step(struct runstand *s,
				     void (*act)(struct runstand *s, long step, int told),
				     void (*judge)(struct runstand *s, const char *said, long step))
{
	int status = 0, fd[2];
	long k;

	close_stand(s);
	for (k = 1; k < STEPS_MAX && WEXITSTATUS(status) != SURVIVED; k++) {
		char said[SAID_MAX] = "";
		ssize_t len = 0, n;
		pid_t pid;

		assert_ok(pipe(fd));
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			close(fd[0]);
			act(s, k, fd[1]);
			_exit(SURVIVED);
		}
		close(fd[1]);
		while ((n = read(fd[0], said + len, sizeof(said) - 1 - (size_t)len)) > 0)
			len += n;
		close(fd[0]);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == SURVIVED);
		open_stand(s);
		wait_until_all_gone(s);
		judge(s, said, k);
		close_stand(s);
	}
	/* Each step has had its turn. */
	assert_int_equal(WEXITSTATUS(status), SURVIVED);
	assert_true(k > STEPS_MIN);
	open_stand(s);
}

/* Repo r has `in` on two branches, of which the mount has the first. */
static inline struct runstand killstand_make(void)
{
	struct runstand s = runstand_make();
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct oid base;

	make_text(&s.h, s.h.root, "in", "1");
	base = stand_commit(&s.h, NULL);
	assert_ok(refs_repo(s.h.store->refs, "r", &w, &rec));
	assert_ok(refs_create_branch(s.h.store->refs, &rec.id, "other", &base, NULL));
	return s;
}

/* What the end's record says of a branch. */
static inline _unused_ const char *said_of(const json_t *end, const char *branch, const char *key)
{
	json_t *out;
	size_t i;

	json_array_foreach (json_object_get(end, "outputs"), i, out)
		if (strcmp(json_string_value(json_object_get(out, "branch")), branch) == 0)
			return json_string_value(json_object_get(out, key));
	return NULL;
}

/* How many commits of a branch's history the run has made. */
static inline _unused_ unsigned commits_of(struct runstand *s, const char *branch, const char *id)
{
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct oid at;
	unsigned n = 0;

	assert_ok(refs_repo(s->h.store->refs, "r", &w, &rec));
	assert_ok(tip_of_branch(s, branch, &at));
	while (!oid_is_null(&at)) {
		_cleanup_loaded_ struct loaded c = { 0 };

		assert_ok(refs_load_commit(s->h.store->refs, &rec.id, &at, &w, &c));
		for (unsigned i = 0; i < c.commit.meta_count; i++)
			n += span_equal(c.commit.meta[i].key, span_str("pfs.run")) &&
			     span_equal(c.commit.meta[i].value, span_str(id));
		at = c.commit.parent_count ? c.commit.parents[0] : (struct oid){ 0 };
	}
	return n;
}

static inline int judge_ended(const struct run_id *id, bool is_end, void *ctx)
{
	struct runstand *s = ctx;
	json_t *start = NULL, *end = NULL;

	assert_ok(archive_get(s->h.store, id, &DEADLINE_NEVER, &start, &end));
	assert_non_null(end);
	json_decref(start);
	json_decref(end);
	return 0;
}

/* There is no start without an end. */
static inline void assert_all_ended(struct runstand *s)
{
	assert_ok(archive_list(s->h.store, "", NULL, judge_ended, s, &DEADLINE_NEVER));
}
