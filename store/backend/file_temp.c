/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How something comes to be in the file backend's directory, whole and for good.
 *
 *	temp_new --> temp_write ... --> temp_sync --> temp_place --> file_name_sync
 *	             tmp/RANDOM         on disk       KEY           on disk under KEY
 *
 * Invariants
 *  - a key's name is only ever given to a file whose bytes are durable
 *  - before file_name_sync() is through, every directory above the name is durable too: either
 *    this process has synced the directory it is in, or does so now, even when it finds the
 *    directory there, for whoever made it may not have got so far
 *  - a temporary file is locked as long as its writer lives, so that one which can be locked by
 *    another is garbage
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "backend/file.h"
#include "base/fdio.h"
#include "base/hash.h"

enum {
	WRITE_PIECE = 4 << 20, /* between two looks at the deadline */
	WRITEBACK_MIN = 1 << 20, /* less is left to the final sync */
	TEMP_TRIES = 16,
	NETWORK_TEMP_AGE_S = 24 * 60 * 60,
};

int file_share(int fd, mode_t mode)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return file_error(errno);
	if ((st.st_mode & mode) == mode || st.st_uid != geteuid())
		return 0;
	return fchmod(fd, mode) < 0 ? file_error(errno) : 0;
}

static int tmp_dir_make(struct file_backend *f)
{
	if (mkdirat(f->root, FILE_TMP, f->dir_mode) == 0)
		return fchmodat(f->root, FILE_TMP, f->dir_mode, 0) < 0 ? -errno : 0;
	return errno == EEXIST ? 0 : -errno;
}

int file_tmp_open(struct file_backend *f, const char *path, int flags)
{
	int fd, r;

	flags |= O_CREAT | O_CLOEXEC | O_NOFOLLOW;
	fd = openat(f->root, path, flags, f->file_mode);
	if (fd < 0 && errno == ENOENT) {
		r = tmp_dir_make(f);
		if (r < 0)
			return r;
		fd = openat(f->root, path, flags, f->file_mode);
	}
	return fd < 0 ? -errno : fd;
}

/* The lock that tells the living from the dead. False: a sweep was faster than we. */
static bool temp_claim(struct temp *t)
{
	struct stat st;

	if (flock(t->fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		return false;
	return fstat(t->fd, &st) == 0 && st.st_nlink > 0;
}

int temp_new(struct file_backend *f, struct temp *ret)
{
	for (unsigned i = 0; i < TEMP_TRIES; i++) {
		struct temp t = { .f = f };
		struct id128 name = id128_random();
		char hex[ID128_HEX];

		snprintf(t.path, sizeof(t.path), FILE_TMP "/%s", id128_hex(&name, hex));
		t.fd = file_tmp_open(f, t.path, O_WRONLY | O_EXCL);
		if (t.fd < 0)
			return file_error(-t.fd);
		if (temp_claim(&t)) {
			int r = fchmod(t.fd, f->file_mode) < 0 ? file_error(errno) : 0;

			if (r < 0)
				temp_release(&t);
			else
				*ret = t;
			return r;
		}
		temp_release(&t);
	}
	return -EIO;
}

void temp_release(struct temp *t)
{
	if (!t->f)
		return;
	if (t->path[0])
		unlinkat(t->f->root, t->path, 0);
	close(t->fd);
	*t = (struct temp){ 0 };
}

int temp_write(struct temp *t, struct span data, const struct deadline *dl)
{
	while (data.len > 0) {
		size_t n = MIN(data.len, (size_t)WRITE_PIECE);
		int r = deadline_check(dl);

		if (r < 0)
			return r;
		r = write_all(t->fd, data.data, n);
		if (r < 0)
			return file_error(-r);
		data = span_of(data.data + n, data.len - n);
		t->written += n;
		if (t->written - t->started < WRITEBACK_MIN)
			continue;
		/* Only to make the sync short: where it cannot be done, the sync does it all. */
		sync_file_range(t->fd, (off_t)t->started, (off_t)(t->written - t->started),
				SYNC_FILE_RANGE_WRITE);
		t->started = t->written;
	}
	return 0;
}

int temp_sync(struct temp *t)
{
	int r = fdatasync_fd(t->fd);

	return r < 0 ? file_error(-r) : 0;
}

static int give_name(struct temp *t, const char *key, bool replace)
{
	struct file_backend *f = t->f;
	struct stat st;
	int err;

	if (replace) {
		if (renameat(f->root, t->path, f->root, key) < 0)
			return -errno;
		t->path[0] = '\0';
		return 0;
	}
	if (linkat(f->root, t->path, f->root, key, 0) == 0)
		return 0;
	/* Over a network the reply to a link that was made can be lost, and the repeated call finds
	 * a name there: our own. */
	err = errno;
	if (fstat(t->fd, &st) == 0 && st.st_nlink > 1)
		return 0;
	return err == EEXIST ? -ESTALE : -err;
}

int temp_place(struct temp *t, const char *key, bool replace)
{
	int r = give_name(t, key, replace);

	if (r == -ENOENT) {
		/* Somebody tidied an empty directory away since it was looked at. */
		file_dirs_forget(t->f);
		r = file_dirs_ensure(t->f, key);
		if (r < 0)
			return r;
		r = give_name(t, key, replace);
	}
	return r == -ESTALE ? r : r < 0 ? file_error(-r) : 0;
}

static bool is_old(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && now_wall().tv_sec - st.st_mtime > NETWORK_TEMP_AGE_S;
}

/* Is its writer gone? Where a lock tells nothing about other machines, it must be old as well. */
static bool temp_is_dead(struct file_backend *f, int fd)
{
	if (flock(fd, LOCK_EX | LOCK_NB) < 0 && (errno == EWOULDBLOCK || !f->is_network))
		return false;
	return !f->is_network || is_old(fd);
}

void file_sweep(struct file_backend *f)
{
	int fd = openat(f->root, FILE_TMP, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	const struct dirent *e;
	DIR *d;

	if (fd < 0)
		return;
	d = fdopendir(fd);
	if (!d) {
		close(fd);
		return;
	}
	file_share(fd, f->dir_mode);
	while ((e = readdir(d))) {
		_cleanup_close_ int temp = -1;
		struct id128 id;

		if (id128_parse(span_str(e->d_name), &id) < 0)
			continue;
		temp = openat(fd, e->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (temp >= 0 && temp_is_dead(f, temp))
			unlinkat(fd, e->d_name, 0);
	}
	closedir(d);
}

struct known_dir {
	struct hnode node;
	char path[];
};

static bool dir_is_known(struct file_backend *f, const char *path, uint64_t hash)
{
	pthread_mutex_lock(&f->lock);
	htab_for_each (n, &f->known_dirs, hash) {
		if (strcmp(container_of(n, struct known_dir, node)->path, path) == 0) {
			pthread_mutex_unlock(&f->lock);
			return true;
		}
	}
	pthread_mutex_unlock(&f->lock);
	return false;
}

/* Without memory it stays unknown, and is synced again. Twice in the table does no harm. */
static void dir_note(struct file_backend *f, const char *path, uint64_t hash)
{
	size_t size = strlen(path) + 1;
	struct known_dir *d = malloc(sizeof(*d) + size);

	if (!d)
		return;
	memcpy(d->path, path, size);
	pthread_mutex_lock(&f->lock);
	if (htab_insert(&f->known_dirs, &d->node, hash) < 0)
		free(d);
	pthread_mutex_unlock(&f->lock);
}

static void known_dir_free(struct hnode *n, void *ctx)
{
	free(container_of(n, struct known_dir, node));
}

void file_dirs_forget(struct file_backend *f)
{
	pthread_mutex_lock(&f->lock);
	htab_walk(&f->known_dirs, known_dir_free, NULL);
	htab_release(&f->known_dirs);
	pthread_mutex_unlock(&f->lock);
}

/* Syncs the directory that @path is in. */
static int parent_sync(struct file_backend *f, const char *path)
{
	const char *slash = strrchr(path, '/');
	char parent[KEY_MAX + 1] = ".";
	int r;

	if (slash) {
		memcpy(parent, path, (size_t)(slash - path));
		parent[slash - path] = '\0';
	}
	r = fsync_dir(f->root, parent);
	return r < 0 ? file_error(-r) : 0;
}

static int dir_ensure(struct file_backend *f, const char *path)
{
	uint64_t hash = hash_bytes(path, strlen(path));
	_cleanup_close_ int fd = -1;
	int r;

	if (dir_is_known(f, path, hash))
		return 0;
	if (mkdirat(f->root, path, f->dir_mode) < 0 && errno != EEXIST)
		return file_error(errno);
	fd = openat(f->root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* One that is tidied away again by now is temp_place()'s to make anew. */
	if (fd < 0 && errno != ENOENT)
		return file_error(errno);
	r = fd < 0 ? 0 : file_share(fd, f->dir_mode);
	if (r == 0)
		r = parent_sync(f, path);
	if (r == 0)
		dir_note(f, path, hash);
	return r;
}

int file_dirs_ensure(struct file_backend *f, const char *key)
{
	char path[KEY_MAX + 1];

	for (const char *slash = strchr(key, '/'); slash; slash = strchr(slash + 1, '/')) {
		int r;

		memcpy(path, key, (size_t)(slash - key));
		path[slash - key] = '\0';
		r = dir_ensure(f, path);
		if (r < 0)
			return r;
	}
	return 0;
}

int file_name_sync(struct file_backend *f, const char *key)
{
	return parent_sync(f, key);
}
