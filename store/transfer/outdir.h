/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Directories that an export makes.
 *
 * A directory gets its attributes, times above all, when everything in and below it is done; until
 * then it counts what is pending. Each is opened below its parent and no symlink is followed, so
 * that nothing in the destination leads the export out of it. Of many only some are held open; a
 * closed one is opened again from above, and must be what it was.
 *
 * Threads: the export's own; others may use a descriptor while the directory is held for them.
 */
#pragma once

#include <sys/stat.h>

#include "base/list.h"
#include "format/node.h"

struct outdir {
	struct outdir *up; /* NULL: the destination itself */
	struct outdir *down; /* scratch */
	struct list link; /* in outdirs->open */
	uint8_t name[FILE_NAME_MAX + 1];
	struct inode inode; /* borrows from @leaf */
	struct node *leaf; /* a reference, or NULL */
	struct stat st; /* as it was found or made */
	int fd; /* -1: closed for the time being */
	unsigned held; /* by those who use @fd */
	unsigned pending; /* the walk in it, files, directories, links */
	bool may_inherit; /* a default ACL befalls what is made in it */
};

struct outdirs {
	struct list open; /* the one used last comes last; not the destination itself */
	unsigned open_count;
};

void outdirs_init(struct outdirs *s);

/* The destination, @fd (taken, on failure too). It is pending once. 0 or -errno. */
int outdir_of(int fd, const struct inode *ino, struct node *leaf, struct outdir **ret);

/* Makes or finds the directory @name in @up, which is pending once more. 0, -EEXIST (something of
 * another type is there), -errno. */
int outdir_make(struct outdirs *s, struct outdir *up, struct span name, const struct inode *ino,
		struct node *leaf, struct outdir **ret);

/* Its descriptor, for as long as it is held. -ESTALE: it is not there any more. */
int outdir_hold(struct outdirs *s, struct outdir *d);
void outdir_let_go(struct outdir *d);

/* Closes it and forgets it, whatever is pending. */
void outdir_free(struct outdirs *s, struct outdir *d);

/* Its path below the destination with @name behind, for messages. 0 or -ENOMEM. */
int outdir_path(const struct outdir *d, struct span name, struct buf *ret);
