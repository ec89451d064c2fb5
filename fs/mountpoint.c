/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Mount points.
 */
#include "mountpoint.h"

#include <dirent.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/log.h"
#include "base/text.h"

enum {
	DETACH_MAX = 8, /* dead mounts on top of one another */
	READ_AHEAD_KB = 1024,
};

/* What ordinary users unmount with. */
static int run_fusermount(const char *mount_point)
{
	char name[] = "fusermount3", options[] = "-uzq", dashes[] = "--";
	char *argv[] = { name, options, dashes, (char *)mount_point, NULL };
	extern char **environ;
	int status, r;
	pid_t pid;

	r = posix_spawnp(&pid, name, NULL, NULL, argv, environ);
	if (r != 0)
		return -r;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

int mountpoint_detach(const struct mount_options *o)
{
	if (geteuid() != 0)
		return run_fusermount(o->mount_point);
	return umount2(o->mount_point, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 ? -errno : 0;
}

/* Asked of the filesystem itself: the kernel may still know attributes of a dead one. */
static bool is_dead(const char *path)
{
	struct statx st;

	return statx(AT_FDCWD, path, AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &st) < 0 &&
	       errno == ENOTCONN;
}

static int detach_dead(const struct mount_options *o)
{
	for (unsigned i = 0; i < DETACH_MAX; i++) {
		int r;

		if (!is_dead(o->mount_point))
			return 0;
		r = mountpoint_detach(o);
		if (r < 0)
			return log_errno(r, "%s: the dead mount there cannot be taken away",
					 o->mount_point);
	}
	return 0;
}

static bool is_empty(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	bool is = true;

	if (!d)
		return true;
	while (is && (e = readdir(d)))
		is = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
	closedir(d);
	return is;
}

int mountpoint_check(const struct mount_options *o)
{
	const char *path = o->mount_point;
	struct statx st;
	int r = detach_dead(o);

	if (r < 0)
		return r;
	if (statx(AT_FDCWD, path, 0, STATX_TYPE, &st) < 0)
		return errno == ENOENT ? log_fail(-ENOENT, "%s: no such directory", path)
				       : log_errno(-errno, "%s", path);
	if (!S_ISDIR(st.stx_mode))
		return log_fail(-ENOTDIR, "%s is not a directory", path);
	if (st.stx_attributes & STATX_ATTR_MOUNT_ROOT)
		return log_fail(-EBUSY, "%s: something is mounted there already", path);
	if (!o->allow_nonempty && !is_empty(path))
		return log_fail(-ENOTEMPTY, "%s is not empty (mount all the same with -o nonempty)",
				path);
	return 0;
}

int mountpoint_mount(const struct mount_options *o, const char *source)
{
	_cleanup_close_ int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	unsigned long flags = (o->allow_suid ? 0 : MS_NOSUID) | (o->allow_dev ? 0 : MS_NODEV) |
			      (o->no_exec ? MS_NOEXEC : 0) | (o->read_only ? MS_RDONLY : 0);
	char data[128];

	if (fd < 0)
		return log_errno(-errno, "/dev/fuse cannot be opened");
	snprintf(data, sizeof(data),
		 "fd=%d,rootmode=40000,user_id=%u,group_id=%u,default_permissions%s", fd, getuid(),
		 getgid(), o->allow_other ? ",allow_other" : "");
	if (mount(source, o->mount_point, "fuse.pfs", flags, data) < 0)
		return log_errno(-errno, "mounting at %s", o->mount_point);
	return TAKE_FD(fd);
}

char *mountpoint_libfuse_options(const struct mount_options *o, const char *source)
{
	_cleanup_free_ char *escaped = malloc(2 * strlen(source) + 1);
	char *p = escaped;

	if (!escaped)
		return NULL;
	for (const char *s = source; *s; s++) {
		if (*s == ',' || *s == '\\')
			*p++ = '\\';
		*p++ = *s;
	}
	*p = '\0';
	return strf("fsname=%s,subtype=pfs,default_permissions%s%s%s", escaped,
		    o->allow_other ? ",allow_other" : "", o->read_only ? ",ro" : "",
		    o->no_exec ? ",noexec" : "");
}

dev_t mountpoint_dev(const struct mount_options *o)
{
	struct statx st;

	/* What the kernel knows already: nothing is asked of ourselves. */
	if (statx(AT_FDCWD, o->mount_point, AT_STATX_DONT_SYNC, 0, &st) < 0)
		return 0;
	return makedev(st.stx_dev_major, st.stx_dev_minor);
}

void mountpoint_tune(const struct mount_options *o)
{
	dev_t dev = mountpoint_dev(o);
	char path[64], text[16];
	int fd, n;

	snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", major(dev), minor(dev));
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	n = snprintf(text, sizeof(text), "%d", READ_AHEAD_KB);
	if (write(fd, text, (size_t)n) < 0)
		log_debug("%s cannot be written: large files are read more slowly", path);
	close(fd);
}
