/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Hint parts entry by entry, for nodes that keep theirs as bytes; whole ones are written and read
 * with hint_put() and hint_read() of format/node.h.
 */
#pragma once

#include "format/entry.h"

enum {
	HINT_PACKS_AT = 4, /* the pack table follows version, reserved, packs */
};

/* Checks the hint part @raw of @n entries and says where each one's hint starts; @ret_at has room
 * for @n + 1. 0 or -EBADMSG. */
int hint_index(struct span raw, uint32_t n, uint32_t *ret_at, uint16_t *ret_packs);

/* One entry's hint, which borrows the cursor's bytes. Nonsense fails the cursor. */
void hint_entry_read(struct cursor *c, struct span packs, struct entry_hint *ret);
