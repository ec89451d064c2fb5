/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Inside an export: what its files share. export.c finds what is to be written, export_local.c
 * walks it and makes directories, export_file.c writes one file.
 */
#pragma once

#include "transfer/place.h"
#include "transfer/report.h"

struct export
{
	struct store *store; /* borrowed, as @req */
	const struct export_request *req;
	struct report report;
	struct place place; /* what is written */
	struct inode inode; /* of that; borrows from @leaf */
	struct node *leaf; /* a reference, or NULL */
};

int export_local(struct export *x);
int export_tar(struct export *x);

/* A file that is to be written: all of it that a worker needs. */
struct file_task {
	int dirfd; /* where it goes */
	const char *name; /* there; borrowed, as all pointers but @leaf */
	bool may_inherit;
	struct tree_root siblings; /* the directory it comes from: names that are taken */
	struct inode inode; /* borrows from @leaf */
	struct node *leaf; /* a reference, or NULL */
	struct store *store;
	struct report *report; /* gets its bytes */
	const atomic_bool *cancelled;
	/* What came of it. */
	int error;
	int lost; /* an xattr could not be set */
};

/* Writes the file, or whatever it is, unless it is there already. On the caller's thread. */
void file_task_run(struct file_task *t);

/* Gives the existing @from_name in @from one more name. What has the name already goes, but for a
 * directory. 0, -EEXIST, -errno. */
int link_file(int from, const char *from_name, int dirfd, const char *name,
	      const struct tree_root *siblings, struct node_source *source);
