/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * An ordered map in memory: what the table has taken since the last checkpoint.
 *
 * A record is a value or the note that its key is deleted, which hides what lies below this map.
 * Memory comes from an arena and goes back as a whole, with memtable_reset(); a value that is
 * replaced by one of the same length is overwritten where it lies.
 *
 * Threads: none of its own. One thread changes it, or any number read it; the table's lock sees to
 * that. What the functions return is valid until the next change.
 */
#pragma once

#include "base/htab.h"

struct memtable;

struct memrec {
	struct hnode node; /* by key */
	uint8_t *value;
	uint32_t value_len;
	uint32_t value_room;
	uint16_t key_len;
	uint8_t height;
	bool is_deleted;
	struct memrec *next[]; /* by order of keys, one a level; the key lies behind them */
};

static inline struct span memrec_key(const struct memrec *r)
{
	return span_of(r->next + r->height, r->key_len);
}

static inline struct span memrec_value(const struct memrec *r)
{
	return span_of(r->value, r->value_len);
}

/* The next in order; NULL: none. */
static inline const struct memrec *memrec_next(const struct memrec *r)
{
	return r->next[0];
}

int memtable_new(struct memtable **ret);
void memtable_free(struct memtable *m);
DEFINE_CLEANUP(struct memtable *, memtable_free)

/* Empties it and keeps the memory for what comes next. */
void memtable_reset(struct memtable *m);

/*
 * Makes room for @records more, whose keys and values have @bytes in all: what is put or deleted up
 * to there cannot fail. 0 or -ENOMEM.
 */
int memtable_reserve(struct memtable *m, size_t records, size_t bytes);

/* Is there that room already? Changes nothing. */
bool memtable_has_reserve(const struct memtable *m, size_t records, size_t bytes);

void memtable_put(struct memtable *m, struct span key, struct span value);
/* Notes that the key is deleted. */
void memtable_delete(struct memtable *m, struct span key);
/* Leaves no trace of the key, or of all that begin with @prefix; what it took is not reused. */
void memtable_remove(struct memtable *m, struct span key);
void memtable_remove_prefix(struct memtable *m, struct span prefix);

/* NULL: it is neither here nor deleted here. */
const struct memrec *memtable_get(const struct memtable *m, struct span key);

/* The first record not below @key (with @beyond: above it); the last not above (below) it. */
const struct memrec *memtable_seek(const struct memtable *m, struct span key, bool beyond);
const struct memrec *memtable_seek_back(const struct memtable *m, struct span key, bool beyond);

/* Memory in use, what was replaced or removed included; records. */
size_t memtable_bytes(const struct memtable *m);
size_t memtable_count(const struct memtable *m);
