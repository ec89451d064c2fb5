/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The keys of a store's objects (FORMAT.md, section 2).
 */
#pragma once

#include "base/oid.h"
#include "format/segment.h"

/* By value, so that a key can be made where it is used: pack_key(&name).s */
struct key {
	char s[160];
};

#define FORMAT_KEY   "format"
#define GC_STATE_KEY "gc/state"

#define PACK_PREFIX    "packs/"
#define SEGMENT_PREFIX "index/"
#define REPO_PREFIX    "repos/"
#define HEAD_PREFIX    "heads/" /* of all repos */

struct key pack_key(const struct id128 *name);
struct key segment_key(const struct segment_id *id);
struct key commit_key(const struct id128 *repo, const struct oid *id);
struct key pin_key(const struct id128 *repo, const struct oid *id);

/* @name, @branch: valid object names. */
struct key repo_key(const char *name);
struct key head_key(const struct id128 *repo, const char *branch);
struct key name_key(const struct id128 *repo, const char *name);

/* Where a commit is if it is a pin, by where it is if it is none. */
struct key key_as_pin(const char *commit_key);

/* What all commits, pins, heads, names of a repo begin with. */
struct key commit_prefix(const struct id128 *repo);
struct key pin_prefix(const struct id128 *repo);
struct key head_prefix(const struct id128 *repo);
struct key name_prefix(const struct id128 *repo);

/* What a key names. 0 or -EINVAL. */
int pack_key_parse(const char *key, struct id128 *ret);
int segment_key_parse(const char *key, struct segment_id *ret);
