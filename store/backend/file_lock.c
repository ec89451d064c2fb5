/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The lock that the file backend swaps under: `tmp/lock`, by flock(), which ends with its holder.
 *
 *	threads of a process queue for is_swapping --> the one that has it polls the lock file
 *
 * flock() cannot wait until a moment, so the file is polled; within a process threads take turns
 * by a condition instead, and one at most polls. The lock is held for two small system calls.
 */
#include <fcntl.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "backend/file.h"
#include "base/fdio.h"
#include "base/thread.h"

enum {
	LOOK_MS = 10, /* how soon a caller that has given up is noticed */
	POLL_MIN_US = 20,
	POLL_MAX_US = 1000,
};

static int turn_take(struct file_backend *f, const struct deadline *dl)
{
	int r;

	WITH_LOCK(&f->lock);
	while (f->is_swapping) {
		r = deadline_check(dl);
		if (r < 0)
			return r;
		cond_wait_until(&f->turn, &f->lock, dl, LOOK_MS);
	}
	f->is_swapping = true;
	return 0;
}

static void turn_end(struct file_backend *f)
{
	WITH_LOCK(&f->lock);
	f->is_swapping = false;
	pthread_cond_signal(&f->turn);
}

/* A while between half of @us and all of it, so that two that wait do not keep step. */
static void pause_for(unsigned us)
{
	unsigned part = us / 2 + (unsigned)(random_u64() % (us / 2));
	struct timespec t = { .tv_nsec = (long)part * 1000 };

	nanosleep(&t, NULL);
}

static int lock_wait(struct file_backend *f, int fd, const struct deadline *dl)
{
	for (unsigned us = POLL_MIN_US;; us = MIN(2 * us, (unsigned)POLL_MAX_US)) {
		int r;

		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno == EINTR)
			continue;
		/* A network filesystem without locks has been promised a single writer. */
		if (errno != EWOULDBLOCK)
			return f->is_network ? 0 : file_error(errno);
		r = deadline_check(dl);
		if (r < 0)
			return r;
		pause_for(us);
	}
}

static int lock_file(struct file_backend *f, const struct deadline *dl, int *ret_fd)
{
	for (;;) {
		_cleanup_close_ int fd = file_tmp_open(f, FILE_TMP "/lock", O_RDONLY);
		struct stat st;
		int r;

		if (fd < 0)
			return file_error(-fd);
		r = lock_wait(f, fd, dl);
		if (r == 0 && fstat(fd, &st) < 0)
			r = file_error(errno);
		if (r == 0)
			r = file_share(fd, f->file_mode);
		if (r < 0)
			return r;
		if (st.st_nlink > 0) {
			*ret_fd = TAKE_FD(fd);
			return 0;
		}
		/* Somebody emptied tmp/ meanwhile: what we hold keeps nobody out. */
	}
}

int file_lock(struct file_backend *f, const struct deadline *dl, int *ret_fd)
{
	int r = turn_take(f, dl);

	if (r < 0)
		return r;
	r = lock_file(f, dl, ret_fd);
	if (r < 0)
		turn_end(f);
	return r;
}

void file_unlock(struct file_backend *f, int fd)
{
	close(fd);
	turn_end(f);
}
