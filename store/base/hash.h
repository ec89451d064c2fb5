/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * XXH3, for all that need not resist an adversary who can choose the seed's outcome: record
 * checksums, tree boundaries, hash tables. Content ids are base/oid.h.
 */
#pragma once

#include "base/defs.h"

/* XXH3-64 with a fixed seed: part of persistent formats. */
uint64_t xxh64(const void *data, size_t len, uint64_t seed);

/* Seeded once per process: for hash tables in memory, never for anything that is stored. */
uint64_t hash_bytes(const void *data, size_t len);
uint64_t hash_u64(uint64_t v);
