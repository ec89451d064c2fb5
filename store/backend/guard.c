/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The layer of backend/guard.h.
 *
 *	unproved --first swap, check passed--> proved
 *	    '----- check not passed ---------> refused (swaps)
 *	single  --somebody else's bytes -----> stopped (all that writes)
 *
 * Invariants
 *  - of an object, what was last seen is known by a hash of its bytes, which have a random nonce in
 *    them; other bytes are foreign unless they are those of a write of our own that was under way,
 *    or whose reply was lost
 *  - only what is read whole and changed by swap() is looked at; what is put in pieces, as packs,
 *    is never read whole
 *
 * Threads: swaps of a single writer one at a time, under g->turn; g->lock for the rest, never held
 * across the inner backend.
 */
#include "backend/guard.h"

#include "backend/probe.h"
#include "base/hash.h"
#include "base/htab.h"
#include "base/log.h"
#include "base/text.h"
#include "base/thread.h"

enum state {
	UNPROVED,
	PROVED,
	REFUSED,
	SINGLE,
	STOPPED,
};

enum {
	OBJECT_MAX = 1 << 20, /* bytes of what is swapped */
};

/* Hashes, of which 0 is none. */
struct seen {
	struct hnode node; /* by the key's, which stands for it */
	uint64_t now; /* its bytes; none: it was not read yet */
	uint64_t tag; /* in that case: it had this one, says the server */
	uint64_t coming; /* our own bytes that may land yet */
};

struct guard {
	struct backend b; /* first */
	struct backend *inner; /* owned */
	struct guard_options options;
	pthread_mutex_t turn;
	pthread_mutex_t lock;
	enum state state; /* guarded by lock, as all below */
	struct htab seen;
	uint64_t writes; /* how often something was about to be written, or was */
};

static struct guard *guard_of(struct backend *b)
{
	return container_of(b, struct guard, b);
}

static struct backend *inner_of(struct backend *b)
{
	return guard_of(b)->inner;
}

static enum state state_of(struct guard *g)
{
	WITH_LOCK(&g->lock);
	return g->state;
}

static void set_state(struct guard *g, enum state state)
{
	WITH_LOCK(&g->lock);
	g->state = state;
}

/* May anything be written? */
static int check_writing(struct guard *g)
{
	return state_of(g) == STOPPED ? -EROFS : 0;
}

static struct seen *find(struct guard *g, const char *key)
{
	htab_for_each (n, &g->seen, hash_bytes(key, strlen(key)))
		return container_of(n, struct seen, node);
	return NULL;
}

static struct seen *find_or_add(struct guard *g, const char *key)
{
	struct seen *s = find(g, key);

	if (s)
		return s;
	s = new0(struct seen, 1);
	if (s && htab_insert(&g->seen, &s->node, hash_bytes(key, strlen(key))) < 0) {
		free(s);
		return NULL;
	}
	return s;
}

static uint64_t hash_of(struct span bytes)
{
	return hash_bytes(bytes.data, bytes.len) | 1; /* never none */
}

static uint64_t writes_of(struct guard *g)
{
	WITH_LOCK(&g->lock);
	return g->writes;
}

/* We are about to write it, or have (@is_done). */
static void note_own(struct guard *g, const char *key, struct span bytes, bool is_done)
{
	struct seen *s;

	WITH_LOCK(&g->lock);
	g->writes++;
	s = find_or_add(g, key);
	if (!s)
		return;
	if (is_done)
		s->now = hash_of(bytes);
	s->coming = is_done ? 0 : hash_of(bytes);
}

/* The server says that it still is what it was. */
static void note_unchanged(struct guard *g, const char *key, const struct etag *tag)
{
	struct seen *s;

	WITH_LOCK(&g->lock);
	s = find_or_add(g, key);
	if (s && s->tag == 0)
		s->tag = hash_of(span_str(tag->s));
}

/* It was read, when so much had been written (@writes). True: it is what it may be. */
static bool note_read(struct guard *g, const char *key, struct span bytes, const struct etag *tag,
		      uint64_t writes)
{
	uint64_t hash = hash_of(bytes), tag_hash = hash_of(span_str(tag->s));
	struct seen *s;

	WITH_LOCK(&g->lock);
	/* What is older than a write of our own tells nothing. */
	if (g->state != SINGLE || g->writes != writes)
		return true;
	s = find_or_add(g, key);
	/* While it is under way both may be read, in whatever order. */
	if (!s || s->now == hash || s->coming == hash)
		return true;
	if (s->now != 0 || s->coming != 0 || (s->tag != 0 && s->tag != tag_hash)) {
		g->state = STOPPED;
		return false;
	}
	s->now = hash;
	return true;
}

/* Whatever is there next is ours. */
static void forget(struct guard *g, const char *key)
{
	struct seen *s;

	WITH_LOCK(&g->lock);
	g->writes++;
	s = find(g, key);
	if (s)
		s->now = s->tag = s->coming = 0;
}

static void say_stopped(struct guard *g, const char *key)
{
	log_error("%s: somebody else has written %s, and this mount was told to be the single "
		  "writer: it writes nothing more; end the other one and mount this again",
		  g->b.url, key);
}

static int guard_get(struct backend *b, const char *key, uint64_t off, size_t len, void *buf,
		     const struct deadline *dl, size_t *ret_len)
{
	return inner_of(b)->ops->get(inner_of(b), key, off, len, buf, dl, ret_len);
}

static int guard_get_all(struct backend *b, const char *key, size_t max, const struct etag *known,
			 const struct deadline *dl, struct buf *ret, struct etag *ret_tag)
{
	struct guard *g = guard_of(b);
	uint64_t writes = writes_of(g);
	int r = g->inner->ops->get_all(g->inner, key, max, known, dl, ret, ret_tag);

	if (!g->options.single_writer)
		return r;
	if (r == -EALREADY)
		note_unchanged(g, key, known);
	else if (r == 0 && !note_read(g, key, buf_span(ret), ret_tag, writes))
		say_stopped(g, key);
	return r;
}

static int guard_head(struct backend *b, const char *key, const struct deadline *dl,
		      uint64_t *ret_size)
{
	return inner_of(b)->ops->head(inner_of(b), key, dl, ret_size);
}

static int guard_put(struct backend *b, const char *key, struct span data,
		     const struct deadline *dl)
{
	struct guard *g = guard_of(b);
	int r = check_writing(g);

	if (r == 0)
		r = g->inner->ops->put(g->inner, key, data, dl);
	if (g->options.single_writer)
		forget(g, key);
	return r;
}

/* The inner backend's put is handed out as it is. */
static int guard_put_begin(struct backend *b, const char *key, struct backend_put **ret)
{
	int r = check_writing(guard_of(b));

	return r < 0 ? r : inner_of(b)->ops->put_begin(inner_of(b), key, ret);
}

static int guard_put_write(struct backend_put *p, struct span data, const struct deadline *dl)
{
	return p->backend->ops->put_write(p, data, dl);
}

static int guard_put_end(struct backend_put *p, const struct deadline *dl)
{
	return p->backend->ops->put_end(p, dl);
}

static void guard_put_abort(struct backend_put *p)
{
	p->backend->ops->put_abort(p);
}

/* Before the first swap. */
static int prove(struct guard *g, const struct deadline *dl)
{
	int r;

	WITH_LOCK(&g->turn);
	if (state_of(g) == PROVED)
		return 0;
	r = state_of(g) == REFUSED
		    ? -EOPNOTSUPP
		    : backend_check_conditions(g->inner, g->options.key, g->options.key_max, dl);
	if (r == -EOPNOTSUPP)
		set_state(g, REFUSED);
	/* It may be forbidden to write that object. What init has found must do. */
	if (r < 0 && r != -EACCES)
		return r;
	set_state(g, PROVED);
	if (r == 0 && g->options.proved)
		g->options.proved(g->options.ctx);
	return 0;
}

/* Is @key as it should be before it is replaced? 1, 0, or an error. */
static int is_expected(struct guard *g, const char *key, const struct etag *tag,
		       const struct deadline *dl)
{
	_cleanup_buf_ struct buf now = { 0 };
	struct etag found;
	int r = guard_get_all(&g->b, key, OBJECT_MAX, NULL, dl, &now, &found);

	if (r == -ENOENT)
		return !tag;
	return r < 0 ? r : tag && strcmp(found.s, tag->s) == 0;
}

/* Without conditions; what then is there is what we wrote, or somebody else is there as well. */
static int put_plainly(struct guard *g, const char *key, struct span data,
		       const struct deadline *dl, struct etag *ret_tag)
{
	_cleanup_buf_ struct buf now = { 0 };
	int r = g->inner->ops->put(g->inner, key, data, dl);

	if (r < 0)
		return r == -EACCES || r == -ENOSPC ? r : -EINPROGRESS;
	r = guard_get_all(&g->b, key, OBJECT_MAX, NULL, dl, &now, ret_tag);
	return r == 0 && span_equal(buf_span(&now), data) ? 0 : -EINPROGRESS;
}

/* With conditions, as if they were kept; that they are not taken is nothing to tell of. */
static int try_conditions(struct guard *g, const char *key, const struct etag *tag,
			  struct span data, const struct deadline *dl, struct etag *ret_tag)
{
	_cleanup_free_ char *said = NULL;
	bool was_quiet = log_set_quiet(true);
	int r;

	complaint_clear();
	r = g->inner->ops->swap(g->inner, key, tag, data, dl, ret_tag);
	log_set_quiet(was_quiet);
	if (r == 0 || r == -EIO || complaint()[0] == '\0')
		return r;
	said = strdup(complaint());
	return said ? log_fail(r, "%s", said) : r;
}

static int swap_alone(struct guard *g, const char *key, const struct etag *tag, struct span data,
		      const struct deadline *dl, struct etag *ret_tag)
{
	int r;

	WITH_LOCK(&g->turn);
	r = is_expected(g, key, tag, dl);
	if (r == 1)
		r = check_writing(g);
	else if (r == 0)
		r = -ESTALE;
	if (r < 0)
		return r;
	note_own(g, key, data, false);
	/* Who does keep conditions, or some, is not asked to do without. */
	r = try_conditions(g, key, tag, data, dl, ret_tag);
	if (r == -EIO || (r == -ESTALE && is_expected(g, key, tag, dl) == 1))
		r = put_plainly(g, key, data, dl, ret_tag);
	if (r == 0)
		note_own(g, key, data, true);
	return r;
}

static int guard_swap(struct backend *b, const char *key, const struct etag *tag, struct span data,
		      const struct deadline *dl, struct etag *ret_tag)
{
	struct guard *g = guard_of(b);
	int r = 0;

	if (g->options.single_writer)
		return swap_alone(g, key, tag, data, dl, ret_tag);
	if (state_of(g) != PROVED)
		r = prove(g, dl);
	return r < 0 ? r : g->inner->ops->swap(g->inner, key, tag, data, dl, ret_tag);
}

static int guard_list(struct backend *b, const char *prefix, const char *after, backend_list_fn fn,
		      void *ctx, const struct deadline *dl)
{
	return inner_of(b)->ops->list(inner_of(b), prefix, after, fn, ctx, dl);
}

static int guard_remove(struct backend *b, const char *key, const struct deadline *dl)
{
	struct guard *g = guard_of(b);
	int r = check_writing(g);

	if (r == 0)
		r = g->inner->ops->remove(g->inner, key, dl);
	if (g->options.single_writer)
		forget(g, key);
	return r;
}

static int guard_stamp(struct backend *b, const char *dir, uint64_t *ret)
{
	struct backend *inner = inner_of(b);

	return inner->ops->stamp ? inner->ops->stamp(inner, dir, ret) : -EOPNOTSUPP;
}

static int guard_has_others(struct backend *b)
{
	return inner_of(b)->ops->has_others ? inner_of(b)->ops->has_others(inner_of(b)) : 0;
}

static uint64_t guard_space(struct backend *b)
{
	return inner_of(b)->ops->space(inner_of(b));
}

static void free_seen(struct hnode *n, void *ctx)
{
	free(container_of(n, struct seen, node));
}

static void guard_free(struct backend *b)
{
	struct guard *g = guard_of(b);

	backend_free(g->inner);
	htab_walk(&g->seen, free_seen, NULL);
	htab_release(&g->seen);
	pthread_mutex_destroy(&g->turn);
	pthread_mutex_destroy(&g->lock);
	free(g->b.url);
	free(g);
}

static const struct backend_ops guard_ops = {
	.get = guard_get,
	.get_all = guard_get_all,
	.head = guard_head,
	.put = guard_put,
	.put_begin = guard_put_begin,
	.put_write = guard_put_write,
	.put_end = guard_put_end,
	.put_abort = guard_put_abort,
	.swap = guard_swap,
	.list = guard_list,
	.remove = guard_remove,
	.has_others = guard_has_others,
	.stamp = guard_stamp,
	.space = guard_space,
	.free = guard_free,
};

int guard_backend_new(struct backend *inner, const struct guard_options *o, struct backend **ret)
{
	struct guard *g = new0(struct guard, 1);

	if (!g)
		return -ENOMEM;
	g->b = (struct backend){
		.ops = &guard_ops,
		.url = strdup(inner->url),
		.is_local = inner->is_local,
		.is_served = inner->is_served,
	};
	if (!g->b.url) {
		free(g);
		return -ENOMEM;
	}
	g->inner = inner;
	g->options = *o;
	g->state = o->single_writer ? SINGLE : UNPROVED;
	pthread_mutex_init(&g->turn, NULL);
	pthread_mutex_init(&g->lock, NULL);
	*ret = &g->b;
	return 0;
}
