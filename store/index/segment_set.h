/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A set of segments as it was at some moment: immutable, shared, newest first. For the files of
 * segments.h alone.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "format/key.h"
#include "index/segments.h"

struct seg {
	atomic_uint refs;
	struct segment_id id;
	void *map; /* of the whole file */
	uint64_t size;
	int64_t since_ns; /* when it came to this machine, to order those of a tier */
	struct segment s;
};

struct seg_set {
	atomic_uint refs;
	size_t n;
	struct seg *seg[]; /* references; by tier, then youngest first */
};

struct segments {
	int dirfd; /* owned */
	uint64_t budget;
	pthread_mutex_t load_lock; /* held while files are opened, once */
	bool is_loaded; /* guarded by load_lock */
	pthread_mutex_t lock;
	struct seg_set *set; /* guarded by lock: which one is current */
	struct segment_id *bad; /* damaged in the store; the changer's (see segments.h), as below */
	size_t bad_count;
	bool has_complained; /* of the budget */
};

/* Maps and checks the file @name below @dirfd. 0, -ENOENT, -EBADMSG, -errno. */
int seg_map(int dirfd, const struct segment_id *id, const char *name, struct seg **ret);

struct seg *seg_ref(struct seg *g);
void seg_unref(struct seg *g);
DEFINE_CLEANUP(struct seg *, seg_unref)

bool segment_id_equal(const struct segment_id *a, const struct segment_id *b);

/* Does @g take the place of @id? */
bool seg_replaces(const struct seg *g, const struct segment_id *id);

/* Makes a set of @n segments, of which it takes references of its own; @segs is sorted. */
int seg_set_new(struct seg **segs, size_t n, struct seg_set **ret);
void seg_set_unref(struct seg_set *set);
DEFINE_CLEANUP(struct seg_set *, seg_set_unref)
const struct seg *seg_set_find(const struct seg_set *set, const struct segment_id *id);

/* The current set, with a reference; opens the files if that has not been done. */
struct seg_set *segments_current(struct segments *s);

/* Makes @set the current one; takes it. */
void segments_become(struct segments *s, struct seg_set *set);

/* The name of a segment's file: its key behind the slash. */
static inline const char *segment_file(const struct key *k)
{
	return k->s + strlen(SEGMENT_PREFIX);
}
