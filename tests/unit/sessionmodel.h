/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A tree of files in memory, for tests of sessions: it can be changed at random, said to a session
 * whole or as what differs from an earlier one, and held against what a store has.
 */
#pragma once

#include "prng.h"
#include "storestand.h"

struct mfile;

/* A name in a directory; names of one hard-linked file share it. */
struct mname {
	char name[64];
	struct mfile *file; /* a reference */
};

struct mfile {
	unsigned refs; /* names, in all trees */
	uint8_t type; /* enum file_type */
	uint32_t version; /* what attributes and content are made from */
	uint32_t size;
	bool has_link;
	struct id128 link;
	struct mname *names; /* FT_DIR: ascending; owned */
	size_t count;
};

struct mfile *mfile_new(struct prng *r, uint8_t type);
struct mfile *mfile_copy(const struct mfile *f); /* directories deep, files shared */
void mfile_unref(struct mfile *f);

/* Puts @f (taken) under a name, in place of what has it. */
void mtree_put(struct mfile *dir, const char *name, struct mfile *f);

/* Adds, changes and removes some things somewhere below @root. */
void mtree_change(struct prng *r, struct mfile *root, unsigned changes);

/* Says all of it. */
void mtree_say(struct session *s, const struct mfile *root);

/* Says what differs from @before, which is the tree of @base in the store. */
void mtree_say_changes(struct session *s, struct storestand *stand, const struct mfile *before,
		       const struct tree_root *base, const struct mfile *now);

/* The snapshot reads as the tree does. */
void assert_tree_is(struct storestand *stand, const struct snapshot *snap,
		    const struct mfile *root);
