/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a run has seen: names, and what was done with them, in a log on disk.
 *
 * A place is a name in a place, or one of the tops: the pinned commit of a branch, or a commit. Its number is
 * where its record lies in the log, so it is good for as long as that; one place may have several. What
 * has been logged lately is kept in a table of bounded size, so memory does not grow with the run.
 *
 *	log	records, each a multiple of 8 bytes: place, flags, length, name
 *
 * The log is not synced: after power loss it ends early, and the record says so.
 *
 * Threads: all functions from any thread.
 */
#pragma once

#include "base/buf.h"
#include "base/oid.h"

struct seen;

/* A place's number; 0: none. */
typedef uint32_t seen_place;

enum seen_what {
	SEEN_PRESENT = 1, /* it was looked up, and is there */
	SEEN_ABSENT = 2, /* it was looked up, and is not */
	SEEN_READ = 4, /* its bytes, or, of a link, its target */
	SEEN_LISTED = 8, /* its names */
	SEEN_TREE = 16, /* all below it */
};

/* A new log in @dirfd, or the one that is there (its torn end is cut off). */
int seen_open(int dirfd, const char *name, struct seen **ret);
void seen_free(struct seen *s);
DEFINE_CLEANUP(struct seen *, seen_free)

/* The top with that name, "R/B" or "R/<64 digits>"; "" is /pfs itself, and "R" the listing of a repo. */
seen_place seen_top(struct seen *s, const char *name);

/* @name in @dir was looked up. 0 where @dir is 0, or when the log cannot be written, which seen_error()
 * then says. */
seen_place seen_name(struct seen *s, seen_place dir, struct span name, enum seen_what what);

/* Something else was done with a place. Cheap when it was noted lately. */
void seen_mark(struct seen *s, seen_place p, enum seen_what what);

/* The first error of writing the log, or 0: what came after it is missing. */
int seen_error(const struct seen *s);

/*
 * Every place once, with all that was noted of it: parents before what is in them, names of one place
 * ascending. @depth: 0 for a top, whose @name is as above. Nothing may be added meanwhile.
 */
typedef int (*seen_fn)(unsigned depth, struct span name, unsigned what, void *ctx);
int seen_walk(struct seen *s, seen_fn fn, void *ctx);

struct seen_stats {
	uint64_t places, log_bytes, memory_bytes;
};
void seen_stats(const struct seen *s, struct seen_stats *ret);
