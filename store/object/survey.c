/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The listing of object/survey.h: of all branches of all repos.
 *
 *	idle --worth it--> listing --ends--> idle
 *
 * A page of a listing is dearer than a look. One that has so many that it is not worth it, or has
 * no tags, is cut there.
 */
#include "object/survey.h"

#include "base/thread.h"
#include "format/key.h"

enum {
	PAGE = 1000, /* keys in a reply */
	LOOKS_A_PAGE = 16, /* as dear as one */
	ROUNDS = 32, /* for which one that was not worth it is not tried again */
	LIST_MS = 10000,
};

struct survey {
	struct backend *backend; /* borrowed, as the facts */
	struct facts *facts;
	struct pool *pool; /* owned; NULL: it was never worth it */
	struct job job;
	atomic_bool is_ending;
	atomic_bool is_listing; /* the job has all below */
	int64_t began;
	size_t listed, max;
	unsigned rounds; /* for which it is not tried */
};

int survey_new(struct backend *b, struct facts *k, struct survey **ret)
{
	_cleanup_(survey_freep) struct survey *s = new0(struct survey, 1);

	if (!s)
		return -ENOMEM;
	s->backend = b;
	s->facts = k;
	*ret = TAKE_PTR(s);
	return 0;
}

void survey_free(struct survey *s)
{
	if (!s)
		return;
	s->is_ending = true;
	pool_free(s->pool);
	free(s);
}

static int see(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	struct survey *s = ctx;

	if (!tag || ++s->listed > s->max)
		return 1;
	facts_see(s->facts, FINDING_REF, key, tag, s->began);
	return 0;
}

static void list(struct job *j)
{
	struct survey *s = container_of(j, struct survey, job);
	struct deadline dl = deadline_in_ms(LIST_MS);

	dl.cancelled = &s->is_ending;
	s->listed = 0;
	s->began = now_ns();
	/* What it does not tell of grows old, and is looked at then. */
	if (s->backend->ops->list(s->backend, HEAD_PREFIX, NULL, see, s, &dl) != 0)
		s->rounds = ROUNDS;
	s->is_listing = false;
}

bool survey_begin(struct survey *s, size_t count)
{
	if (s->is_listing)
		return true;
	s->max = count / LOOKS_A_PAGE * PAGE;
	if (s->max == 0)
		return false;
	if (s->rounds > 0) {
		s->rounds--;
		return false;
	}
	if (!s->pool && pool_new("survey", 1, &s->pool) < 0)
		return false;
	s->is_listing = true;
	s->job.run = list;
	pool_submit(s->pool, &s->job);
	return true;
}
