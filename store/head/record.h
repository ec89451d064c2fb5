/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the table of a mount holds: keys and values of uncommitted state.
 *
 * Every key starts with a layer (4 bytes, big-endian) and a letter. In a head's layers:
 *
 *	'i' ino			a file or directory that differs from the base: struct file_rec
 *	'e' dir name		a name: inode number, type, age; or a whiteout
 *	'o' dir age		names by age, for listings: the name
 *	'x' ino offset		where a range of a file's bytes lies: struct extent
 *	'l' link		a hard-linked file that differs: its inode number, 0 if it is gone
 *	'a' ino			extended attributes too large for the 'i' record: the list
 *
 * In layer 0, for the mount:
 *
 *	'c'			counters: the next layer, the next head
 *	'h' head		a head: struct head_rec
 *	'n' head dir name	an inode number that is not derived from its place
 *	'N' head ino		that such a number is taken
 *	'L' head link		the same for a hard-linked file
 *	'z' head ino		a file without a name, kept for those who have it open: its layer
 *	'p' head		a commit that is not on the branch yet: struct pending_rec
 *
 * Pure functions on bytes. Values are this machine's own, not a persistent format to share, yet
 * are parsed as if from outside.
 */
#pragma once

#include "base/buf.h"
#include "format/entry.h"
#include "object/refs.h"
#include "state/staging.h"

enum {
	RECORD_KEY_MAX = 4 + 1 + 8 + FILE_NAME_MAX + 8,
	RECORD_FROZEN_MAX = 6,
	HEAD_LABEL_MAX = 255,
};

struct record_key {
	uint8_t b[RECORD_KEY_MAX];
	size_t len;
};

static inline struct span key_span(const struct record_key *k)
{
	return span_of(k->b, k->len);
}

struct record_key key_inode(uint32_t layer, uint64_t ino);
struct record_key key_entry(uint32_t layer, uint64_t dir, struct span name);
struct record_key key_order(uint32_t layer, uint64_t dir, uint64_t age);
struct record_key key_extent(uint32_t layer, uint64_t ino, uint64_t off);
struct record_key key_link(uint32_t layer, const struct id128 *link);
struct record_key key_xattrs(uint32_t layer, uint64_t ino);
struct record_key key_counters(void);
struct record_key key_head(uint32_t head);
struct record_key key_exception(uint32_t head, uint64_t dir, struct span name);
struct record_key key_taken(uint32_t head, uint64_t ino);
struct record_key key_link_exception(uint32_t head, const struct id128 *link);
struct record_key key_orphan(uint32_t head, uint64_t ino);
struct record_key key_pending(uint32_t head);

/* What all keys of one letter in a layer begin with; with an object where the key has one next. */
struct record_key key_prefix(uint32_t layer, char letter);
struct record_key key_prefix_u64(uint32_t layer, char letter, uint64_t object);
struct record_key key_prefix_head(char letter, uint32_t head);

/* The parts of a key that was found behind such a prefix. */
uint64_t key_u64_at(struct span key, size_t at);
struct span key_rest(struct span key, size_t at);

enum {
	KEY_OBJECT = 5, /* where the first number of a layer's key is */
	KEY_AFTER_OBJECT = 13, /* and what follows it */
};

/*
 * A file in a layer. What shows at an offset below size: an extent of this layer, else, below
 * lower_end, what the layer below has for the file (or, at the lowest, the content), else nothing:
 * a hole.
 */
struct file_rec {
	struct inode inode; /* content and dir: what the base has below the layers */
	uint64_t size; /* regular files */
	uint64_t lower_end;
	uint64_t data; /* bytes not in holes */
	uint32_t nlink; /* directories: 2 and one for each directory in it; 0: without a name */
	uint64_t items; /* directories: names in it */
	uint64_t parent; /* where it is; 0: the root, or without a name, or hard-linked */
	struct span name; /* borrowed */
	bool has_link;
	struct id128 link;
	uint32_t own_file; /* this layer's staging file for it, 0: none */
	bool has_extents; /* in this layer */
	bool is_xattr_staged; /* the large list is the 'a' record */
};

void file_rec_put(struct buf *b, const struct file_rec *f);
/* Spans borrow @raw. 0 or -EBADMSG. */
int file_rec_read(struct span raw, struct file_rec *ret);

struct entry_rec {
	uint64_t ino; /* 0: whiteout */
	uint8_t type;
	uint64_t age; /* 0: the name is the base's */
};
void entry_rec_put(struct buf *b, const struct entry_rec *e);
int entry_rec_read(struct span raw, struct entry_rec *ret);

enum extent_source {
	EXTENT_STAGED = 1,
	EXTENT_HOLE = 2,
	EXTENT_CONTENT = 3, /* a range of some content of the store */
};
struct extent {
	uint64_t off, len;
	uint8_t source;
	struct stage_place place; /* EXTENT_STAGED */
	struct content content; /* EXTENT_CONTENT; nothing inlined */
	uint64_t content_off;
};
void extent_rec_put(struct buf *b, const struct extent *x);
int extent_rec_read(struct span raw, uint64_t off, struct extent *ret);

struct head_rec {
	struct id128 repo, branch;
	struct span repo_name, branch_name; /* borrowed */
	struct oid base; /* null: unborn */
	struct span base_object; /* the commit, if it is not too large to keep; borrowed */
	uint32_t top; /* layer; 0: none */
	uint8_t frozen_count;
	uint32_t frozen[RECORD_FROZEN_MAX]; /* the newest first */
	uint64_t ages; /* all below this may be in use */
	struct oid committed; /* the base, or what it is a pin on */
	bool is_private;
	struct id128 numbers; /* the branch whose inode numbers it has: its own, if not private */
	struct span label; /* the same: what it is for; borrowed */
};
void head_rec_put(struct buf *b, const struct head_rec *h);
int head_rec_read(struct span raw, struct head_rec *ret);

struct counters_rec {
	uint32_t next_layer, next_head;
	uint32_t files_end; /* staging files below this may be referred to */
};
void counters_rec_put(struct buf *b, const struct counters_rec *c);
int counters_rec_read(struct span raw, struct counters_rec *ret);

/*
 * A commit of the head that has not come to its end: its object is in the store.
 *
 *	stored		it is to be named, and to land
 *	landed		it is the head's base, and to be brought onto the branch
 *	joined		its maker may not have been told: who asks for the name again gets it
 */
enum pending_state {
	PENDING_STORED = 1,
	PENDING_LANDED,
	PENDING_JOINED,
};
struct pending_rec {
	uint8_t state; /* enum pending_state */
	struct oid commit;
	struct oid fork; /* the last base of the head that was on the branch; null: none */
	struct span name; /* "": none; borrowed */
	bool is_old; /* the name alone was made, or is being made */
};
void pending_rec_put(struct buf *b, const struct pending_rec *p);
int pending_rec_read(struct span raw, struct pending_rec *ret);
