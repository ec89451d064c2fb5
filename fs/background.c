/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Daemons.
 */
#include "background.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/log.h"
#include "base/text.h"

enum {
	LOG_MAX = 1 << 20, /* bytes; a log that is longer is begun anew, and the former one kept */
};

static char *_Atomic log_now; /* where output goes; NULL: where the command's went */

/* What the child says; it has died if it says nothing. */
static int wait_for(pid_t child, int fd)
{
	int result;
	ssize_t n;

	do
		n = read(fd, &result, sizeof(result));
	while (n < 0 && errno == EINTR);
	if (n == sizeof(result))
		return result < 0 ? result : 1;
	waitpid(child, NULL, WNOHANG);
	return log_fail(-EIO, "the mount's process has died");
}

int background_start(int *ret_fd)
{
	pid_t parent = getpid(), child;
	int fds[2], r;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	child = fork();
	if (child < 0) {
		r = -errno;
		close(fds[0]);
		close(fds[1]);
		return r;
	}
	if (child > 0) {
		close(fds[1]);
		r = wait_for(child, fds[0]);
		close(fds[0]);
		return r;
	}
	close(fds[0]);
	setsid();
	/* Who interrupts the command does not want the mount any more. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(EXIT_FAILURE);
	*ret_fd = fds[1];
	return 0;
}

static int open_log(const char *path)
{
	_cleanup_free_ char *former = strf("%s.old", path);
	struct stat st;

	if (former && stat(path, &st) == 0 && st.st_size > LOG_MAX && rename(path, former) < 0)
		log_debug("%s cannot be renamed", path);
	return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void redirect(const char *log_path)
{
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	_cleanup_close_ int out = open_log(log_path);

	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(out >= 0 ? out : null, STDERR_FILENO);
	}
	if (out >= 0)
		log_now = strdup(log_path);
	if (chdir("/") < 0)
		log_debug("the current directory cannot be left");
}

void background_keep_log(void)
{
	_cleanup_close_ int out = -1;
	struct stat st;

	if (!log_now || fstat(STDERR_FILENO, &st) < 0 || st.st_size <= LOG_MAX)
		return;
	out = open_log(log_now);
	if (out >= 0)
		dup2(out, STDERR_FILENO);
}

void background_ready(int fd, int result, const char *log_path)
{
	if (result == 0)
		redirect(log_path);
	prctl(PR_SET_PDEATHSIG, 0);
	if (write_all(fd, &result, sizeof(result)) < 0)
		log_debug("nobody waits for the mount any more");
	close(fd);
}

void background_notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = -1;
	size_t len;

	if (!path || (path[0] != '/' && path[0] != '@'))
		return;
	len = strlen(path);
	if (len >= sizeof(addr.sun_path))
		return;
	memcpy(addr.sun_path, path, len);
	/* An abstract address. */
	if (path[0] == '@')
		addr.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&addr,
		   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
		log_warning("the service manager cannot be told `%s`", state);
}
