/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The guardian of guardian.h. It holds one descriptor: the connection's `abort` file of fusectl,
 * opened while the connection is alive, so that it can never end another one.
 */
#include "guardian.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/log.h"

/* The root of a fusectl filesystem that is mounted nowhere. */
static int mount_control(void)
{
	_cleanup_close_ int fs = fsopen("fusectl", FSOPEN_CLOEXEC);
	int fd;

	if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	fd = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

static int open_abort(const char *mount_point)
{
	_cleanup_close_ int control = -1;
	struct statx st;
	char name[64];
	int fd;

	/* What the kernel knows already: nothing is asked of ourselves. */
	if (statx(AT_FDCWD, mount_point, AT_STATX_DONT_SYNC, 0, &st) < 0)
		return -errno;
	snprintf(name, sizeof(name), "/sys/fs/fuse/connections/%u/abort", st.stx_dev_minor);
	fd = open(name, O_WRONLY | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	control = mount_control();
	if (control < 0)
		return control;
	snprintf(name, sizeof(name), "%u/abort", st.stx_dev_minor);
	fd = openat(control, name, O_WRONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Of a process with threads: only what is safe in a signal handler may be called. */
static _Noreturn void guard(int fd, pid_t daemon)
{
	sigset_t wanted;
	int sig;

	setsid();
	sigemptyset(&wanted);
	sigaddset(&wanted, SIGUSR1);
	prctl(PR_SET_NAME, "pfs-guardian");
	if (fd > 0)
		close_range(0, (unsigned)fd - 1, 0);
	close_range((unsigned)fd + 1, UINT_MAX, 0);
	/* A filesystem that it stayed on could not be unmounted. */
	if (chdir("/") < 0)
		_exit(EXIT_FAILURE);
	prctl(PR_SET_PDEATHSIG, SIGUSR1);
	if (getppid() == daemon)
		sigwait(&wanted, &sig);
	_exit(write(fd, "1", 1) == 1 ? EXIT_SUCCESS : EXIT_FAILURE);
}

pid_t guardian_start(const char *mount_point)
{
	_cleanup_close_ int fd = open_abort(mount_point);
	pid_t daemon = getpid(), child;
	sigset_t all, before;

	if (fd < 0) {
		log_debug("%s: nobody guards the connection: %s", mount_point, strerror(-fd));
		return fd;
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	child = fork();
	if (child == 0)
		guard(fd, daemon);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return child < 0 ? -errno : child;
}

void guardian_stop(pid_t guardian)
{
	if (guardian < 1)
		return;
	kill(guardian, SIGKILL);
	waitpid(guardian, NULL, 0);
}
