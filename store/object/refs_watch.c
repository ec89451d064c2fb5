/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The thread that keeps an eye on branches in use, and tells when somebody else has moved one.
 *
 * It sees to it that each is looked at every refresh time, or all of them with one listing
 * (survey.h); the looks themselves run elsewhere, so one that hangs holds nobody up. A branch's
 * last teller is the nonce of its ref: a nonce other than the last one, and not of our own making,
 * is news.
 *
 * Locks: watch.lock is never held across a call that may look or to the callback.
 */
#include <stdio.h>

#include "base/log.h"
#include "object/refs_parts.h"
#include "object/survey.h"

struct in_use {
	struct list list;
	struct id128 repo;
	char name[OBJECT_NAME_MAX + 1];
	unsigned users; /* guarded by the watch's lock, as all below */
	bool has_told; /* the next three are set */
	struct id128 nonce;
	struct oid target;
	uint8_t state;
};

void watch_init(struct watch *w)
{
	pthread_mutex_init(&w->lock, NULL);
	cond_init(&w->wake);
	list_init(&w->branches);
}

void watch_stop(struct watch *w)
{
	pthread_mutex_lock(&w->lock);
	w->is_ending = true;
	pthread_cond_broadcast(&w->wake);
	pthread_mutex_unlock(&w->lock);
	if (w->is_running)
		pthread_join(w->thread, NULL);
}

void watch_release(struct watch *w)
{
	list_for_each_safe (b, &w->branches, struct in_use, list)
		free(b);
	pthread_cond_destroy(&w->wake);
	pthread_mutex_destroy(&w->lock);
}

void watch_wake(struct refs *r)
{
	struct watch *w = &r->watch;

	WITH_LOCK(&w->lock);
	w->has_news = true;
	pthread_cond_broadcast(&w->wake);
}

static struct in_use *find(struct watch *w, const struct id128 *repo, const char *name)
{
	list_for_each (b, &w->branches, struct in_use, list)
		if (id128_equal(&b->repo, repo) && strcmp(b->name, name) == 0)
			return b;
	return NULL;
}

/* The branch behind @after (NULL: the first), by value: the list may change meanwhile. */
static bool next_branch(struct watch *w, struct in_use *b, bool is_first)
{
	bool is_behind = is_first;

	list_for_each (i, &w->branches, struct in_use, list) {
		if (is_behind) {
			*b = *i;
			return true;
		}
		is_behind = id128_equal(&i->repo, &b->repo) && strcmp(i->name, b->name) == 0;
	}
	return false;
}

/* Notes what is known of a branch now. Is it worth telling? Called with the lock held. */
static bool note(struct in_use *b, const struct finding *f)
{
	bool is_news;

	if (f->is_absent || (b->has_told && id128_equal(&b->nonce, &f->ref.nonce)))
		return false;
	is_news = b->has_told && !f->is_own &&
		  (!oid_equal(&b->target, &f->ref.target) || b->state != f->ref.state);
	b->has_told = true;
	b->nonce = f->ref.nonce;
	b->target = f->ref.target;
	b->state = f->ref.state;
	return is_news;
}

/* Tells of the branch in @copy if it has moved. Called with the lock held. */
static void tell(struct refs *r, const struct in_use *copy)
{
	struct watch *w = &r->watch;
	_cleanup_(finding_unrefp) struct finding *f = NULL;
	void (*fn)(const struct id128 *, const char *, const struct ref *, void *);
	struct in_use *b;
	void *ctx;

	pthread_mutex_unlock(&w->lock);
	f = facts_peek(r->facts, FINDING_REF, head_key(&copy->repo, copy->name).s);
	pthread_mutex_lock(&w->lock);
	b = find(w, &copy->repo, copy->name);
	if (!b || !f || !note(b, f) || !w->fn || w->is_ending)
		return;
	fn = w->fn;
	ctx = w->ctx;
	w->is_telling = true;
	pthread_mutex_unlock(&w->lock);
	fn(&copy->repo, copy->name, &f->ref, ctx);
	pthread_mutex_lock(&w->lock);
	w->is_telling = false;
	pthread_cond_broadcast(&w->wake);
}

static void for_each_branch(struct refs *r, void (*fn)(struct refs *r, const struct in_use *b))
{
	struct in_use b = { 0 };

	for (bool is_first = true; next_branch(&r->watch, &b, is_first); is_first = false)
		fn(r, &b);
}

static void refresh(struct refs *r, const struct in_use *b)
{
	struct watch *w = &r->watch;
	unsigned max_age_ms = w->max_age_ms;

	pthread_mutex_unlock(&w->lock);
	facts_refresh(r->facts, FINDING_REF, head_key(&b->repo, b->name).s, max_age_ms);
	pthread_mutex_lock(&w->lock);
}

/* Sees to all branches, which was last done a refresh time ago. */
static void refresh_all(struct refs *r, struct survey **survey)
{
	struct watch *w = &r->watch;
	size_t count = w->count;
	bool is_surveyed = false;

	pthread_mutex_unlock(&w->lock);
	if (*survey || survey_new(r->options.backend, r->facts, survey) == 0)
		is_surveyed = survey_begin(*survey, count);
	pthread_mutex_lock(&w->lock);
	/* What the last survey has seen is a refresh time old by now. */
	w->max_age_ms = is_surveyed ? r->options.refresh_ms * 3 / 2 : r->options.refresh_ms / 2;
	for_each_branch(r, refresh);
}

static void *watch_main(void *arg)
{
	struct refs *r = arg;
	struct watch *w = &r->watch;
	int64_t step = MAX((int64_t)r->options.refresh_ms, (int64_t)1);
	int64_t next = now_ns();
	_cleanup_(survey_freep) struct survey *survey = NULL;

	pthread_mutex_lock(&w->lock);
	while (!w->is_ending) {
		if (now_ns() >= next) {
			refresh_all(r, &survey);
			w->has_news = true; /* in case some was missed */
			next = now_ns() + step * 1000000;
		}
		if (w->has_news) {
			w->has_news = false;
			for_each_branch(r, tell);
			continue;
		}
		cond_wait_until(&w->wake, &w->lock, &(struct deadline){ .at_ns = next }, step);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

void refs_watch(struct refs *r,
		void (*fn)(const struct id128 *repo, const char *branch, const struct ref *now,
			   void *ctx),
		void *ctx)
{
	struct watch *w = &r->watch;

	WITH_LOCK(&w->lock);
	w->fn = fn;
	w->ctx = ctx;
	/* Nobody is called any more whom this call has relieved. */
	while (w->is_telling && !pthread_equal(pthread_self(), w->thread))
		pthread_cond_wait(&w->wake, &w->lock);
}

void refs_use_branch(struct refs *r, const struct id128 *repo, const char *branch, bool in_use)
{
	struct watch *w = &r->watch;
	_cleanup_(finding_unrefp) struct finding *f =
		facts_peek(r->facts, FINDING_REF, head_key(repo, branch).s);
	struct in_use *b;

	WITH_LOCK(&w->lock);
	b = find(w, repo, branch);
	if (!in_use) {
		if (b && --b->users == 0) {
			list_remove(&b->list);
			free(b);
			w->count--;
		}
		return;
	}
	if (!b) {
		b = new0(struct in_use, 1);
		if (!b)
			return;
		b->repo = *repo;
		snprintf(b->name, sizeof(b->name), "%s", branch);
		list_append(&w->branches, &b->list);
		w->count++;
		if (f)
			note(b, f);
	}
	b->users++;
	if (!w->is_running) {
		w->is_running = thread_start(&w->thread, "watch", watch_main, r) == 0;
		if (!w->is_running)
			log_warning("branches are not watched: no thread can be started");
	}
	pthread_cond_broadcast(&w->wake);
}
