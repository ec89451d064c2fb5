/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Whole trees in and out of a store, with no filesystem on the way: directories of the local
 * machine, and tar streams.
 *
 * Threads: a call belongs to its thread and starts helpers of its own.
 */
#pragma once

#include "base/deadline.h"
#include "base/oid.h"
#include "format/commit.h"
#include "object/store.h"

struct transfer_progress {
	uint64_t files, bytes; /* done */
	uint64_t files_total, bytes_total; /* 0: not known */
};

struct transfer_options {
	const atomic_bool *cancelled; /* NULL: cannot be */
	/* Called a few times a second; NULL: nobody wants to know. */
	void (*progress)(const struct transfer_progress *p, void *ctx);
	/* A file that could not be taken along, and why: the transfer goes on, and fails at the end
	 * with -EREMOTEIO if there was any. NULL: the first such ends it. */
	void (*skipped)(const char *path, int error, void *ctx);
	void *ctx;
	unsigned threads; /* 0: one a processor */
};

/*
 * Makes the tree @src (a directory or file; "-": a tar stream on @fd) the content of @path below
 * the branch ("": all of it) and commits that. What was there before and is not in @src is gone,
 * unless @keep. Sparse files stay sparse; hard links within @src stay links; owners, modes, times
 * in ns, xattrs and ACLs are taken along. Unchanged files cost their reading.
 *
 * 0 and the commit's id; *@ret_is_new false: the tree was like that already. -EBUSY: the branch
 * moved meanwhile (the commit stands; its id is given). -ENOENT, -ENOTDIR (src or path), -EBADMSG
 * (the tar stream).
 */
struct import_request {
	const char *src;
	int fd; /* for "-" */
	const char *repo, *branch, *path;
	bool keep;
	bool one_file_system;
	const char *name, *author, *message; /* as in a commit */
	const struct commit_meta *meta;
	size_t meta_count;
};
int transfer_import(struct store *s, const struct import_request *req,
		    const struct transfer_options *o, struct oid *ret_id, bool *ret_is_new);

/*
 * Writes @path of the commit (object @commit) to @dest ("-": a tar stream on @fd). A destination
 * that holds a part of it from an earlier, stopped export of the same is completed: files that are
 * there whole (size and mtime as they should be) are left; a file appears under its name when it is
 * whole. Other things in @dest stay. Owners are set as far as the user may.
 *
 * 0, -ENOENT (path), -ENOTDIR, -EEXIST (something in the way of another type), -ENOSPC, ...
 */
struct export_request {
	struct span commit;
	const char *path;
	const char *dest;
	int fd;
};
int transfer_export(struct store *s, const struct export_request *req,
		    const struct transfer_options *o);
