/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The pages of an LMDB 0.9 data file, held against the format.
 */
#pragma once

#include "base/defs.h"

/*
 * Do the two meta pages look like those of an environment that this machine's LMDB can open
 * without harm? 0 or -EBADMSG. @file: the file's first bytes, at least LMDB_METAS of them if it
 * has so many; @file_size: its whole length.
 */
enum {
	LMDB_METAS = 2 << 16
};
int lmdb_metas_check(struct span file, uint64_t file_size);

/*
 * Is every page of the snapshot of transaction @txnid what LMDB takes it for, without looking,
 * when it reads or writes? Structure, order of keys, depth, and that each page is in use once or
 * free once. 0, -EBADMSG, -ENOMEM, -EAGAIN (a writer has overwritten that snapshot's meta page).
 *
 * Databases with integer keys, and with sorted and fixed-size duplicates, are known; the reversed
 * orders are not.
 */
int lmdb_pages_check(struct span file, uint64_t txnid);
