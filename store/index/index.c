/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The index: its directory, and who may make it anew.
 *
 *	data.mdb lock.mdb	the LMDB environment (env.c)
 *	segments/		fetched segments (segments.c)
 *	identity		whose index it is, of which boot; how data.mdb looked when
 *				it was closed in good order
 *	opening			locked while an index is being opened or closed
 *	users			locked shared by each process that has it open
 *
 * The environment is not synced, so after another boot it may be anything; and LMDB trusts what it
 * reads. So whoever comes while nobody else uses it looks at it first: another store's, another
 * boot's or a damaged one is removed. The costly look (lmdb_check()) is left out when data.mdb is
 * as it was when it was closed. Whoever comes later finds it looked at.
 *
 * LMDB must not open an environment twice in a process; here the second index_open() of a directory
 * gets the first one's index.
 *
 * Locks: indexes_lock is held while files are opened and closed (rank 10, before all others).
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/hash.h"
#include "base/log.h"
#include "index/parts.h"

enum {
	IDENTITY_MAX = 256,
	IDENTITY_VERSION = 1,
};

#define IDENTITY_NAME  "identity"
#define IDENTITY_MAGIC "pfsX"

static pthread_mutex_t indexes_lock = PTHREAD_MUTEX_INITIALIZER;
static struct list indexes = { &indexes, &indexes }; /* guarded by indexes_lock */

/* What the file `identity` says. */
struct identity {
	struct id128 store, boot;
	bool is_closed; /* in good order; then: */
	uint64_t size; /* of data.mdb */
	int64_t sec, nsec; /* its ctime */
};

static int identity_write(int dirfd, const struct identity *id)
{
	_cleanup_buf_ struct buf b = { 0 };
	_cleanup_close_ int fd = -1;

	buf_put(&b, IDENTITY_MAGIC, 4);
	buf_put_u32(&b, IDENTITY_VERSION);
	buf_put(&b, id->store.b, sizeof(id->store.b));
	buf_put(&b, id->boot.b, sizeof(id->boot.b));
	buf_put_u8(&b, id->is_closed);
	buf_put_u64(&b, id->size);
	buf_put_u64(&b, (uint64_t)id->sec);
	buf_put_u64(&b, (uint64_t)id->nsec);
	if (buf_failed(&b))
		return -ENOMEM;
	buf_put_u64(&b, xxh64(b.data, b.len, 0));
	fd = openat(dirfd, IDENTITY_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	return buf_failed(&b) ? -ENOMEM : write_all(fd, b.data, b.len);
}

static int identity_read(int dirfd, struct identity *ret)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct identity id = { 0 };
	struct span magic;
	struct cursor c;
	size_t covered;
	int r;

	r = read_file(dirfd, IDENTITY_NAME, IDENTITY_MAX, &b);
	if (r < 0)
		return r;
	c = cursor_of(buf_span(&b));
	magic = rd_bytes(&c, 4);
	if (rd_u32(&c) != IDENTITY_VERSION || memcmp(magic.data, IDENTITY_MAGIC, 4) != 0)
		return -EBADMSG;
	id.store = rd_id128(&c);
	id.boot = rd_id128(&c);
	id.is_closed = rd_u8(&c) == 1;
	id.size = rd_u64(&c);
	id.sec = (int64_t)rd_u64(&c);
	id.nsec = (int64_t)rd_u64(&c);
	covered = b.len - cursor_left(&c);
	if (rd_u64(&c) != xxh64(b.data, covered, 0) || !cursor_at_end(&c))
		return -EBADMSG;
	*ret = id;
	return 0;
}

/* Says that data.mdb is in good order as it is now. */
static void identity_close(int dirfd, const struct id128 *store)
{
	struct identity id = { .store = *store, .boot = boot_id(), .is_closed = true };
	struct stat st;

	if (fstatat(dirfd, ENV_DATA_NAME, &st, 0) < 0)
		return;
	id.size = (uint64_t)st.st_size;
	id.sec = st.st_ctim.tv_sec;
	id.nsec = st.st_ctim.tv_nsec;
	identity_write(dirfd, &id);
}

static bool is_as_closed(int dirfd, const struct identity *id)
{
	struct stat st;

	return id->is_closed && fstatat(dirfd, ENV_DATA_NAME, &st, 0) == 0 &&
	       (uint64_t)st.st_size == id->size && st.st_ctim.tv_sec == id->sec &&
	       st.st_ctim.tv_nsec == id->nsec;
}

/* 0: the environment can be trusted; else why not. -EXDEV: nothing here is this store's. */
static int judge(int dirfd, const struct id128 *store)
{
	struct id128 boot = boot_id();
	struct identity id;

	if (identity_read(dirfd, &id) < 0 || !id128_equal(&id.store, store))
		return -EXDEV;
	if (id128_is_null(&boot) || !id128_equal(&id.boot, &boot))
		return -ESTALE;
	return is_as_closed(dirfd, &id) ? 0 : lmdb_check(dirfd);
}

/* Files of segments that were never finished. */
static void remove_unfinished(int dirfd)
{
	int fd = openat(dirfd, "segments", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *e;
	DIR *d;

	if (fd < 0)
		return;
	d = fdopendir(fd);
	if (!d) {
		close(fd);
		return;
	}
	while ((e = readdir(d)))
		if (e->d_name[0] != '.' && strchr(e->d_name, '.'))
			unlinkat(fd, e->d_name, 0);
	closedir(d);
}

/* Makes sure that what is opened next can be trusted; nobody else has it open. */
static int prepare(int dirfd, const struct id128 *store)
{
	struct identity fresh = { .store = *store, .boot = boot_id() };
	int r = judge(dirfd, store);

	if (r < 0) {
		if (r == -EBADMSG)
			log_warning("the index is damaged and is made anew");
		remove_tree(dirfd, ENV_DATA_NAME);
		remove_tree(dirfd, ENV_LOCK_NAME);
		if (r == -EXDEV)
			remove_tree(dirfd, "segments");
	}
	remove_unfinished(dirfd);
	/* From here to a close in good order it may be in any state. */
	return identity_write(dirfd, &fresh);
}

static int open_lock(int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	return fd < 0 ? -errno : fd;
}

static int lock_wait(int fd, int how)
{
	while (flock(fd, how) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* Opens the environment, after a look at it when this is the only process that uses it. */
static int open_env(struct index *x)
{
	_cleanup_close_ int opening = open_lock(x->dirfd, "opening");
	struct identity id;
	int r;

	if (opening < 0)
		return opening;
	r = lock_wait(opening, LOCK_EX);
	if (r < 0)
		return r;
	x->users_fd = open_lock(x->dirfd, "users");
	if (x->users_fd < 0)
		return x->users_fd;
	if (flock(x->users_fd, LOCK_EX | LOCK_NB) == 0)
		r = prepare(x->dirfd, &x->store);
	else if (identity_read(x->dirfd, &id) == 0 && !id128_equal(&id.store, &x->store))
		r = -EBUSY;
	if (r == 0)
		r = lock_wait(x->users_fd, LOCK_SH);
	if (r < 0)
		return r;
	if (mkdirat(x->dirfd, "segments", 0700) < 0 && errno != EEXIST)
		return -errno;
	return env_open(x->dirfd, &x->env);
}

static void close_env(struct index *x)
{
	_cleanup_close_ int opening = open_lock(x->dirfd, "opening");
	bool is_last;

	if (opening >= 0)
		lock_wait(opening, LOCK_EX);
	is_last = flock(x->users_fd, LOCK_EX | LOCK_NB) == 0;
	env_free(x->env);
	if (is_last && !x->is_broken)
		identity_close(x->dirfd, &x->store);
}

static void index_destroy(struct index *x)
{
	segments_free(x->segments);
	if (x->env)
		close_env(x);
	closep(&x->users_fd);
	closep(&x->dirfd);
	buf_release(&x->bad_packs);
	pthread_cond_destroy(&x->refreshed);
	pthread_mutex_destroy(&x->refresh_lock);
	pthread_mutex_destroy(&x->suspects_lock);
	free(x);
}
DEFINE_CLEANUP(struct index *, index_destroy)

static int index_new(int dirfd, const struct id128 *store, uint64_t map_bytes, struct index **ret)
{
	_cleanup_(index_destroyp) struct index *x = new0(struct index, 1);
	_cleanup_close_ int segments_fd = -1;
	struct stat st;
	int r;

	if (!x)
		return -ENOMEM;
	x->users_fd = -1;
	x->refs = 1;
	x->store = *store;
	pthread_mutex_init(&x->suspects_lock, NULL);
	pthread_mutex_init(&x->refresh_lock, NULL);
	cond_init(&x->refreshed);
	x->dirfd = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
	if (x->dirfd < 0 || fstat(dirfd, &st) < 0)
		return -errno;
	x->dev = st.st_dev;
	x->ino = st.st_ino;
	r = open_env(x);
	if (r < 0)
		return r;
	segments_fd = openat(x->dirfd, "segments", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (segments_fd < 0)
		return -errno;
	r = segments_new(segments_fd, map_bytes, &x->segments);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(x);
	return 0;
}

/* The one this process has open already. */
static struct index *find_open(const struct stat *st)
{
	list_for_each (x, &indexes, struct index, list)
		if (x->dev == st->st_dev && x->ino == st->st_ino)
			return x;
	return NULL;
}

int index_open(int dirfd, const struct id128 *store, uint64_t map_bytes, struct index **ret)
{
	struct index *x;
	struct stat st;
	int r;

	if (fstat(dirfd, &st) < 0)
		return -errno;
	WITH_LOCK(&indexes_lock);
	x = find_open(&st);
	if (x) {
		if (!id128_equal(&x->store, store))
			return -EBUSY;
		x->refs++;
		*ret = x;
		return 0;
	}
	r = index_new(dirfd, store, map_bytes, &x);
	if (r < 0)
		return r;
	list_append(&indexes, &x->list);
	*ret = x;
	return 0;
}

void index_free(struct index *x)
{
	if (!x)
		return;
	WITH_LOCK(&indexes_lock);
	if (--x->refs > 0)
		return;
	list_remove(&x->list);
	index_destroy(x);
}

int index_env_error(struct index *x, int r)
{
	if (r == -EBADMSG && !atomic_exchange(&x->is_broken, true)) {
		log_warning("the index is damaged; it is made anew at the next start");
		unlinkat(x->dirfd, IDENTITY_NAME, 0);
	}
	return r == -EBADMSG ? -ENOENT : r;
}

int index_write(struct index *x, env_write_fn fn, void *ctx)
{
	if (x->is_broken)
		return -ENOENT;
	return index_env_error(x, env_write(x->env, fn, ctx));
}

int index_look(struct index *x, MDB_txn **ret)
{
	if (x->is_broken)
		return -ENOENT;
	return index_env_error(x, env_read_begin(x->env, ret));
}

int index_find(struct index *x, const struct oid *id, index_place_fn fn, void *ctx, struct loc *ret)
{
	int r = packs_find(x, id, fn, ctx, ret);

	return r < 0 ? segments_find(x->segments, id, fn, ctx, ret) : 0;
}

bool index_is_suspect(struct index *x, const struct id128 *pack)
{
	unsigned n = MIN((unsigned)x->suspect_count, (unsigned)SUSPECTS_MAX);

	if (n == 0)
		return false;
	WITH_LOCK(&x->suspects_lock);

	for (unsigned i = 0; i < n; i++)
		if (id128_equal(&x->suspects[i], pack))
			return true;
	return false;
}

void index_suspect(struct index *x, const struct id128 *pack)
{
	if (index_is_suspect(x, pack))
		return;
	WITH_LOCK(&x->suspects_lock);

	x->suspects[x->suspect_count % SUSPECTS_MAX] = *pack;
	x->suspect_count++;
}

bool index_knows_pack(struct index *x, const struct id128 *pack)
{
	return packs_known(x, pack) == 0 || segments_cover(x->segments, pack);
}

void index_stats(struct index *x, struct index_stats *ret)
{
	uint64_t packs, ids, held, bytes, held_ids;

	packs_count(x, &packs, &ids);
	segments_stats(x->segments, &held, &bytes, &held_ids);
	*ret = (struct index_stats){
		.ids = ids + held_ids,
		.packs = packs,
		.segments = held,
		.mapped_bytes = bytes,
	};
}
