/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Realms: the trees of runs as the kernel sees them. The plain mount is realm 0; each run has another one, with its
 * own nodes for everything above the views (root.h), and views of its own below.
 *
 *	/pfs/.pfs/run			the runs of this realm
 *	/pfs/.pfs/run/ID		params, metrics, stdout, stderr, root
 *	/pfs/.pfs/run/ID/root		the run's realm: as /pfs
 *
 * A realm ends when the kernel has forgotten all its nodes.
 *
 * Threads: all functions from any thread.
 */
#pragma once

#include "call.h"
#include "run/run.h"

/* Observations: a call on @dir or @v has just been answered from it. Nothing happens outside of runs. */
void realm_saw_name(struct call *c, struct vnode *dir, struct span name, struct vnode *found);
void realm_saw_read(struct call *c, struct vnode *v, struct access *acc);
void realm_saw_list(struct call *c, struct vnode *dir);
void realm_saw_link(struct call *c, struct vnode *v);
void realm_saw_move(struct call *c, struct vnode *from, struct span name);
