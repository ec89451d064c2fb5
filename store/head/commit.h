/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The steps of a commit, one file each: freeze.c takes the snapshot, pack.c writes it into the
 * store, commit.c publishes it, land.c makes it the head's base.
 *
 * All under head->commit_lock.
 */
#pragma once

#include "head/overlay.h"

/*
 * Freezes the top: what was done before the call is below, what comes after above. 0 also if there
 * was nothing to freeze. At most FROZEN_MAX layers stay frozen: -EXFULL.
 */
int head_freeze(struct head *h);

/* Writes what the frozen layers make of the base. The session ends with it: @ret stays valid until
 * it is freed. */
int head_pack(struct head *h, struct session *s, struct access *acc, struct snapshot *ret);

/*
 * The commit @id (its object) is what base and frozen layers together are: it becomes the base, and
 * the frozen layers go. Writers go on meanwhile.
 */
int head_land(struct head *h, const struct oid *id, struct span object, struct access *acc);

/* A publication that was under way when the last process ended, or whose outcome was not known: 0
 * when it is settled, either way. */
int head_settle(struct head *h, struct access *acc);

/* The branch has another name now; with commit_lock held. */
int head_use_name(struct head *h, const char *name);

/* For head_land() after a restart: what of the top has a record in a frozen layer. */
int note_all_lifted(struct head *h);
