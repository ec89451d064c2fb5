/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the parts of the file backend share; for store/backend/file*.c alone. What the whole does is
 * told in file.c.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "backend/backend.h"
#include "base/htab.h"
#include "base/random.h"
#include "format/limits.h"

#define FILE_TMP "tmp" /* the directory that no key is in */

struct file_backend {
	struct backend base;
	char *path; /* owned; absolute: where the root was when it was opened */
	int root; /* owned */
	dev_t dev; /* of the root */
	ino_t ino;
	mode_t dir_mode, file_mode; /* of what is made */
	bool read_only;
	bool is_network; /* locks and liveness may end at this machine */
	atomic_bool is_gone; /* the path no longer leads to the root, and it was said */
	atomic_bool has_unsynced; /* a swap's name is there that may not last */

	pthread_mutex_t lock; /* never held across I/O */
	pthread_cond_t turn;
	bool is_swapping; /* guarded by lock: a thread of ours has or awaits the lock file */
	struct htab known_dirs; /* guarded by lock: those whose entries are durable */
};

/* An errno as a backend's error: nothing that means something else to its callers. ENOENT is -EIO:
 * whether an object is missing only who looked for it can tell. */
int file_error(int err);

/* -EIO when the path leads elsewhere than to what was opened: somebody moved or replaced it. */
int file_root_check(struct file_backend *f);

/* Opens or makes something in FILE_TMP, which is made if need be: a descriptor or -errno. */
int file_tmp_open(struct file_backend *f, const char *path, int flags);

/* What is ours, and by our umask or a death before its chmod() for fewer than @mode says, becomes
 * so. */
int file_share(int fd, mode_t mode);

/* A file that nobody sees yet, and that its writer holds a shared flock() of. */
struct temp {
	struct file_backend *f; /* borrowed */
	int fd; /* owned */
	char path[sizeof(FILE_TMP) +
		  ID128_HEX]; /* below the root; empty: it has another name now */
	uint64_t written, started; /* bytes; of those, sent on their way to the disk */
};

int temp_new(struct file_backend *f, struct temp *ret);
int temp_write(struct temp *t, struct span data, const struct deadline *dl);
int temp_sync(struct temp *t);

/* Gives it the name @key, whose directories must be there. With @replace whatever has that name
 * goes; without, -ESTALE when something has. The file must be durable, the name is not yet. */
int temp_place(struct temp *t, const char *key, bool replace);

/* Removes it, unless it was placed. Safe on a zeroed one. */
void temp_release(struct temp *t);
#define _cleanup_temp_ _cleanup_(temp_release)

/* Removes what dead writers left. Errors are not told: it will be tried again. */
void file_sweep(struct file_backend *f);

/* Makes the directories above @key, durably; those known to be there cost nothing. */
int file_dirs_ensure(struct file_backend *f, const char *key);

/* No directory is known to be there. */
void file_dirs_forget(struct file_backend *f);

/* Makes the name @key durable. */
int file_name_sync(struct file_backend *f, const char *key);

/* The lock that swaps are made under, against other threads and processes. */
int file_lock(struct file_backend *f, const struct deadline *dl, int *ret_fd);
void file_unlock(struct file_backend *f, int fd);

int file_list(struct backend *b, const char *prefix, const char *after, backend_list_fn fn,
	      void *ctx, const struct deadline *dl);

int file_has_others(struct backend *b);

int file_stamp(struct backend *b, const char *dir, uint64_t *ret);
