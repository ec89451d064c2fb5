/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which link ids the hard-linked files of an import get, and what becomes of the base's.
 *
 * A file that has several names in what is imported keeps the link id that one of its names has in
 * the base, if all names of that id go with the import; else it gets a new one. So importing the
 *same again gives the same ids, and no name outside is ever drawn along. A file of which only one
 *name is imported is no hard link there.
 *
 *	linkmap_name(), linkmap_lose()		for each name that comes, and that goes
 *	linkmap_settle()
 *	linkmap_find()				while the entries are made
 *	linkmap_lose()				once more, by who may leave entries out
 *	linkmap_finish()
 *
 * Files are told apart by two numbers: device and inode, or whatever else identifies them.
 */
#pragma once

#include "base/htab.h"
#include "write/session.h"

enum linked_state {
	LINKED_NEW,
	LINKED_PUT, /* its record was given to the session */
	LINKED_FAILED, /* it could not be read: its names are left out */
};

struct lost_link;

struct linked {
	struct hnode node;
	uint64_t a, b;
	struct lost_link *claim; /* whose id it would like to keep; NULL: none */
	struct id128 id;
	uint32_t count; /* names that were told of */
	uint32_t put; /* names that were put; counted by the caller */
	enum linked_state state; /* the caller's to set, as @error: why it could not be read */
	int error;
};

struct linkmap {
	struct htab files; /* struct linked */
	struct htab lost; /* struct lost_link */
	bool is_settled;
	bool is_checked; /* the caller's: what has gone since it was settled is told of, too */
};

void linkmap_release(struct linkmap *m);

/* A name of the file (@a, @b), which has in the base the link @base (NULL: none). 0 or -ENOMEM. */
int linkmap_name(struct linkmap *m, uint64_t a, uint64_t b, const struct id128 *base);

/* The base's link @id loses a name. 0 or -ENOMEM. */
int linkmap_lose(struct linkmap *m, const struct id128 *id);

/* All names below the directory @dir of the base go. 0, -ENOMEM, or the source's errors. */
int linkmap_lose_below(struct linkmap *m, struct node_source *source, const struct tree_root *dir);

/* Gives every file its id. @links: the base's. */
int linkmap_settle(struct linkmap *m, struct node_source *source, const struct tree_root *links);

/* The file, if it is a hard link here; NULL: it is not. */
struct linked *linkmap_find(struct linkmap *m, uint64_t a, uint64_t b);

/* Tells the session how many names each link has, and which are gone. -ESTALE, logged: checked, and
 * a name that was to go has stayed, or one went that was to stay. */
int linkmap_finish(struct linkmap *m, struct node_source *source, const struct tree_root *links,
		   struct session *s);
