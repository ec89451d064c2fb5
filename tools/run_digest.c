/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Digests, and what is kept of them (run_digest.h).
 *
 * What is kept about a file has one of some thousand places, which its identity decides: a later
 * one takes the place of a former. A file starts with what it is about, so that another's is not
 * taken for it, and ends with a checksum. Nothing that has changed in the last seconds is kept: it
 * may change again within one tick of its clock.
 */
#include "run_digest.h"

#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/fdio.h"
#include "base/hash.h"
#include "base/text.h"

enum {
	PLACES = 4096,
	RECENT_S = 2,
	KEPT_MAX = 4 << 20, /* bytes of a value */
	PIECE = 256 << 10,
	CHECKSUM = 8,
};

static void to_hex(struct digest *d, char ret[DIGEST_HEX])
{
	uint8_t sum[DIGEST_SIZE];

	digest_end(d, sum);
	hex_encode(sum, DIGEST_SIZE, ret);
}

int digest_of(struct span bytes, char ret[DIGEST_HEX])
{
	_cleanup_(digest_freep) struct digest *d = NULL;
	int r = digest_new(&d);

	if (r < 0)
		return r;
	digest_put(d, bytes.data, bytes.len);
	to_hex(d, ret);
	return 0;
}

static int digest_fd(int fd, char ret[DIGEST_HEX])
{
	_cleanup_free_ uint8_t *piece = malloc(PIECE);
	_cleanup_(digest_freep) struct digest *d = NULL;
	ssize_t n;

	if (!piece || digest_new(&d) < 0)
		return -ENOMEM;
	while ((n = read(fd, piece, PIECE)) > 0 || (n < 0 && errno == EINTR))
		digest_put(d, piece, (size_t)MAX(n, (ssize_t)0));
	if (n == 0)
		to_hex(d, ret);
	return n < 0 ? -errno : 0;
}

int digest_of_file(const char *path, char ret[DIGEST_HEX])
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	_cleanup_buf_ struct buf kept = { 0 };
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (digest_recall("sha256", &st, &kept) && kept.len == DIGEST_HEX - 1) {
		memcpy(ret, kept.data, kept.len);
		ret[kept.len] = '\0';
		return 0;
	}
	r = digest_fd(fd, ret);
	if (r == 0)
		digest_remember("sha256", &st, span_of(ret, DIGEST_HEX - 1));
	return r;
}

/* malloc'ed; NULL: this user has no cache. */
static char *cache_dir(void)
{
	const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");

	if (cache && cache[0] == '/')
		return strf("%s/pfs/programs", cache);
	return home && home[0] == '/' ? strf("%s/.cache/pfs/programs", home) : NULL;
}

static char *identity_of(const char *kind, const struct stat *st)
{
	return strf("%s %jx %ju %ju %jd.%09ld %jd.%09ld\n", kind, (uintmax_t)st->st_dev,
		    (uintmax_t)st->st_ino, (uintmax_t)st->st_size, (intmax_t)st->st_mtim.tv_sec,
		    st->st_mtim.tv_nsec, (intmax_t)st->st_ctim.tv_sec, st->st_ctim.tv_nsec);
}

static char *place_of(const char *dir, const char *identity)
{
	uint64_t place = xxh64(identity, strlen(identity), 0) % PLACES;

	return strf("%s/%03x", dir, (unsigned)place);
}

bool digest_recall(const char *kind, const struct stat *st, struct buf *ret)
{
	_cleanup_free_ char *dir = cache_dir(), *identity = identity_of(kind, st), *path = NULL;
	_cleanup_buf_ struct buf b = { 0 };
	size_t len = identity ? strlen(identity) : 0;
	uint64_t sum;

	path = dir && identity ? place_of(dir, identity) : NULL;
	if (!path || read_file(AT_FDCWD, path, KEPT_MAX + PIECE, &b) < 0 ||
	    b.len < len + CHECKSUM || memcmp(b.data, identity, len) != 0)
		return false;
	sum = xxh64(b.data, b.len - CHECKSUM, 0);
	if (memcmp(b.data + b.len - CHECKSUM, &sum, CHECKSUM) != 0)
		return false;
	buf_clear(ret);
	buf_put(ret, b.data + len, b.len - CHECKSUM - len);
	return !buf_failed(ret);
}

static bool is_recent(const struct stat *st)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec - st->st_mtim.tv_sec < RECENT_S ||
	       now.tv_sec - st->st_ctim.tv_sec < RECENT_S;
}

void digest_remember(const char *kind, const struct stat *st, struct span value)
{
	_cleanup_free_ char *dir = cache_dir(), *identity = identity_of(kind, st), *path = NULL,
			    *temp = NULL;
	_cleanup_close_ int fd = -1;
	_cleanup_buf_ struct buf b = { 0 };
	uint64_t sum;

	if (!dir || !identity || value.len > KEPT_MAX || is_recent(st) ||
	    mkdir_parents(dir, 0700) < 0)
		return;
	path = place_of(dir, identity);
	temp = path ? strf("%s.%d.tmp", path, (int)getpid()) : NULL;
	buf_put(&b, identity, strlen(identity));
	buf_put(&b, value.data, value.len);
	sum = xxh64(b.data, b.len, 0);
	buf_put(&b, &sum, sizeof(sum));
	if (!temp || buf_failed(&b))
		return;
	fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	if (write_all(fd, b.data, b.len) < 0 || rename(temp, path) < 0)
		unlink(temp);
}
