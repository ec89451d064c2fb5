/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Keeps the mount within its bounds, once a second: nodes that the kernel knows, memory of mapped
 * files, disk shared by staged data and the cache.
 */
#pragma once

#include "fs.h"

int keeper_new(struct fs *fs, struct keeper **ret);
void keeper_free(struct keeper *k);
DEFINE_CLEANUP(struct keeper *, keeper_free)

/* Memory of this process in bytes: all that is resident, and of that what belongs to files. */
struct resident {
	uint64_t all, files;
};
struct resident resident_now(void);
