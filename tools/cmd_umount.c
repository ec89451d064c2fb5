/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pfs umount
 *
 * The daemon says its process id before the mount goes; its end is waited for through a descriptor
 * of the process, so that no other one can be meant.
 */
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/log.h"
#include "client.h"
#include "commands.h"
#include "mounts.h"
#include "present.h"

enum {
	END_MS = 5 * 60 * 1000, /* for a daemon to end: it may have much to sync */
};

/* Is the same filesystem mounted somewhere else as well? */
static bool is_elsewhere(const struct mounts *m, const struct mounted *x)
{
	for (size_t i = 0; i < m->count; i++)
		if (&m->items[i] != x && m->items[i].dev == x->dev)
			return true;
	return false;
}

/* A descriptor of the daemon's process, or -1. */
static int daemon_of(const struct mounted *x)
{
	_cleanup_target_ struct target t = { 0 };
	_cleanup_client_ struct client *c = NULL;
	json_t *line = NULL;
	struct stat st;
	int fd = -1;

	/* A dead one cannot be asked, and need not be waited for. */
	if (stat(x->point, &st) < 0)
		return -1;
	t.mount = strdup(x->point);
	if (t.mount && client_open(&t, CLIENT_READS, &c) == 0 &&
	    client_ask_one(c, request_new("info"), &line) == 0 && line)
		fd = pidfd_open((pid_t)field_number(line, "pid"), 0);
	json_decref(line);
	return fd;
}

/* As an ordinary user. */
static int unmount_by_helper(const char *place, bool is_lazy)
{
	extern char **environ;
	const char *argv[] = { "fusermount3", "-u", is_lazy ? "-z" : "--", place, NULL };
	pid_t pid;
	int status;
	int r = posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)argv, environ);

	if (r != 0) {
		cli_error("fusermount3 cannot be run: %s", strerror(r));
		return -r;
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

static int unmount(const char *place, bool is_lazy)
{
	if (geteuid() != 0)
		return unmount_by_helper(place, is_lazy);
	if (umount2(place, UMOUNT_NOFOLLOW | (is_lazy ? MNT_DETACH : 0)) == 0)
		return 0;
	if (errno == EBUSY)
		cli_error("%s is in use: some program has a file or its current directory there; "
			  "`pfs umount -l` detaches it all the same",
			  place);
	else
		cli_error("%s: %s", place, strerror(errno));
	return -errno;
}

/* It goes on where the mount is in another mount namespace as well, which cannot be seen from here.
 */
static int wait_for_end(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int r;

	while ((r = poll(&p, 1, END_MS)) < 0 && errno == EINTR)
		;
	return r > 0 ? 0 : -ETIME;
}

static int run(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = { { "lazy", no_argument, NULL, 'l' },
					       LONG_HELP,
					       LONG_END };
	_cleanup_mounts_ struct mounts m = { 0 };
	_cleanup_free_ char *place = NULL;
	_cleanup_close_ int daemon = -1;
	const struct mounted *x;
	bool is_lazy = false;
	char **args;
	int r;

	while ((r = cli_option(self, argc, argv, "hl", longs)) >= 0)
		if (r == 'l')
			is_lazy = true;
	cli_arguments(self, argc, argv, 1, 1, &args);
	place = path_of_place(args[0]);
	r = mounts_load(&m);
	if (r < 0) {
		cli_error("it cannot be told what is mounted: %s", errno_text(r));
		return EXIT_FAILED;
	}
	x = place ? mounts_at(&m, place) : NULL;
	if (!x || !mounted_is_pfs(x)) {
		cli_error("no pfs is mounted at %s", args[0]);
		return EXIT_FAILED;
	}
	if (!is_lazy && !is_elsewhere(&m, x))
		daemon = daemon_of(x);
	if (unmount(place, is_lazy) < 0)
		return EXIT_FAILED;
	if (daemon >= 0 && wait_for_end(daemon) < 0) {
		cli_error("%s is unmounted, but its daemon goes on: is it mounted in a container?",
			  place);
		return EXIT_FAILED;
	}
	return EXIT_DONE;
}

const struct command cmd_umount = {
	.name = "umount",
	.summary = "unmount a store",
	.help = "Usage: pfs umount [-l] DIR\n"
		"\n"
		"Unmounts what is mounted at DIR, and returns when its daemon has ended. Uncommitted\n"
		"changes stay in its state directory, and are there again with the next mount. What a\n"
		"daemon that died has left mounted is taken away as well.\n"
		"\n"
		"  -l, --lazy   even if it is in use: it ends when the last program has left it\n"
		"\n"
		"Example:\n"
		"  pfs umount /pfs\n",
	.run = run,
};
