/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a machine, the judge and the test have in common: the history, and texts in files of a head.
 */
#include "publication.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

const char *const group_names[GROUP] = { "a", "b", "c" };

struct history *history_map(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	void *p;

	assert_true(fd >= 0);
	assert_ok(ftruncate(fd, sizeof(struct history)));
	p = mmap(NULL, sizeof(struct history), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(p != MAP_FAILED);
	close(fd);
	return p;
}

void text_of(unsigned machine, unsigned op, char ret[TEXT_SIZE])
{
	snprintf(ret, TEXT_SIZE, "%03u.%05u", machine, op);
}

int read_text(struct headstand *s, struct vnode *root, const char *path, char ret[TEXT_SIZE])
{
	struct vnode *v;
	struct stat st;
	int64_t n;
	int r = view_walk(root, span_str(path), &s->acc, &v, &st);

	if (r < 0)
		return r;
	assert_ok(view_open(v, O_RDONLY, &s->acc));
	n = view_read(v, 0, TEXT_SIZE - 1, ret, &s->acc);
	assert_true(n >= 0);
	ret[n] = '\0';
	view_close(v, O_RDONLY);
	vnode_unref(s->vnodes, v);
	return 0;
}

void write_text(struct headstand *s, struct vnode *dir, const char *name, const char *text)
{
	struct vnode *v;
	struct stat st;
	int r = view_walk(dir, span_str(name), &s->acc, &v, &st);

	if (r == -ENOENT)
		v = stand_create(s, dir, name, S_IFREG | 0644);
	else
		assert_ok(r);
	assert_ok(view_open(v, O_RDWR, &s->acc));
	assert_ok(view_write(v, 0, span_str(text), false, false, &s->acc));
	view_close(v, O_RDWR);
	vnode_unref(s->vnodes, v);
}
