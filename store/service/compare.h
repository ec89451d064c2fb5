/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What differs between two things in views, as a user is told of it: beyond head/diff.h, renames
 * are found, files that were rewritten with the same bytes left out, and what the caller may not
 * see held back.
 */
#pragma once

#include "head/diff.h"
#include "service/address.h"

enum {
	DIFF_RENAMED = 'R', /* besides enum diff_what */
};

/* What is told of one side. */
struct fact {
	mode_t mode;
	uid_t uid;
	gid_t gid;
	uint64_t ino;
	uint64_t nlink;
	uint64_t size; /* of a file */
	struct timespec mtime;
	struct oid id; /* of its content or tree; null: not known */
	struct vnode *vnode; /* borrowed, in walk_below()'s callbacks; else NULL */
};

struct difference {
	uint8_t what; /* enum diff_what, or DIFF_RENAMED */
	bool has[2];
	struct fact side[2];
	char *path,
		*from; /* owned; from: of what was renamed, else NULL. "." is the thing itself */
	size_t path_len, from_len;
};

/* A result other than 0 ends the comparison and is returned. */
typedef int (*difference_fn)(const struct difference *c, void *ctx);

struct comparison {
	struct vnode *side[2]; /* borrowed; the first may be NULL: nothing */
	difference_fn fn;
	void *ctx;
	bool is_plain; /* renames are not looked for: as asked, or since there is too much */
	uint64_t hidden; /* result: differences in directories the caller may not read */
};

/* Calls c->fn for each difference, in the order of the paths, unless there are too many to be held
 * and the first side is nothing. 0 or an error of view.h. */
int compare(struct request *q, struct comparison *c);

/* For compare.c and renames.c. */

struct differences {
	struct difference *items; /* owned */
	size_t count, cap;
};
void differences_release(struct differences *c);
/* Takes the strings of @x, on failure too. */
int differences_add(struct differences *c, const struct difference *x);
/* By path, a directory before what is below it. */
void differences_sort(struct differences *c);
void difference_release(struct difference *x);

/* Pairs what was removed with what was added, in place; the order is that of the paths again. */
int find_renames(struct request *q, const struct comparison *c, struct differences *all);

/* Everything below a directory, as one who may only see what the caller may: @fn gets each with its
 * path. A result of 1 of @fn passes over what is below a directory; others than 0 end it. */
typedef int (*below_fn)(const struct fact *f, struct span path, void *ctx);
int walk_below(struct request *q, struct vnode *dir, struct span path, below_fn fn, void *ctx);

void fact_of(const struct stat *st, const struct oid *id, struct fact *ret);
