/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Every limit of the persistent format (FORMAT.md, section 12). What is read from outside is held
 * against these before anything is allocated.
 */
#pragma once

#include "base/defs.h"

enum {
	FORMAT_VERSION = 1,
	OBJECT_NAME_MAX = 100, /* repos, branches, commits */
	KEY_MAX = 512, /* of an object in a backend */

	FILE_NAME_MAX = 255,
	SYMLINK_MAX = 4095,
	XATTR_NAME_MAX_LEN = 255,
	XATTR_INLINE_MAX = 1024, /* an xattr list in the inode; larger is a chunk of its own */
	XATTR_LIST_LIMIT = 1 << 20,
	INLINE_MAX = 256, /* content that also travels as a hint */

	CHUNK_LIMIT = 16 << 20,
	CHUNK_WHOLE_MAX = 128 << 10, /* a file up to here, without holes, is one chunk */
	HOLE_ALIGN = 4096,

	NODE_MIN = 8192,
	NODE_SPREAD = 24576, /* target 32 KiB = min + spread */
	NODE_MAX = 131072,
	NODE_CANON_MAX = NODE_MAX + 1024, /* and the header; a larger single entry stands alone */
	NODE_HINT_MAX = 1 << 20,
	TREE_LEVELS = 16,

	FRAME_TARGET = 128 << 10, /* raw bytes of small chunks or nodes put in one */
	FRAME_ITEMS_MAX = 4096,
	FRAME_RAW_MAX = CHUNK_LIMIT + (64 << 10),
	PACK_TARGET = 32 << 20,
	PACK_FRAMES_MAX = PACK_TARGET + FRAME_RAW_MAX + (256 << 10), /* with what passed it */
	PACK_MAX = 128 << 20, /* and the footer: 48 bytes where an item takes 37 and more */

	COMMIT_MAX = 4 << 20,
	COMMIT_PARENTS_MAX = 16,
	COMMIT_MESSAGE_MAX = 1 << 20,
	COMMIT_META_MAX = 1 << 20,
	REF_LIVE_MIN = 1024,
	REF_TOMBSTONE_SIZE = 512,
	REF_MAX = 64 << 10,
	REF_COMMIT_MAX = 32 << 10, /* a commit's object that a ref carries along */
	REPO_SETTINGS_MAX = 256,
	FORMAT_OBJECT_MAX = 4096,
	GC_CONDEMNED_MAX = 1 << 20, /* packs */
	GC_STATE_MAX = GC_CONDEMNED_MAX * 16 + 64,

	SEGMENT_PACKS_MAX = 1 << 20,
	SEGMENT_TIER_MAX = 99, /* two digits of its key */
	SEGMENT_FANOUT = 256,
};

#define SEGMENT_MAX (2ull << 30)
