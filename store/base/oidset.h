/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A set of ids.
 *
 * Threads: a set belongs to one.
 */
#pragma once

#include "base/htab.h"
#include "base/oid.h"

struct oidset {
	struct htab ids;
};
void oidset_release(struct oidset *s);
#define _cleanup_oidset_ _cleanup_(oidset_release)

bool oidset_has(const struct oidset *s, const struct oid *id);

/* 1: it is new; 0: it was there; -ENOMEM. */
int oidset_add(struct oidset *s, const struct oid *id);
