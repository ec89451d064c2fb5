/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Inside transfer/push.h: a commit's trees and chunks from one store into packs of another.
 *
 * Ids stay as they are, since they say nothing of where things lie; hints, which do, are made anew.
 * A node's hints want to know where its children went, so things pass three queues, each bounded:
 *
 *	chunk:  wanted (is being fetched) --> submitted (with the packer) --> placed
 *	node:   open (push_tree.c goes through it) --> waiting (for its chunks) --> stored
 *
 * Nodes wait in the order in which they were left, children before parents, and are stored in it.
 *
 * What the other store has of a commit is known in two ways. A chunk that its index knows is not
 * even fetched. That it has a node says nothing of what is below, as when a push was killed: only
 * trees of a commit that it has are passed over, and what this copier has been through itself.
 *
 * Threads: a copier belongs to one.
 */
#pragma once

#include "base/list.h"
#include "base/oidset.h"
#include "object/reader.h"
#include "transfer/push.h"
#include "transfer/report.h"
#include "write/content.h"

/* A node on its way. */
struct moving_node {
	struct list link; /* in copier->nodes, when it has been gone through */
	struct node *node; /* a reference */
	struct entry_hint *hints; /* owned; of the other store */
	struct loc *up; /* where it is told where it went; NULL: nowhere */
	size_t waiting; /* for chunks */
};

/* A chunk on its way. */
struct moving_chunk {
	struct list link; /* in copier->wanted, then in copier->submitted */
	struct moving_node *owner; /* NULL: the commit itself */
	struct loc *at; /* in the owner's hints */
	struct oid id;
	struct loc hint; /* here */
	uint32_t len;
	struct batch *batch; /* a reference, when submitted */
	uint32_t index;
};

struct copier {
	struct store *from, *to; /* borrowed, as the report */
	struct report *report;
	struct access access; /* to @from */
	struct reader_source source;
	struct packer *packer;
	struct batch *open; /* of small chunks */
	struct list wanted, submitted, nodes;
	size_t wanted_bytes, node_bytes;
	struct oidset done; /* nodes that are stored, or will be, with all below them */
	/* What files have in them is not moved, but for what the other store knows. */
	bool without_content;
	struct oidset bare; /* as done, but without contents */
};

int copier_init(struct copier *c, struct store *from, struct store *to, struct report *report);
void copier_release(struct copier *c);

/*
 * Moves what is below a commit to the other store's packs. @before: a commit the other store has,
 * like this one if possible; NULL: none. Where the roots went is told to @commit, in the locs of
 * its root (with its xattrs) and links, as things are stored: it must stay where it is until then.
 */
int copier_commit(struct copier *c, struct commit *commit, const struct commit *before);

/* The same for one tree of directories, whose root's place is told to @at; @without_content: the
 * nodes alone. */
int copier_tree(struct copier *c, const struct tree_root *root, bool without_content,
		struct loc *at);

/* All is stored, and durable, when it returns 0. */
int copier_finish(struct copier *c);

/* After that: makes the locs of a commit such as its object can have; that of one tree's root. */
int copier_resolve(struct copier *c, struct commit *commit);
int copier_resolve_tree(struct copier *c, const struct oid *root, struct loc *at);

/* Adds what a packer has stored. */
void push_add_stats(struct push_result *r, struct packer *packer);

/* For push_tree.c. */

/* Is all below the node on its way, as far as it is to be? */
bool copier_has(const struct copier *c, const struct oid *node);

/* A chunk is to be there, and so a node's hint (@at) or the commit's (@owner NULL) is told where.
 * @inlined: its bytes, perhaps; empty: they are to be fetched. */
int copier_want(struct copier *c, struct moving_node *owner, const struct oid *id, uint64_t len,
		const struct loc *hint, struct span inlined, struct loc *at);

/* Begins a node; ends it, all of its children having been ended before. */
int copier_open(struct copier *c, struct node *node /* taken */, struct loc *up,
		struct moving_node **ret);
int copier_leave(struct copier *c, struct moving_node *n /* taken */);
void moving_node_free(struct moving_node *n);

/* Goes through one tree and all below; @before may be NULL; @at is told where its root went. */
int copy_tree(struct copier *c, enum tree_kind kind, const struct tree_root *root,
	      const struct tree_root *before, struct loc *at);
