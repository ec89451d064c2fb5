/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A store in a directory of its own, for tests of the file backend.
 */
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "backend/backend.h"
#include "check.h"
#include "scratch.h"

struct stand {
	struct scratch dir;
	struct backend *backend;
};

static const struct backend_options writable = { .create = true };

static inline struct backend *open_at(const char *path)
{
	struct backend *b;

	assert_ok(backend_open(path, &writable, &b));
	return b;
}

static inline _unused_ int make(void **state)
{
	struct stand *s = new0(struct stand, 1);

	s->dir = scratch_make();
	s->backend = open_at(s->dir.path);
	*state = s;
	return 0;
}

static inline _unused_ int drop(void **state)
{
	struct stand *s = *state;

	backend_free(s->backend);
	scratch_remove(&s->dir);
	free(s);
	return 0;
}

static inline _unused_ void put(struct backend *b, const char *key, const char *text)
{
	assert_ok(b->ops->put(b, key, span_str(text), NULL));
}

static inline _unused_ int get_text(struct backend *b, const char *key, char text[64])
{
	size_t n = 0;
	int r = b->ops->get(b, key, 0, 63, text, NULL, &n);

	text[n] = '\0';
	return r;
}

static inline _unused_ void assert_text(struct backend *b, const char *key, const char *expected)
{
	char text[64];

	assert_ok(get_text(b, key, text));
	assert_string_equal(text, expected);
}

/* How many temporary files there are. */
static inline _unused_ unsigned temporaries(const struct stand *s)
{
	int fd = openat(s->dir.fd, "tmp", O_RDONLY | O_DIRECTORY);
	const struct dirent *e;
	unsigned n = 0;
	DIR *d;

	if (fd < 0)
		return 0;
	d = fdopendir(fd);
	while ((e = readdir(d)))
		n += strlen(e->d_name) == 32;
	closedir(d);
	return n;
}
