/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Commits and files as JSON: the same in every verb that tells of them.
 */
#pragma once

#include "format/commit.h"
#include "head/view.h"
#include "object/refs.h"
#include "service/names.h"

/*
 * A commit's facts: id, short_id: as much of it as tells it apart, parents, generation, time,
 * author, machine, message, branch (or null), names, meta {key: value}, files, bytes.
 */
void answer_commit(struct request *q, struct answer *a, const struct oid *id,
		   const struct commit *c, const struct name_map *names);

/* Under "short_id": as many digits of a commit's id as tell it from all others known of the repo. */
void answer_short_id(struct request *q, struct answer *a, const struct id128 *repo,
		     const struct oid *id);

/* refs_load_commit(): 0 or an error, said; a commit that a ref or another commit names and that is not there: -EIO. */
int commit_load(struct request *q, const struct id128 *repo, const struct oid *id,
		struct loaded *ret);

/* "file", "directory", "symlink", "fifo", "char", "block", "socket". */
const char *type_text(mode_t mode);

/* A file's attributes: type, mode "0644", uid, gid, size, mtime. */
void answer_stat(struct answer *a, const struct stat *st);
