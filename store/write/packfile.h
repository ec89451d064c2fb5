/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A pack that is being written: frames go to its end, then the footer closes it.
 *
 * A backend on this machine gets them as they come; for any other the pack is gathered in memory,
 * which its owner may give and have back to use it again.
 *
 * Threads: the owner's; packfile_close() may run on another when the owner is done with it.
 */
#pragma once

#include "backend/backend.h"
#include "format/pack.h"

struct packfile {
	struct backend *backend; /* borrowed; NULL: closed or not opened */
	struct id128 name;
	struct backend_put *put; /* owned; NULL: gathered in memory */
	struct buf bytes; /* then here; keeps its memory when closed */
	uint64_t size;
	struct pack_entry *entries; /* owned; kept after closing */
	size_t count, cap;
};

static inline bool packfile_is_open(const struct packfile *p)
{
	return p->backend;
}

/* Of a pack that is gathered in memory, where several are at a time. */
#define PACK_GATHERED_TARGET (PACK_TARGET / 2)

/* Room for a frame of any size is left as long as the pack is smaller than PACK_TARGET. */
static inline bool packfile_is_full(const struct packfile *p)
{
	return p->size >= (p->put ? PACK_TARGET : PACK_GATHERED_TARGET);
}

/* @spare: memory to gather it in, taken, if it is needed. */
int packfile_open(struct backend *b, struct buf *spare, struct packfile *ret);

/* Appends a frame, which is @frame and @rest; @ret_offset: where it lies. */
int packfile_add(struct packfile *p, const struct frame_item *items, uint16_t n, struct span frame,
		 struct span rest, uint32_t *ret_offset);

/* Footer and trailer; durable when it returns 0. */
int packfile_close(struct packfile *p);

/* Throws away what is not closed, and the entries. */
void packfile_release(struct packfile *p);
