/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The store's own object, `format`: who it is, and what one must know to use it (FORMAT.md,
 * section 3), as bytes.
 */
#pragma once

#include "base/buf.h"
#include "base/random.h"

struct format_rec {
	struct id128 store_id;
	uint64_t compat, ro_compat, incompat;
	int64_t created;
	char hash[16];
	char id_key[64];
};

/* In place of what @ret held. 0, -ENOMEM. */
int format_write(const struct format_rec *f, struct buf *ret);

/* 0, -EBADMSG; -ENOTSUP when the version is newer than FORMAT_VERSION (the checksum of what is
 * known is then not looked at). Feature bits, hash and key are the caller's to judge. */
int format_read(struct span object, struct format_rec *ret);
