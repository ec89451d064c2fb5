/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Open files of runs: operations on their nodes, as struct op's run().
 *
 * Threads: all functions from any thread.
 */
#pragma once

#include "call.h"

/* Is the node a file of a run? */
bool run_files_has(uint64_t node);

int run_files_open(struct call *c);
int run_files_read(struct call *c);
int run_files_write(struct call *c);
int run_files_sync(struct call *c);
void run_files_close(struct fs *fs, uint64_t handle);
