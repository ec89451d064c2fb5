/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A store with a repo in it, and machines that use it, for tests of refs.
 */
#pragma once

#include "backend/fault.h"
#include "base/log.h"
#include "base/thread.h"
#include "format/key.h"
#include "format/name.h"
#include "index/index.h"
#include "object/refs.h"
#include "sample.h"
#include "scratch.h"

enum {
	REFRESH_MS = 40,
	PATIENT_MS = 20000, /* for what comes by itself */
};

/* A process of one machine, as far as refs go. */
struct machine {
	struct scratch dir;
	struct index *index;
	struct refs *refs;
};

struct world {
	struct scratch dir; /* of the file backend */
	struct backend *inner; /* behind the faults, which own it */
	struct backend *backend;
	struct machine here;
	struct prng random;
	struct id128 repo; /* "repo", with the branch "main" */
};

static const struct id128 WORLD_STORE = { { 7 } };

/* Waits as long as it takes; does not mind an old answer; must not wait. */
static const struct refs_wait FRESH = { true, true, { INT64_MAX, NULL } };
static const struct refs_wait KNOWN = { true, false, { INT64_MAX, NULL } };
static const struct refs_wait _unused_ AT_ONCE = { false, false, { INT64_MAX, NULL } };

static inline struct refs *refs_open(struct backend *b, struct index *x, unsigned refresh_ms,
				     bool read_only)
{
	struct refs_options o = {
		.backend = b,
		.index = x,
		.refresh_ms = refresh_ms,
		.writer = "ann@lab",
		.read_only = read_only,
	};
	struct refs *r;

	assert_ok(refs_new(&o, &r));
	return r;
}

static inline struct refs *refs_of(struct backend *b, struct index *x)
{
	return refs_open(b, x, REFRESH_MS, false);
}

static inline void machine_open(struct backend *b, struct machine *m)
{
	m->dir = scratch_make();
	assert_ok(index_open(m->dir.fd, &WORLD_STORE, 1 << 20, &m->index));
	m->refs = refs_of(b, m->index);
}

static inline void machine_close(struct machine *m)
{
	refs_free(m->refs);
	index_free(m->index);
	scratch_remove(&m->dir);
}

/* A new process on the same machine. */
static inline _unused_ void machine_restart(struct backend *b, struct machine *m)
{
	refs_free(m->refs);
	m->refs = refs_of(b, m->index);
}

static inline void repo_make(struct refs *r, const char *name, struct id128 *ret_id)
{
	_cleanup_repo_rec_ struct repo_rec got = { 0 };
	struct repo_rec rec = {
		.default_branch = "main",
		.chunk = CHUNK_PARAMS_DEFAULT,
		.root_mode = 0755,
	};

	assert_ok(refs_create_repo(r, name, &rec, NULL));
	assert_ok(refs_repo(r, name, &KNOWN, &got));
	*ret_id = got.id;
}

static inline int world_open(void **state, bool is_file)
{
	struct world *w = calloc(1, sizeof(*w));
	struct backend_options create = { .create = true };

	w->random.state = 4711;
	w->dir = scratch_make();
	if (is_file)
		assert_ok(file_backend_open(w->dir.path, &create, &w->inner));
	else
		assert_ok(memory_backend_new(&w->inner));
	assert_ok(fault_backend_new(w->inner, &w->backend));
	machine_open(w->backend, &w->here);
	repo_make(w->here.refs, "repo", &w->repo);
	*state = w;
	return 0;
}

static inline _unused_ int world_in_memory(void **state)
{
	return world_open(state, false);
}

static inline _unused_ int world_in_files(void **state)
{
	return world_open(state, true);
}

static inline int world_close(void **state)
{
	struct world *w = *state;

	machine_close(&w->here);
	backend_free(w->backend);
	scratch_remove(&w->dir);
	free(w);
	log_set_level(LOG_LEVEL_INFO);
	return 0;
}

/* A commit's object, with a nonce that makes it one of its kind. */
static inline struct oid commit_object(const struct id128 *repo, const struct oid *parents,
				       uint8_t n, uint64_t generation, struct buf *out)
{
	struct commit c = {
		.repo = *repo,
		.generation = generation,
		.parent_count = n,
		.root = { .type = FT_DIR, .mode = 0755 },
		.nonce = id128_random(),
		.message = span_str("what was done"),
	};
	struct oid id;

	for (uint8_t i = 0; i < n; i++)
		c.parents[i] = parents[i];
	assert_ok(commit_write(&c, out, &id));
	return id;
}

/* Stores a commit behind up to two others (null: none). */
static inline struct oid commit_make(struct world *w, const struct oid *a, const struct oid *b)
{
	_cleanup_buf_ struct buf object = { 0 };
	struct oid parents[2], id;
	uint64_t generation = 0;
	uint8_t n = 0;

	for (int i = 0; i < 2; i++) {
		const struct oid *p = i == 0 ? a : b;
		_cleanup_buf_ struct buf bytes = { 0 };
		_cleanup_commit_ struct commit c = { 0 };
		struct etag tag;

		if (!p || oid_is_null(p))
			continue;
		assert_ok(w->inner->ops->get_all(w->inner, commit_key(&w->repo, p).s, COMMIT_MAX,
						 NULL, NULL, &bytes, &tag));
		assert_ok(commit_read(buf_span(&bytes), p, &c));
		generation = MAX(generation, c.generation);
		parents[n++] = *p;
	}
	id = commit_object(&w->repo, parents, n, generation + 1, &object);
	assert_ok(
		w->inner->ops->put(w->inner, commit_key(&w->repo, &id).s, buf_span(&object), NULL));
	return id;
}

static inline struct oid branch_target(struct refs *r, const struct id128 *repo, const char *name)
{
	_cleanup_ref_ struct ref ref = { 0 };

	assert_ok(refs_get(r, repo, REF_BRANCH, name, &FRESH, &ref, NULL));
	return ref.target;
}

static inline _unused_ void assert_branch_at(struct world *w, const char *name,
					     const struct oid *id)
{
	struct oid at = branch_target(w->here.refs, &w->repo, name);

	assert_memory_equal(&at, id, sizeof(at));
}

static inline _unused_ bool is_live(struct refs *r, const struct id128 *repo, enum ref_kind kind,
				    const char *name)
{
	_cleanup_ref_ struct ref ref = { 0 };
	int e = refs_get(r, repo, kind, name, &FRESH, &ref, NULL);

	assert_true(e == 0 || e == -ENOENT);
	return e == 0;
}

/* A listing as text, for comparing. */
struct text {
	char s[4000];
};

static inline int text_add(const char *name, void *ctx)
{
	struct text *t = ctx;
	size_t n = strlen(t->s);

	snprintf(t->s + n, sizeof(t->s) - n, "%s ", name);
	return 0;
}

static inline _unused_ void assert_listed(struct refs *r, const struct id128 *repo,
					  enum ref_kind kind, const struct refs_wait *wait,
					  const char *names)
{
	struct text t = { "" };

	assert_ok(refs_list(r, repo, kind, wait, text_add, &t));
	assert_string_equal(t.s, names);
}

static inline _unused_ void fault_add(struct world *w, struct fault f)
{
	assert_ok(fault_backend_add(w->backend, &f));
}

/* How long something took, in ms. */
static inline _unused_ int64_t since(int64_t start_ns)
{
	return (now_ns() - start_ns) / 1000000;
}

/* How often something may be looked at in that time; on a slow machine much of it passes. */
static inline _unused_ uint64_t looks_since(int64_t start_ns)
{
	return (uint64_t)since(start_ns) / REFRESH_MS + 3;
}

/* A test on a store in memory, and on one in files. */
#define BOTH(f)                                                     \
	{ #f " (memory)", f, world_in_memory, world_close, NULL },  \
	{                                                           \
#f " (files)", f, world_in_files, world_close, NULL \
	}
