/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Vnodes: the files and directories of views that somebody holds, in memory.
 *
 * A vnode is known to a client by its id, a number that is never reused; the client pins it as
 * often as it was told the id (the kernel's look-up count). Within one view there is one vnode for
 * an inode number, so hard links share it. A vnode that nobody pins or holds is freed, and then its
 * parent may be.
 *
 *	pins	by the client (kernel look-ups)
 *	refs	by this program: children, open files, running operations
 *
 * When a head moves to another commit, a vnode whose file is not in that any more, or differs, is
 * left behind: it is what it was, for those who have it, and is found by its id only.
 *
 * Locks: the table's lock (rank 60) guards ids, inode numbers, pins and refs. Parent and name
 * change under the view's lock and the table's; either is enough to read them.
 */
#pragma once

#include <pthread.h>

#include "base/htab.h"
#include "base/random.h"

struct view;
struct live_dir;
struct live_file;
struct hard_link;
struct left;

enum {
	VNODE_NAME_INLINE = 24,
};

enum vnode_flags {
	VNODE_UNLINKED = 1, /* it has no name any more (or never had: O_TMPFILE) */
	VNODE_LEFT = 2, /* left behind; it has no name either */
};

struct vnode {
	struct hnode by_id; /* hash: the id itself */
	struct hnode by_ino;
	uint64_t ino; /* st_ino */
	struct view *view; /* held; NULL once it is gone */
	struct vnode *parent; /* a reference; NULL: the root, or unlinked */
	union { /* the view's; guarded by its lock */
		struct live_dir *dir; /* FT_DIR */
		struct live_file *file; /* FT_REG */
	};
	uint64_t pins;
	union { /* the view's; owned; guarded by its lock */
		struct hard_link *link; /* of a file that has a link id */
		struct left *left; /* VNODE_LEFT */
	};
	uint32_t refs;
	_Atomic uint32_t place; /* the client's own; 0 at first */
	uint8_t type; /* enum file_type */
	uint8_t flags; /* guarded by the view's lock */
	uint8_t name_len;
	union {
		char inline_name[VNODE_NAME_INLINE];
		char *long_name; /* owned, when name_len is larger */
	};
};

/* Every vnode of a mount. */
struct vnode_table;

/* What the owner of the views does: hold() when a vnode is made, gone() with no lock held when
 * nobody has it any more, right before it is freed. */
struct vnode_hooks {
	void (*hold)(struct view *view);
	void (*gone)(struct vnode *v);
};

/* @hooks are borrowed. */
int vnode_table_new(const struct vnode_hooks *hooks, struct vnode_table **ret);
void vnode_table_free(struct vnode_table *t);
DEFINE_CLEANUP(struct vnode_table *, vnode_table_free)

static inline uint64_t vnode_id(const struct vnode *v)
{
	return v->by_id.hash;
}

struct span vnode_name(const struct vnode *v);

/* The vnode a client means by @id, with a reference; NULL: there is none. */
struct vnode *vnode_by_id(struct vnode_table *t, uint64_t id);

/* The vnode of @ino in @view if there is one, or a new one; with a reference. 0 or -ENOMEM. */
int vnode_get(struct vnode_table *t, struct view *view, uint64_t ino, uint8_t type,
	      struct vnode *parent, struct span name, struct vnode **ret);

/* Is the number that of a vnode, left behind or not? */
bool vnode_exists(struct vnode_table *t, struct view *view, uint64_t ino);
/* Under the view's lock: that of one without a name? */
bool vnode_is_nameless(struct vnode_table *t, struct view *view, uint64_t ino);

/* The one there is, with a reference, or NULL. */
struct vnode *vnode_find(struct vnode_table *t, struct view *view, uint64_t ino);

/* Under the view's lock: it is left behind from now on. */
void vnode_leave(struct vnode_table *t, struct vnode *v);

bool vnode_is_left(struct vnode_table *t, const struct vnode *v);

/* The id that the next new vnode gets. */
uint64_t vnode_next_id(struct vnode_table *t);

void vnode_ref(struct vnode_table *t, struct vnode *v);
void vnode_unref(struct vnode_table *t, struct vnode *v);

/* The client was told the id once more, or forgets @n times. */
void vnode_pin(struct vnode_table *t, struct vnode *v);
void vnode_unpin(struct vnode_table *t, struct vnode *v, uint64_t n);

/* Under the view's lock: it has another name now, or none (@parent NULL). The reference to the
 * former parent, if that is another, passes to the caller, to be given back without the lock. */
int vnode_move(struct vnode_table *t, struct vnode *v, struct vnode *parent, struct span name,
	       struct vnode **ret_former);

/* The directory it is in, with a reference; NULL: it is a root, or has no name any more. */
struct vnode *vnode_parent(struct vnode_table *t, struct vnode *v);

uint64_t vnode_count(struct vnode_table *t);

/* The client is gone and with it all pins. */
void vnode_unpin_all(struct vnode_table *t);

/*
 * Up to @max vnodes that are pinned, closed, have no children and were not seen by this sweep
 * lately: their ids, their parents' ids and names, for the client to let go of. Returns how many.
 */
struct vnode_stale {
	uint64_t id, parent;
	bool by_name; /* by its name as well: a directory would lose its path */
	char name[256];
};
size_t vnode_sweep(struct vnode_table *t, struct vnode_stale *ret, size_t max);

/* Likewise, seen or not, of views that @is says yes to: from *@at on (0 at first), which moves on.
 * 0: there are no more. */
size_t vnode_list(struct vnode_table *t, bool (*is)(const struct view *view, void *ctx), void *ctx,
		  size_t *at, struct vnode_stale *ret, size_t max);
