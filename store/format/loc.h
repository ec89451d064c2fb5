/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where an object lies: a frame in a pack, and the item in it. Always a hint: what is found
 * there is held against the id.
 */
#pragma once

#include "base/defs.h"
#include "base/oid.h"
#include "base/random.h"

enum loc_state {
	LOC_NONE, /* not known: ask an index */
	LOC_AT, /* as the fields say */
	LOC_PENDING, /* in a frame that a packer has not written yet; @offset is its ticket */
};

struct loc {
	struct id128 pack;
	uint32_t offset; /* of the frame in the pack */
	uint32_t frame_len; /* header and payload; 0: not known */
	uint16_t item;
	uint8_t state; /* enum loc_state */
};

#define LOC_NOWHERE ((struct loc){ .state = LOC_NONE })

/* What an item of a frame, and an entry of a footer or segment, can be: enum oid_kind. */
