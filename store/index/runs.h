/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The index's tables of runs: a record each, as catalog/catalog.h writes it, and for each tree of
 * what runs have read and written the way up, from what is in a node to the node.
 *
 *	content --name--> leaf --> ... --> a directory's root --name--> ... --> top of a run
 *
 * What was read and what was written have ways of their own, so that who asks for the one does not
 * climb through the other. In each a node that several trees share is in it once, so it costs what
 * distinct trees do. A node counts as known when all that is below it is in the tables; who was
 * interrupted goes on from there.
 *
 * As all of the index it is a cache. Threads: all functions from any thread.
 */
#pragma once

#include "index/index.h"

enum {
	INDEX_RUN_ID = 20, /* bytes of a run's id */
};

/* Hash of a name, for steps of a way; never 0. */
uint64_t index_run_name(struct span name);

enum index_run_tree {
	INDEX_RUN_READ = 'r', /* what was kept is with what was read */
	INDEX_RUN_WRITTEN = 'w',
};

/* What is to be added: an entry of a node, or that all below a node has been added. */
struct index_run_edge {
	struct oid parent; /* the node */
	struct oid child; /* a content, a directory's root, or a node's child; null: the latter */
	uint64_t name; /* of the entry; 0: a child within the same tree */
};
int index_runs_add_edges(struct index *x, enum index_run_tree tree,
			 const struct index_run_edge *edges, size_t n);

/* Is all below the node known? 1, 0, -errno. */
int index_runs_knows(struct index *x, enum index_run_tree tree, const struct oid *node);

/* A run: its record, and the roots of its trees, null where there is none. */
struct index_run {
	char id[INDEX_RUN_ID];
	struct span record; /* borrowed */
	struct oid read, kept, written;
	struct oid key; /* of memo; null: none */
	bool is_open; /* there is more to come, and it is to be asked for */
};
/* Adds or replaces all of them, or none. */
int index_runs_put(struct index *x, const struct index_run *runs, size_t n);

/* One record, in place of what @ret held: 0, -ENOENT. */
int index_runs_get(struct index *x, const char id[INDEX_RUN_ID], struct buf *ret);

/*
 * The next records above @after (NULL: from the first; with @backwards below it, from the last),
 * up to @max of them: their ids are in @ret_ids, their records one behind the other in @ret, each
 * with its length in @ret_len. How many, or -errno.
 */
struct index_run_batch {
	char (*ids)[INDEX_RUN_ID]; /* owned, room for @max, as len */
	uint32_t *len;
	size_t max;
	struct buf records;
};
int index_run_batch_new(size_t max, struct index_run_batch *ret);
void index_run_batch_release(struct index_run_batch *b);
#define _cleanup_run_batch_ _cleanup_(index_run_batch_release)
ssize_t index_runs_next(struct index *x, const char *after, bool backwards,
			struct index_run_batch *b);

/* Ids of open runs, ascending, one behind the other, in place of what @ret held; 0 also for
 * none. */
int index_runs_open(struct index *x, struct buf *ret);

/* How many runs there are. */
uint64_t index_runs_count(struct index *x);

/* A run that can be repeated, by its key; of many of one key the newest are kept. */
int index_runs_put_key(struct index *x, const struct oid *key, const char id[INDEX_RUN_ID]);
/* Their ids, ascending, one behind the other, in place of what @ret held. 0 also for none. */
int index_runs_with_key(struct index *x, const struct oid *key, struct buf *ret);

/* A small value of the catalog's own; as index_runs_get(). */
int index_runs_get_state(struct index *x, const char *key, struct buf *ret);
int index_runs_put_state(struct index *x, const char *key, struct span value);

/*
 * Which runs have something in one of their trees: a content, a path, or both.
 *
 * @names: hashes of the path's parts, the last first, up to branch and repo; none: wherever.
 * @max: runs at most, so many that a few more do no harm.
 */
struct index_run_query {
	enum index_run_tree tree;
	const struct oid *content; /* NULL: any */
	const uint64_t *names;
	size_t name_count;
	size_t max;
};
struct index_run_ids {
	char (*ids)[INDEX_RUN_ID]; /* owned, ascending */
	size_t count, cap;
	bool is_cut; /* there may be more */
};
void index_run_ids_release(struct index_run_ids *r);
#define _cleanup_run_ids_ _cleanup_(index_run_ids_release)
int index_runs_having(struct index *x, const struct index_run_query *q, struct index_run_ids *ret);
