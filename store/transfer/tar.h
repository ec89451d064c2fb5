/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Tar streams: pax is written; pax, ustar and GNU's are read.
 *
 * Paths are bytes, whatever they mean. Extended attributes travel as SCHILY.xattr, ACLs among them
 * in the kernel's representation, which is what GNU tar does with --xattrs; and ACLs as text in
 * SCHILY.acl as well, for its --acls. When both are read the former counts.
 *
 * Threads: a reader or writer belongs to one; while it is there that thread's locale is its own.
 */
#pragma once

#include "base/deadline.h"
#include "format/inode.h"

struct tar_range {
	uint64_t off, len;
};

struct tar_entry {
	struct span path;
	struct span same_as; /* a hard link to this path, which came before; else empty */
	/* Without tree, locations and xattrs; a symlink's target is inlined. Nothing but its type
	 * counts of a hard link, and when read not even that. */
	struct inode inode;
	struct span xattrs; /* a list (format/xattr.h) */
	/* Where a sparse file's data lies, ascending. */
	bool is_sparse;
	const struct tar_range *ranges;
	size_t range_count;
};

struct tar_reader;

/* Reads from @fd (borrowed) as it goes. 0, -ENOMEM. */
int tar_reader_new(int fd, const atomic_bool *cancelled, struct tar_reader **ret);
void tar_reader_free(struct tar_reader *t);
DEFINE_CLEANUP(struct tar_reader *, tar_reader_free)

/*
 * The next entry, borrowed until the next call. 1; 0 at the end, when all of the stream has been
 * read; -EBADMSG, logged: no tar stream, or one that was cut off; -EIO and the like from @fd,
 * logged; -ECANCELED; -ENOMEM.
 *
 * An entry that is there but cannot be had is 1 as well, with *@ret_error saying why.
 */
int tar_reader_next(struct tar_reader *t, struct tar_entry *ret, int *ret_error);

/* Bytes [@off, @off + @len) of the entry's content; offsets ascend. Errors as above. */
int tar_reader_read(struct tar_reader *t, uint64_t off, size_t len, void *buf);

struct tar_writer;

/* Writes to @fd (borrowed) as it goes. 0, -ENOMEM. */
int tar_writer_new(int fd, const atomic_bool *cancelled, struct tar_writer **ret);
void tar_writer_free(struct tar_writer *t);
DEFINE_CLEANUP(struct tar_writer *, tar_writer_free)

/* Begins an entry. 0; -EOPNOTSUPP: nothing that tar has; -ECANCELED, -ENOMEM, @fd's errors. */
int tar_writer_begin(struct tar_writer *t, const struct tar_entry *e);

/* The next bytes of the entry's content, in all as many as its size says. @data NULL: a hole. */
int tar_writer_put(struct tar_writer *t, const void *data, uint64_t len);

/* Ends the stream. */
int tar_writer_finish(struct tar_writer *t);
