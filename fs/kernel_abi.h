/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What of the kernel's FUSE protocol is newer than the headers of the systems this is built on, or
 * may be. Names differ from the kernel's, so that newer headers do no harm.
 */
#pragma once

#include <linux/fuse.h>

/* FUSE_NOTIFY_PRUNE, protocol 7.45: lets go of inodes that nobody uses. */
enum {
	ABI_NOTIFY_PRUNE = 9,
	ABI_PRUNE_SINCE = 45, /* minor version */
};

/* On close, dirty pages are written whether FLUSH is implemented or not: Linux 5.9. */
enum {
	ABI_CLOSE_WRITES_SINCE = 32,
};

struct abi_prune_out {
	uint32_t count;
	uint32_t padding;
	uint64_t spare;
	/* uint64_t nodeids[count] follow */
};

/* struct fuse_notify_inval_entry_out, whose last member was padding before 7.38. */
struct abi_inval_entry_out {
	uint64_t parent;
	uint32_t namelen;
	uint32_t flags;
};

enum {
	ABI_EXPIRE_ONLY = 1 << 0,
};

/* Of the high half of what the kernel offers in INIT. */
enum {
	ABI_INIT2_EXPIRE_ONLY = 1u << 3,
};
