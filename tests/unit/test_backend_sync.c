/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the file backend has made durable when it says so. The system calls that matter are taken
 * over here: each is done, and noted in a model of what would be there after power loss, in which
 * a name lasts only once its directory was synced, and bytes once their file was.
 */
#include <limits.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backend/backend.h"
#include "base/log.h"
#include "base/text.h"
#include "check.h"
#include "prng.h"
#include "scratch.h"

enum {
	NAMES_MAX = 4096
};

/* A name below the root and what of it would survive. */
struct name {
	char *path; /* NULL: gone */
	bool is_durable; /* the name */
	bool has_durable_bytes; /* of a file; set by its sync */
};

static struct {
	bool is_watching;
	char root[64];
	struct name names[NAMES_MAX];
	size_t count;
	unsigned file_syncs, dir_syncs;
	/* what is to go wrong */
	int fdatasync_error, fsync_error, link_error;
	uint32_t magic;
} disk;

static struct name *name_find(const char *path)
{
	for (size_t i = 0; i < disk.count; i++)
		if (disk.names[i].path && strcmp(disk.names[i].path, path) == 0)
			return &disk.names[i];
	return NULL;
}

static struct name *name_add(const char *path)
{
	struct name *n = name_find(path);

	if (!n) {
		assert_true(disk.count < NAMES_MAX);
		n = &disk.names[disk.count++];
		n->path = strdup(path);
	}
	n->is_durable = n->has_durable_bytes = false;
	return n;
}

static void name_drop(struct name *n)
{
	free(n->path);
	*n = (struct name){ 0 };
}

/* Below the root; "" for itself, NULL for what is elsewhere. */
static const char *path_of(int fd, char buf[PATH_MAX])
{
	char link[64];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, buf, PATH_MAX - 1);
	assert_true(n > 0);
	buf[n] = '\0';
	n = (ssize_t)strlen(disk.root);
	if (strncmp(buf, disk.root, (size_t)n) != 0)
		return NULL;
	return buf[n] == '/' ? buf + n + 1 : buf + n;
}

static bool is_directly_in(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	if (n > 0 && (strncmp(path, dir, n) != 0 || path[n++] != '/'))
		return false;
	return !strchr(path + n, '/');
}

int fdatasync(int fd)
{
	char buf[PATH_MAX];
	const char *path;

	if (disk.fdatasync_error) {
		errno = disk.fdatasync_error;
		return -1;
	}
	if (disk.is_watching && (path = path_of(fd, buf))) {
		struct name *n = name_find(path) ?: name_add(path);

		n->has_durable_bytes = true;
		disk.file_syncs++;
	}
	return (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
	char buf[PATH_MAX];
	const char *dir;

	if (disk.fsync_error) {
		errno = disk.fsync_error;
		return -1;
	}
	if (disk.is_watching && (dir = path_of(fd, buf))) {
		for (size_t i = 0; i < disk.count; i++)
			if (disk.names[i].path && is_directly_in(disk.names[i].path, dir))
				disk.names[i].is_durable = true;
		disk.dir_syncs++;
	}
	return (int)syscall(SYS_fsync, fd);
}

int mkdirat(int fd, const char *path, mode_t mode)
{
	int r = (int)syscall(SYS_mkdirat, fd, path, mode);

	if (r == 0 && disk.is_watching)
		name_add(path);
	return r;
}

/* A file got the name @to: its bytes must be durable by now. */
static void named(const char *from, const char *to)
{
	struct name *n = name_find(from);

	assert_non_null(n);
	if (!n->has_durable_bytes)
		fail_msg("%s is given to a file that was not synced", to);
	name_add(to)->has_durable_bytes = true;
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	int r = (int)syscall(SYS_renameat, from_fd, from, to_fd, to);

	if (r == 0 && disk.is_watching) {
		named(from, to);
		name_drop(name_find(from));
	}
	return r;
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
	int r = (int)syscall(SYS_linkat, from_fd, from, to_fd, to, flags);

	if (r == 0 && disk.is_watching)
		named(from, to);
	if (disk.link_error) {
		errno = disk.link_error;
		return -1;
	}
	return r;
}

int fstatfs(int fd, struct statfs *st)
{
	int r = (int)syscall(SYS_fstatfs, fd, st);

	if (disk.magic)
		st->f_type = disk.magic;
	return r;
}

static void assert_lasts(const char *key)
{
	char path[256];

	for (size_t i = 0; i <= strlen(key); i++) {
		const struct name *n;

		if (key[i] != '/' && key[i] != '\0')
			continue;
		snprintf(path, sizeof(path), "%.*s", (int)i, key);
		n = name_find(path);
		if (!n || !n->is_durable)
			fail_msg("after power loss there would be no %s", path);
		if (key[i] == '\0')
			assert_true(n->has_durable_bytes);
	}
}

struct stand {
	struct scratch dir;
	struct backend *backend;
};

static const struct backend_options writable = { .create = true };

static int make(void **state)
{
	struct stand *s = new0(struct stand, 1);

	memset(&disk, 0, sizeof(disk));
	s->dir = scratch_make();
	assert_ok(backend_open(s->dir.path, &writable, &s->backend));
	snprintf(disk.root, sizeof(disk.root), "%s", s->dir.path);
	disk.is_watching = true;
	*state = s;
	return 0;
}

static int drop(void **state)
{
	struct stand *s = *state;

	for (size_t i = 0; i < disk.count; i++)
		free(disk.names[i].path);
	memset(&disk, 0, sizeof(disk));
	backend_free(s->backend);
	scratch_remove(&s->dir);
	free(s);
	return 0;
}

static void reopen(struct stand *s)
{
	backend_free(s->backend);
	assert_ok(backend_open(s->dir.path, &writable, &s->backend));
}

static void put_in_pieces(struct backend *b, const char *key)
{
	struct backend_put *p;

	assert_ok(b->ops->put_begin(b, key, &p));
	assert_ok(b->ops->put_write(p, span_str("one"), NULL));
	assert_ok(b->ops->put_write(p, span_str("two"), NULL));
	assert_ok(b->ops->put_end(p, NULL));
}

static void create_or_replace(struct backend *b, const char *key)
{
	_cleanup_buf_ struct buf now = { 0 };
	struct etag tag;
	int r = b->ops->get_all(b, key, 100, NULL, NULL, &now, &tag);

	assert_true(r == 0 || r == -ENOENT);
	buf_put(&now, "+", 1);
	assert_ok(b->ops->swap(b, key, r == 0 ? &tag : NULL, buf_span(&now), NULL, &tag));
}

static void what_was_acknowledged_survives_power_loss(void **state)
{
	struct stand *s = *state;
	struct prng p = { 1 };

	for (int i = 0; i < 500; i++) {
		char key[64], dir[64];

		snprintf(key, sizeof(key), "%c/%c/%d", 'a' + (char)prng_below(&p, 4),
			 'a' + (char)prng_below(&p, 4), (int)prng_below(&p, 20));
		switch (prng_below(&p, 5)) {
		case 0:
			assert_ok(s->backend->ops->put(s->backend, key, span_str("x"), NULL));
			break;
		case 1:
			put_in_pieces(s->backend, key);
			break;
		case 2:
			create_or_replace(s->backend, key);
			break;
		case 3:
			/* another process makes a directory and dies before it syncs it */
			snprintf(dir, sizeof(dir), "%c", key[0]);
			mkdirat(s->dir.fd, dir, 0700);
			snprintf(dir, sizeof(dir), "%.3s", key);
			mkdirat(s->dir.fd, dir, 0700);
			continue;
		case 4:
			reopen(s);
			continue;
		}
		assert_lasts(key);
	}
}

static void in_a_known_directory_a_put_costs_two_syncs(void **state)
{
	struct stand *s = *state;

	put_in_pieces(s->backend, "packs/ab/x");
	disk.file_syncs = disk.dir_syncs = 0;
	put_in_pieces(s->backend, "packs/ab/y");
	assert_int_equal(disk.file_syncs, 1);
	assert_int_equal(disk.dir_syncs, 1);
	create_or_replace(s->backend, "packs/ab/y");
	assert_int_equal(disk.file_syncs, 2);
	assert_int_equal(disk.dir_syncs, 2);
}

static void a_swap_that_is_lost_from_the_start_writes_nothing(void **state)
{
	struct stand *s = *state;
	struct etag tag;

	put_in_pieces(s->backend, "a");
	disk.file_syncs = disk.dir_syncs = 0;
	assert_int_equal(s->backend->ops->swap(s->backend, "a", NULL, span_str("x"), NULL, &tag),
			 -ESTALE);
	assert_int_equal(disk.file_syncs + disk.dir_syncs, 0);
}

static void what_could_not_be_synced_is_not_seen(void **state)
{
	struct stand *s = *state;
	struct backend *b = s->backend;
	struct backend_put *p;
	struct etag tag;
	uint64_t size;

	disk.fdatasync_error = EIO;
	assert_int_equal(b->ops->put(b, "a", span_str("x"), NULL), -EIO);
	assert_int_equal(b->ops->swap(b, "a", NULL, span_str("x"), NULL, &tag), -EIO);
	assert_ok(b->ops->put_begin(b, "a", &p));
	assert_int_equal(b->ops->put_end(p, NULL), -EIO);
	disk.fdatasync_error = ENOSPC;
	assert_int_equal(b->ops->put(b, "a", span_str("x"), NULL), -ENOSPC);
	disk.fdatasync_error = EDQUOT;
	assert_int_equal(b->ops->put(b, "a", span_str("x"), NULL), -ENOSPC);
	disk.fdatasync_error = 0;
	assert_int_equal(b->ops->head(b, "a", NULL, &size), -ENOENT);
}

static void a_swap_whose_name_could_not_be_synced_is_not_known_to_have_failed(void **state)
{
	struct stand *s = *state;
	struct backend *b = s->backend;
	_cleanup_buf_ struct buf now = { 0 };
	struct etag tag;

	create_or_replace(b, "a");
	disk.fsync_error = EIO;
	assert_int_equal(b->ops->swap(b, "b", NULL, span_str("x"), NULL, &tag), -EINPROGRESS);
	/* nor to have succeeded, until the name lasts */
	assert_int_equal(b->ops->get_all(b, "b", 100, NULL, NULL, &now, &tag), -EIO);
	assert_int_equal(b->ops->put(b, "c", span_str("x"), NULL), -EIO);
	/* a directory that could not be synced is not believed the next time */
	assert_int_equal(b->ops->put(b, "d/e", span_str("x"), NULL), -EIO);
	disk.fsync_error = 0;
	assert_ok(b->ops->get_all(b, "b", 100, NULL, NULL, &now, &tag));
	assert_lasts("b");
	put_in_pieces(b, "d/e");
	assert_lasts("d/e");
}

static void a_link_that_was_made_counts_whatever_the_reply(void **state)
{
	struct stand *s = *state;
	struct backend *b = s->backend;
	struct etag tag, none;

	disk.link_error = EEXIST;
	assert_ok(b->ops->swap(b, "a", NULL, span_str("x"), NULL, &tag));
	disk.link_error = EIO;
	assert_ok(b->ops->swap(b, "b", NULL, span_str("x"), NULL, &tag));
	disk.link_error = 0;
	assert_int_equal(b->ops->swap(b, "b", NULL, span_str("x"), NULL, &none), -ESTALE);
	assert_ok(b->ops->swap(b, "b", &tag, span_str("y"), NULL, &tag));
}

static void a_network_filesystem_is_refused_unless_there_is_one_writer(void **state)
{
	static const uint32_t networks[] = { NFS_SUPER_MAGIC,  CIFS_SUPER_MAGIC, SMB2_SUPER_MAGIC,
					     CEPH_SUPER_MAGIC, V9FS_MAGIC,	 FUSE_SUPER_MAGIC };
	static const struct backend_options single = { .single_writer = true };
	struct stand *s = *state;
	bool was_quiet = log_set_quiet(true);
	struct backend *b;

	for (size_t i = 0; i < ARRAY_SIZE(networks); i++) {
		disk.magic = networks[i];
		assert_int_equal(backend_open(s->dir.path, &writable, &b), -EOPNOTSUPP);
		assert_non_null(strstr(complaint(), "--single-writer"));
		assert_ok(backend_open(s->dir.path, &single, &b));
		assert_false(b->is_local);
		create_or_replace(b, "a");
		backend_free(b);
	}
	disk.magic = EXT4_SUPER_MAGIC;
	assert_ok(backend_open(s->dir.path, &writable, &b));
	assert_true(b->is_local);
	backend_free(b);
	log_set_quiet(was_quiet);
}

static void over_a_network_only_old_temporaries_are_garbage(void **state)
{
	static const struct backend_options single = { .single_writer = true };
	struct timespec old[2] = { { .tv_sec = time(NULL) - 25 * 60 * 60 } };
	static const char young_name[] = "tmp/0123456789abcdef0123456789abcdef";
	static const char old_name[] = "tmp/0123456789abcdef0123456789abcde0";
	struct stand *s = *state;
	struct backend *b;

	old[1] = old[0];
	create_or_replace(s->backend, "a");
	assert_ok(mknodat(s->dir.fd, young_name, S_IFREG | 0600, 0));
	assert_ok(mknodat(s->dir.fd, old_name, S_IFREG | 0600, 0));
	assert_ok(utimensat(s->dir.fd, old_name, old, 0));
	disk.magic = NFS_SUPER_MAGIC;
	assert_ok(backend_open(s->dir.path, &single, &b));
	backend_free(b);
	assert_ok(faccessat(s->dir.fd, young_name, F_OK, 0));
	assert_int_equal(faccessat(s->dir.fd, old_name, F_OK, 0), -1);
	disk.magic = 0;
	reopen(s);
	assert_int_equal(faccessat(s->dir.fd, young_name, F_OK, 0), -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_was_acknowledged_survives_power_loss),
		TEST(in_a_known_directory_a_put_costs_two_syncs),
		TEST(a_swap_that_is_lost_from_the_start_writes_nothing),
		TEST(what_could_not_be_synced_is_not_seen),
		TEST(a_swap_whose_name_could_not_be_synced_is_not_known_to_have_failed),
		TEST(a_link_that_was_made_counts_whatever_the_reply),
		TEST(a_network_filesystem_is_refused_unless_there_is_one_writer),
		TEST(over_a_network_only_old_temporaries_are_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
