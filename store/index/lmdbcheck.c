/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * lmdb_check() of index.h: a damaged environment is found before anyone uses it.
 *
 * It is done in a child process, which LMDB or a page that cannot be read may kill: that is an
 * answer too. The child opens a reading transaction with LMDB, so that other processes leave its
 * snapshot's pages alone, and then looks at the pages itself (lmdbpages.h): LMDB's own walk would
 * show that an environment can be read, and not that it can be written.
 *
 * Threads: from any. The child of a process with other threads uses malloc, as glibc allows.
 */
#include <fcntl.h>
#include <lmdb.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/log.h"
#include "index/index.h"
#include "index/lmdbpages.h"

enum {
	TRIES = 64
}; /* snapshots, while writers of other processes are quick */

/* LMDB believes the meta pages enough to crash: they are looked at before it sees them. *@ret_size:
 * the file's, asked for after them, since it grows before they say so. */
static int check_metas(int fd, uint64_t *ret_size)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct stat st;
	ssize_t n;

	if (buf_reserve(&b, LMDB_METAS) < 0)
		return -ENOMEM;
	n = pread_upto(fd, b.data, LMDB_METAS, 0);
	if (n < 0)
		return (int)n;
	if (fstat(fd, &st) < 0)
		return -errno;
	*ret_size = (uint64_t)st.st_size;
	return lmdb_metas_check(span_of(b.data, (size_t)n), *ret_size);
}

static int check_pages(int fd, uint64_t txnid)
{
	struct stat st;
	void *map;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	r = lmdb_pages_check(span_of(map, (size_t)st.st_size), txnid);
	munmap(map, (size_t)st.st_size);
	return r;
}

static int check_snapshot(MDB_env *env, int fd)
{
	MDB_txn *txn;
	int r = -EAGAIN;

	for (unsigned i = 0; r == -EAGAIN && i < TRIES; i++) {
		r = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
		if (r == MDB_MAP_RESIZED) {
			r = mdb_env_set_mapsize(env, 0);
			if (r == 0)
				r = -EAGAIN;
			continue;
		}
		if (r)
			return r > 0 ? -r : -EBADMSG;
		r = check_pages(fd, mdb_txn_id(txn));
		mdb_txn_abort(txn);
	}
	return r;
}

static int check(int dirfd, int fd)
{
	char path[64];
	uint64_t size = 0;
	MDB_env *env;
	int r;

	r = check_metas(fd, &size);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", dirfd);
	r = mdb_env_create(&env);
	if (r == 0)
		r = mdb_env_set_mapsize(env, size);
	if (r == 0)
		r = mdb_env_open(env, path, MDB_RDONLY | MDB_NOTLS, 0600);
	if (r)
		return r > 0 ? -r : -EBADMSG;
	r = check_snapshot(env, fd);
	mdb_env_close(env);
	return r;
}

/* Without a trace of what may happen to it. */
static void become_child(pid_t parent)
{
	static const int fatal[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(EXIT_FAILURE);
	prctl(PR_SET_DUMPABLE, 0);
	for (size_t i = 0; i < ARRAY_SIZE(fatal); i++)
		signal(fatal[i], SIG_DFL);
}

/* What the child came to. */
static int child_result(int code)
{
	switch (code) {
	case 0:
	case ENOMEM:
	case EIO:
	case EACCES:
	case EAGAIN:
		return -code;
	default:
		return -EBADMSG;
	}
}

/* Runs check() in a child; *@code, which is shared with it, is what it came to. */
static int run_child(int dirfd, int fd, volatile int *code)
{
	pid_t self = getpid(), pid;
	int status = 0;

	*code = EBADMSG; /* if it does not live to say more */
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		become_child(self);
		*code = -check(dirfd, fd);
		_exit(0);
	}
	/* ECHILD: it has ended; where SIGCHLD is ignored no status is left. */
	while (waitpid(pid, &status, 0) < 0 && errno != ECHILD)
		if (errno != EINTR)
			return -errno;
	/* By the kernel, for want of memory: that says nothing of the file. */
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return -ENOMEM;
	return child_result(*code);
}

int lmdb_check(int dirfd)
{
	_cleanup_close_ int fd = openat(dirfd, "data.mdb", O_RDONLY | O_CLOEXEC);
	struct stat st;
	int *code, r;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size == 0)
		return -ENOENT;
	code = mmap(NULL, sizeof(*code), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (code == MAP_FAILED)
		return -errno;
	r = run_child(dirfd, fd, code);
	munmap(code, sizeof(*code));
	return r;
}
