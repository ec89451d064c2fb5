/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Staging: giving out space, and taking it back no sooner than a power loss allows.
 */
#include <sched.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/thread.h"
#include "prng.h"
#include "scratch.h"
#include "state/blockmap.h"
#include "state/staging.h"

enum {
	B = STAGE_BLOCK
};

/* Syncs fail while this is set; else they take no time, so that many pass. */
static atomic_bool disk_is_bad;

/* Where a thread with slow_disk set waits while this is set; then its sync fails. */
static _Thread_local bool slow_disk;
static atomic_bool disk_is_slow;
static atomic_uint waiting_for_disk;

int fdatasync(int fd)
{
	if (slow_disk) {
		waiting_for_disk++;
		while (disk_is_slow)
			usleep(1000);
		errno = EIO;
		return -1;
	}
	errno = EIO;
	return disk_is_bad ? -1 : 0;
}

/* Punching takes its time, for others to get in between. */
int fallocate(int fd, int mode, off_t off, off_t len)
{
	if (mode & FALLOC_FL_PUNCH_HOLE)
		usleep(100);
	return (int)syscall(SYS_fallocate, fd, mode, off, len);
}

struct stand {
	struct scratch dir;
	struct staging *staging;
};

static void open_at(struct stand *s, uint64_t budget)
{
	assert_ok(staging_open(s->dir.fd, budget, 1, &s->staging));
}

static int make(void **state)
{
	struct stand *s = new0(struct stand, 1);

	s->dir = scratch_make();
	open_at(s, GiB);
	*state = s;
	return 0;
}

static int drop(void **state)
{
	struct stand *s = *state;

	staging_free(s->staging);
	scratch_remove(&s->dir);
	free(s);
	return 0;
}

static void sync_point(struct staging *s)
{
	staging_sync_begin(s);
	assert_ok(staging_sync(s));
	staging_synced(s);
	staging_settle(s);
}

static struct stage_place give(struct staging *s, uint64_t len)
{
	struct stage_place at;

	assert_ok(staging_alloc(s, len, &at));
	return at;
}

static uint32_t give_file(struct staging *s)
{
	uint32_t file;

	assert_ok(staging_file_new(s, &file));
	return file;
}

static struct stage_place after(struct stage_place at, uint64_t len)
{
	return (struct stage_place){ at.file, at.pos + len };
}

static void fill(struct staging *s, struct stage_place at, uint8_t byte, size_t len)
{
	_cleanup_free_ uint8_t *p = malloc(len);

	memset(p, byte, len);
	assert_ok(staging_write(s, at, p, len));
}

static void assert_filled(struct staging *s, struct stage_place at, uint8_t byte, size_t len)
{
	_cleanup_free_ uint8_t *p = malloc(len);

	assert_ok(staging_read(s, at, p, len));
	for (size_t i = 0; i < len; i++)
		assert_int_equal(p[i], byte);
}

static uint64_t used(struct staging *s)
{
	struct staging_stats st;

	staging_stats(s, &st);
	return st.used;
}

static uint64_t waiting(struct staging *s)
{
	struct staging_stats st;

	staging_stats(s, &st);
	return st.waiting;
}

static bool is_on_disk(const struct stand *s, uint32_t file)
{
	char name[32];

	snprintf(name, sizeof(name), "stage/slab-%08x", file);
	if (faccessat(s->dir.fd, name, F_OK, 0) == 0)
		return true;
	snprintf(name, sizeof(name), "stage/file-%08x", file);
	return faccessat(s->dir.fd, name, F_OK, 0) == 0;
}

static void small_pieces_share_a_slab_and_no_block(void **state)
{
	struct stand *s = *state;
	struct stage_place a = give(s->staging, 1), b = give(s->staging, B + 1),
			   c = give(s->staging, B);

	assert_int_equal(a.file, b.file);
	assert_int_equal(a.pos % B, 0);
	assert_int_equal(b.pos, a.pos + B);
	assert_int_equal(c.pos, b.pos + 2 * B);
	assert_true(staging_is_slab(s->staging, a.file));
	assert_int_equal(used(s->staging), 4 * B);
	fill(s->staging, a, 1, 1);
	fill(s->staging, b, 2, B + 1);
	fill(s->staging, c, 3, B);
	assert_filled(s->staging, a, 1, 1);
	assert_filled(s->staging, b, 2, B + 1);
	assert_filled(s->staging, c, 3, B);
}

static void what_was_never_written_reads_as_zeroes(void **state)
{
	struct stand *s = *state;
	struct stage_place own = { give_file(s->staging), 0 };

	fill(s->staging, after(own, 3 * B), 7, 10);
	assert_filled(s->staging, own, 0, 3 * B);
	assert_filled(s->staging, after(own, 3 * B), 7, 10);
	assert_filled(s->staging, after(own, 3 * B + 10), 0, 5 * B);
	assert_filled(s->staging, give(s->staging, 100), 0, 100);
}

static void a_slab_that_is_full_is_followed_by_another(void **state)
{
	struct stand *s = *state;
	struct stage_place at, first = give(s->staging, STAGE_SMALL_MAX);

	for (unsigned i = 1; i < STAGE_SLAB_SIZE / STAGE_SMALL_MAX; i++) {
		at = give(s->staging, STAGE_SMALL_MAX);
		assert_int_equal(at.file, first.file);
	}
	at = give(s->staging, 1);
	assert_int_not_equal(at.file, first.file);
	assert_int_equal(staging_alloc(s->staging, STAGE_SLAB_SIZE + 1, &at), -EFBIG);
}

static void no_more_than_the_budget_is_given_out(void **state)
{
	struct stand *s = *state;
	struct stage_place at, own = { give_file(s->staging), 0 };
	uint8_t bytes[2 * B] = { 0 };

	staging_set_budget(s->staging, 4 * B);
	at = give(s->staging, 2 * B);
	assert_int_equal(staging_alloc(s->staging, 2 * B + 1, &own), -ENOSPC);
	assert_ok(staging_write(s->staging, own, bytes, 2 * B));
	/* Writing again costs nothing, one block more does. */
	assert_ok(staging_write(s->staging, own, bytes, 2 * B));
	assert_int_equal(staging_write(s->staging, after(own, B), bytes, B + 1), -ENOSPC);
	staging_release(s->staging, at, 2 * B);
	assert_int_equal(staging_write(s->staging, after(own, 2 * B), bytes, 1), -ENOSPC);
	sync_point(s->staging);
	assert_ok(staging_write(s->staging, after(own, 2 * B), bytes, B + 1));
	assert_int_equal(used(s->staging), 4 * B);
}

static void what_is_freed_is_punched_when_the_sync_point_after_it_has_passed(void **state)
{
	struct stand *s = *state;
	struct stage_place at = give(s->staging, 10 * B), own = { give_file(s->staging), 0 };
	struct stage_place whole = { give_file(s->staging), 0 };

	fill(s->staging, at, 1, 10 * B);
	fill(s->staging, own, 2, 10 * B);
	staging_sync_begin(s->staging);
	/* Too late for this one: its record may not be in the journal's part that is synced. */
	staging_release(s->staging, at, 10 * B);
	staging_release(s->staging, own, 5 * B);
	staging_release_file(s->staging, whole.file);
	assert_ok(staging_sync(s->staging));
	staging_synced(s->staging);
	staging_settle(s->staging);
	assert_true(is_on_disk(s, whole.file));
	assert_filled(s->staging, at, 1, 10 * B);
	assert_filled(s->staging, own, 2, 10 * B);
	assert_int_equal(used(s->staging), 20 * B);
	assert_int_equal(waiting(s->staging), 15 * B);

	staging_sync_begin(s->staging);
	assert_ok(staging_sync(s->staging));
	assert_filled(s->staging, at, 1, 10 * B);
	staging_synced(s->staging);
	staging_settle(s->staging);
	assert_filled(s->staging, at, 0, 10 * B);
	assert_filled(s->staging, own, 0, 5 * B);
	assert_filled(s->staging, after(own, 5 * B), 2, 5 * B);
	assert_int_equal(used(s->staging), 5 * B);
	assert_int_equal(waiting(s->staging), 0);
	assert_false(is_on_disk(s, whole.file));
}

static void a_sync_point_that_fails_gives_nothing_back(void **state)
{
	struct stand *s = *state;
	struct stage_place at = give(s->staging, B);

	fill(s->staging, at, 1, B);
	staging_release(s->staging, at, B);
	staging_sync_begin(s->staging);
	disk_is_bad = true;
	assert_int_equal(staging_sync(s->staging), -EIO);
	disk_is_bad = false;
	/* It stays so: what failed is not tried again as if nothing had been. */
	staging_sync_begin(s->staging);
	assert_int_equal(staging_sync(s->staging), -EIO);
	assert_filled(s->staging, at, 1, B);
}

static void a_block_is_freed_when_nobody_holds_it(void **state)
{
	struct stand *s = *state;
	struct stage_place at = give(s->staging, 2 * B + 100);

	/* A range in the middle is replaced: two parts are left, each with a share of a block. */
	fill(s->staging, at, 1, 2 * B + 100);
	staging_share(s->staging, at, 100);
	staging_share(s->staging, after(at, B + 100), B);
	staging_release(s->staging, at, 2 * B + 100);
	assert_int_equal(waiting(s->staging), 0);
	staging_release(s->staging, at, 100);
	assert_int_equal(waiting(s->staging), B);
	sync_point(s->staging);
	assert_filled(s->staging, at, 0, B);
	assert_filled(s->staging, after(at, B), 1, B + 100);
	staging_release(s->staging, after(at, B + 100), B);
	assert_int_equal(waiting(s->staging), 2 * B);
	sync_point(s->staging);
	assert_int_equal(used(s->staging), 0);
}

static void blocks_of_an_own_file_that_are_partly_in_a_range_stay(void **state)
{
	struct stand *s = *state;
	struct stage_place own = { give_file(s->staging), 0 };

	fill(s->staging, own, 1, 4 * B);
	staging_release(s->staging, after(own, 1), 3 * B);
	assert_int_equal(waiting(s->staging), 2 * B);
	sync_point(s->staging);
	assert_filled(s->staging, own, 1, B);
	assert_filled(s->staging, after(own, B), 0, 2 * B);
	assert_filled(s->staging, after(own, 3 * B), 1, B);
}

static void what_is_written_again_before_it_was_punched_is_not_punched(void **state)
{
	struct stand *s = *state;
	struct stage_place own = { give_file(s->staging), 0 };

	fill(s->staging, own, 1, 4 * B);
	staging_release(s->staging, own, 4 * B);
	fill(s->staging, after(own, B), 2, B);
	staging_sync_begin(s->staging);
	fill(s->staging, after(own, 2 * B), 3, B);
	assert_ok(staging_sync(s->staging));
	staging_synced(s->staging);
	staging_settle(s->staging);
	assert_filled(s->staging, own, 0, B);
	assert_filled(s->staging, after(own, B), 2, B);
	assert_filled(s->staging, after(own, 2 * B), 3, B);
	assert_filled(s->staging, after(own, 3 * B), 0, B);
	assert_int_equal(used(s->staging), 2 * B);
}

static void the_rest_of_a_last_block_is_its_owners_alone(void **state)
{
	struct stand *s = *state;
	struct stage_place at = give(s->staging, 100), end = after(at, 100);
	struct stage_place own = { give_file(s->staging), 0 };

	assert_int_equal(staging_tail_room(s->staging, end), B - 100);
	assert_int_equal(staging_tail_room(s->staging, after(at, B)), 0);
	staging_share(s->staging, at, 50);
	assert_int_equal(staging_tail_room(s->staging, end), 0);
	staging_release(s->staging, at, 50);
	assert_int_equal(staging_tail_room(s->staging, end), B - 100);
	assert_int_equal(staging_tail_room(s->staging, after(own, 100)), 0);
	/* What is frozen is not appended to. */
	staging_cut(s->staging);
	assert_int_equal(staging_tail_room(s->staging, end), 0);
	assert_int_not_equal(give(s->staging, 100).file, at.file);
}

static void a_slab_with_nothing_left_is_removed_once_it_is_not_being_filled(void **state)
{
	struct stand *s = *state;
	struct stage_place at = give(s->staging, B), other;

	fill(s->staging, at, 1, B);
	staging_release(s->staging, at, B);
	sync_point(s->staging);
	assert_true(is_on_disk(s, at.file));
	other = give(s->staging, B);
	assert_int_equal(other.file, at.file);
	staging_cut(s->staging);
	sync_point(s->staging);
	assert_true(is_on_disk(s, at.file));
	staging_release(s->staging, other, B);
	assert_true(is_on_disk(s, at.file));
	sync_point(s->staging);
	assert_false(is_on_disk(s, at.file));
	assert_false(staging_has(s->staging, at.file));
}

static void a_file_given_back_is_removed_at_the_sync_point(void **state)
{
	struct stand *s = *state;
	struct stage_place own = { give_file(s->staging), 0 };

	fill(s->staging, own, 1, 3 * B);
	staging_release_file(s->staging, own.file);
	assert_false(staging_has(s->staging, own.file));
	assert_int_equal(waiting(s->staging), 3 * B);
	assert_filled(s->staging, own, 1, 3 * B);
	sync_point(s->staging);
	assert_false(is_on_disk(s, own.file));
	assert_int_equal(used(s->staging), 0);
	assert_int_equal(waiting(s->staging), 0);
}

static void a_restart_finds_what_records_refer_to_and_frees_the_rest(void **state)
{
	struct stand *s = *state;
	struct stage_place a = give(s->staging, 3 * B), b = give(s->staging, 3 * B), c, slab;
	struct stage_place own = { give_file(s->staging), 0 }, lost = { give_file(s->staging), 0 };
	uint32_t next;

	fill(s->staging, a, 1, 3 * B);
	fill(s->staging, b, 2, 3 * B);
	fill(s->staging, own, 3, 8 * B);
	fill(s->staging, lost, 4, 8 * B);
	staging_cut(s->staging);
	c = give(s->staging, B);
	fill(s->staging, c, 5, B);
	next = staging_next_file(s->staging);
	staging_free(s->staging);
	open_at(s, GiB);

	/* Two parts of one block, as after a split. */
	assert_ok(staging_recover(s->staging, a, 100));
	assert_ok(staging_recover(s->staging, after(a, 200), B));
	assert_ok(staging_recover(s->staging, after(own, B), B + 1));
	assert_ok(staging_recover_end(s->staging));
	/* Until the next sync point: a power loss may bring back what referred to it. */
	assert_filled(s->staging, b, 2, 3 * B);
	assert_true(is_on_disk(s, lost.file));
	assert_false(staging_has(s->staging, lost.file));
	assert_int_equal(used(s->staging), (6 + 8 + 8 + 1) * B);
	sync_point(s->staging);
	assert_filled(s->staging, a, 1, 2 * B);
	assert_filled(s->staging, after(a, 2 * B), 0, B);
	assert_filled(s->staging, b, 0, 3 * B);
	assert_filled(s->staging, own, 0, B);
	assert_filled(s->staging, after(own, B), 3, 2 * B);
	assert_filled(s->staging, after(own, 3 * B), 0, 5 * B);
	assert_false(is_on_disk(s, lost.file));
	assert_false(is_on_disk(s, c.file));
	assert_int_equal(used(s->staging), 4 * B);

	/* Numbers go on, and the parts are counted each. */
	slab = give(s->staging, 1);
	assert_true(slab.file >= next);
	staging_release(s->staging, a, 100);
	assert_int_equal(waiting(s->staging), 0);
	staging_release(s->staging, after(a, 200), B);
	assert_int_equal(waiting(s->staging), 2 * B);
}

static void what_a_former_process_wrote_is_synced(void **state)
{
	struct stand *s = *state;
	struct stage_place at = give(s->staging, B);

	fill(s->staging, at, 1, B);
	staging_free(s->staging);
	open_at(s, GiB);
	assert_ok(staging_recover(s->staging, at, B));
	disk_is_bad = true;
	assert_int_equal(staging_sync(s->staging), -EIO);
	disk_is_bad = false;
}

static void records_that_refer_to_bytes_that_are_not_there_are_found(void **state)
{
	struct stand *s = *state;
	struct stage_place at = give(s->staging, B);

	fill(s->staging, at, 1, 100);
	staging_free(s->staging);
	open_at(s, GiB);
	log_set_quiet(true);
	assert_int_equal(staging_recover(s->staging, at, 101), -EBADMSG);
	at.file += 100;
	assert_int_equal(staging_recover(s->staging, at, 1), -EBADMSG);
	log_set_quiet(false);
}

static void there_may_be_more_files_than_are_open(void **state)
{
	enum {
		FILES = 700
	};
	struct stand *s = *state;
	uint32_t files[FILES];

	for (unsigned i = 0; i < FILES; i++) {
		files[i] = give_file(s->staging);
		fill(s->staging, (struct stage_place){ files[i], 0 }, (uint8_t)i, 10);
	}
	for (unsigned i = 0; i < FILES; i++)
		assert_filled(s->staging, (struct stage_place){ files[i], 0 }, (uint8_t)i, 10);
	sync_point(s->staging);
	for (unsigned i = 0; i < FILES; i += 2)
		staging_release_file(s->staging, files[i]);
	sync_point(s->staging);
	assert_int_equal(used(s->staging), FILES / 2 * B);
	for (unsigned i = 1; i < FILES; i += 2)
		assert_filled(s->staging, (struct stage_place){ files[i], 0 }, (uint8_t)i, 10);
}

static void a_file_that_was_closed_with_an_error_is_not_forgiven(void **state)
{
	enum {
		FILES = 300
	};
	struct stand *s = *state;

	disk_is_bad = true;
	for (unsigned i = 0; i < FILES; i++)
		fill(s->staging, (struct stage_place){ give_file(s->staging), 0 }, 1, 10);
	disk_is_bad = false;
	assert_int_equal(staging_sync(s->staging), -EIO);
}

static void *open_one_more(void *arg)
{
	slow_disk = true;
	give_file(arg);
	return NULL;
}

struct sync_thread {
	struct staging *staging;
	atomic_bool has_ended;
	int result;
};

static void *sync_all(void *arg)
{
	struct sync_thread *t = arg;

	t->result = staging_sync(t->staging);
	t->has_ended = true;
	return NULL;
}

static void a_sync_waits_for_files_that_are_being_closed(void **state)
{
	enum {
		FILES = 256
	};
	struct stand *s = *state;
	struct sync_thread t = { .staging = s->staging };
	pthread_t opener, syncer;

	for (unsigned i = 0; i < FILES; i++)
		fill(s->staging, (struct stage_place){ give_file(s->staging), 0 }, 1, 10);
	disk_is_slow = true;
	assert_int_equal(pthread_create(&opener, NULL, open_one_more, s->staging), 0);
	while (waiting_for_disk == 0)
		usleep(1000);
	assert_int_equal(pthread_create(&syncer, NULL, sync_all, &t), 0);
	usleep(100000);
	assert_false(t.has_ended);
	disk_is_slow = false;
	pthread_join(syncer, NULL);
	pthread_join(opener, NULL);
	assert_int_equal(t.result, -EIO);
}

/* Threads, each with pieces of its own, while sync points pass. */

struct piece {
	struct stage_place at;
	uint64_t len;
	uint8_t byte;
	bool is_own_file;
};

struct worker {
	struct staging *staging;
	pthread_t thread;
	struct prng rnd;
	struct piece pieces[16];
	atomic_uint *errors;
	atomic_bool *stop;
};

static void check_piece(struct worker *w, const struct piece *p)
{
	uint8_t bytes[8 * B];

	*w->errors += staging_read(w->staging, p->at, bytes, p->len) < 0;
	for (uint64_t i = 0; i < p->len; i++)
		*w->errors += bytes[i] != p->byte;
}

static void write_piece(struct worker *w, struct piece *p)
{
	uint8_t bytes[8 * B];

	p->byte = (uint8_t)(1 + prng_below(&w->rnd, 255));
	memset(bytes, p->byte, p->len);
	*w->errors += staging_write(w->staging, p->at, bytes, p->len) < 0;
}

static void release_piece(struct worker *w, struct piece *p)
{
	if (p->is_own_file)
		staging_release_file(w->staging, p->at.file);
	else
		staging_release(w->staging, p->at, p->len);
	p->len = 0;
}

static void new_piece(struct worker *w, struct piece *p)
{
	p->len = 1 + prng_below(&w->rnd, 8 * B);
	p->is_own_file = prng_below(&w->rnd, 4) == 0;
	p->at = (struct stage_place){ 0 };
	*w->errors += (p->is_own_file ? staging_file_new(w->staging, &p->at.file)
				      : staging_alloc(w->staging, p->len, &p->at)) < 0;
	write_piece(w, p);
}

static void *use_pieces(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < 1500; i++) {
		struct piece *p = &w->pieces[prng_below(&w->rnd, ARRAY_SIZE(w->pieces))];

		if (p->len == 0) {
			new_piece(w, p);
			continue;
		}
		check_piece(w, p);
		if (p->is_own_file && prng_below(&w->rnd, 2)) {
			/* The same place again, perhaps while it is being punched. */
			staging_release(w->staging, p->at, p->len);
			if (prng_below(&w->rnd, 4) == 0)
				usleep((useconds_t)prng_below(&w->rnd, 3000));
			write_piece(w, p);
			check_piece(w, p);
		} else if (prng_below(&w->rnd, 2)) {
			release_piece(w, p);
		}
	}
	for (unsigned i = 0; i < ARRAY_SIZE(w->pieces); i++)
		if (w->pieces[i].len > 0)
			check_piece(w, &w->pieces[i]);
	return NULL;
}

static void *pass_sync_points(void *arg)
{
	struct worker *w = arg;

	while (!*w->stop) {
		staging_sync_begin(w->staging);
		*w->errors += staging_sync(w->staging) < 0;
		staging_synced(w->staging);
		staging_settle(w->staging);
	}
	return NULL;
}

static void many_threads_do_not_get_in_each_others_way(void **state)
{
	struct stand *s = *state;
	struct worker *w = new0(struct worker, 9);
	atomic_uint errors = 0;
	atomic_bool stop = false;
	uint64_t expected = 0;

	for (unsigned i = 0; i < 9; i++) {
		w[i].staging = s->staging;
		w[i].rnd.state = i;
		w[i].errors = &errors;
		w[i].stop = &stop;
		assert_ok(thread_start(&w[i].thread, "test", i < 8 ? use_pieces : pass_sync_points,
				       &w[i]));
	}
	for (unsigned i = 0; i < 9; i++) {
		stop = i == 8;
		pthread_join(w[i].thread, NULL);
	}
	assert_int_equal(errors, 0);
	sync_point(s->staging);
	for (unsigned i = 0; i < 8; i++)
		for (unsigned k = 0; k < ARRAY_SIZE(w[i].pieces); k++)
			expected += DIV_ROUND_UP(w[i].pieces[k].len, (uint64_t)B) * B;
	assert_int_equal(used(s->staging), expected);
	assert_int_equal(waiting(s->staging), 0);
	free(w);
}

static bool mount_small_disk(const char *path)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", path, "tmpfs", 0, "size=1m") < 0)
		return false;
	return true;
}

static void a_full_disk_is_no_space_until_something_is_given_back(void **state)
{
	struct scratch dir = scratch_make();
	struct stage_place at, first;
	struct staging *s;
	uint8_t block[B] = { 1 };
	unsigned n = 0;
	int fd;

	if (!mount_small_disk(dir.path)) {
		scratch_remove(&dir);
		print_message("           needs to be root\n");
		skip();
	}
	fd = open(dir.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_ok(staging_open(fd, GiB, 1, &s));
	first = give(s, B);
	assert_ok(staging_write(s, first, block, B));
	do {
		at = give(s, B);
		n++;
	} while (staging_write(s, at, block, B) == 0);
	assert_true(n > 200);
	assert_int_equal(staging_write(s, at, block, B), -ENOSPC);
	staging_release(s, at, B);
	staging_release(s, first, B);
	sync_point(s);
	assert_ok(staging_write(s, give(s, B), block, B));
	assert_int_equal(staging_write(s, give(s, B), block, B), -ENOSPC);
	staging_free(s);
	close(fd);
	assert_ok(umount(dir.path));
	scratch_remove(&dir);
}

/* The map of blocks against an array of them. */
static void the_block_map_is_an_array_of_states(void **state)
{
	enum {
		BLOCKS = 70000,
		LATE = 1 << 30
	};
	_cleanup_free_ uint8_t *want = calloc(1, BLOCKS);
	struct blockmap m = { 0 };
	struct prng rnd = { 1 };

	for (unsigned i = 0; i < 4000; i++) {
		uint64_t first = prng_below(&rnd, BLOCKS),
			 count = 1 + prng_below(&rnd, prng_below(&rnd, 10) ? 100 : BLOCKS), n;
		enum block_state s = prng_below(&rnd, 4) == 3
					     ? BLOCK_FREE
					     : (enum block_state)prng_below(&rnd, 3);

		count = MIN(count, BLOCKS - first);
		assert_ok(blockmap_set(&m, LATE + first, count, s));
		memset(want + first, s, count);
		if (i % 50 == 0) {
			blockmap_cut(&m);
			for (unsigned b = 0; b < BLOCKS; b++)
				if (want[b] == BLOCK_RELEASED)
					want[b] = BLOCK_CUT;
		}
		first = prng_below(&rnd, BLOCKS);
		assert_int_equal(blockmap_get(&m, LATE + first), want[first]);
		for (n = 1; first + n < BLOCKS && want[first + n] == want[first]; n++)
			;
		assert_int_equal(blockmap_run(&m, LATE + first, BLOCKS - first), n);
	}
	for (unsigned s = BLOCK_USED; s < BLOCK_STATES; s++) {
		uint64_t n = 0;

		for (unsigned b = 0; b < BLOCKS; b++)
			n += want[b] == s;
		assert_int_equal(m.counts[s], n);
	}
	blockmap_cut(&m);
	for (uint64_t first = 0, count = 0; blockmap_find_cut(&m, first + count, &first, &count);) {
		for (uint64_t b = first - LATE; b < first - LATE + count; b++) {
			assert_true(want[b] == BLOCK_CUT || want[b] == BLOCK_RELEASED);
			want[b] = BLOCK_FREE;
		}
		assert_ok(blockmap_set(&m, first, count, BLOCK_FREE));
	}
	for (unsigned b = 0; b < BLOCKS; b++)
		assert_true(want[b] == BLOCK_FREE || want[b] == BLOCK_USED);
	assert_ok(blockmap_set(&m, LATE, BLOCKS, BLOCK_FREE));
	assert_int_equal(m.pieces.count, 0);
	blockmap_release(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(small_pieces_share_a_slab_and_no_block, make, drop),
		cmocka_unit_test_setup_teardown(what_was_never_written_reads_as_zeroes, make, drop),
		cmocka_unit_test_setup_teardown(a_slab_that_is_full_is_followed_by_another, make,
						drop),
		cmocka_unit_test_setup_teardown(no_more_than_the_budget_is_given_out, make, drop),
		cmocka_unit_test_setup_teardown(
			what_is_freed_is_punched_when_the_sync_point_after_it_has_passed, make,
			drop),
		cmocka_unit_test_setup_teardown(a_sync_point_that_fails_gives_nothing_back, make,
						drop),
		cmocka_unit_test_setup_teardown(a_block_is_freed_when_nobody_holds_it, make, drop),
		cmocka_unit_test_setup_teardown(
			blocks_of_an_own_file_that_are_partly_in_a_range_stay, make, drop),
		cmocka_unit_test_setup_teardown(
			what_is_written_again_before_it_was_punched_is_not_punched, make, drop),
		cmocka_unit_test_setup_teardown(the_rest_of_a_last_block_is_its_owners_alone, make,
						drop),
		cmocka_unit_test_setup_teardown(
			a_slab_with_nothing_left_is_removed_once_it_is_not_being_filled, make,
			drop),
		cmocka_unit_test_setup_teardown(a_file_given_back_is_removed_at_the_sync_point,
						make, drop),
		cmocka_unit_test_setup_teardown(
			a_restart_finds_what_records_refer_to_and_frees_the_rest, make, drop),
		cmocka_unit_test_setup_teardown(what_a_former_process_wrote_is_synced, make, drop),
		cmocka_unit_test_setup_teardown(
			records_that_refer_to_bytes_that_are_not_there_are_found, make, drop),
		cmocka_unit_test_setup_teardown(there_may_be_more_files_than_are_open, make, drop),
		cmocka_unit_test_setup_teardown(
			a_file_that_was_closed_with_an_error_is_not_forgiven, make, drop),
		cmocka_unit_test_setup_teardown(a_sync_waits_for_files_that_are_being_closed, make,
						drop),
		cmocka_unit_test_setup_teardown(many_threads_do_not_get_in_each_others_way, make,
						drop),
		cmocka_unit_test(a_full_disk_is_no_space_until_something_is_given_back),
		cmocka_unit_test(the_block_map_is_an_array_of_states),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
