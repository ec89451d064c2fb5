/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Realms: the trees of runs as the kernel sees them. The plain mount is realm 0; each run has
 * another one, with its own nodes for everything above the views (root.h), and views of its own
 * below.
 *
 *	/pfs/.pfs/run			the runs of this realm, and the one that it is of
 *	/pfs/.pfs/run/ID		params, metrics, stdout, stderr, root
 *	/pfs/.pfs/run/ID/root		the run's realm: as /pfs; not in the realm itself
 *
 *	                  the run has ended         the kernel has forgotten all of it
 *	made --> in use ------------------> ended -----------------------------------> gone
 *
 * When its run has ended the kernel is told to let go of what nobody uses: else it would keep all
 * of it for days.
 *
 * Threads: all functions from any thread.
 */
#pragma once

#include "call.h"
#include "run/run.h"

struct realm;
struct root;

/* The realm of a run that was begun in @parent. Held for the caller. -ENOMEM, -EMFILE. */
int realm_make(struct root *r, struct run *run, struct realm *parent, struct realm **ret);

/* The realm of a node of the root's, held until realm_put(); NULL: it is gone. */
struct realm *realm_hold(struct root *r, uint64_t node);
void realm_put(struct realm *k);
DEFINE_CLEANUP(struct realm *, realm_put)
#define _cleanup_realm_ _cleanup_(realm_putp)

/* Borrowed; NULL: it is the plain mount. */
struct run *realm_run(const struct realm *k);

/* The command has ended: nothing more is noted. Waits for what is being noted. */
void realm_seal(struct realm *k);

/* The run's end is stored, or will be: the realm is gone as soon as nobody is in it. */
void realm_end(struct realm *k);

/* Observations: a call on @dir or @v is about to be answered. Nothing happens outside of runs. */
void realm_saw_name(struct call *c, struct vnode *dir, struct span name, struct vnode *found);
void realm_saw_read(struct call *c, struct vnode *v, struct access *acc);
/* A file is about to be changed in place: is what it shows of a pinned commit? Then, once it is
 * changed, what is left of that is noted. */
bool realm_shows_pinned(struct vnode *v, struct access *acc);
void realm_saw_kept(struct vnode *v, struct access *acc);
void realm_saw_list(struct call *c, struct vnode *dir);
void realm_saw_link(struct call *c, struct vnode *v);
/* @v was moved, with all that is below it, or got another name; @showed_pinned:
 * realm_shows_pinned() of it before. */
void realm_saw_move(struct call *c, struct vnode *v, bool showed_pinned);

/* Is what is done with the view noted? Then each name that is used must be looked up. */
static inline bool realm_is_noted(const struct view *v)
{
	return view_owner(v);
}

/* Starts and ends the thread that ends realms. NULL is fine, and so is a second time. */
int realms_start(struct root *r);
void realms_stop(struct root *r);
