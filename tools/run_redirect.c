/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Redirections of a run (run_redirect.h).
 */
#include "run_redirect.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/text.h"
#include "cli.h"
#include "present.h"
#include "run_request.h"

static const struct {
	const char *name;
	int fd;
} streams[] = { { "stdout", STDOUT_FILENO }, { "stderr", STDERR_FILENO } };

static int redirect(const char *root, const json_t *at, int fd)
{
	_cleanup_free_ char *path = run_path(root, at);
	_cleanup_close_ int file = -1;

	if (!path)
		return -ENOMEM;
	file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (file >= 0 && dup2(file, fd) >= 0)
		return 0;
	/* No output of its: it goes where ours goes. */
	if (file < 0 && errno == EROFS)
		return 0;
	cli_error("%s, which it printed to, cannot be written: %s", path, strerror(errno));
	return -EIO;
}

int redirect_again(const char *root, const json_t *start)
{
	const json_t *first = json_object_get(start, "stdout");
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(streams); i++) {
		const json_t *at = json_object_get(start, streams[i].name);
		_cleanup_free_ char *path = at ? run_path("", at) : NULL;

		if (!json_object_get(at, "pfs"))
			continue;
		if (field_bool(at, "append"))
			cli_note("pfs: what run %s printed was added to %s: it is not now",
				 field_text(start, "id"), path ? path + 1 : "a file");
		else if (i > 0 && json_equal(at, first))
			r = dup2(STDOUT_FILENO, streams[i].fd) < 0 ? -errno : 0;
		else
			r = redirect(root, at, streams[i].fd);
	}
	return r;
}

struct redirected redirect_keep(void)
{
	struct redirected r;

	for (size_t i = 0; i < ARRAY_SIZE(streams); i++)
		r.fds[i] = fcntl(streams[i].fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	return r;
}

void redirect_restore(const struct redirected *r)
{
	for (size_t i = 0; i < ARRAY_SIZE(streams); i++) {
		if (r->fds[i] < 0)
			continue;
		dup2(r->fds[i], streams[i].fd);
		close(r->fds[i]);
	}
}

void redirect_flush(void)
{
	/* Whoever closes one of a file's descriptors makes the kernel write. */
	for (size_t i = 0; i < ARRAY_SIZE(streams); i++) {
		int fd = fcntl(streams[i].fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

		if (fd >= 0)
			close(fd);
	}
}
