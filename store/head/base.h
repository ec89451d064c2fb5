/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a head shares with the view of a commit: the making of it.
 */
#pragma once

#include "head/overlay.h"

uint64_t view_salt(const void *identity, size_t len);
int view_init(struct view *v, struct store *store, struct vnode_table *vnodes,
	      const struct id128 *repo, const char *repo_name);
/* Frees what it holds, not itself. */
void view_release(struct view *v);

/* The commit @id (NULL: whatever it is) from its object. 0, -EBADMSG, -ENOMEM. */
int base_load(const struct oid *id, struct span object, struct base *ret);
void base_release(struct base *b);
#define _cleanup_base_ _cleanup_(base_release)

/* Under view->lock, once there are users: exchanges the view's base and @b. */
void view_swap_base(struct view *v, struct base *b);
