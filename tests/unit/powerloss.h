/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The power goes: records all that is done to files below a directory, and makes from it what a
 * disk may hold if the machine stops at some moment. Include in one file of a program: it defines
 * the system calls that change files for all of it, shared libraries included.
 *
 * What is on the disk for sure is what an fsync or fdatasync that has returned began after. Of all
 * else, each write to a file may be there, or not, or any part of it, whatever came before and
 * after; of what was done to a directory, a first part is there. One thing is trusted to a disk, as
 * LMDB trusts its meta pages to it: a write within a sector, to a file that syncs each, is there or
 * not.
 */
#pragma once

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>

static int open_recorded(int dirfd, const char *path, int flags, mode_t mode);
#define OTHERBOOT_OPENAT open_recorded
#include "base/thread.h"
#include "otherboot.h"
#include "prng.h"
#include "scratch.h"

enum event_kind {
	EVENT_WRITE,
	EVENT_ZERO,
	EVENT_SIZE,
	EVENT_CREATE, /* a name for a file or directory */
	EVENT_UNLINK,
	EVENT_RENAME,
	EVENT_SYNC_BEGIN,
	EVENT_SYNC_END,
	EVENT_WRITE_SYNCED, /* the write before it, to a file that syncs each */
	EVENT_NOTE, /* the test's own */
};

struct event {
	enum event_kind kind;
	unsigned object; /* the file, or the directory */
	uint64_t off, len;
	uint8_t *data; /* EVENT_WRITE; owned */
	char name[32], other_name[32];
	unsigned child; /* EVENT_CREATE */
	uint64_t note;
};

enum {
	OBJECTS_MAX = 4096
};

struct object {
	ino_t ino;
	bool is_dir, is_there; /* its number belongs to it still */
};

static struct {
	bool is_on;
	pthread_mutex_t lock;
	dev_t dev;
	struct object objects[OBJECTS_MAX]; /* the first is the directory itself */
	unsigned object_count;
	struct event *events;
	size_t count, room;
} tape = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Recording */

static struct event *tape_add(enum event_kind kind, unsigned object)
{
	if (tape.count == tape.room) {
		tape.room = MAX(2 * tape.room, (size_t)4096);
		tape.events = reallocarray(tape.events, tape.room, sizeof(*tape.events));
		if (!tape.events)
			abort();
	}
	tape.events[tape.count] = (struct event){ .kind = kind, .object = object };
	return &tape.events[tape.count++];
}

static int object_of_stat(const struct stat *st)
{
	if (st->st_dev != tape.dev)
		return -1;
	for (unsigned i = tape.object_count; i-- > 0;)
		if (tape.objects[i].is_there && tape.objects[i].ino == st->st_ino)
			return (int)i;
	return -1;
}

static int object_of_fd(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 ? -1 : object_of_stat(&st);
}

static unsigned object_new(const struct stat *st)
{
	if (tape.object_count == OBJECTS_MAX)
		abort();
	tape.objects[tape.object_count] = (struct object){ st->st_ino, S_ISDIR(st->st_mode), true };
	return tape.object_count++;
}

/* The directory that @path is in, and its name there. */
static int parent_of(int dirfd, const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	char dir[256];
	struct stat st;

	*ret_name = slash ? slash + 1 : path;
	if (!slash)
		return dirfd == AT_FDCWD ? -1 : object_of_fd(dirfd);
	snprintf(dir, sizeof(dir), "%.*s", (int)MAX(slash - path, (ptrdiff_t)1), path);
	return fstatat(dirfd, dir, &st, 0) < 0 ? -1 : object_of_stat(&st);
}

/* LMDB's lock file is no data. */
static bool is_recorded(const char *name)
{
	return strcmp(name, "lock.mdb") != 0;
}

static void set_name(char to[32], const char *name)
{
	if (strlen(name) >= 32)
		abort();
	strcpy(to, name);
}

static void tape_create(int parent, const char *name, const struct stat *st)
{
	struct event *e;
	unsigned child = object_new(st);

	e = tape_add(EVENT_CREATE, (unsigned)parent);
	e->child = child;
	set_name(e->name, name);
}

static int open_recorded(int dirfd, const char *path, int flags, mode_t mode)
{
	const char *name;
	struct stat st;
	bool is_new;
	int parent, fd;

	if (!tape.is_on || !(flags & O_CREAT))
		return (int)syscall(SYS_openat, dirfd, path, flags, mode);
	WITH_LOCK(&tape.lock);
	parent = parent_of(dirfd, path, &name);
	is_new = fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) < 0;
	fd = (int)syscall(SYS_openat, dirfd, path, flags, mode);
	if (fd >= 0 && is_new && parent >= 0 && is_recorded(name) && fstat(fd, &st) == 0)
		tape_create(parent, name, &st);
	return fd;
}

int mkdirat(int dirfd, const char *path, mode_t mode)
{
	const char *name;
	struct stat st;
	int parent, r;

	pthread_mutex_lock(&tape.lock);
	parent = tape.is_on ? parent_of(dirfd, path, &name) : -1;
	r = (int)syscall(SYS_mkdirat, dirfd, path, mode);
	if (r == 0 && parent >= 0 && fstatat(dirfd, path, &st, 0) == 0)
		tape_create(parent, name, &st);
	pthread_mutex_unlock(&tape.lock);
	return r;
}

int unlinkat(int dirfd, const char *path, int flags)
{
	const char *name;
	struct stat st;
	int parent, object, r;

	pthread_mutex_lock(&tape.lock);
	parent = tape.is_on ? parent_of(dirfd, path, &name) : -1;
	object = parent >= 0 && fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0
			 ? object_of_stat(&st)
			 : -1;
	r = (int)syscall(SYS_unlinkat, dirfd, path, flags);
	if (r == 0 && object >= 0) {
		/* The kernel may give its number to another file from now on. */
		tape.objects[object].is_there = false;
		set_name(tape_add(EVENT_UNLINK, (unsigned)parent)->name, name);
	}
	pthread_mutex_unlock(&tape.lock);
	return r;
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	const char *name, *other;
	int parent, r;

	pthread_mutex_lock(&tape.lock);
	parent = tape.is_on ? parent_of(from_dir, from, &name) : -1;
	/* Within one directory is all that is known here. */
	if (parent >= 0 && parent_of(to_dir, to, &other) != parent)
		abort();
	r = (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);
	if (r == 0 && parent >= 0) {
		struct event *e = tape_add(EVENT_RENAME, (unsigned)parent);

		set_name(e->name, name);
		set_name(e->other_name, other);
	}
	pthread_mutex_unlock(&tape.lock);
	return r;
}

static void tape_write(int fd, const void *data, size_t len, uint64_t off)
{
	int object;

	WITH_LOCK(&tape.lock);
	object = object_of_fd(fd);
	if (object < 0)
		return;
	struct event *e = tape_add(EVENT_WRITE, (unsigned)object);

	e->off = off;
	e->len = len;
	e->data = malloc(MAX(len, (size_t)1));
	if (!e->data)
		abort();
	memcpy(e->data, data, len);
	if (fcntl(fd, F_GETFL) & O_DSYNC)
		tape_add(EVENT_WRITE_SYNCED, (unsigned)object);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t off)
{
	ssize_t n = (ssize_t)syscall(SYS_pwrite64, fd, data, len, off);

	if (tape.is_on && n > 0)
		tape_write(fd, data, (size_t)n, (uint64_t)off);
	return n;
}

ssize_t writev(int fd, const struct iovec *iov, int count)
{
	off_t off = tape.is_on ? (off_t)syscall(SYS_lseek, fd, 0, SEEK_CUR) : -1;
	ssize_t n = (ssize_t)syscall(SYS_writev, fd, iov, count), done = 0;

	for (int i = 0; i < count && off >= 0 && done < n; i++) {
		size_t len = MIN(iov[i].iov_len, (size_t)(n - done));

		tape_write(fd, iov[i].iov_base, len, (uint64_t)(off + done));
		done += (ssize_t)len;
	}
	return n;
}

int fallocate(int fd, int mode, off_t off, off_t len)
{
	int r = (int)syscall(SYS_fallocate, fd, mode, off, len);
	struct stat st;
	int object;

	if (r < 0 || !tape.is_on)
		return r;
	WITH_LOCK(&tape.lock);
	object = object_of_fd(fd);
	if (object < 0)
		return r;
	if (mode & FALLOC_FL_PUNCH_HOLE) {
		struct event *e = tape_add(EVENT_ZERO, (unsigned)object);

		e->off = (uint64_t)off;
		e->len = (uint64_t)len;
	} else if (fstat(fd, &st) == 0) {
		tape_add(EVENT_SIZE, (unsigned)object)->len = (uint64_t)st.st_size;
	}
	return r;
}

int ftruncate(int fd, off_t size)
{
	int r = (int)syscall(SYS_ftruncate, fd, size);
	int object;

	if (r < 0 || !tape.is_on)
		return r;
	WITH_LOCK(&tape.lock);
	object = object_of_fd(fd);
	if (object >= 0)
		tape_add(EVENT_SIZE, (unsigned)object)->len = (uint64_t)size;
	return r;
}

/* The disk itself is left out: it would only take its time. */
static int sync_recorded(int fd)
{
	uint64_t id = 0;
	int object;

	if (!tape.is_on)
		return 0;
	pthread_mutex_lock(&tape.lock);
	object = object_of_fd(fd);
	if (object >= 0) {
		id = tape.count;
		tape_add(EVENT_SYNC_BEGIN, (unsigned)object);
	}
	pthread_mutex_unlock(&tape.lock);
	/* Time for others to get in between. */
	usleep(50);
	WITH_LOCK(&tape.lock);
	if (object >= 0)
		tape_add(EVENT_SYNC_END, (unsigned)object)->note = id;
	return 0;
}

int fsync(int fd)
{
	return sync_recorded(fd);
}

int fdatasync(int fd)
{
	return sync_recorded(fd);
}

/* What shared libraries call, which know no large files by name. */
ssize_t plain_pwrite(int fd, const void *data, size_t len, off_t off) __asm__("pwrite");
ssize_t plain_pwrite(int fd, const void *data, size_t len, off_t off)
{
	return pwrite(fd, data, len, off);
}

int plain_ftruncate(int fd, off_t size) __asm__("ftruncate");
int plain_ftruncate(int fd, off_t size)
{
	return ftruncate(fd, size);
}

int plain_open(const char *path, int flags, ...) __asm__("open");
int plain_open(const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	if (flags & O_CREAT) {
		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	return open_recorded(AT_FDCWD, path, flags, mode);
}

/* From now on all is recorded that happens below @fd, an empty directory. */
static void tape_start(int fd)
{
	struct stat st;

	assert_ok(fstat(fd, &st));
	tape.dev = st.st_dev;
	object_new(&st);
	tape.is_on = true;
}

static void tape_stop(void)
{
	tape.is_on = false;
}

static void tape_free(void)
{
	for (size_t i = 0; i < tape.count; i++)
		free(tape.events[i].data);
	free(TAKE_PTR(tape.events));
	tape.count = tape.room = 0;
	tape.object_count = 0;
}

/* Notes something of the test's own between the events. */
static void tape_note(unsigned what, uint64_t value)
{
	struct event *e;

	WITH_LOCK(&tape.lock);
	e = tape_add(EVENT_NOTE, what);
	e->note = value;
}

/* The last value noted before event @end; 0: none. */
static uint64_t noted(unsigned what, size_t end)
{
	for (size_t i = end; i-- > 0;)
		if (tape.events[i].kind == EVENT_NOTE && tape.events[i].object == what)
			return tape.events[i].note;
	return 0;
}

/* Making a disk */

/* For each object: events before this one are on the disk for sure. */
static void find_durable(size_t end, size_t durable[OBJECTS_MAX])
{
	memset(durable, 0, OBJECTS_MAX * sizeof(durable[0]));
	for (size_t i = 0; i < end; i++) {
		const struct event *e = &tape.events[i];

		if (e->kind == EVENT_SYNC_END)
			durable[e->object] = MAX(durable[e->object], (size_t)e->note);
	}
}

struct image_name {
	unsigned dir;
	char name[32];
	unsigned object;
};

struct image {
	struct image_name names[OBJECTS_MAX];
	size_t name_count;
	struct buf content[OBJECTS_MAX];
};

static struct image_name *image_find(struct image *m, unsigned dir, const char *name)
{
	for (size_t i = 0; i < m->name_count; i++)
		if (m->names[i].dir == dir && strcmp(m->names[i].name, name) == 0)
			return &m->names[i];
	return NULL;
}

static void image_unlink(struct image *m, unsigned dir, const char *name)
{
	struct image_name *n = image_find(m, dir, name);

	if (n)
		*n = m->names[--m->name_count];
}

static void image_link(struct image *m, unsigned dir, const char *name, unsigned object)
{
	struct image_name *n = &m->names[m->name_count++];

	assert_true(m->name_count < OBJECTS_MAX);
	n->dir = dir;
	n->object = object;
	set_name(n->name, name);
}

static void image_change_dir(struct image *m, const struct event *e)
{
	const struct image_name *n;
	unsigned object;

	switch (e->kind) {
	case EVENT_CREATE:
		image_link(m, e->object, e->name, e->child);
		break;
	case EVENT_UNLINK:
		image_unlink(m, e->object, e->name);
		break;
	case EVENT_RENAME:
		n = image_find(m, e->object, e->name);
		if (!n)
			break;
		object = n->object;
		image_unlink(m, e->object, e->name);
		image_unlink(m, e->object, e->other_name);
		image_link(m, e->object, e->other_name, object);
		break;
	default:
		break;
	}
}

static void image_size(struct buf *b, uint64_t size)
{
	if (size > b->len) {
		size_t more = size - b->len;

		memset(buf_extend(b, more), 0, more);
	}
}

static void image_write(struct image *m, const struct event *e, uint64_t from, uint64_t to)
{
	struct buf *b = &m->content[e->object];

	if (e->kind == EVENT_SIZE) {
		image_size(b, e->len);
		b->len = e->len;
	} else if (e->kind == EVENT_WRITE && to > from) {
		image_size(b, e->off + to);
		memcpy(b->data + e->off + from, e->data + from, to - from);
	} else if (e->kind == EVENT_ZERO && e->off + from < b->len) {
		to = MIN(to, b->len - e->off);
		memset(b->data + e->off + from, 0, to - from);
	}
}

static bool is_synced_alone(const struct event *e)
{
	return e + 1 < tape.events + tape.count && e[1].kind == EVENT_WRITE_SYNCED &&
	       e[1].object == e->object;
}

/* A write that nobody synced. */
static void image_chance(struct image *m, const struct event *e, struct prng *rnd)
{
	enum {
		SECTOR = 512
	};
	uint64_t from = prng_below(rnd, e->len + 1), to = prng_below(rnd, e->len + 1);

	if (is_synced_alone(e) && e->off / SECTOR == (e->off + e->len - 1) / SECTOR)
		from = to = 0;

	switch (prng_below(rnd, 3)) {
	case 0:
		image_write(m, e, 0, e->len);
		break;
	case 1:
		if (e->kind != EVENT_SIZE)
			image_write(m, e, MIN(from, to), MAX(from, to));
		break;
	}
}

static bool is_dir_event(const struct event *e)
{
	return e->kind == EVENT_CREATE || e->kind == EVENT_UNLINK || e->kind == EVENT_RENAME;
}

static bool is_file_event(const struct event *e)
{
	return e->kind == EVENT_WRITE || e->kind == EVENT_ZERO || e->kind == EVENT_SIZE;
}

/*
 * How many of each directory's changes are there: the durable ones, and of the others any number;
 * without @rnd all.
 */
static void choose_dir_events(size_t end, const size_t *durable, size_t *ret, struct prng *rnd)
{
	static size_t sure[OBJECTS_MAX];

	memset(sure, 0, sizeof(sure));
	memset(ret, 0, OBJECTS_MAX * sizeof(ret[0]));
	for (size_t i = 0; i < end; i++) {
		const struct event *e = &tape.events[i];

		if (!is_dir_event(e))
			continue;
		ret[e->object]++;
		sure[e->object] += i < durable[e->object];
	}
	for (unsigned o = 0; rnd && o < tape.object_count; o++)
		ret[o] = sure[o] + prng_below(rnd, ret[o] - sure[o] + 1);
}

/*
 * What may be on the disk when the machine stops before event @end; without @rnd: what the next
 * process of the same boot finds.
 */
static struct image *image_make(size_t end, struct prng *rnd)
{
	static size_t durable[OBJECTS_MAX], left[OBJECTS_MAX];
	struct image *m = new0(struct image, 1);

	assert_non_null(m);
	find_durable(end, durable);
	choose_dir_events(end, durable, left, rnd);
	for (size_t i = 0; i < end; i++) {
		const struct event *e = &tape.events[i];

		if (is_dir_event(e) && left[e->object] > 0) {
			image_change_dir(m, e);
			left[e->object]--;
		}
		if (!is_file_event(e))
			continue;
		if (!rnd || i < durable[e->object] || (i + 1 < end && is_synced_alone(e)))
			image_write(m, e, 0, e->len);
		else
			image_chance(m, e, rnd);
	}
	return m;
}

static void image_write_dir(const struct image *m, unsigned dir, int fd)
{
	for (size_t i = 0; i < m->name_count; i++) {
		const struct image_name *n = &m->names[i];
		const struct buf *b = &m->content[n->object];
		int child;

		if (n->dir != dir)
			continue;
		if (tape.objects[n->object].is_dir) {
			assert_ok(mkdirat(fd, n->name, 0700));
			child = openat(fd, n->name, O_RDONLY | O_DIRECTORY);
			assert_true(child >= 0);
			image_write_dir(m, n->object, child);
		} else {
			child = openat(fd, n->name, O_WRONLY | O_CREAT | O_EXCL, 0600);
			assert_true(child >= 0);
			assert_ok(ftruncate(child, (off_t)b->len));
			/* What is zero stays a hole. */
			for (size_t at = 0; at < b->len; at += 4096) {
				size_t len = MIN(b->len - at, (size_t)4096);

				if (b->data[at] || memcmp(b->data + at, b->data + at + 1, len - 1))
					assert_ok(pwrite_all(child, b->data + at, len, at));
			}
		}
		close(child);
	}
}

static void image_free(struct image *m)
{
	for (unsigned o = 0; o < tape.object_count; o++)
		buf_release(&m->content[o]);
	free(m);
}
