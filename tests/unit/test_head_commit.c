/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Commits of a head under load and under failure.
 */
#include <fcntl.h>
#include <pthread.h>

#include "backend/fault.h"
#include "headmodel.h"
#include "headstand.h"

/* A writer appends numbered lines to a log of its own, and renames a pair of files to and fro. */
struct writer {
	struct headstand *s;
	pthread_t thread;
	struct vnode *dir, *log;
	atomic_bool *stop;
	unsigned lines;
};

enum {
	WRITERS = 8,
	LINE = 16,
	COMMITS = 60,
};

static void *write_lines(void *arg)
{
	struct writer *w = arg;
	struct access acc;
	char line[LINE + 1];

	access_init(&acc, w->s->store->reader, true);
	acc.deadline = DEADLINE_NEVER;
	assert_ok(view_open(w->log, O_RDWR | O_APPEND, &acc));
	while (!*w->stop) {
		const char *from = w->lines % 2 ? "b" : "a", *to = w->lines % 2 ? "a" : "b";

		snprintf(line, sizeof(line), "%015u\n", w->lines++);
		assert_ok(view_write(w->log, 0, span_of(line, LINE), true, false, &acc));
		assert_ok(view_rename(w->dir, span_str(from), w->dir, span_str(to), 0, &acc));
	}
	view_close(w->log, O_RDWR);
	access_release(&acc);
	return NULL;
}

/* A snapshot has a prefix of the log, and exactly one of the pair: as many renames as lines, or one
 * fewer. */
static void check_writer(struct headstand *s, struct vnode *root, unsigned i, unsigned *ret_lines)
{
	struct vnode *dir, *log, *v;
	struct stat st;
	char name[16], *bytes;
	unsigned lines;
	bool a, b;

	snprintf(name, sizeof(name), "w%u", i);
	assert_ok(view_lookup(root, span_str(name), &s->acc, &dir, &st));
	assert_ok(view_lookup(dir, span_str("log"), &s->acc, &log, &st));
	bytes = malloc((size_t)st.st_size + 1);
	assert_non_null(bytes);
	assert_ok(view_open(log, O_RDONLY, &s->acc));
	assert_int_equal(view_read(log, 0, (size_t)st.st_size, bytes, &s->acc), st.st_size);
	view_close(log, O_RDONLY);
	assert_int_equal(st.st_size % LINE, 0);
	lines = (unsigned)(st.st_size / LINE);
	for (unsigned k = 0; k < lines; k++) {
		char want[LINE + 1];

		snprintf(want, sizeof(want), "%015u\n", k);
		assert_memory_equal(bytes + k * LINE, want, LINE);
	}
	free(bytes);
	a = view_lookup(dir, span_str("a"), &s->acc, &v, &st) == 0;
	if (a)
		vnode_unref(s->vnodes, v);
	b = view_lookup(dir, span_str("b"), &s->acc, &v, &st) == 0;
	if (b)
		vnode_unref(s->vnodes, v);
	assert_true(a != b);
	vnode_unref(s->vnodes, log);
	vnode_unref(s->vnodes, dir);
	*ret_lines = lines;
}

static void each_snapshot_is_one_prefix_of_each_writers_log(void **state)
{
	struct headstand s = stand_make();
	struct writer w[WRITERS];
	unsigned last[WRITERS] = { 0 };
	atomic_bool stop = false;

	for (unsigned i = 0; i < WRITERS; i++) {
		char name[16];

		snprintf(name, sizeof(name), "w%u", i);
		w[i] = (struct writer){ .s = &s, .stop = &stop };
		w[i].dir = stand_create(&s, s.root, name, S_IFDIR | 0755);
		w[i].log = stand_create(&s, w[i].dir, "log", S_IFREG | 0644);
		vnode_unref(s.vnodes, stand_create(&s, w[i].dir, "a", S_IFREG | 0644));
		assert_ok(pthread_create(&w[i].thread, NULL, write_lines, &w[i]));
	}
	for (unsigned n = 0; n < COMMITS; n++) {
		struct oid id = stand_commit(&s, NULL);
		struct vnode *root = stand_commit_root(&s, &id);

		for (unsigned i = 0; i < WRITERS; i++) {
			unsigned lines;

			check_writer(&s, root, i, &lines);
			assert_true(lines >= last[i]);
			last[i] = lines;
		}
		vnode_unref(s.vnodes, root);
	}
	stop = true;
	for (unsigned i = 0; i < WRITERS; i++) {
		unsigned lines;

		pthread_join(w[i].thread, NULL);
		check_writer(&s, s.root, i, &lines);
		assert_int_equal(lines, w[i].lines);
		vnode_unref(s.vnodes, w[i].log);
		vnode_unref(s.vnodes, w[i].dir);
	}
	stand_remove(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_snapshot_is_one_prefix_of_each_writers_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
