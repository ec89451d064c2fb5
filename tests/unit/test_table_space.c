/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The table when the disk is full: what cannot be done is not done at all, nothing that was is
 * lost, and removing works to the end.
 */
#include <dirent.h>
#include <limits.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "base/log.h"
#include "nosync.h"
#include "scratch.h"
#include "state/lmdbstore.h"
#include "tablemodel.h"

/* From its @fail_from-th call on, what takes disk says that there is none, so many times. */
static atomic_uint calls, fail_from = UINT_MAX, fail_count;

/* No file can be made; those that are there can be written. */
static atomic_bool no_new_files;

static bool is_full(void)
{
	unsigned call = calls++;

	errno = ENOSPC;
	return call >= fail_from && call - fail_from < fail_count;
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t off)
{
	/* A meta page of LMDB's lies where it always did. */
	if (!(fcntl(fd, F_GETFL) & O_DSYNC) && is_full())
		return -1;
	return (ssize_t)syscall(SYS_pwrite64, fd, data, len, off);
}

ssize_t plain_pwrite(int fd, const void *data, size_t len, off_t off) __asm__("pwrite");
ssize_t plain_pwrite(int fd, const void *data, size_t len, off_t off)
{
	return pwrite(fd, data, len, off);
}

ssize_t writev(int fd, const struct iovec *iov, int count)
{
	return is_full() ? -1 : (ssize_t)syscall(SYS_writev, fd, iov, count);
}

int fallocate(int fd, int mode, off_t off, off_t len)
{
	return is_full() ? -1 : (int)syscall(SYS_fallocate, fd, mode, off, len);
}

int openat(int dirfd, const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	if (flags & O_CREAT) {
		if (is_full() || no_new_files)
			return -1;
		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	return (int)syscall(SYS_openat, dirfd, path, flags, mode);
}

enum {
	MEMORY = 256 << 10
};

static struct table *open_table(int dirfd)
{
	struct table_options o = { .dirfd = dirfd, .memory_bytes = MEMORY };
	struct table *t;

	assert_ok(table_open(&o, &t));
	return t;
}

static void assert_done_or_no_space(int r)
{
	if (r != 0)
		assert_int_equal(r, -ENOSPC);
}

/* Batches with a disk that is full at times; what went through is in the model. */
static void apply_some(struct table *t, struct batch_source *source, struct model *m,
		       struct prng *rnd, unsigned count)
{
	_cleanup_table_batch_ struct table_batch b = { 0 };

	for (unsigned i = 0; i < count; i++) {
		int r;

		batch_source_next(source, &b);
		b.grows = prng_below(rnd, 2);
		r = table_apply(t, &b);
		assert_done_or_no_space(r);
		if (r == 0)
			tablemodel_apply(m, buf_span(&b.bytes));
		if (prng_below(rnd, 20) == 0)
			assert_done_or_no_space(table_sync(t));
		if (prng_below(rnd, 20) == 0)
			assert_done_or_no_space(table_checkpoint(t));
	}
}

static void a_disk_that_is_full_at_any_one_write_does_no_harm(void **state)
{
	for (unsigned n = 0; n < 240; n++) {
		struct scratch dir = scratch_make();
		struct table *t = open_table(dir.fd);
		struct batch_source source = batch_source(n);
		struct model m = { 0 };
		struct prng rnd = { n };

		source.value_max = 3000;
		calls = 0;
		fail_count = n % 3 == 0 ? 1 : n % 3 == 1 ? 10 : 1000;
		fail_from = n * 2;
		apply_some(t, &source, &m, &rnd, 100);
		assert_table_is(t, &m);
		fail_from = UINT_MAX;

		apply_some(t, &source, &m, &rnd, 3);
		table_free(t);
		t = open_table(dir.fd);
		assert_table_is(t, &m);
		apply_some(t, &source, &m, &rnd, 20);
		assert_ok(table_sync(t));
		assert_ok(table_checkpoint(t));
		assert_false(table_is_broken(t));
		assert_table_is(t, &m);
		table_free(t);
		t = open_table(dir.fd);
		assert_table_is(t, &m);
		table_free(t);
		tablemodel_release(&m);
		scratch_remove(&dir);
	}
}

/* A small disk */

enum {
	DISK = 20 << 20,
	RECORDS = 6000,
};

static struct span record_key(unsigned i, uint8_t buf[TABLE_KEY_MAX])
{
	uint32_t layer = htobe32(1 + i % 3);
	int n;

	memcpy(buf, &layer, sizeof(layer));
	n = snprintf((char *)buf + 4, 64, "file number %u", i * 7919 % 1000003);
	return span_of(buf, 4 + (size_t)n);
}

static int put_record(struct table *t, unsigned i, bool grows)
{
	_cleanup_table_batch_ struct table_batch b = { .grows = grows };
	uint8_t key[TABLE_KEY_MAX], value[150] = { 0 };

	table_batch_put(&b, record_key(i, key), span_of(value, sizeof(value)));
	return table_apply(t, &b);
}

static int delete_record(struct table *t, unsigned i)
{
	_cleanup_table_batch_ struct table_batch b = { 0 };
	uint8_t key[TABLE_KEY_MAX];

	table_batch_delete(&b, record_key(i, key));
	return table_apply(t, &b);
}

static void fill_disk(int dirfd)
{
	static const uint8_t block[4096] = { 1 };
	int fd = openat(dirfd, "filler", O_WRONLY | O_CREAT, 0600);

	assert_true(fd >= 0);
	for (off_t at = 0; pwrite(fd, block, sizeof(block), at) > 0; at += sizeof(block))
		;
	assert_int_equal(errno, ENOSPC);
	close(fd);
}

/* New records until there is no room: how many there are then. */
static unsigned grow_until_full(struct table *t, unsigned from)
{
	int r;

	while ((r = put_record(t, from, true)) == 0)
		from++;
	assert_int_equal(r, -ENOSPC);
	return from;
}

static void remove_all(struct table *t, unsigned count)
{
	/* A removal from the base is a record more, as small as they come. */
	for (unsigned i = 0; i < count; i++) {
		assert_ok(delete_record(t, i));
		assert_ok(put_record(t, 1000000 + i % 500, false));
	}
	for (uint32_t layer = 1; layer <= 3; layer++) {
		_cleanup_table_batch_ struct table_batch b = { 0 };

		table_batch_drop(&b, layer);
		assert_ok(table_apply(t, &b));
	}
	assert_ok(table_checkpoint(t));
	assert_ok(table_sync(t));
}

static bool mount_small_disk(const char *path)
{
	char options[32];

	snprintf(options, sizeof(options), "size=%d", DISK);
	return unshare(CLONE_NEWNS) == 0 &&
	       mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("none", path, "tmpfs", 0, options) == 0;
}

static void removing_works_on_a_full_disk(void **state)
{
	struct model nothing = { 0 };
	struct scratch dir = scratch_make();
	struct table *t;
	unsigned count;
	int fd;

	if (!mount_small_disk(dir.path)) {
		scratch_remove(&dir);
		print_message("           needs to be root\n");
		skip();
	}
	/* As it goes on, and after a restart in the midst. */
	for (unsigned round = 0; round < 2; round++) {
		fd = open(dir.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		t = open_table(fd);
		for (unsigned i = 0; i < RECORDS; i++)
			assert_ok(put_record(t, i, true));
		fill_disk(fd);
		count = grow_until_full(t, RECORDS);
		if (round == 1) {
			table_free(t);
			t = open_table(fd);
		}
		remove_all(t, count);
		assert_table_is(t, &nothing);
		assert_int_equal(unlinkat(fd, "filler", 0), 0);
		assert_false(table_is_broken(t));
		table_free(t);
		/* Layers are never used again. */
		assert_ok(remove_tree(fd, "heads"));
		assert_ok(remove_tree(fd, "journal"));
		close(fd);
	}
	assert_ok(umount(dir.path));
	scratch_remove(&dir);
}

static void what_was_refused_on_a_full_disk_is_taken_when_there_is_room(void **state)
{
	struct scratch dir = scratch_make();
	struct table *t;
	unsigned count;
	int fd;

	if (!mount_small_disk(dir.path)) {
		scratch_remove(&dir);
		print_message("           needs to be root\n");
		skip();
	}
	fd = open(dir.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	t = open_table(fd);
	fill_disk(fd);
	count = grow_until_full(t, 0);
	assert_int_equal(put_record(t, count, true), -ENOSPC);
	assert_int_equal(unlinkat(fd, "filler", 0), 0);
	assert_ok(put_record(t, count, true));
	assert_ok(table_checkpoint(t));
	table_free(t);
	close(fd);
	assert_ok(umount(dir.path));
	scratch_remove(&dir);
}

static unsigned journal_files(const struct scratch *dir)
{
	char path[PATH_MAX];
	const struct dirent *e;
	unsigned n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "%s/journal", dir->path);
	d = opendir(path);
	assert_non_null(d);
	while ((e = readdir(d)))
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static void a_dropped_layer_goes_also_when_the_journal_gets_no_more_files(void **state)
{
	_cleanup_table_batch_ struct table_batch b = { 0 };
	struct scratch dir = scratch_make();
	struct table *t = open_table(dir.fd);
	struct lmdbstore *s;

	for (unsigned i = 0; journal_files(&dir) < 2 && i < 1000; i++)
		usleep(5000);
	no_new_files = true;
	assert_ok(put_record(t, 0, false));
	assert_ok(table_checkpoint(t));
	table_batch_drop(&b, 1);
	assert_ok(table_apply(t, &b));
	assert_ok(table_checkpoint(t));
	usleep(500000);
	table_free(t);
	no_new_files = false;
	assert_ok(lmdbstore_open(dir.fd, MEMORY, &s));
	assert_int_equal(lmdbstore_layers(s)->count, 0);
	lmdbstore_free(s);
	scratch_remove(&dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_disk_that_is_full_at_any_one_write_does_no_harm),
		cmocka_unit_test(a_dropped_layer_goes_also_when_the_journal_gets_no_more_files),
		cmocka_unit_test(removing_works_on_a_full_disk),
		cmocka_unit_test(what_was_refused_on_a_full_disk_is_taken_when_there_is_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
