/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What trees are held against: a directory as a sorted array of names, a file as an array of
 * extents, and their bulk builds.
 */
#pragma once

#include "nodestore.h"
#include "prng.h"

/* What kind of entry a name has, hints included. */
enum shape {
	SHAPE_FILE,
	SHAPE_INLINE, /* its bytes travel along */
	SHAPE_LINKED,
	SHAPE_DIR,
	SHAPE_SYMLINK,
	SHAPE_FIFO,
	SHAPE_XATTRS, /* a small list */
	SHAPE_MIB_OF_XATTRS,
	SHAPES,
};

struct named {
	uint8_t len;
	char name[FILE_NAME_MAX + 1];
	uint8_t shape;
	uint32_t value; /* two entries of one name and shape differ if this does */
};

/* The entry, which borrows @n and static memory. */
struct dirent_rec named_dirent(const struct named *n);
struct span named_key(const struct named *n);

/* Ascending by name. */
struct dir_model {
	struct named *names; /* owned */
	size_t count, cap;
};

void dir_model_release(struct dir_model *m);
void dir_model_put(struct dir_model *m, const struct named *n);
void dir_model_remove(struct dir_model *m, struct span key);
void dir_model_copy(const struct dir_model *m, struct dir_model *ret);
size_t dir_model_find(const struct dir_model *m, struct span key, bool *ret_equal);

/* An editor that must be had. */
struct tree_edit *edit_of(struct nodestore *s, enum tree_kind kind, const struct tree_root *base);

struct tree_root dir_build(struct nodestore *s, const struct dir_model *m);

/* The tree is what a bulk build gives, and reads as the model does, hints included. */
void assert_dir_is(struct nodestore *s, const struct tree_root *root, const struct dir_model *m);

/* How names are chosen. */
enum key_style {
	KEYS_PLAIN,
	KEYS_LONG, /* 200 bytes and more */
	KEYS_NEVER, /* none ends a node, on any level */
	KEYS_NEVER_VARIED, /* nor these, which differ in length */
	KEYS_ALWAYS, /* each ends a leaf that is large enough */
	KEY_STYLES,
	KEYS_TALL = KEY_STYLES, /* long, and each ends a leaf but none a node above: many levels */
};

/* The name number @number of that style, and any shape and value. */
struct named random_named(struct prng *rnd, enum key_style style, uint64_t number);

struct extent_model {
	struct extent_rec *x; /* owned */
	size_t count, cap;
};

void extent_model_release(struct extent_model *m);

/* Appends; holes that meet become one. */
void extent_model_put(struct extent_model *m, const struct extent_rec *x);

struct tree_root extents_build(struct nodestore *s, const struct extent_model *m);
void assert_extents_are(struct nodestore *s, const struct tree_root *root,
			const struct extent_model *m);

enum id_style {
	IDS_PLAIN,
	IDS_FEW, /* the same few chunks over and over */
	IDS_NEVER, /* none ends a leaf */
	IDS_ALWAYS,
	IDS_SPARSE, /* every other extent is a hole, and none ends a leaf */
	ID_STYLES,
};

/* Where the nodes of @level begin, but for the first: ordinals of entries, at most @max of them.
 * Returns how many there are. */
size_t tree_edges(struct nodestore *s, enum tree_kind kind, const struct tree_root *root,
		  unsigned level, size_t *ret, size_t max);

struct extent_rec random_extent(struct prng *rnd, enum id_style style);
