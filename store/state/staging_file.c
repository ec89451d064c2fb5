/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Staging's files: "slab-NNNNNNNN" and "file-NNNNNNNN" (hexadecimal) in "stage/".
 *
 * There may be more files than a process may have open. Those that nobody is working on are closed
 * when too many are open, the longest idle first; one with unsynced writes is synced before, as an
 * error of the disk is told to those who have the file open.
 *
 * A file can be in four lists: dirty, cleaning, idle, freed; idle and the first two exclude one
 * another.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/hash.h"
#include "base/log.h"
#include "state/staging_core.h"

enum {
	OPEN_MAX_FILES = 256,
};

char *stage_name(bool is_slab, uint32_t number, char buf[STAGE_NAME])
{
	snprintf(buf, STAGE_NAME, "%s-%08x", is_slab ? "slab" : "file", number);
	return buf;
}

static bool parse_name(const char *name, bool *ret_is_slab, uint32_t *ret)
{
	char again[STAGE_NAME];
	unsigned v;

	if (strlen(name) != 13 || sscanf(name + 5, "%8x", &v) != 1)
		return false;
	*ret = v;
	*ret_is_slab = name[0] == 's';
	return strcmp(stage_name(*ret_is_slab, v, again), name) == 0;
}

struct stage_file *stage_find(struct staging *s, uint32_t number)
{
	uint64_t hash = hash_u64(number);

	htab_for_each (n, &s->files, hash) {
		struct stage_file *f = container_of(n, struct stage_file, node);

		if (f->number == number)
			return f;
	}
	return NULL;
}

static struct stage_file *new_file(bool is_slab, uint32_t number)
{
	struct stage_file *f = new0(struct stage_file, 1);

	if (!f)
		return NULL;
	f->number = number;
	f->is_slab = is_slab;
	f->fd = -1;
	f->whole = BLOCK_USED;
	list_init(&f->dirty);
	list_init(&f->cleaning);
	list_init(&f->idle);
	list_init(&f->waiting);
	if (is_slab) {
		f->holders = new0(uint16_t, SLAB_BLOCKS);
		if (!f->holders) {
			free(f);
			return NULL;
		}
	}
	return f;
}

static void free_file(struct stage_file *f)
{
	if (f->fd >= 0)
		close(f->fd);
	blockmap_release(&f->map);
	free(f->holders);
	free(f);
}

static void close_file(struct staging *s, struct stage_file *f)
{
	list_remove(&f->idle);
	close(TAKE_FD(f->fd));
	s->open_count--;
}

/* Where an unpinned file belongs. */
static void settle(struct staging *s, struct stage_file *f)
{
	if (f->pins == 0 && !f->is_dirty && f->fd >= 0 && list_is_empty(&f->idle))
		list_append(&s->idle, &f->idle);
}

void stage_mark_dirty(struct staging *s, struct stage_file *f)
{
	if (f->is_dirty || f->is_gone)
		return;
	f->is_dirty = true;
	f->dirty_since = s->syncs;
	list_append(&s->dirty, &f->dirty);
}

void stage_mark_clean(struct staging *s, struct stage_file *f)
{
	f->is_dirty = false;
	list_remove(&f->dirty);
	settle(s, f);
}

void stage_unpin(struct staging *s, struct stage_file *f)
{
	f->pins--;
	if (f->is_gone && f->pins == 0)
		free_file(f);
	else
		settle(s, f);
}

/* A dirty file that nobody works on, the first that became so. */
static struct stage_file *unpinned_dirty(struct staging *s)
{
	list_for_each (f, &s->dirty, struct stage_file, dirty)
		if (f->pins == 0 && f->fd >= 0)
			return f;
	return NULL;
}

/* Syncs a dirty file so that it can be closed. Drops the lock meanwhile: a sync that would have
 * found the file dirty waits until it is done. */
static void clean_file(struct staging *s, struct stage_file *f)
{
	int r;

	f->cleaning_since = f->dirty_since;
	list_append(&s->cleaning, &f->cleaning);
	stage_mark_clean(s, f);
	f->pins++;
	list_remove(&f->idle);
	pthread_mutex_unlock(&s->lock);
	r = fdatasync_fd(f->fd);
	pthread_mutex_lock(&s->lock);
	if (r < 0 && s->sync_error == 0)
		s->sync_error = r;
	list_remove(&f->cleaning);
	pthread_cond_broadcast(&s->cleaned);
	stage_unpin(s, f);
}

/* Makes room for one more open file; true: the lock was dropped. If all are in use, one more is
 * opened all the same. */
static bool close_some(struct staging *s)
{
	struct stage_file *f;

	while (s->open_count >= OPEN_MAX_FILES &&
	       (f = list_first(&s->idle, struct stage_file, idle)))
		close_file(s, f);
	if (s->open_count < OPEN_MAX_FILES)
		return false;
	f = unpinned_dirty(s);
	if (!f)
		return false;
	clean_file(s, f);
	return true;
}

/* Opens a file that is there. Drops the lock meanwhile. */
static int open_file(struct staging *s, const struct stage_file *f)
{
	bool is_slab = f->is_slab;
	uint32_t number = f->number;
	struct stage_file *again;
	char name[STAGE_NAME];
	int fd, r;

	pthread_mutex_unlock(&s->lock);
	fd = openat(s->dirfd, stage_name(is_slab, number, name), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	r = fd < 0 ? -errno : 0;
	pthread_mutex_lock(&s->lock);
	if (r < 0)
		return r;
	again = stage_find(s, number);
	if (!again || again->fd >= 0) {
		close(fd);
		return 0;
	}
	again->fd = fd;
	s->open_count++;
	settle(s, again);
	return 0;
}

int stage_pin(struct staging *s, uint32_t number, struct stage_file **ret)
{
	struct stage_file *f;
	int r;

	while ((f = stage_find(s, number)) && f->fd < 0) {
		if (close_some(s))
			continue;
		r = open_file(s, f);
		if (r < 0)
			return r;
	}
	if (!f)
		return -ENOENT;
	f->pins++;
	list_remove(&f->idle);
	*ret = f;
	return 0;
}

static int insert(struct staging *s, struct stage_file *f)
{
	int r = htab_insert(&s->files, &f->node, hash_u64(f->number));

	if (r == 0 && f->fd >= 0)
		s->open_count++;
	return r;
}

int stage_create(struct staging *s, bool is_slab, struct stage_file **ret)
{
	char name[STAGE_NAME];
	struct stage_file *f;
	uint32_t number;
	int r;

	pthread_mutex_lock(&s->lock);
	number = s->next_file++;
	while (close_some(s))
		;
	pthread_mutex_unlock(&s->lock);

	f = new_file(is_slab, number);
	if (!f)
		return -ENOMEM;
	f->fd = openat(s->dirfd, stage_name(is_slab, number, name),
		       O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (f->fd < 0) {
		r = -errno;
		free_file(f);
		return r;
	}
	pthread_mutex_lock(&s->lock);
	r = insert(s, f);
	s->is_dir_dirty = true;
	if (r == 0)
		settle(s, f);
	pthread_mutex_unlock(&s->lock);
	if (r < 0) {
		unlinkat(s->dirfd, name, 0);
		free_file(f);
		return r;
	}
	*ret = f;
	return 0;
}

void stage_forget(struct staging *s, struct stage_file *f)
{
	const uint64_t *n = f->map.counts;

	s->used -= n[BLOCK_USED] + n[BLOCK_RELEASED] + n[BLOCK_CUT];
	s->waiting -= f->whole == BLOCK_USED ? n[BLOCK_RELEASED] + n[BLOCK_CUT]
					     : n[BLOCK_USED] + n[BLOCK_RELEASED] + n[BLOCK_CUT];
	if (s->slab == f)
		s->slab = NULL;
	list_remove(&f->dirty);
	list_remove(&f->idle);
	list_remove(&f->waiting);
	f->is_dirty = false;
	if (f->fd >= 0)
		s->open_count--;
	htab_remove(&s->files, &f->node);
	f->is_gone = true;
	if (f->pins == 0)
		free_file(f);
}

int stage_set_blocks(struct staging *s, struct stage_file *f, uint64_t first, uint64_t count,
		     enum block_state state)
{
	const uint64_t *n = f->map.counts;
	uint64_t used = n[BLOCK_USED] + n[BLOCK_RELEASED] + n[BLOCK_CUT];
	uint64_t waiting = n[BLOCK_RELEASED] + n[BLOCK_CUT];
	int r = blockmap_set(&f->map, first, count, state);

	s->used += n[BLOCK_USED] + n[BLOCK_RELEASED] + n[BLOCK_CUT] - used;
	s->waiting += n[BLOCK_RELEASED] + n[BLOCK_CUT] - waiting;
	return r;
}

void stage_wait(struct staging *s, struct stage_file *f)
{
	if (list_is_empty(&f->waiting))
		list_append(&s->freed, &f->waiting);
}

static int load_file(struct staging *s, const char *name)
{
	struct stage_file *f;
	uint32_t number;
	bool is_slab;
	struct stat st;
	int r;

	if (!parse_name(name, &is_slab, &number))
		return 0;
	if (fstatat(s->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	f = new_file(is_slab, number);
	if (!f)
		return -ENOMEM;
	f->size = (uint64_t)st.st_size;
	r = insert(s, f);
	if (r < 0) {
		free_file(f);
		return r;
	}
	/* The former process may have died before it synced. */
	stage_mark_dirty(s, f);
	s->next_file = MAX(s->next_file, number + 1);
	return 0;
}

int stage_load(struct staging *s)
{
	int fd = openat(s->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *e;
	int r = 0;
	DIR *d;

	if (fd < 0)
		return -errno;
	d = fdopendir(fd);
	if (!d) {
		r = -errno;
		close(fd);
		return r;
	}
	s->is_dir_dirty = true;
	while (r == 0 && (e = readdir(d)))
		r = load_file(s, e->d_name);
	closedir(d);
	return r;
}

static void free_listed(struct hnode *n, void *ctx)
{
	free_file(container_of(n, struct stage_file, node));
}

void stage_free_all(struct staging *s)
{
	htab_walk(&s->files, free_listed, NULL);
	htab_release(&s->files);
}
