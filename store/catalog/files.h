/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Files of a run's trees (run/RUNS.md, section 3) and of commits, by path.
 *
 * Threads: the caller's; all may wait, as the access says. Errors are those of tree/tree.h.
 */
#pragma once

#include <sys/stat.h>

#include "catalog/row.h"
#include "format/commit.h"
#include "index/runs.h"
#include "object/access.h"
#include "object/refs.h"
#include "object/store.h"

/* Who reads, and from where. */
struct run_reading {
	struct store *store; /* borrowed, as the access */
	struct access *access;
};

struct run_file {
	uint8_t type; /* enum file_type */
	struct oid id; /* of a content, or a directory's tree; null: empty */
	uint64_t size;
	struct inode_time ctime;
	struct tree_root dir; /* of a directory */
};

struct run_file run_file_of(const struct inode *i);

/* One of the trees of a row's record: 0, -ENOENT (it has none). */
int run_files_top(const struct run_reading *rd, const struct run_row *row, enum index_run_tree tree,
		  struct tree_root *ret);

/* All that is no directory below @top, by path, which starts with @prefix (""; or ends with a
 * slash). Borrowed. Other than 0 ends it. */
typedef int (*run_file_fn)(struct span path, const struct run_file *f, void *ctx);
int run_files_each(const struct run_reading *rd, const struct tree_root *top, const char *prefix,
		   run_file_fn fn, void *ctx);

/* All files of the run's of that kind, by path; of those that it read those that it kept come last.
 * 0 also where there are none. Other than 0 from @fn ends it. */
int run_files_of(const struct run_reading *rd, const struct run_row *row, enum index_run_tree tree,
		 run_file_fn fn, void *ctx);

/* What the run wrote at a place: 0, -ENOENT. */
struct run_place;
int run_files_written(const struct run_reading *rd, const struct run_row *row,
		      const struct run_place *place, struct run_file *ret);

/* What it found there, and has read, or else changed or moved and so kept: 0, -ENOENT. */
int run_files_found(const struct run_reading *rd, const struct run_row *row,
		    const struct run_place *place, struct run_file *ret, bool *ret_has_read);

/* What a path is in a commit, whoever asks: 0, -ENOENT. */
int run_file_in_commit(const struct run_reading *rd, const struct commit *c, struct span path,
		       struct run_file *ret);

/* Is it, as somebody sees it, just as it was there? */
bool run_file_is(const struct run_file *was, const struct stat *now);

/* "REPO/REV/PATH" in its parts; false: it has not all of them. */
struct run_place {
	struct span repo, rev, path;
};
bool run_place_read(struct span text, struct run_place *ret);
/* Hashes of its parts, the last first, at most @max >= 2: as index_runs_having() wants them. How
 * many. */
size_t run_place_names(const struct run_place *p, uint64_t *ret, size_t max);

/* What places are now: the last commits of branches, looked up once. */
struct run_tips;
int run_tips_new(const struct run_reading *rd, const struct refs_wait *wait, struct run_tips **ret);
void run_tips_free(struct run_tips *t);
DEFINE_CLEANUP(struct run_tips *, run_tips_free)
/* A branch is at this commit (null: it has none), whatever the store says: for a head's. 0,
 * -ENOMEM, or errors of refs. Before the branch is looked up. */
int run_tips_pin(struct run_tips *t, const char *repo, const char *branch,
		 const struct id128 *repo_id, const struct oid *commit);
/* 0; -ENOENT: there is no such file, branch or repo now. An empty path is the branch's root. */
int run_tips_find(struct run_tips *t, const struct run_place *place, struct run_file *ret);
