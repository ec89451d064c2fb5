/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pfs umount
 *
 * The daemon says its process id before the mount goes; its end is waited for through a descriptor
 * of the process, so that no other one can be meant.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
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

struct how {
	bool is_lazy, is_forced;
};

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

/* A descriptor of the daemon's process, or -1; how many runs go on. */
static int daemon_of(const struct mounted *x, uint64_t *ret_runs)
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
	*ret_runs = line ? field_number(line, "runs") : 0;
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

/* They would go on where nobody could end them. */
static int refuse_runs(const char *place, uint64_t runs)
{
	cli_error("%s: %" PRIu64 " %s there (`pfs runs --where 'status = running'`); "
		  "`pfs umount -f` ends %s as lost, and keeps what was written on a branch run-ID",
		  place, runs, runs == 1 ? "run goes on" : "runs go on", runs == 1 ? "it" : "them");
	return -EBUSY;
}

/* The daemon takes its mount away itself. */
static int end_daemon(const char *place, int fd)
{
	if (pidfd_send_signal(fd, SIGTERM, NULL, 0) == 0)
		return 0;
	cli_error("%s: its daemon cannot be ended: %s", place, strerror(errno));
	return -errno;
}

static int take_away(const char *place, const struct how *how, int daemon, uint64_t runs)
{
	if (how->is_forced && daemon >= 0)
		return end_daemon(place, daemon);
	if (runs > 0 && !how->is_lazy)
		return refuse_runs(place, runs);
	return unmount(place, how->is_lazy);
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
	static const struct option longs[] = { { "force", no_argument, NULL, 'f' },
					       { "lazy", no_argument, NULL, 'l' },
					       LONG_HELP,
					       LONG_END };
	_cleanup_mounts_ struct mounts m = { 0 };
	_cleanup_free_ char *place = NULL;
	_cleanup_close_ int daemon = -1;
	const struct mounted *x;
	struct how how = { 0 };
	uint64_t runs = 0;
	char **args;
	int r;

	while ((r = cli_option(self, argc, argv, "fhl", longs)) >= 0)
		*(r == 'f' ? &how.is_forced : &how.is_lazy) = true;
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
	if (how.is_forced || (!how.is_lazy && !is_elsewhere(&m, x)))
		daemon = daemon_of(x, &runs);
	if (take_away(place, &how, daemon, runs) < 0)
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
	.help = "Usage: pfs umount [-f | -l] DIR\n"
		"\n"
		"Unmounts what is mounted at DIR, and returns when its daemon has ended.\n"
		"Uncommitted changes stay in its state directory, and are there again with the\n"
		"next mount. What a daemon that died has left mounted is taken away as well.\n"
		"While runs go on there it is refused.\n"
		"\n"
		"  -f, --force  end the daemon, whoever uses it: runs are lost, and what they\n"
		"               have written is kept on branches run-ID\n"
		"  -l, --lazy   even if it is in use: it ends when the last program has left it\n"
		"\n"
		"Example:\n"
		"  pfs umount /pfs\n",
	.run = run,
};
