/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Local trees for tests (localtree.h).
 */
#include "localtree.h"

#include <dirent.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "base/buf.h"
#include "base/text.h"

enum {
	DEPTH = 40, /* deeper than a walk keeps directories open, with what is above */
	XATTRS_MAX = 64 << 10,
};

static char *below(const char *dir, const char *name)
{
	char *path = strf("%s/%s", dir, name);

	assert_non_null(path);
	return path;
}

void localtree_write(const char *path, const void *data, size_t len)
{
	_cleanup_free_ char *dir = strdup(path);
	_cleanup_close_ int fd = -1;

	*strrchr(dir, '/') = '\0';
	assert_ok(mkdir_parents(dir, 0755));
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_ok(write_all(fd, data, len));
}

static void write_random(struct prng *r, const char *path, size_t len)
{
	_cleanup_free_ uint8_t *data = malloc(len + 1);

	assert_non_null(data);
	prng_fill(r, data, len);
	localtree_write(path, data, len);
}

/* Data here and there in a file of @size. */
static void write_sparse(struct prng *r, const char *path, uint64_t size, unsigned pieces)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	uint8_t piece[9000];

	assert_true(fd >= 0);
	for (unsigned i = 0; i < pieces; i++) {
		prng_fill(r, piece, sizeof(piece));
		assert_ok(pwrite_all(fd, piece, 1 + prng_below(r, sizeof(piece) - 1),
				     prng_below(r, size - sizeof(piece))));
	}
	assert_ok(ftruncate(fd, (off_t)size));
}

static void set_xattr(const char *path, const char *name, const void *value, size_t len)
{
	if (lsetxattr(path, name, value, len, 0) < 0)
		assert_true(errno == EOPNOTSUPP || errno == EPERM);
}

/* user::rwx user:1234:rw- group::r-x mask::rwx other::---, as the kernel has it. */
static void set_acl(const char *path, const char *name)
{
	_cleanup_buf_ struct buf b = { 0 };
	static const struct {
		uint16_t tag, perm;
		uint32_t id;
	} entries[] = {
		{ 1, 7, UINT32_MAX },  { 2, 6, 1234 },	      { 4, 5, UINT32_MAX },
		{ 16, 7, UINT32_MAX }, { 32, 0, UINT32_MAX },
	};

	buf_put_u32(&b, 2);
	for (size_t i = 0; i < ARRAY_SIZE(entries); i++) {
		buf_put_u16(&b, entries[i].tag);
		buf_put_u16(&b, entries[i].perm);
		buf_put_u32(&b, entries[i].id);
	}
	set_xattr(path, name, b.data, b.len);
}

static void make_files(struct prng *r, const char *dir)
{
	static const size_t sizes[] = {
		0, 1, 255, 256, 257, 4096, 131071, 131072, 131073, 3 << 20
	};
	char name[64];

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		_cleanup_free_ char *path = NULL;

		snprintf(name, sizeof(name), "of %zu bytes", sizes[i]);
		path = below(dir, name);
		write_random(r, path, sizes[i]);
	}
	for (unsigned i = 0; i < 6; i++) {
		_cleanup_free_ char *path = NULL;

		snprintf(name, sizeof(name), "sparse-%u", i);
		path = below(dir, name);
		write_sparse(r, path, 200000 + prng_below(r, 20 << 20), i);
	}
}

static void make_names(struct prng *r, const char *dir)
{
	static const char *const names[] = {
		" ",
		"back\\slash",
		"new\nline",
		"\xff\xfe\x01",
		"\xc3\xbc",
		"..hidden",
		"-rf",
		"tab\t",
		"star*?[]'\"$`~",
		"\xed\xa0\xbd\xed\xb8\x80",
		"e\xcc\x81",
		"...",
	};
	char longest[256];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_free_ char *path = below(dir, names[i]);

		write_random(r, path, i);
	}
	for (char c = 'x'; c <= 'z'; c++) {
		_cleanup_free_ char *path = NULL;

		memset(longest, c, 255);
		longest[255] = '\0';
		path = below(dir, longest);
		write_random(r, path, 10);
	}
}

static void make_links(const char *dir)
{
	_cleanup_free_ char *long_target = malloc(4096), *a = below(dir, "of 257 bytes");
	_cleanup_free_ char *b = below(dir, "zz second name"), *c = below(dir, "sub/third name");
	_cleanup_free_ char *s = below(dir, "symlink"), *s2 = below(dir, "sub/symlink too");
	_cleanup_free_ char *l = below(dir, "long symlink"), *sub = below(dir, "sub");
	_cleanup_free_ char *big = below(dir, "of 3145728 bytes"), *big2 = below(dir, "sub/a big");

	assert_ok(mkdir(sub, 0700));
	assert_ok(link(a, b));
	assert_ok(link(a, c));
	assert_ok(link(big, big2));
	assert_ok(symlink("../nowhere/\xff", s));
	assert_ok(linkat(AT_FDCWD, s, AT_FDCWD, s2, 0));
	memset(long_target, 't', 4095);
	long_target[4095] = '\0';
	assert_ok(symlink(long_target, l));
}

static void make_specials(const char *dir)
{
	_cleanup_free_ char *fifo = below(dir, "fifo"), *chr = below(dir, "chr");
	_cleanup_free_ char *blk = below(dir, "blk"), *owned = below(dir, "owned");
	_cleanup_free_ char *link = below(dir, "owned link"), *fifo2 = below(dir, "a fifo's name");

	assert_ok(mknod(fifo, S_IFIFO | 0640, 0));
	assert_ok(linkat(AT_FDCWD, fifo, AT_FDCWD, fifo2, 0));
	if (geteuid() != 0)
		return;
	assert_ok(mknod(chr, S_IFCHR | 0600, makedev(1, 3)));
	assert_ok(mknod(blk, S_IFBLK | 0600, makedev(259, 70000)));
	localtree_write(owned, "mine", 4);
	assert_ok(chown(owned, 4000000000u, 12));
	assert_ok(chmod(owned, 06755));
	assert_ok(symlink("x", link));
	assert_ok(lchown(link, 1, 2));
}

static void make_xattrs(struct prng *r, const char *dir)
{
	_cleanup_free_ char *f = below(dir, "with xattrs"), *d = below(dir, "directory with acl");
	_cleanup_free_ char *big = below(dir, "with large xattrs"), *in = NULL;
	uint8_t value[3000];

	prng_fill(r, value, sizeof(value));
	localtree_write(f, "x", 1);
	localtree_write(big, "y", 1);
	set_xattr(f, "user.small", "1", 1);
	set_xattr(f, "user.empty", "", 0);
	set_xattr(f, "user.a name with % and = and \xc3\xa9", "\0\1\n", 3);
	set_xattr(f, "trusted.root's", "t", 1);
	set_acl(f, "system.posix_acl_access");
	set_xattr(big, "user.large", value, sizeof(value));
	assert_ok(mkdir(d, 0755));
	set_acl(d, "system.posix_acl_default");
	in = below(d, "inherits");
	localtree_write(in, "z", 1);
	assert_ok(chmod(in, 0));
}

static void make_deep(const char *dir)
{
	_cleanup_free_ char *path = below(dir, "deep");

	for (unsigned i = 0; i < DEPTH; i++) {
		char *longer = strf("%s/d%u", path, i);

		free(path);
		path = longer;
	}
	assert_ok(mkdir_parents(path, 0755));
	free(TAKE_PTR(path));
	path = below(dir, "deep/beside");
	localtree_write(path, "b", 1);
}

typedef void (*tree_fn)(int dirfd, const char *name, const struct stat *st, void *ctx);

/* Everything below a directory, and at last itself. */
static void walk(int dirfd, const char *name, tree_fn fn, void *ctx)
{
	_cleanup_close_ int fd =
		openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct dirent *e;
	struct stat st;
	DIR *d;

	assert_true(fd >= 0);
	d = fdopendir(dup(fd));
	assert_non_null(d);
	while ((e = readdir(d))) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		assert_ok(fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW));
		if (S_ISDIR(st.st_mode))
			walk(fd, e->d_name, fn, ctx);
		else
			fn(fd, e->d_name, &st, ctx);
	}
	closedir(d);
	assert_ok(fstat(fd, &st));
	fn(dirfd, name, &st, ctx);
}

static void set_time(int dirfd, const char *name, const struct stat *st, void *ctx)
{
	struct prng *r = ctx;
	struct timespec t[2] = {
		{ .tv_nsec = UTIME_OMIT },
		{ .tv_sec = (time_t)prng_below(r, 4000000000u) - 1000000000,
		  .tv_nsec = (long)prng_below(r, 1000000000) },
	};

	assert_ok(utimensat(dirfd, name, t, AT_SYMLINK_NOFOLLOW));
}

void localtree_make(struct prng *r, const char *path, unsigned files)
{
	_cleanup_free_ char *empty = below(path, "an empty directory");

	assert_ok(mkdir(path, 0755));
	assert_ok(mkdir(empty, 01777));
	make_files(r, path);
	make_names(r, path);
	make_links(path);
	make_specials(path);
	make_xattrs(r, path);
	make_deep(path);
	for (unsigned i = 0; i < files; i++) {
		_cleanup_free_ char *f = strf("%s/many/%u", path, i);

		write_random(r, f, prng_below(r, 600));
	}
	assert_ok(chmod(path, 02751));
	walk(AT_FDCWD, path, set_time, r);
}

static void count(int dirfd, const char *name, const struct stat *st, void *ctx)
{
	++*(unsigned *)ctx;
}

unsigned localtree_count(const char *path)
{
	unsigned n = 0;

	walk(AT_FDCWD, path, count, &n);
	return n;
}

/*
 * Comparing.
 */

/* Which file of @got a file of @want is. */
struct pair {
	ino_t want, got;
};

struct comparison {
	int want, got; /* the directories one is in */
	struct pair *pairs; /* of files with several names */
	size_t pair_count;
};

static ssize_t xattrs_of(int dirfd, const char *name, char *names)
{
	char path[64];
	_cleanup_close_ int fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n;

	assert_true(fd >= 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = listxattr(path, names, XATTRS_MAX);
	return n < 0 && errno == EOPNOTSUPP ? 0 : n;
}

static ssize_t xattr_of(int dirfd, const char *name, const char *attr, char *value)
{
	char path[64];
	_cleanup_close_ int fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return getxattr(path, attr, value, XATTRS_MAX);
}

static void compare_xattrs(const struct comparison *c, const char *name)
{
	_cleanup_free_ char *names = malloc(XATTRS_MAX), *a = malloc(XATTRS_MAX);
	_cleanup_free_ char *b = malloc(XATTRS_MAX);
	ssize_t len = xattrs_of(c->want, name, names);

	if (len != xattrs_of(c->got, name, b))
		fail_msg("%s has other xattrs", name);
	for (const char *n = names; n < names + len; n += strlen(n) + 1) {
		ssize_t x = xattr_of(c->want, name, n, a), y = xattr_of(c->got, name, n, b);

		if (x != y || (x > 0 && memcmp(a, b, (size_t)x) != 0))
			fail_msg("%s: the xattr %s differs", name, n);
	}
}

static void compare_bytes(const struct comparison *c, const char *name, uint64_t size)
{
	enum {
		STEP = 1 << 20
	};
	_cleanup_close_ int a = openat(c->want, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_close_ int b = openat(c->got, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_free_ uint8_t *x = malloc(STEP), *y = malloc(STEP);

	for (uint64_t off = 0; off < size; off += STEP) {
		ssize_t n = pread_upto(a, x, STEP, off);

		if (n <= 0 || pread_upto(b, y, STEP, off) != n || memcmp(x, y, (size_t)n) != 0)
			fail_msg("%s differs within 1 MiB of %llu", name, (unsigned long long)off);
	}
}

static void compare_links(struct comparison *c, const char *name, ino_t want, ino_t got)
{
	for (size_t i = 0; i < c->pair_count; i++) {
		if ((c->pairs[i].want == want) != (c->pairs[i].got == got))
			fail_msg("%s is a name of another file", name);
		if (c->pairs[i].want == want)
			return;
	}
	c->pairs = reallocarray(c->pairs, c->pair_count + 1, sizeof(c->pairs[0]));
	assert_non_null(c->pairs);
	c->pairs[c->pair_count++] = (struct pair){ want, got };
}

static void compare_targets(const struct comparison *c, const char *name)
{
	char a[4096], b[4096];
	ssize_t n = readlinkat(c->want, name, a, sizeof(a));

	assert_true(n > 0);
	if (readlinkat(c->got, name, b, sizeof(b)) != n || memcmp(a, b, (size_t)n) != 0)
		fail_msg("%s leads elsewhere", name);
}

static void compare(struct comparison *c, const char *name, const struct stat *w)
{
	struct stat g;

	if (fstatat(c->got, name, &g, AT_SYMLINK_NOFOLLOW) < 0)
		fail_msg("%s is missing", name);
	if (w->st_mode != g.st_mode || w->st_uid != g.st_uid || w->st_gid != g.st_gid)
		fail_msg("%s: %o %u:%u instead of %o %u:%u", name, g.st_mode, g.st_uid, g.st_gid,
			 w->st_mode, w->st_uid, w->st_gid);
	if (w->st_mtim.tv_sec != g.st_mtim.tv_sec || w->st_mtim.tv_nsec != g.st_mtim.tv_nsec)
		fail_msg("%s: modified at %lld.%09ld instead of %lld.%09ld", name,
			 (long long)g.st_mtim.tv_sec, g.st_mtim.tv_nsec,
			 (long long)w->st_mtim.tv_sec, w->st_mtim.tv_nsec);
	compare_xattrs(c, name);
	if (S_ISDIR(w->st_mode))
		return;
	if (w->st_nlink != g.st_nlink || w->st_rdev != g.st_rdev || w->st_size != g.st_size)
		fail_msg("%s: %lu names, device %lx, %lld bytes instead of %lu, %lx, %lld", name,
			 (unsigned long)g.st_nlink, (unsigned long)g.st_rdev, (long long)g.st_size,
			 (unsigned long)w->st_nlink, (unsigned long)w->st_rdev,
			 (long long)w->st_size);
	if (w->st_nlink > 1)
		compare_links(c, name, w->st_ino, g.st_ino);
	if (S_ISLNK(w->st_mode))
		compare_targets(c, name);
	if (S_ISREG(w->st_mode))
		compare_bytes(c, name, (uint64_t)w->st_size);
	if (S_ISREG(w->st_mode) && g.st_blocks > w->st_blocks + 16)
		fail_msg("%s has lost its holes", name);
}

static void compare_dirs(struct comparison *c, const char *name)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	struct comparison in = *c;
	int entries[2] = { 0, 0 };
	struct dirent *e;
	struct stat st;
	DIR *d;

	in.want = openat(c->want, name, flags);
	in.got = openat(c->got, name, flags);
	if (in.want < 0 || in.got < 0)
		fail_msg("%s is no directory", name);
	for (int i = 0; i < 2; i++) {
		d = fdopendir(dup(i ? in.got : in.want));
		assert_non_null(d);
		while ((e = readdir(d))) {
			entries[i]++;
			if (i || strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
				continue;
			assert_ok(fstatat(in.want, e->d_name, &st, AT_SYMLINK_NOFOLLOW));
			if (S_ISDIR(st.st_mode))
				compare_dirs(&in, e->d_name);
			compare(&in, e->d_name, &st);
		}
		closedir(d);
	}
	close(in.want);
	close(in.got);
	c->pairs = in.pairs;
	c->pair_count = in.pair_count;
	if (entries[0] != entries[1])
		fail_msg("%s has %d entries instead of %d", name, entries[1], entries[0]);
}

void assert_same_trees(const char *want, const char *got)
{
	struct comparison c = { .want = open(want, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
				.got = open(got, O_RDONLY | O_DIRECTORY | O_CLOEXEC) };
	struct stat st;

	assert_true(c.want >= 0 && c.got >= 0);
	assert_ok(fstat(c.want, &st));
	compare_dirs(&c, ".");
	compare(&c, ".", &st);
	close(c.want);
	close(c.got);
	free(c.pairs);
}
