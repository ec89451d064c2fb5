/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Writing a snapshot: a walk over what changed, in order, becomes trees in packs.
 *
 * The walker says what it finds, depth first and by name; file contents are chunked, hashed and
 * compressed by the workers meanwhile, and directories are made of entries as their contents are
 * ready. What the walker has said and the trees do not have yet waits in a queue that is bounded.
 *
 *	session_dir_begin(root's base)
 *		session_put_file("a", ...)
 *		session_dir_begin(base of "b")
 *			...
 *		session_dir_end("b", its inode)
 *		session_remove("c")
 *	session_dir_end("", the root's inode)
 *	session_finish()
 *
 * Threads: the walker's alone. After an error a session can only be freed, but for what a content
 * source fails with: then that call has not been made, and what was read is stored in vain.
 */
#pragma once

#include "format/commit.h"
#include "write/content.h"

struct session;

struct session_options {
	struct store *store; /* borrowed */
	struct chunk_params chunk;
	bool is_large; /* more than a pack's worth is likely */
	const atomic_bool *cancelled; /* NULL: cannot be */
	/* What session_store() was given is stored; other than 0 ends the session. */
	int (*stored)(void *ctx, uint64_t tag, const struct content *c);
	void *stored_ctx;
};

int session_new(const struct session_options *o, struct session **ret);
void session_free(struct session *s);
DEFINE_CLEANUP(struct session *, session_free)

/* Opens a directory below the open one (or the root). @base: its former tree, whose entries are
 * kept unless the walker says otherwise; NULL: none. */
int session_dir_begin(struct session *s, const struct tree_root *base);

/* Closes it: @ino has its attributes (its tree is filled in). For the root @name is empty. */
int session_dir_end(struct session *s, struct span name, const struct inode *ino);

/* Entries of the open directory, ascending by name over all of these calls and those of the
 * directories in it. Nothing is borrowed after the call but @src, which is taken (content.h). */
int session_put(struct session *s, struct span name, const struct inode *ino);
int session_put_file(struct session *s, struct span name, const struct inode *ino,
		     struct content_source *src);
int session_put_link(struct session *s, struct span name, uint8_t type, const struct id128 *link);
int session_remove(struct session *s, struct span name);

/* Records of the links tree, in any order, each link once; at any time. */
int session_link(struct session *s, const struct id128 *link, uint32_t nlink,
		 const struct inode *ino);
int session_link_file(struct session *s, const struct id128 *link, uint32_t nlink,
		      const struct inode *ino, struct content_source *src);
int session_unlink(struct session *s, const struct id128 *link);

/* How many names a link has, that was given with another number before. */
int session_link_names(struct session *s, const struct id128 *link, uint32_t nlink);

/*
 * A content whose entry comes later, when things are found in another order than that of names:
 * options.stored is told of it with @tag, in the order of these calls, at the latest during
 * session_settle(). What it is told must come back in the inode of an entry.
 */
int session_store(struct session *s, uint64_t tag, struct content_source *src);
int session_settle(struct session *s);

/* What large xattrs become: stores the list and sets @x to it. */
int session_xattrs(struct session *s, struct span list, struct xattrs *x);

/*
 * Ends the walk: all is durable in packs when it returns 0. The root directory's inode and the
 * links' tree are the commit's; they stay valid until the session is freed.
 */
struct snapshot {
	struct inode root;
	struct tree_root links;
};
int session_finish(struct session *s, const struct tree_root *base_links, struct snapshot *ret);

struct packer *session_packer(struct session *s);
