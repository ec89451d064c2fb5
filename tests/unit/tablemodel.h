/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a table should be: a sorted array of keys and values. And random batches for both.
 */
#pragma once

#include "prng.h"
#include "state/batch.h"

struct model_record {
	struct buf key, value;
};

struct model {
	struct model_record *records; /* ascending */
	size_t count, room;
};

void tablemodel_release(struct model *m);
void tablemodel_put(struct model *m, struct span key, struct span value);
void tablemodel_delete(struct model *m, struct span key);
void tablemodel_drop(struct model *m, uint32_t layer);
void tablemodel_apply(struct model *m, struct span batch);

/* The first record not below @key. */
size_t tablemodel_find(const struct model *m, struct span key);
const struct model_record *tablemodel_get(const struct model *m, struct span key);
const struct model_record *tablemodel_next(const struct model *m, struct span prefix,
					   struct span from);
const struct model_record *tablemodel_prev(const struct model *m, struct span prefix,
					   struct span from);

/* The table has exactly what the model has, seen by going through it either way. */
void assert_table_is(struct table *t, const struct model *m);

/* Random look-ups of every kind have the model's answers. */
void assert_lookups_agree(struct table *t, const struct model *m, struct prng *rnd, unsigned count);

/*
 * Random batches: keys of some layers in use at a time, which are dropped now and then. The batch
 * number @i of a source depends on its seed alone; they must be made in order.
 */
enum {
	SOURCE_LAYERS = 5,
	SOURCE_KEYS = 300
};
struct batch_source {
	uint64_t seed;
	uint32_t layers[SOURCE_LAYERS];
	uint32_t next_layer;
	uint64_t next;
	uint32_t value_max; /* rarely more */
};
struct batch_source batch_source(uint64_t seed);
/* Empties @b and fills it; counts itself under COUNTER_KEY. */
void batch_source_next(struct batch_source *s, struct table_batch *b);
struct span random_key(struct prng *rnd, uint32_t layer, uint8_t buf[TABLE_KEY_MAX]);

/* How many batches a table has, or -errno. */
int64_t table_counter(struct table *t);
