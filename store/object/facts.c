/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The facts of object/facts.h.
 *
 *	unknown --look--> fresh --refresh time--> stale --look--> fresh
 *	   '---------- from the index ---------------^
 *
 * A fact is pinned while somebody uses it or a look is under way; of the others, those used least
 * recently go when there are too many.
 *
 * Invariants
 *  - a fact's finding was true at some moment not before as_of
 *  - of an object, a look's finding replaces the last one only if nothing was learned since the
 *    look began; of a listing, what was learned since is put on top of it
 *  - the index has no listing without what this process has changed in it: after a restart it may
 *    be all that can be known
 */
#include "object/facts.h"

#include "base/hash.h"
#include "base/htab.h"
#include "base/list.h"
#include "base/log.h"
#include "base/thread.h"
#include "format/key.h"
#include "format/limits.h"
#include "object/edits.h"
#include "object/kept.h"

#define NS_PER_MS    1000000ll
#define MEMORY_MAX   (24 * MiB)
#define LIST_AT_ONCE (64 * KiB) /* a longer one is kept after the next look at it, or at the end */

enum {
	LOOKERS = 4, /* threads */
	LOOK_MS = 10000,
	RETRY_MS = 1000, /* after a look that failed, for those who have an old answer */
	WAIT_STEP_MS = 100, /* how soon a caller that gives up is noticed */
};

/* The age of what another process left in the index. */
#define AGES_AGO (INT64_MIN / 2)

struct fact {
	struct hnode node;
	struct list lru; /* in the list while it is not pinned */
	struct facts *facts;
	char *key; /* owned */
	enum finding_kind kind;
	/* All below is guarded by the lock of all facts. */
	unsigned pins;
	struct finding *now; /* a reference; NULL: unknown */
	int64_t as_of; /* when the look at it began, or it was learned */
	bool is_looking;
	int64_t look_asked, look_began; /* of the last look */
	int64_t failed; /* when the last one that failed began */
	int error; /* its result */
	uint64_t learned; /* how often */
	struct edits edits; /* since the look began */
	bool is_unkept; /* a listing: something was learned of it that the index does not have */
	struct job job;
};

struct facts {
	struct facts_options options;
	struct pool *pool;
	atomic_bool is_ending;
	pthread_mutex_t keeping; /* while a listing goes to the index; taken before lock */
	pthread_mutex_t lock;
	pthread_cond_t looked;
	struct htab facts; /* guarded by lock, as all below */
	struct list lru; /* unpinned, most recently used first */
	size_t memory;
};

int facts_new(const struct facts_options *o, struct facts **ret)
{
	_cleanup_(facts_freep) struct facts *k = new0(struct facts, 1);
	int r;

	if (!k)
		return -ENOMEM;
	k->options = *o;
	pthread_mutex_init(&k->keeping, NULL);
	pthread_mutex_init(&k->lock, NULL);
	cond_init(&k->looked);
	list_init(&k->lru);
	r = pool_new("refs", LOOKERS, &k->pool);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(k);
	return 0;
}

static void fact_free(struct fact *f)
{
	edits_release(&f->edits);
	finding_unref(f->now);
	free(f->key);
	free(f);
}

static size_t fact_cost(const struct fact *f)
{
	return sizeof(*f) + strlen(f->key) + (f->now ? finding_cost(f->now) : 0);
}

/* Takes @now, and accounts for it. */
static void fact_set(struct fact *f, struct finding *now, int64_t as_of)
{
	struct facts *k = f->facts;

	k->memory -= fact_cost(f);
	finding_unref(f->now);
	f->now = now;
	f->as_of = as_of;
	k->memory += fact_cost(f);
}

static void evict(struct facts *k)
{
	while (k->memory > MEMORY_MAX && !list_is_empty(&k->lru)) {
		struct fact *f = list_entry(k->lru.prev, struct fact, lru);

		list_remove(&f->lru);
		htab_remove(&k->facts, &f->node);
		k->memory -= fact_cost(f);
		fact_free(f);
	}
}

static void unpin(struct fact *f)
{
	struct facts *k = f->facts;

	if (--f->pins > 0)
		return;
	list_prepend(&k->lru, &f->lru);
	evict(k);
}

static struct fact *find(struct facts *k, const char *key)
{
	uint64_t hash = hash_bytes(key, strlen(key));

	htab_for_each (n, &k->facts, hash) {
		struct fact *f = container_of(n, struct fact, node);

		if (strcmp(f->key, key) == 0) {
			if (f->pins++ == 0)
				list_remove(&f->lru);
			return f;
		}
	}
	return NULL;
}

static struct fact *add(struct facts *k, enum finding_kind kind, const char *key)
{
	struct fact *f = new0(struct fact, 1);

	if (!f)
		return NULL;
	f->facts = k;
	f->kind = kind;
	f->key = strdup(key);
	f->failed = AGES_AGO;
	f->pins = 1;
	list_init(&f->lru);
	if (!f->key || htab_insert(&k->facts, &f->node, hash_bytes(key, strlen(key))) < 0) {
		fact_free(f);
		return NULL;
	}
	k->memory += fact_cost(f);
	return f;
}

/* Has the index keep a pinned listing as it is now; if it is large and @is_to_wait, none for the
 * time being. Called with no lock held. */
static void keep_list(struct fact *f, bool is_to_wait)
{
	_cleanup_(finding_unrefp) struct finding *now = NULL;
	struct facts *k = f->facts;

	WITH_LOCK(&k->keeping);
	pthread_mutex_lock(&k->lock);
	now = finding_ref(f->now);
	f->is_unkept = is_to_wait && finding_cost(now) > LIST_AT_ONCE;
	is_to_wait = f->is_unkept;
	pthread_mutex_unlock(&k->lock);
	if (is_to_wait)
		kept_forget(k->options.index, f->kind, f->key);
	else
		kept_put(k->options.index, f->key, now, (struct span){ 0 });
}

static void free_node(struct hnode *n, void *ctx)
{
	struct fact *f = container_of(n, struct fact, node);

	if (f->is_unkept)
		kept_put(ctx, f->key, f->now, (struct span){ 0 });
	fact_free(f);
}

void facts_free(struct facts *k)
{
	if (!k)
		return;
	k->is_ending = true;
	pool_free(k->pool);
	htab_walk(&k->facts, free_node, k->options.index);
	htab_release(&k->facts);
	pthread_cond_destroy(&k->looked);
	pthread_mutex_destroy(&k->lock);
	pthread_mutex_destroy(&k->keeping);
	free(k);
}

/* The fact, pinned; with what the index has of it. Called with the lock held, which is given up in
 * between. */
static struct fact *pin(struct facts *k, enum finding_kind kind, const char *key)
{
	struct fact *f = find(k, key);
	struct finding *old;

	if (f)
		return f;
	f = add(k, kind, key);
	if (!f)
		return NULL;
	pthread_mutex_unlock(&k->lock);
	old = kept_load(k->options.index, kind, key);
	pthread_mutex_lock(&k->lock);
	if (f->now || !old)
		finding_unref(old);
	else
		fact_set(f, old, AGES_AGO);
	return f;
}

/* The same of a listing, but NULL if nothing is known of it. */
static struct fact *pin_if_known(struct facts *k, enum finding_kind kind, const char *prefix)
{
	struct fact *f = find(k, prefix);
	struct finding *old;

	if (f)
		return f;
	pthread_mutex_unlock(&k->lock);
	old = kept_load(k->options.index, kind, prefix);
	pthread_mutex_lock(&k->lock);
	f = old ? pin(k, kind, prefix) : NULL;
	finding_unref(old);
	return f;
}

/* A commit does not change. */
static bool is_final(const struct fact *f)
{
	return f->kind == FINDING_COMMIT && f->now && !f->now->is_absent;
}

static size_t object_max(enum finding_kind kind)
{
	return kind == FINDING_COMMIT ? COMMIT_MAX : REF_MAX;
}

/* A pin has a key of its own, and who asks for a commit need not know that it is one. */
static int get(struct backend *b, enum finding_kind kind, const char *key, const struct etag *tag,
	       const struct deadline *dl, struct buf *ret_object, struct etag *ret_tag)
{
	int r = b->ops->get_all(b, key, object_max(kind), tag, dl, ret_object, ret_tag);

	if (r != -ENOENT || kind != FINDING_COMMIT)
		return r;
	return b->ops->get_all(b, key_as_pin(key).s, COMMIT_MAX, NULL, dl, ret_object, ret_tag);
}

/* Asks the store. 0, -EALREADY (it is as @former says), or an error. */
static int ask(struct facts *k, enum finding_kind kind, const char *key, struct finding *former,
	       const struct deadline *dl, struct finding **ret, struct buf *ret_object)
{
	struct backend *b = k->options.backend;
	const struct etag *tag =
		former && !former->is_absent && !finding_is_list(kind) ? &former->tag : NULL;
	_cleanup_(finding_unrefp) struct finding *f = NULL;
	struct etag now;
	int r;

	if (finding_is_list(kind)) {
		r = finding_of_list(kind, b, key, dl, &f);
		if (r == 0 && former)
			r = finding_check_list(b, key, former, dl, &f);
		if (r == 0 && former && finding_lists_are_equal(former, f))
			return -EALREADY;
	} else {
		r = get(b, kind, key, tag, dl, ret_object, &now);
		if (r == -ENOENT && former && former->is_absent)
			return -EALREADY;
		if (r == -ENOENT)
			r = finding_of_absence(kind, &f);
		else if (r == 0)
			r = finding_of_object(kind, key, buf_span(ret_object), &now, &f);
	}
	if (r < 0)
		return r;
	if (!f->is_absent && (kind == FINDING_REPO || kind == FINDING_REF))
		f->is_own = k->options.is_own(finding_nonce(f), k->options.ctx);
	*ret = TAKE_PTR(f);
	return 0;
}

/* Ends a look; takes @found. Returns whether something is other than before. */
static bool look_end(struct fact *f, int r, struct finding *found, uint64_t learned)
{
	f->is_looking = false;
	if (r == -EALREADY && f->learned == learned) {
		f->as_of = f->look_began;
	} else if (r == 0 && finding_is_list(f->kind)) {
		fact_set(f, edits_apply(&f->edits, TAKE_PTR(found)), f->look_began);
	} else if (r == 0 && f->learned == learned) {
		fact_set(f, TAKE_PTR(found), f->look_began);
	} else if (r < 0 && r != -EALREADY) {
		if (r != f->error && (r == -EBADMSG || r == -ENOTSUP))
			log_errno(r, "%s cannot be used", f->key);
		f->failed = f->look_began;
		f->error = r;
	}
	edits_release(&f->edits);
	finding_unref(found);
	pthread_cond_broadcast(&f->facts->looked);
	return r == 0;
}

/* The commit that a ref carries along is one that need not be fetched. */
static void learn_commit(struct facts *k, const char *key, const struct finding *f)
{
	_cleanup_(finding_unrefp) struct finding *commit = NULL, *former = NULL;
	static const struct etag none = { "-" };
	struct key commit_at;
	struct id128 repo;

	if (f->kind != FINDING_REF || f->is_absent || f->ref.commit.len == 0 ||
	    id128_parse(span_of(strchr(key, '/') + 1, ID128_HEX - 1), &repo) < 0)
		return;
	commit_at = commit_key(&repo, &f->ref.target);
	former = facts_peek(k, FINDING_COMMIT, commit_at.s);
	if ((!former || former->is_absent) &&
	    finding_of_object(FINDING_COMMIT, commit_at.s, buf_span(&f->ref.commit), &none,
			      &commit) == 0)
		facts_learn(k, commit_at.s, commit, buf_span(&f->ref.commit));
}

static void look(struct job *j)
{
	struct fact *f = container_of(j, struct fact, job);
	struct facts *k = f->facts;
	_cleanup_(finding_unrefp) struct finding *former = NULL;
	_cleanup_buf_ struct buf object = { 0 };
	struct deadline dl = deadline_in_ms(LOOK_MS);
	struct finding *found = NULL;
	uint64_t learned;
	bool is_other, is_unkept;
	int r;

	dl.cancelled = &k->is_ending;
	pthread_mutex_lock(&k->lock);
	f->look_began = now_ns();
	learned = f->learned;
	former = f->now ? finding_ref(f->now) : NULL;
	pthread_mutex_unlock(&k->lock);

	r = ask(k, f->kind, f->key, former, &dl, &found, &object);
	if (r == 0 && !finding_is_list(f->kind)) {
		kept_put(k->options.index, f->key, found, buf_span(&object));
		learn_commit(k, f->key, found);
	}

	pthread_mutex_lock(&k->lock);
	is_other = look_end(f, r, found, learned);
	is_unkept = finding_is_list(f->kind) && (is_other || (r == -EALREADY && f->is_unkept));
	pthread_mutex_unlock(&k->lock);
	if (is_unkept)
		keep_list(f, false);
	pthread_mutex_lock(&k->lock);
	unpin(f);
	pthread_mutex_unlock(&k->lock);
	if (is_other)
		k->options.changed(k->options.ctx);
}

static void begin_look(struct fact *f)
{
	f->is_looking = true;
	f->look_asked = now_ns();
	f->pins++;
	f->job.run = look;
	pool_submit(f->facts->pool, &f->job);
}

/* Has the fact an answer for somebody who came at @came, whatever its age? */
static bool has_old_answer(const struct fact *f, const struct refs_wait *w)
{
	return f->now && !w->fresh;
}

/* One round of waiting: 1 when there is an answer, 0 to look again, or an error. */
static int await_once(struct fact *f, const struct refs_wait *w, int64_t came)
{
	struct facts *k = f->facts;
	int64_t oldest = w->fresh ? came : came - k->options.refresh_ms * NS_PER_MS;
	int64_t patience;
	int r;

	if (is_final(f) || (f->now && (w->known || f->as_of >= oldest)))
		return 1;
	if (w->known)
		return -EAGAIN;
	if (!f->is_looking && f->failed >= came)
		return has_old_answer(f, w) ? 1 : f->error;
	if (!f->is_looking && has_old_answer(f, w) && f->failed + RETRY_MS * NS_PER_MS > came)
		return 1;
	if (!f->is_looking)
		begin_look(f);

	patience = f->look_asked + REFS_PATIENCE_MS * NS_PER_MS - now_ns();
	if (has_old_answer(f, w) && patience <= 0)
		return 1;
	if (!w->may_wait)
		return -EAGAIN;
	r = deadline_check(&w->deadline);
	if (r < 0)
		return has_old_answer(f, w) ? 1 : r;
	cond_wait_until(&k->looked, &k->lock, &w->deadline,
			has_old_answer(f, w) ? patience / NS_PER_MS + 1 : WAIT_STEP_MS);
	return 0;
}

int facts_get(struct facts *k, enum finding_kind kind, const char *key, const struct refs_wait *w,
	      struct finding **ret)
{
	int64_t came = now_ns();
	struct fact *f;
	int r;

	WITH_LOCK(&k->lock);
	f = pin(k, kind, key);
	if (!f)
		return -ENOMEM;
	do
		r = await_once(f, w, came);
	while (r == 0);
	if (r > 0)
		*ret = finding_ref(f->now);
	unpin(f);
	return r > 0 ? 0 : r;
}

struct finding *facts_peek(struct facts *k, enum finding_kind kind, const char *key)
{
	struct finding *now = NULL;
	struct fact *f;

	WITH_LOCK(&k->lock);
	f = pin(k, kind, key);
	if (!f)
		return NULL;
	if (f->now)
		now = finding_ref(f->now);
	unpin(f);
	return now;
}

void facts_refresh(struct facts *k, enum finding_kind kind, const char *key, unsigned max_age_ms)
{
	int64_t now = now_ns();
	struct fact *f;

	WITH_LOCK(&k->lock);
	f = pin(k, kind, key);
	if (!f)
		return;
	if (!f->is_looking && !is_final(f) &&
	    (!f->now || f->as_of < now - max_age_ms * NS_PER_MS) &&
	    f->failed + RETRY_MS * NS_PER_MS < now)
		begin_look(f);
	unpin(f);
}

void facts_see(struct facts *k, enum finding_kind kind, const char *key, const struct etag *tag,
	       int64_t began)
{
	struct fact *f;

	WITH_LOCK(&k->lock);
	f = find(k, key);
	if (!f)
		return;
	if (f->kind == kind && f->now && f->as_of < began) {
		if (!f->now->is_absent && strcmp(f->now->tag.s, tag->s) == 0)
			f->as_of = began;
		else if (!f->is_looking)
			begin_look(f);
	}
	unpin(f);
}

int facts_look(struct facts *k, enum finding_kind kind, const char *key, const struct deadline *dl,
	       struct finding **ret)
{
	_cleanup_(finding_unrefp) struct finding *found = NULL;
	_cleanup_buf_ struct buf object = { 0 };
	int64_t began = now_ns();
	uint64_t learned;
	struct fact *f;
	int r;

	WITH_LOCK(&k->lock);
	f = pin(k, kind, key);
	if (!f)
		return -ENOMEM;
	learned = f->learned;
	pthread_mutex_unlock(&k->lock);
	r = ask(k, kind, key, NULL, dl, &found, &object);
	if (r == 0) {
		kept_put(k->options.index, key, found, buf_span(&object));
		learn_commit(k, key, found);
	}
	pthread_mutex_lock(&k->lock);
	if (r == 0 && f->learned == learned) {
		f->learned++; /* a look that began before is not believed against it */
		fact_set(f, finding_ref(found), began);
	}
	unpin(f);
	if (r == 0)
		*ret = TAKE_PTR(found);
	return r;
}

/* Was @b made after @a? Not a question where things were never changed. */
static bool is_later(const struct finding *b, const struct finding *a)
{
	if (a->is_absent || b->is_absent)
		return true;
	if (a->kind == FINDING_REPO)
		return b->repo.seq > a->repo.seq;
	return a->kind != FINDING_REF || b->ref.seq > a->ref.seq;
}

void facts_learn(struct facts *k, const char *key, struct finding *f, struct span object)
{
	struct fact *fact;

	kept_put(k->options.index, key, f, object);
	WITH_LOCK(&k->lock);
	fact = pin(k, (enum finding_kind)f->kind, key);
	if (!fact)
		return;
	if (!fact->now || is_later(f, fact->now)) {
		fact->learned++;
		fact_set(fact, finding_ref(f), now_ns());
	}
	pthread_cond_broadcast(&k->looked);
	unpin(fact);
}

void facts_learn_listed(struct facts *k, enum finding_kind kind, const char *prefix,
			const char *name, bool is_there)
{
	struct finding *more;
	struct fact *f;

	WITH_LOCK(&k->lock);
	f = pin_if_known(k, kind, prefix);
	if (!f)
		return;
	if (f->is_looking)
		edits_add(&f->edits, name, is_there);
	if (f->now && f->kind == kind && finding_with(f->now, name, is_there, &more) == 0) {
		fact_set(f, more, f->as_of);
		pthread_mutex_unlock(&k->lock);
		keep_list(f, true);
		pthread_mutex_lock(&k->lock);
	}
	unpin(f);
}
