/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What need not be stored again: ids that this packer has or is about to have in a pack, and those
 * that the index knows in packs which may be relied upon (FORMAT.md, section 11).
 *
 * Threads: all functions from any thread.
 */
#pragma once

#include <pthread.h>

#include "base/htab.h"
#include "format/gcstate.h"
#include "format/pack.h"

struct index;

struct known {
	pthread_mutex_t lock;
	struct htab ids; /* guarded by lock, as all below */
	struct htab reused; /* packs relied upon */
	struct gc_state gc; /* as it was when the packer began; never changed */
	struct index *index; /* borrowed */
};

int known_init(struct known *k, struct index *index, struct gc_state *gc /* taken */);
void known_release(struct known *k);

/*
 * Is the object to be stored by the caller? 1: yes, it is claimed for him, who says later where it
 * is. 0: no; @ret is where it lies, or LOC_NONE while another who claimed it has not said.
 * -ENOMEM.
 */
int known_claim(struct known *k, uint8_t kind, const struct oid *id, struct loc *ret);

/*
 * Is the object stored where it may be relied upon, so that its bytes need not even be had? 1: it
 * counts as reused; @ret is where it lies or will lie. 0: it is not, or another who claimed it has
 * not said. -ENOMEM.
 */
int known_find(struct known *k, uint8_t kind, const struct oid *id, struct loc *ret);

/* The claimed object lies there. */
void known_place(struct known *k, uint8_t kind, const struct oid *id, const struct loc *at);

/* Where an object lies that somebody claimed: LOC_NONE while he has not said. */
struct loc known_where(struct known *k, uint8_t kind, const struct oid *id);

/* The index knows these by now: they need not be remembered here. */
void known_forget(struct known *k, const struct pack_entry *entries, size_t n);

/* Every pack relied upon, in no order: @ret is the caller's to free. 0 or -ENOMEM. */
int known_reused(struct known *k, struct id128 **ret, size_t *ret_count);
