/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Writers of a directory that are killed, that are many, or whose disk is full: what is there to be
 * seen is whole all the time.
 */
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/cursor.h"
#include "base/text.h"
#include "base/thread.h"
#include "filestand.h"
#include "prng.h"

/* Runs @fn in a process of its own, which ends with its result. */
static pid_t spawn(int (*fn)(const char *path, void *arg), const char *path, void *arg)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(fn(path, arg));
	return pid;
}

static int write_and_die(const char *path, void *arg)
{
	struct backend *b;
	struct backend_put *p;

	if (backend_open(path, &writable, &b) < 0 || b->ops->put_begin(b, "dead", &p) < 0 ||
	    b->ops->put_write(p, span_str("half"), NULL) < 0)
		return 1;
	return 0;
}

static void what_the_dead_left_is_swept_and_what_the_living_write_is_not(void **state)
{
	struct stand *s = *state;
	struct backend_put *p;
	int status;

	assert_ok(s->backend->ops->put_begin(s->backend, "living", &p));
	assert_ok(s->backend->ops->put_write(p, span_str("x"), NULL));
	waitpid(spawn(write_and_die, s->dir.path, NULL), &status, 0);
	assert_int_equal(status, 0);
	assert_int_equal(temporaries(s), 2);
	backend_free(open_at(s->dir.path));
	assert_int_equal(temporaries(s), 1);
	assert_ok(s->backend->ops->put_end(p, NULL));
	assert_text(s->backend, "living", "x");
	assert_int_equal(temporaries(s), 0);
}

/* Bytes that tell whether they are whole: @seed says how many there are, and which. */
static void whole_make(uint64_t seed, struct buf *b)
{
	struct prng p = { seed };
	size_t n = prng_below(&p, prng_below(&p, 8) ? 3000 : 300000);

	buf_clear(b);
	buf_put_u64(b, seed);
	prng_fill(&p, buf_extend(b, n), n);
}

static bool is_whole(struct span data)
{
	_cleanup_buf_ struct buf expected = { 0 };
	struct cursor c = cursor_of(data);

	whole_make(rd_u64(&c), &expected);
	return span_equal(data, buf_span(&expected));
}

static int check_whole(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	struct backend *b = ctx;
	_cleanup_buf_ struct buf data = { 0 };
	struct etag now;

	assert_ok(b->ops->get_all(b, key, 1 << 20, NULL, NULL, &data, &now));
	if (!is_whole(buf_span(&data)))
		fail_msg("%s is not whole", key);
	return 0;
}

/* What a writer says it has done, seen by whoever killed it. */
struct progress {
	atomic_uint_fast64_t put, swapped;
};

static int write_until_killed(const char *path, void *arg)
{
	struct progress *done = arg;
	_cleanup_buf_ struct buf b = { 0 }, now = { 0 };
	struct backend_put *p;
	struct backend *s;
	struct etag tag;
	int r;

	if (backend_open(path, &writable, &s) < 0)
		return 1;
	r = s->ops->get_all(s, "heads/r/main", 1 << 20, NULL, NULL, &now, &tag);
	if (r < 0 && r != -ENOENT)
		return 2;
	for (uint64_t i = done->put + 1;; i++) {
		char key[64];

		snprintf(key, sizeof(key), "packs/%02x/%lu", (unsigned)(i % 7), (unsigned long)i);
		whole_make(i, &b);
		if (i % 2) {
			if (s->ops->put(s, key, buf_span(&b), NULL) < 0)
				return 3;
		} else {
			if (s->ops->put_begin(s, key, &p) < 0 ||
			    s->ops->put_write(p, span_of(b.data, b.len / 2), NULL) < 0 ||
			    s->ops->put_write(p, span_of(b.data + b.len / 2, b.len - b.len / 2),
					      NULL) < 0 ||
			    s->ops->put_end(p, NULL) < 0)
				return 4;
		}
		done->put = i;
		if (s->ops->swap(s, "heads/r/main", r == -ENOENT ? NULL : &tag, buf_span(&b), NULL,
				 &tag) < 0)
			return 5;
		r = 0;
		done->swapped = i;
	}
}

static bool is_running(pid_t pid)
{
	siginfo_t info = { 0 };

	return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid == 0;
}

static void a_killed_writer_leaves_only_whole_objects(void **state)
{
	enum {
		KILLS = 60
	};
	struct stand *s = *state;
	struct progress *done = mmap(NULL, sizeof(*done), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct prng p = { 1 };

	assert_true(done != MAP_FAILED);
	for (int i = 0; i < KILLS; i++) {
		struct timespec t = { .tv_nsec = (long)prng_below(&p, 20000000) };
		_cleanup_buf_ struct buf head = { 0 };
		struct backend *b;
		struct etag tag;
		struct cursor c;
		uint64_t before;
		int status, r;
		pid_t pid;

		before = done->swapped;
		pid = spawn(write_until_killed, s->dir.path, done);
		/* half of them early, half of them in full swing, however slow the disk */
		while (i % 2 && done->swapped < before + 3 && is_running(pid))
			sched_yield();
		nanosleep(&t, NULL);
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		if (WIFEXITED(status))
			fail_msg("the writer failed at step %d", WEXITSTATUS(status));

		b = open_at(s->dir.path);
		assert_int_equal(temporaries(s), 0);
		assert_ok(b->ops->list(b, "", NULL, check_whole, b, NULL));
		r = b->ops->get_all(b, "heads/r/main", 1 << 20, NULL, NULL, &head, &tag);
		if (done->swapped > 0)
			assert_ok(r);
		/* what was acknowledged is there; what was not may be */
		c = cursor_of(buf_span(&head));
		assert_in_range(r == 0 ? rd_u64(&c) : 0, done->swapped, done->put + 1);
		backend_free(b);
	}
	assert_true(done->swapped > KILLS);
	munmap(done, sizeof(*done));
}

enum {
	PROCESSES = 8,
	INCREMENTS = 40
};

static int increment(const char *path, void *arg)
{
	struct backend *b;

	if (backend_open(path, &writable, &b) < 0)
		return 1;
	for (int i = 0; i < INCREMENTS;) {
		_cleanup_buf_ struct buf now = { 0 };
		struct etag tag;
		char next[32];
		int r;

		if (b->ops->get_all(b, "counter", 100, NULL, NULL, &now, &tag) < 0)
			return 2;
		buf_put_u8(&now, '\0');
		snprintf(next, sizeof(next), "%lu", strtoul((char *)now.data, NULL, 10) + 1);
		r = b->ops->swap(b, "counter", &tag, span_str(next), NULL, &tag);
		if (r < 0 && r != -ESTALE)
			return 3;
		i += r == 0;
	}
	backend_free(b);
	return 0;
}

static void of_swaps_by_eight_processes_each_one_counts(void **state)
{
	struct stand *s = *state;
	pid_t pids[PROCESSES];
	char sum[32];

	put(s->backend, "counter", "0");
	for (int i = 0; i < PROCESSES; i++)
		pids[i] = spawn(increment, s->dir.path, NULL);
	for (int i = 0; i < PROCESSES; i++) {
		int status;

		waitpid(pids[i], &status, 0);
		assert_int_equal(status, 0);
	}
	snprintf(sum, sizeof(sum), "%d", PROCESSES * INCREMENTS);
	assert_text(s->backend, "counter", sum);
}

struct churn {
	struct backend *backend;
	atomic_bool is_over;
};

/* Puts and deletes keys between those that stay. */
static void *come_and_go(void *arg)
{
	struct churn *c = arg;
	struct prng p = { 2 };

	while (!c->is_over) {
		char key[32];

		snprintf(key, sizeof(key), "a/%03u/go", (unsigned)prng_below(&p, 100));
		if (prng_below(&p, 2))
			c->backend->ops->put(c->backend, key, span_str("whole"), NULL);
		else
			c->backend->ops->remove(c->backend, key, NULL);
	}
	return NULL;
}

struct seen {
	char last[64];
	unsigned staying;
};

static int see(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	struct seen *s = ctx;

	assert_true(strcmp(s->last, key) < 0);
	assert_int_equal(size, 5);
	assert_true(strlen(key) < sizeof(s->last));
	strcpy(s->last, key);
	s->staying += strcmp(strrchr(key, '/'), "/stay") == 0;
	return 0;
}

static void a_listing_has_what_stays_while_others_come_and_go(void **state)
{
	struct churn c = { .backend = ((struct stand *)*state)->backend };
	pthread_t writer;

	for (unsigned i = 0; i < 100; i += 2) {
		char key[32];

		snprintf(key, sizeof(key), "a/%03u/stay", i);
		put(c.backend, key, "whole");
	}
	assert_ok(thread_start(&writer, "churn", come_and_go, &c));
	for (int i = 0; i < 100; i++) {
		struct seen s = { 0 };

		assert_ok(c.backend->ops->list(c.backend, i % 2 ? "" : "a/", NULL, see, &s, NULL));
		assert_int_equal(s.staying, 50);
	}
	c.is_over = true;
	pthread_join(writer, NULL);
}

static int check_is_whole_text(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	assert_int_equal(size, 100000);
	return 0;
}

static void a_full_disk_leaves_nothing_visible(void **state)
{
	static const uint8_t data[100000] = { 1 };
	struct stand *s = *state;
	_cleanup_free_ char *path = strf("%s/disk", s->dir.path);
	struct stand disk = { 0 };
	struct backend_put *p;
	struct backend *b;
	struct etag tag;
	char key[32];
	int r, n = 0;

	assert_ok(mkdir(path, 0700));
	/* a namespace of our own, so that nothing is left mounted whatever happens */
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", path, "tmpfs", 0, "size=1m,nr_inodes=40") < 0)
		skip();
	disk.dir.fd = open(path, O_RDONLY | O_DIRECTORY);
	disk.backend = b = open_at(path);
	assert_ok(b->ops->swap(b, "heads/r", NULL, span_of(data, 100000), NULL, &tag));
	assert_ok(b->ops->put_begin(b, "long", &p));
	do {
		snprintf(key, sizeof(key), "packs/%d", n++);
		r = b->ops->put(b, key, span_of(data, sizeof(data)), NULL);
	} while (r == 0);
	assert_int_equal(r, -ENOSPC);
	assert_true(n > 5 && n < 12);
	assert_int_equal(b->ops->put_write(p, span_of(data, sizeof(data)), NULL), -ENOSPC);
	b->ops->put_abort(p);
	assert_int_equal(b->ops->swap(b, "heads/r", &tag, span_of(data, sizeof(data)), NULL, &tag),
			 -ENOSPC);
	assert_int_equal(temporaries(&disk), 0);
	assert_ok(b->ops->list(b, "", NULL, check_is_whole_text, NULL, NULL));
	assert_in_range(b->ops->space(b), 0, 100000);

	assert_ok(b->ops->remove(b, "packs/0", NULL));
	assert_ok(b->ops->swap(b, "heads/r", &tag, span_of(data, sizeof(data)), NULL, &tag));
	for (int i = 0; i < n; i++) {
		snprintf(key, sizeof(key), "packs/%d", i);
		assert_ok(b->ops->remove(b, key, NULL));
	}
	/* out of inodes, too, even if it is for a directory */
	for (n = 0, r = 0; r == 0; n++) {
		snprintf(key, sizeof(key), "packs/%d/%d", n, n);
		r = b->ops->put(b, key, span_str("x"), NULL);
	}
	assert_int_equal(r, -ENOSPC);
	assert_in_range(n, 5, 40);
	assert_int_equal(temporaries(&disk), 0);
	backend_free(b);
	close(disk.dir.fd);
	assert_ok(umount(path));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_the_dead_left_is_swept_and_what_the_living_write_is_not),
		TEST(a_killed_writer_leaves_only_whole_objects),
		TEST(of_swaps_by_eight_processes_each_one_counts),
		TEST(a_listing_has_what_stays_while_others_come_and_go),
		TEST(a_full_disk_leaves_nothing_visible),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
