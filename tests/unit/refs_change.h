/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What tests of changes of refs share: others who come in between, by way of a meddler.
 */
#pragma once

#include "meddler.h"
#include "refs_world.h"

static const struct oid _unused_ UNBORN;

static inline _unused_ int move(struct world *w, const char *branch, const struct oid *from,
				const struct oid *to)
{
	struct oid now;

	return refs_move_branch(w->here.refs, &w->repo, branch, NULL, from, to, NULL, &now);
}

static inline _unused_ void ref_read_back(struct world *w, const char *key, struct ref *ret)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct etag tag;

	assert_ok(w->inner->ops->get_all(w->inner, key, REF_MAX, NULL, NULL, &b, &tag));
	assert_ok(ref_read(buf_span(&b), ret));
}

/* What others do in between. */
struct intrusion {
	struct world *world;
	struct machine *by;
	struct oid from, to;
	const char *branch, *other;
	int result;
};

static inline _unused_ void somebody_commits(const char *key, void *ctx)
{
	struct intrusion *i = ctx;
	struct oid now, c = commit_make(i->world, &i->from, NULL);

	i->to = c;
	i->result = refs_move_branch(i->by->refs, &i->world->repo, i->branch, NULL, &i->from, &c,
				     NULL, &now);
}

/* Refs that go by way of a meddler. */
static inline _unused_ struct refs *meddled_refs(struct world *w, struct meddler *m)
{
	return refs_of(&m->base, w->here.index);
}

static inline _unused_ int set_minimum(struct repo_rec *rec, void *ctx)
{
	rec->chunk.min = 4096;
	return *(int *)ctx;
}

static inline _unused_ void somebody_makes_a_branch(const char *key, void *ctx)
{
	struct intrusion *i = ctx;

	i->result = refs_create_branch(i->by->refs, &i->world->repo, i->branch, &UNBORN, NULL);
}
