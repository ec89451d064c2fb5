/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A simple tree of files in memory, random operations on it, and the same operations on a view:
 * what a head must look like.
 *
 * An operation is drawn from the model's state alone, so a process that does the first n and one
 * that only replays them in the model agree on what they are.
 */
#pragma once

#include "check.h"
#include "head/head.h"
#include "prng.h"

enum {
	MODEL_NAMES = 12, /* in a directory */
	MODEL_FILE_MAX = 3 << 20,
};

struct model_file;

struct model_entry {
	char name[32];
	struct model_file *file; /* a reference */
};

struct model_file {
	unsigned refs;
	uint8_t type;
	uint16_t mode;
	uint32_t nlink;
	uint8_t *data;
	size_t size;
	char xattr[64]; /* of user.x; empty: none */
	char target[64];
	struct model_entry entries[MODEL_NAMES];
	unsigned count;
};

struct model {
	struct prng prng;
	struct model_file *root;
	bool big_files; /* now and then a file larger than a slab takes */
};

void model_init(struct model *m, uint64_t seed);
void model_release(struct model *m);

/* A deep copy, hard links and all. */
struct model_file *model_copy(const struct model_file *root);
void model_unref(struct model_file *f);

/*
 * Draws the next operation, does it to the model, and to the tree below @root if that is not NULL;
 * what both answer must agree.
 */
void model_step(struct model *m, struct vnode *root, struct vnode_table *t, struct access *acc);

/* The tree below @dir is just the model's: names, types, modes, links, contents, attributes. */
void model_check(const struct model_file *want, struct vnode *dir, struct vnode_table *t,
		 struct access *acc);

/* The same without failing: is it? (Contents are compared as well.) */
bool model_matches(const struct model_file *want, struct vnode *dir, struct vnode_table *t,
		   struct access *acc);
