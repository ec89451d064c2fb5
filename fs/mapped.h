/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Memory of files that are mapped to be read: the index, the heads' table. It is not ours to count
 * as cache and yet counts as ours; beyond a share of the budget its pages are let go of. The kernel
 * still has them.
 */
#pragma once

#include "base/defs.h"

struct mapped;

/* Starts to look after it. @max: bytes. 0 or -errno. */
int mapped_new(uint64_t max, struct mapped **ret);
void mapped_free(struct mapped *m);
DEFINE_CLEANUP(struct mapped *, mapped_free)

/* There is work that may map more: from any thread, and cheap. */
void mapped_stir(struct mapped *m);

/* Memory of this process in bytes: all that is resident, and of that what belongs to files. */
struct resident {
	uint64_t all, files;
};
struct resident resident_now(void);
