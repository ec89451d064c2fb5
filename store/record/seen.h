/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a run has seen: names, and what was done with them, in a log on disk.
 *
 * A place is a name in a place, or one of the tops: the pinned commit of a branch, or a commit. Its
 * number is where its record lies in the log, so it is good for as long as that; one place may have
 * several. What has been logged lately is kept in a table of bounded size, so memory does not grow
 * with the run.
 *
 * The log is not synced, and up to 64 KiB of it are in memory: after power loss, or when the daemon
 * is killed, it ends early, and the record says so.
 *
 * Threads: all functions from any thread.
 */
#pragma once

#include "base/buf.h"

struct seen;

/* A place's number; 0: none. */
typedef uint32_t seen_place;

enum seen_what {
	SEEN_PRESENT = 1, /* it was looked up, and is there */
	SEEN_ABSENT = 2, /* it was looked up, and is not */
	SEEN_READ = 4, /* its bytes, or, of a link, its target */
	SEEN_LISTED = 8, /* its names */
	SEEN_TREE = 16, /* all below it */
	SEEN_KEPT = 32, /* some of its bytes live on, in what it was changed to or called */
};

/* A new log in @dirfd (borrowed for the call), or the one that is there: its torn end is cut off.
 * 0 or -errno, logged. */
int seen_open(int dirfd, const char *name, struct seen **ret);
/* Writes what is in memory. */
void seen_free(struct seen *s);
DEFINE_CLEANUP(struct seen *, seen_free)

/* The top with that name, "R/B" or "R/<64 digits>"; "" is /pfs itself, and "R" the listing of a
 * repo. The same as R looked up in "", and B in "R", with nothing noted of it. 0: as below. */
seen_place seen_top(struct seen *s, const char *name);

/* @name in @dir was looked up. 0 where @dir is 0, where @name is no file's, or when the log cannot
 * be written, which seen_error() then says. */
seen_place seen_name(struct seen *s, seen_place dir, struct span name, enum seen_what what);

/* Something else was done with a place (0: with none). Cheap when it was noted lately. */
void seen_mark(struct seen *s, seen_place p, enum seen_what what);

/* The first error of writing the log, or 0: what came after it is missing. */
int seen_error(const struct seen *s);

/*
 * Every place once, with all that was noted of it (0: nothing, somebody looked for what is in it):
 * parents before what is in them, names of one place ascending. @depth: 0 for /pfs, a repo, or what
 * is in one, whose @name is as above: "", "R", "R/B", ascending by their parts. 1 for what
 * is in those, and so on; only "R/..." have any. What is added meanwhile is not told.
 *
 * 0; the result of @fn other than 0, which ends it; -EBADMSG (the log is damaged, logged); -ENOSPC
 * or the like: what is sorted has no room beside the log.
 */
typedef int (*seen_fn)(unsigned depth, struct span name, unsigned what, void *ctx);
int seen_walk(struct seen *s, seen_fn fn, void *ctx);

struct seen_stats {
	uint64_t places; /* as logged: one may have several */
	uint64_t log_bytes, memory_bytes;
};
void seen_stats(struct seen *s, struct seen_stats *ret);
