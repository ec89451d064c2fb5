/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A directory tree of the local machine, depth first, names ascending as bytes, which is the order
 * in which a session wants them.
 *
 * No path is ever resolved: each directory is opened below its parent, and no symlink is followed.
 * Of a deep tree only the lowest directories are held open; the others are found again by "..",
 * and held against what they were.
 *
 * Threads: a walk belongs to one.
 */
#pragma once

#include <stdatomic.h>
#include <sys/stat.h>

#include "base/buf.h"

struct localwalk;

enum localwalk_kind {
	LOCALWALK_ENTER, /* a directory, of which the names come next */
	LOCALWALK_FILE, /* anything else */
	LOCALWALK_LEAVE, /* the directory that was entered last and not left */
	LOCALWALK_FAILED, /* a name, or a directory behind it, that cannot be read: @error */
};

/* Borrowed until the next call. */
struct localwalk_event {
	enum localwalk_kind kind;
	struct span name; /* empty for the first directory */
	struct stat st; /* not with FAILED; as it was when it was entered with LEAVE */
	int dirfd; /* FILE: the directory that the name is in; else -1 */
	int fd; /* ENTER, LEAVE: the directory itself; else -1 */
	int error;
};

struct localwalk_options {
	bool one_file_system; /* what is mounted below is empty */
	const atomic_bool *cancelled; /* NULL: cannot be */
};

/* Walks the directory @fd (taken, on failure too). 0 or -errno. */
int localwalk_new(int fd, const struct localwalk_options *o, struct localwalk **ret);
void localwalk_free(struct localwalk *w);
DEFINE_CLEANUP(struct localwalk *, localwalk_free)

/* 1, 0 at the end, -ECANCELED, -ENOMEM, -ESTALE (a directory was moved away meanwhile), or what the
 * first directory cannot be read for. */
int localwalk_next(struct localwalk *w, struct localwalk_event *ret);

/* The path of the last event's name from the first directory on, for a message; "." for that. 0 or
 * -ENOMEM. */
int localwalk_path(const struct localwalk *w, struct buf *ret);
