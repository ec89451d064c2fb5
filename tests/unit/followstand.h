/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Two mounts of one store: what one commits, the other's head moves to.
 */
#pragma once

#include <fcntl.h>

#include "headstand.h"

/* One more mount of the same store. */
static inline _unused_ struct headstand other_mount(struct headstand *s)
{
	struct headstand o = *s;

	o.state = strf("%s/other", s->scratch.path);
	stand_open(&o);
	return o;
}

static inline _unused_ void leave(struct headstand *o)
{
	stand_close(o);
	free(o->state);
}

static inline _unused_ struct vnode *at(struct headstand *s, const char *path)
{
	struct vnode *v;
	struct stat st;

	assert_ok(view_walk(s->root, span_str(path), &s->acc, &v, &st));
	return v;
}

static inline _unused_ void put_text(struct headstand *s, struct vnode *v, const char *text)
{
	assert_ok(view_open(v, O_RDWR, &s->acc));
	assert_ok(view_write(v, 0, span_str(text), false, false, &s->acc));
	view_close(v, O_RDWR);
}

static inline _unused_ void make_text(struct headstand *s, struct vnode *dir, const char *name,
				      const char *text)
{
	struct vnode *v = stand_create(s, dir, name, S_IFREG | 0644);

	put_text(s, v, text);
	vnode_unref(s->vnodes, v);
}

static inline _unused_ void make_dir(struct headstand *s, const char *name)
{
	vnode_unref(s->vnodes, stand_create(s, s->root, name, S_IFDIR | 0755));
}

static inline _unused_ void assert_text(struct headstand *s, const char *path, const char *want)
{
	struct vnode *v = at(s, path);
	char got[64] = { 0 };

	assert_ok(view_open(v, O_RDONLY, &s->acc));
	assert_int_equal(view_read(v, 0, sizeof(got) - 1, got, &s->acc), strlen(want));
	view_close(v, O_RDONLY);
	vnode_unref(s->vnodes, v);
	assert_string_equal(got, want);
}

static inline _unused_ uint64_t ino_of(struct headstand *s, const char *path)
{
	struct vnode *v = at(s, path);
	uint64_t ino = v->ino;

	vnode_unref(s->vnodes, v);
	return ino;
}

static inline _unused_ void assert_follows(struct headstand *s, const struct oid *id)
{
	assert_int_equal(head_follow(s->head, id, &s->acc), 1);
}

static inline _unused_ void remount(struct headstand *s)
{
	stand_close(s);
	stand_open(s);
}
