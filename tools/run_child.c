/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Starting a command in a view (run_child.h).
 *
 * Every place where the mount, or a part of it, is to be seen gets the view, or that part of it.
 * The namespace is a slave of the caller's: what is mounted elsewhere later is seen, and nothing
 * that is mounted in it is seen outside.
 */
#include "run_child.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/text.h"
#include "cli.h"
#include "mounts.h"
#include "run_relay.h"

enum {
	FD_PATH = 40, /* "/proc/self/fd/N" */
};

/* Told first where there can be no namespace; no exit code begins with it. */
#define NO_VIEW "-"

/* What the child tells before it becomes the command; nothing when it has. */
struct failure {
	int exit_code;
	int error;
	char what[200]; /* what cannot be done; "": run the command */
};

static _printf_(4, 5) void fail(struct failure *f, int exit_code, int error, const char *fmt, ...)
{
	va_list ap;

	*f = (struct failure){ .exit_code = exit_code, .error = error };
	va_start(ap, fmt);
	vsnprintf(f->what, sizeof(f->what), fmt, ap);
	va_end(ap);
}

static int write_text(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 ? -errno : write_all(fd, text, strlen(text));
}

/* A user of a namespace of his own is who he was. */
static int map_self(uid_t uid, gid_t gid)
{
	char text[64];
	int r = write_text("/proc/self/setgroups", "deny");

	if (r < 0 && r != -ENOENT)
		return r;
	snprintf(text, sizeof(text), "%u %u 1", uid, uid);
	r = write_text("/proc/self/uid_map", text);
	if (r < 0)
		return r;
	snprintf(text, sizeof(text), "%u %u 1", gid, gid);
	return write_text("/proc/self/gid_map", text);
}

static int enter_namespace(void)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	int r;

	if (unshare(CLONE_NEWNS) < 0) {
		if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
			return -errno;
		r = map_self(uid, gid);
		if (r < 0)
			return r;
	}
	return mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ? -errno : 0;
}

/* Binds @root, a descriptor of the view, or what is at @below in it, over @point. */
static int bind_part(int root, const char *below, const char *point)
{
	char from[FD_PATH];
	_cleanup_close_ int fd = -1;

	if (*below) {
		fd = openat(root, below, O_PATH | O_CLOEXEC);
		if (fd < 0)
			return -errno;
	}
	snprintf(from, sizeof(from), "/proc/self/fd/%d", fd >= 0 ? fd : root);
	return mount(from, point, NULL, MS_BIND, NULL) < 0 ? -errno : 0;
}

static bool is_empty_dir(const char *path)
{
	DIR *d = opendir(path);
	const struct dirent *e;
	bool is_empty = d;

	while (is_empty && (e = readdir(d)))
		is_empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
	if (d)
		closedir(d);
	return is_empty;
}

/* Covers another mount of ours, or nothing. */
static void bind_place(const struct child_options *o, const struct mounts *m, int root)
{
	const struct mounted *x = mounts_at(m, o->place);

	if ((x ? mounted_is_pfs(x) : is_empty_dir(o->place)) && bind_part(root, "", o->place) == 0)
		return;
	cli_note("pfs: the mount was at %s then: what the command names there is not seen now",
		 o->place);
}

/*
 * @m is what was mounted before: ids differ in the new namespace, places do not. A place that
 * something else covers is left, and one that lies in the mount itself goes with it.
 */
static int bind_view(const struct child_options *o, const struct mounts *m)
{
	_cleanup_close_ int root = open(o->view, O_PATH | O_DIRECTORY | O_CLOEXEC);
	const struct mounted *whole = mounts_at(m, o->mount);
	size_t len;
	int r;

	if (root < 0)
		return -errno;
	r = bind_part(root, "", o->mount);
	if (r == 0 && o->place && strcmp(o->place, o->mount) != 0)
		bind_place(o, m, root);
	if (r < 0 || !whole)
		return r;
	len = strcmp(whole->root, "/") == 0 ? 0 : strlen(whole->root);
	for (size_t i = 0; i < m->count; i++) {
		const struct mounted *x = &m->items[i];

		if (x->dev != whole->dev || x == whole || mounts_at(m, x->point) != x ||
		    strcmp(x->point, o->mount) == 0 || strncmp(x->root, whole->root, len) != 0 ||
		    mounted_realm_len(x->root) != len)
			continue;
		/* Another place of the same is a convenience: what is not in the view is left. */
		bind_part(root, x->root + len + (x->root[len] == '/'), x->point);
	}
	return 0;
}

/* Is the current directory in the mount? */
static bool cwd_is_inside(const struct child_options *o)
{
	struct stat here, root;

	return stat(".", &here) == 0 && stat(o->mount, &root) == 0 && here.st_dev == root.st_dev;
}

/* Without a namespace: what $PFS_ROOT is for. */
static int use_root(const struct child_options *o, const char *cwd, int error)
{
	size_t len = strlen(o->mount);
	bool is_below = cwd && strncmp(cwd, o->mount, len) == 0 && (!cwd[len] || cwd[len] == '/');
	_cleanup_free_ char *dir = strf("%s%s", o->view, is_below ? cwd + len : "");

	if (!dir)
		return -ENOMEM;
	if (!getenv("PFS_ROOT"))
		cli_note("pfs: this system does not let the command have a mount namespace (%s): "
			 "recorded, and kept apart until its end, is only what it does below "
			 "$PFS_ROOT, not below %s",
			 /* What "no space" means of namespaces. */
			 error == ENOSPC ? "no more are allowed" : strerror(error), o->mount);
	if (setenv("PFS_ROOT", o->view, 1) < 0)
		return -errno;
	if (!cwd)
		return 0;
	return chdir(dir) < 0 || setenv("PWD", dir, 1) < 0 ? -errno : 0;
}

/* 1: in a namespace of its own; 0: without one; -errno, and @f says what cannot be done. */
static int enter_view(const struct child_options *o, struct failure *f)
{
	_cleanup_mounts_ struct mounts m = { 0 };
	_cleanup_free_ char *cwd = NULL;
	int r = mounts_load(&m);

	if (r < 0) {
		fail(f, EXIT_PFS_FAILED, -r, "tell what is mounted");
		return r;
	}
	if (o->cwd || cwd_is_inside(o)) {
		cwd = o->cwd ? strdup(o->cwd) : getcwd(NULL, 0);
		r = cwd ? 0 : -errno;
	}
	if (r < 0) {
		fail(f, EXIT_PFS_FAILED, -r, "tell the current directory");
		return r;
	}
	r = enter_namespace();
	if (r == 0)
		r = bind_view(o, &m);
	if (r < 0) {
		r = use_root(o, cwd, -r);
	} else {
		unsetenv("PFS_ROOT");
		r = cwd && chdir(cwd) < 0 ? -errno : 1;
		if (o->cwd && setenv("PWD", cwd, 1) < 0)
			r = -errno;
	}
	if (r < 0)
		fail(f, EXIT_PFS_FAILED, -r, "enter the run's view of %s", cwd ?: o->mount);
	return r;
}

/* Returns only if it fails. */
static void become_command(const struct child_options *o, pid_t parent, int told, struct failure *f)
{
	int r = enter_view(o, f);

	if (r < 0)
		return;
	if (r == 0 && write(told, NO_VIEW, 1) != 1) {
		fail(f, EXIT_PFS_FAILED, errno, "tell that it has no namespace");
		return;
	}
	r = relay_enter(o->relay, r);
	if (r < 0) {
		fail(f, EXIT_PFS_FAILED, -r, "pass its output on");
		return;
	}
	/* Nobody would see what it does. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		raise(SIGKILL);
	sigaction(SIGCHLD, o->on_child, NULL);
	sigprocmask(SIG_SETMASK, o->mask, NULL);
	execvp(o->argv[0], o->argv);
	r = errno;
	fail(f, r == ENOENT || r == ENOTDIR ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE, r, "%s", "");
}

static int say(const struct child_options *o, const struct failure *f)
{
	if (*f->what)
		cli_error("cannot %s: %s", f->what, strerror(f->error));
	else if (f->error == ENOENT && !strchr(o->argv[0], '/'))
		cli_error("%s: command not found", o->argv[0]);
	else
		cli_error("%s: %s", o->argv[0], strerror(f->error));
	return f->exit_code;
}

/* What the child tells: a failure, or fewer bytes. */
static ssize_t hear(int fd, struct failure *f, bool *ret_has_view)
{
	char text[1 + sizeof(*f)];
	size_t len = 0;
	ssize_t n;

	do {
		n = read(fd, text + len, sizeof(text) - len);
		len += (size_t)MAX(n, (ssize_t)0);
	} while (n > 0 || (n < 0 && errno == EINTR));
	*ret_has_view = len == 0 || text[0] != NO_VIEW[0];
	len -= !*ret_has_view;
	memcpy(f, text + !*ret_has_view, MIN(len, sizeof(*f)));
	return (ssize_t)len;
}

int run_child(const struct child_options *o, pid_t *ret, bool *ret_has_view)
{
	struct failure f;
	pid_t parent = getpid(), pid;
	int told[2];
	ssize_t n;

	if (pipe2(told, O_CLOEXEC) < 0) {
		cli_error("a process cannot be made: %s", strerror(errno));
		return EXIT_PFS_FAILED;
	}
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		become_command(o, parent, told[1], &f);
		n = write(told[1], &f, sizeof(f));
		_exit(n == sizeof(f) ? f.exit_code : EXIT_PFS_FAILED);
	}
	close(told[1]);
	if (pid < 0)
		cli_error("a process cannot be made: %s", strerror(errno));
	n = pid < 0 ? 0 : hear(told[0], &f, ret_has_view);
	close(told[0]);
	if (pid < 0)
		return EXIT_PFS_FAILED;
	*ret = pid;
	return n == sizeof(f) ? say(o, &f) : 0;
}
