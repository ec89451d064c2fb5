/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The machine, as far as mounts need it, and state directories.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/log.h"
#include "base/text.h"
#include "doctor.h"
#include "mount.h"

enum {
	FUSE_MAJOR = 10,
	FUSE_MINOR = 229,
	SMALL_FILE = 64 << 10,
	LOCKS_MAX = 16 << 20,
};

#define SPACE_FAIL (64 * MiB) /* mounts do not start with less */
#define SPACE_WARN (1 * GiB)

static void check_versions(struct doctor *d)
{
	struct utsname u;

	if (uname(&u) == 0)
		finding(d, VERDICT_OK, "versions", "pfs %s, %s %s, libfuse %s", PFS_VERSION,
			u.sysname, u.release, mount_libfuse_version());
}

static void check_device(struct doctor *d)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	struct stat st;

	if (fd >= 0 && (fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode) ||
			st.st_rdev != makedev(FUSE_MAJOR, FUSE_MINOR))) {
		finding(d, VERDICT_FAIL, "fuse",
			"/dev/fuse is something else; `mknod /dev/fuse c 10 229` makes it");
		close(fd);
	} else if (fd >= 0) {
		finding(d, VERDICT_OK, "fuse", "/dev/fuse can be used");
		close(fd);
	} else if (errno == ENOENT) {
		finding(d, VERDICT_FAIL, "fuse",
			"there is no /dev/fuse; `modprobe fuse` makes it, and in a container its host "
			"must let it in");
	} else if (errno == ENODEV || errno == ENXIO) {
		finding(d, VERDICT_FAIL, "fuse",
			"the kernel has no FUSE: `modprobe fuse` loads it, in a container on the host");
	} else {
		finding(d, VERDICT_FAIL, "fuse",
			"/dev/fuse cannot be opened: %s; the user needs rights to it, and in a container "
			"its host must let it in",
			strerror(errno));
	}
}

static bool is_executable(const char *name)
{
	_cleanup_free_ char *path = strdup(getenv("PATH") ?: "/usr/bin:/bin");
	char *rest = path, *dir;

	while (path && (dir = strsep(&rest, ":"))) {
		_cleanup_free_ char *file = strf("%s/%s", *dir ? dir : ".", name);

		if (file && access(file, X_OK) == 0)
			return true;
	}
	return false;
}

static bool others_are_allowed(void)
{
	_cleanup_buf_ struct buf b = { 0 };
	char *rest, *line;

	if (read_file(AT_FDCWD, "/etc/fuse.conf", SMALL_FILE, &b) < 0)
		return false;
	buf_put_u8(&b, 0);
	if (buf_failed(&b))
		return false;
	rest = (char *)b.data;
	while ((line = strsep(&rest, "\n"))) {
		line += strspn(line, " \t");
		if (strncmp(line, "user_allow_other", strlen("user_allow_other")) == 0)
			return true;
	}
	return false;
}

/* Root needs neither. */
static void check_user(struct doctor *d)
{
	if (geteuid() == 0)
		return;
	if (is_executable("fusermount3"))
		finding(d, VERDICT_OK, "user",
			"fusermount3 is there, with which any user can mount");
	else
		finding(d, VERDICT_FAIL, "user",
			"there is no fusermount3, which users other than root need to mount: install "
			"fuse3");
	if (!others_are_allowed())
		finding(d, VERDICT_OK, "user",
			"only who mounts can enter: allow_other needs `user_allow_other` in "
			"/etc/fuse.conf");
}

void doctor_machine(struct doctor *d)
{
	check_versions(d);
	check_device(d);
	check_user(d);
}

/* Whose lock it is, as the kernel tells: taking it for a moment could turn a mount away. */
static bool lock_holder(const char *dir, uint64_t *ret_pid)
{
	_cleanup_free_ char *path = strf("%s/lock", dir);
	_cleanup_buf_ struct buf b = { 0 };
	struct stat st;
	char *rest, *line;

	if (!path || stat(path, &st) < 0 || read_file(AT_FDCWD, "/proc/locks", LOCKS_MAX, &b) < 0)
		return false;
	buf_put_u8(&b, 0);
	if (buf_failed(&b))
		return false;
	rest = (char *)b.data;
	while ((line = strsep(&rest, "\n"))) {
		uint64_t pid, ino;
		unsigned maj, min;

		if (sscanf(line, "%*u: FLOCK ADVISORY WRITE %" SCNu64 " %x:%x:%" SCNu64, &pid, &maj,
			   &min, &ino) == 4 &&
		    ino == st.st_ino && maj == major(st.st_dev) && min == minor(st.st_dev)) {
			*ret_pid = pid;
			return true;
		}
	}
	return false;
}

static void check_filesystem(struct doctor *d, const char *path)
{
	struct statfs st;
	char free_text[24];
	uint64_t space;

	if (statfs(path, &st) < 0) {
		finding(d, VERDICT_FAIL, "state", "%s cannot be looked at: %s", path,
			strerror(errno));
		return;
	}
	switch ((uint32_t)st.f_type) {
	case NFS_SUPER_MAGIC:
	case SMB_SUPER_MAGIC:
	case SMB2_SUPER_MAGIC:
	case CIFS_SUPER_MAGIC:
	case FUSE_SUPER_MAGIC:
		finding(d, VERDICT_FAIL, "state",
			"%s is on a network filesystem, or one of its kind; state belongs on a local "
			"disk (-o state=DIR)",
			path);
		break;
	case TMPFS_MAGIC:
		finding(d, VERDICT_WARN, "state",
			"%s is in memory: what is uncommitted is lost when the machine stops",
			path);
		break;
	}
	space = (uint64_t)st.f_bavail * (uint64_t)st.f_bsize;
	format_size(space, free_text, sizeof(free_text));
	if (space < SPACE_FAIL)
		finding(d, VERDICT_FAIL, "state",
			"%s has %s left: commit and remove what is not needed, or writes will fail",
			path, free_text);
	else
		finding(d, space < SPACE_WARN ? VERDICT_WARN : VERDICT_OK, "state",
			"%s has %s left", path, free_text);
}

static int count_lines(const char *path, char *last, size_t size)
{
	_cleanup_free_ char *line = NULL;
	FILE *f = fopen(path, "re");
	size_t cap = 0;
	int n = 0;

	last[0] = '\0';
	while (f && getline(&line, &cap, f) > 0) {
		n++;
		line[strcspn(line, "\n")] = '\0';
		snprintf(last, size, "%s", line);
	}
	if (f)
		fclose(f);
	return n;
}

static void check_log(struct doctor *d, const char *dir)
{
	_cleanup_free_ char *path = strf("%s/log", dir);
	char last[400];
	int n = path ? count_lines(path, last, sizeof(last)) : 0;

	if (n > 0)
		finding(d, VERDICT_WARN, "log", "%s has %d line%s; the last is: %s", path, n,
			n == 1 ? "" : "s", last);
	else
		finding(d, VERDICT_OK, "log", "nothing is in the log of %s", dir);
}

void doctor_state(struct doctor *d, const char *path, bool must_exist)
{
	_cleanup_free_ char *probe = strf("%s/doctor.XXXXXX", path);
	uint64_t pid;
	int fd;

	if (access(path, F_OK) < 0 && errno == ENOENT) {
		finding(d, must_exist ? VERDICT_FAIL : VERDICT_OK, "state",
			must_exist ? "%s, the state directory, is gone"
				   : "%s is to be the state directory, and is not there yet",
			path);
		return;
	}
	fd = probe ? mkstemp(probe) : -1;
	if (fd < 0) {
		finding(d, errno == EACCES && !must_exist ? VERDICT_WARN : VERDICT_FAIL, "state",
			"%s, the state directory, cannot be written to: %s", path, strerror(errno));
		return;
	}
	unlink(probe);
	close(fd);
	check_filesystem(d, path);
	if (lock_holder(path, &pid))
		finding(d, VERDICT_OK, "state", "process %" PRIu64 " has it", pid);
	else if (must_exist)
		finding(d, VERDICT_FAIL, "state", "no process has %s: the daemon has ended", path);
	check_log(d, path);
}
