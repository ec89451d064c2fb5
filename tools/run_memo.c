/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Telling what surrounds a command (run_memo.h).
 */
#include "run_memo.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/text.h"
#include "cli.h"
#include "record/json_bytes.h"
#include "run_digest.h"
#include "run_relay.h"

enum {
	FILES_MAX = 100, /* arguments that are looked at */
	GROUPS_MAX = 1024,
};

static json_t *refuse(const char *why)
{
	cli_note("pfs: the command is run, and cannot be repeated by --memo: %s", why);
	return NULL;
}

static bool is_null_device(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3);
}

static bool replace_stdin(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	bool is_done = fd >= 0 && dup2(fd, STDIN_FILENO) >= 0;

	if (fd >= 0)
		close(fd);
	return is_done;
}

static json_t *json_stdin(struct memo_input *in)
{
	struct stat *st = &in->was;
	char hex[DIGEST_HEX];

	if (fstat(STDIN_FILENO, st) < 0)
		return refuse("its stdin is closed");
	if (isatty(STDIN_FILENO) && !replace_stdin("/dev/null"))
		return refuse("there is no /dev/null");
	if (fstat(STDIN_FILENO, st) == 0 && is_null_device(st))
		return json_string("null");
	if (!S_ISREG(st->st_mode))
		return refuse("its stdin is no file, so nobody knows what comes");
	if (lseek(STDIN_FILENO, 0, SEEK_CUR) != 0)
		return refuse("its stdin has been read from already");
	if (!replace_stdin("/proc/self/fd/0") || digest_of_file("/proc/self/fd/0", hex) < 0)
		return refuse("its stdin cannot be opened");
	in->is_file = true;
	return json_string(hex);
}

static json_t *json_stream(int fd)
{
	struct winsize size = { 0 };
	struct stat st;
	char text[64];

	if (fstat(fd, &st) < 0)
		return refuse("its output is closed");
	if (isatty(fd)) {
		ioctl(fd, TIOCGWINSZ, &size);
		snprintf(text, sizeof(text), "terminal %ux%u", size.ws_col, size.ws_row);
		return json_string(text);
	}
	if (is_null_device(&st))
		return json_string("null");
	if (S_ISREG(st.st_mode) || S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode))
		return json_string("stream");
	return refuse("its output goes to a device");
}

static json_t *json_groups(void)
{
	gid_t groups[GROUPS_MAX];
	int n = getgroups(GROUPS_MAX, groups);
	json_t *all = json_array();

	for (int i = 0; i < n; i++)
		json_array_append_new(all, json_integer(groups[i]));
	return all;
}

/* By content, those that no run would be seen to read. */
static json_t *json_files(const struct target *mount, char *const *argv)
{
	json_t *all = json_array();
	struct stat root, st;

	if (stat(mount->mount, &root) < 0)
		return all;
	for (int i = 0; argv[i] && i < FILES_MAX; i++) {
		char hex[DIGEST_HEX];

		if (stat(argv[i], &st) < 0 || !S_ISREG(st.st_mode) || st.st_dev == root.st_dev ||
		    digest_of_file(argv[i], hex) < 0)
			continue;
		json_array_append_new(all, json_of_bytes(span_str(argv[i])));
		json_array_append_new(all, json_string(hex));
	}
	return all;
}

json_t *memo_around(const struct target *mount, char *const *argv, struct memo_input *ret)
{
	json_t *in = json_stdin(ret), *out = in ? json_stream(STDOUT_FILENO) : NULL,
	       *err = out ? json_stream(STDERR_FILENO) : NULL, *j;
	mode_t mask = umask(0);

	umask(mask);
	if (!err) {
		json_decref(in);
		json_decref(out);
		return NULL;
	}
	j = json_object();
	json_object_set_new(j, "stdin", in);
	json_object_set_new(j, "stdout", out);
	json_object_set_new(j, "stderr", err);
	json_object_set_new(j, "one", json_boolean(relay_are_one()));
	json_object_set_new(j, "umask", json_integer(mask));
	json_object_set_new(j, "groups", json_groups());
	json_object_set_new(j, "files", json_files(mount, argv));
	return j;
}

void memo_adopt(void)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

bool memo_is_whole(const struct memo_input *in)
{
	struct stat now;
	pid_t pid;

	do
		pid = waitpid(-1, NULL, WNOHANG);
	while (pid > 0 || (pid < 0 && errno == EINTR));
	if (pid == 0)
		return false;
	return !in->is_file ||
	       (fstat(STDIN_FILENO, &now) == 0 && now.st_size == in->was.st_size &&
		now.st_ino == in->was.st_ino && now.st_mtim.tv_sec == in->was.st_mtim.tv_sec &&
		now.st_mtim.tv_nsec == in->was.st_mtim.tv_nsec);
}
