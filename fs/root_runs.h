/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Files of runs: /pfs/.pfs/run/ID/params and the like.
 *
 * Threads: all functions from any thread.
 */
#pragma once

#include "root_parts.h"

enum {
	RUN_FILE_MAX = 1 << 30, /* bytes */
};

/* Of a file's node; NULL: it is another node. */
const char *run_file_name(uint64_t node);
/* The realm of the run whose directory or file the node is, held; NULL: it is gone. */
struct realm *run_of_node(struct root *r, uint64_t node);

/* A descriptor of the file, made if need be. -errno. */
int run_file_open(struct realm *of, uint64_t node, int flags);
