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
 * Threads: the walker's alone. After an error a session can only be freed.
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
	/* Called now and then from the walker's thread; NULL: nobody wants to know. */
	void (*progress)(void *ctx, uint64_t files, uint64_t bytes);
	void *progress_ctx;
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
 * directories in it. Nothing is borrowed after the call but @src, which is taken: it is freed when
 * its bytes are stored, or with the session. */
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
