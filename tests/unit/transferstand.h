/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A store with the repo "r" in it, and transfers in and out of that, for tests.
 */
#pragma once

#include "base/log.h"
#include "base/text.h"
#include "localtree.h"
#include "object/refs.h"
#include "transfer/transfer.h"

enum {
	SKIPPED_MAX = 64
};

struct transferstand {
	struct scratch scratch;
	struct store *store;
	struct id128 repo;
	atomic_bool cancelled;
	unsigned skipped;
	char skipped_paths[SKIPPED_MAX][256];
	int skipped_errors[SKIPPED_MAX];
};

static inline void note_skipped(const char *path, int error, void *ctx)
{
	struct transferstand *s = ctx;

	assert_true(s->skipped < SKIPPED_MAX);
	snprintf(s->skipped_paths[s->skipped], sizeof(s->skipped_paths[0]), "%s", path);
	s->skipped_errors[s->skipped++] = error;
}

static inline int transferstand_set_up(void **state)
{
	struct transferstand *s = calloc(1, sizeof(*s));
	struct repo_rec rec = { .chunk = CHUNK_PARAMS_DEFAULT,
				.root_mode = 0755,
				.default_branch = "main" };
	struct repo_rec made = { 0 };
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };
	struct store_options o = { .threads = 2 };
	_cleanup_free_ char *url = NULL, *dir = NULL;

	umask(022);
	s->scratch = scratch_make();
	url = strf("%s/store", s->scratch.path);
	dir = strf("%s/state", s->scratch.path);
	o.state_dir = dir;
	assert_ok(store_init(url, false));
	assert_ok(store_open(url, &o, &s->store));
	assert_ok(refs_create_repo(s->store->refs, "r", &rec, NULL));
	assert_ok(refs_repo(s->store->refs, "r", &w, &made));
	s->repo = made.id;
	repo_rec_release(&made);
	log_set_quiet(true);
	*state = s;
	return 0;
}

static inline int transferstand_tear_down(void **state)
{
	struct transferstand *s = *state;

	store_free(s->store);
	scratch_remove(&s->scratch);
	free(s);
	return 0;
}

/* A path in the scratch directory; the test frees it. */
static inline char *place_of(struct transferstand *s, const char *name)
{
	char *path = strf("%s/%s", s->scratch.path, name);

	assert_non_null(path);
	return path;
}

static inline struct transfer_options options_of(struct transferstand *s)
{
	s->skipped = 0;
	return (struct transfer_options){
		.cancelled = &s->cancelled, .skipped = note_skipped, .ctx = s, .threads = 2
	};
}

/* Where the branch "main" is; null: unborn. */
static inline struct oid tip_of(struct transferstand *s)
{
	struct refs_wait w = { .may_wait = true, .fresh = true, .deadline = DEADLINE_NEVER };
	struct ref ref = { 0 };
	struct etag tag;
	struct oid tip;

	assert_ok(refs_get(s->store->refs, &s->repo, REF_BRANCH, "main", &w, &ref, &tag));
	tip = ref.target;
	ref_release(&ref);
	return tip;
}

static inline int import_with(struct transferstand *s, struct import_request q, struct oid *ret_id,
			      bool *ret_is_new)
{
	struct transfer_options o = options_of(s);

	q.repo = "r";
	q.branch = q.branch ?: "main";
	return transfer_import(s->store, &q, &o, ret_id, ret_is_new);
}

/* Imports @src at @path; the commit, which is new. */
static inline struct oid import_new(struct transferstand *s, const char *src, const char *path)
{
	struct oid id = { 0 }, tip;
	bool is_new = false;

	assert_ok(
		import_with(s, (struct import_request){ .src = src, .path = path }, &id, &is_new));
	tip = tip_of(s);
	assert_true(is_new);
	assert_true(oid_equal(&tip, &id));
	return id;
}

static inline int export_with(struct transferstand *s, const struct oid *id,
			      struct export_request q)
{
	struct transfer_options o = options_of(s);
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };
	_cleanup_buf_ struct buf object = { 0 };

	assert_ok(refs_commit(s->store->refs, &s->repo, id, &w, &object));
	q.commit = buf_span(&object);
	return transfer_export(s->store, &q, &o);
}

static inline int export_to(struct transferstand *s, const struct oid *id, const char *path,
			    const char *dest)
{
	return export_with(s, id, (struct export_request){ .path = path, .dest = dest });
}
