/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From an object's id to the frame it lies in: where the hint says, else where the index says, else
 * where the index says when it has read what it can of the store.
 *
 * A frame that several want is read once: the first of them reads, the others wait and share what
 * it gave, whatever becomes of the memory. When the reader gave up (its deadline is its own), one
 * of the others goes on.
 *
 * That an object cannot be had is remembered for a while: looking everywhere is dear, and whoever
 * reads a damaged file does so again and again.
 */
#include "base/hash.h"
#include "base/log.h"
#include "format/key.h"
#include "index/index.h"
#include "object/reader_parts.h"

enum {
	WAIT_STEP_MS = 100,
	VERDICTS_MAX = 4096,
	VERDICT_MS = 10000,
	TRIES_MAX = 8, /* places at which an object is looked for */
};

struct flight {
	struct hnode hash;
	struct id128 pack;
	uint32_t offset;
	unsigned refs; /* guarded by the reader's lock, as all below */
	bool has_landed;
	int result;
	struct load *load; /* a reference */
};

/* An object that could not be had. */
struct verdict {
	struct hnode hash;
	struct list order;
	uint8_t kind;
	struct oid id;
	struct loc hint; /* of who looked */
	int result;
	int64_t until_ns;
};

static uint64_t place_hash(const struct loc *at)
{
	return hash_bytes(at->pack.b, sizeof(at->pack.b)) ^ hash_u64(at->offset);
}

static struct flight *find_flight(struct reader *r, const struct loc *at)
{
	htab_for_each (n, &r->flights, place_hash(at)) {
		struct flight *f = container_of(n, struct flight, hash);

		if (f->offset == at->offset && id128_equal(&f->pack, &at->pack))
			return f;
	}
	return NULL;
}

static void flight_put(struct flight *f)
{
	if (--f->refs > 0)
		return;
	load_unref(f->load);
	free(f);
}

/* Waits for somebody else's flight. 1: he gave up, it is our turn. */
static int join(struct reader *r, struct flight *f, const struct deadline *dl, struct load **ret)
{
	int e = 0;

	f->refs++;
	while (!f->has_landed && (e = deadline_check(dl)) == 0)
		cond_wait_until(&r->landed, &r->lock, dl, WAIT_STEP_MS);
	if (f->has_landed) {
		e = f->result;
		if (e == -ETIME || e == -ECANCELED)
			e = 1;
		if (e == 0)
			*ret = load_ref(f->load);
	}
	flight_put(f);
	return e;
}

struct flight *flight_begin(struct reader *r, const struct loc *at)
{
	struct flight *f = find_flight(r, at) ? NULL : new0(struct flight, 1);

	if (!f)
		return NULL;
	f->pack = at->pack;
	f->offset = at->offset;
	f->refs = 1;
	if (htab_insert(&r->flights, &f->hash, place_hash(at)) < 0) {
		free(f);
		return NULL;
	}
	return f;
}

/* Puts into the memory what a frame gave. */
static void remember(struct reader *r, struct load *l)
{
	for (uint32_t i = 0; i < l->count; i++)
		if (l->items[i].node)
			memory_add_node(r->memory, l->items[i].node);
	memory_add_parcel(r->memory, l->parcel);
}

void flight_end(struct reader *r, struct flight *f, int result, struct load *l)
{
	if (result == 0)
		remember(r, l);
	WITH_LOCK(&r->lock);
	f->result = result == -EAGAIN ? -ETIME : result;
	f->load = result == 0 ? load_ref(l) : NULL;
	f->has_landed = true;
	htab_remove(&r->flights, &f->hash);
	pthread_cond_broadcast(&r->landed);
	flight_put(f);
}

/* The frame at @at, read by this thread or another. */
static int get_frame(struct reader *r, const struct loc *at, bool is_node, bool at_once,
		     const struct deadline *dl, struct load **ret)
{
	struct flight *f;
	int e;

	WITH_LOCK(&r->lock);
	while ((f = find_flight(r, at))) {
		if (at_once)
			return -EAGAIN;
		e = join(r, f, dl, ret);
		if (e <= 0)
			return e;
		e = deadline_check(dl);
		if (e < 0)
			return e;
	}
	f = flight_begin(r, at);
	if (!f)
		return -ENOMEM;
	pthread_mutex_unlock(&r->lock);
	e = loader_read(r->loader, at, is_node, at_once, dl, ret);
	flight_end(r, f, e, e == 0 ? *ret : NULL);
	if (e == 0)
		reader_spill(r, ret, 1);
	pthread_mutex_lock(&r->lock);
	return e;
}

/* Looks for the object at @at. -ENOENT: it is not there; -EBADMSG: no frame is there, or what is
 * there as the object is not (*@is_damaged). */
static int try_place(struct reader *r, const struct wanted *w, const struct loc *at, bool at_once,
		     const struct deadline *dl, bool *is_damaged, struct load **ret,
		     const struct load_item **ret_item)
{
	_cleanup_(load_unrefp) struct load *l = NULL;
	const struct load_item *i;
	int e;

	e = get_frame(r, at, w->kind == OID_NODE, at_once, dl, &l);
	if (e < 0)
		return e;
	i = load_find(l, w->kind, w->id, at->item);
	if (!i)
		return -ENOENT;
	if (!i->node && !i->blob) {
		*is_damaged = true;
		return -EBADMSG;
	}
	*ret = TAKE_PTR(l);
	*ret_item = i;
	return 0;
}

static bool is_same_place(const struct loc *a, const struct loc *b)
{
	return a->state == LOC_AT && b->state == LOC_AT && a->offset == b->offset &&
	       id128_equal(&a->pack, &b->pack);
}

static const char *kind_name(uint8_t kind)
{
	return kind == OID_NODE ? "node" : "chunk";
}

static uint64_t verdict_hash(const struct wanted *w)
{
	return oid_hash(w->id) ^ w->kind;
}

static struct verdict *find_verdict(struct reader *r, const struct wanted *w)
{
	htab_for_each (n, &r->verdicts, verdict_hash(w)) {
		struct verdict *v = container_of(n, struct verdict, hash);

		if (v->kind == w->kind && oid_equal(&v->id, w->id))
			return v;
	}
	return NULL;
}

static void verdict_free(struct reader *r, struct verdict *v)
{
	list_remove(&v->order);
	htab_remove(&r->verdicts, &v->hash);
	r->verdict_count--;
	free(v);
}

void verdicts_release(struct reader *r)
{
	list_for_each_safe (v, &r->verdict_order, struct verdict, order)
		verdict_free(r, v);
	htab_release(&r->verdicts);
}

/* Notes it for the next who asks; says whether it is news. */
static bool note_verdict(struct reader *r, const struct wanted *w, int result)
{
	struct verdict *v;
	bool is_news;

	WITH_LOCK(&r->lock);
	v = find_verdict(r, w);
	is_news = !v || v->result != result;
	if (!v) {
		v = new0(struct verdict, 1);
		if (!v)
			return true;
		v->kind = w->kind;
		v->id = *w->id;
		if (htab_insert(&r->verdicts, &v->hash, verdict_hash(w)) < 0) {
			free(v);
			return true;
		}
		list_append(&r->verdict_order, &v->order);
		r->verdict_count++;
	}
	v->hint = w->hint ? *w->hint : LOC_NOWHERE;
	v->result = result;
	v->until_ns = now_ns() + VERDICT_MS * 1000000ll;
	while (r->verdict_count > VERDICTS_MAX)
		verdict_free(r, list_first(&r->verdict_order, struct verdict, order));
	return is_news;
}

/* Not of one who has another hint: it may have been stored again. */
static int verdict_of(struct reader *r, const struct wanted *w)
{
	const struct verdict *v;
	bool is_valid;

	WITH_LOCK(&r->lock);
	v = find_verdict(r, w);
	is_valid = v && v->until_ns > now_ns() &&
		   (!w->hint || w->hint->state != LOC_AT || is_same_place(w->hint, &v->hint));
	return is_valid ? v->result : 0;
}

/* Whoever asks gets the sentence for complaint(); it is logged when it @is_news. */
static int say(const struct wanted *w, int result, const struct loc *at, bool is_news)
{
	const char *state = result == -EBADMSG ? "is damaged" : "is missing";
	bool was_quiet = log_set_quiet(true);
	char hex[OID_HEX];

	if (is_news)
		log_set_quiet(was_quiet);
	oid_hex(w->id, hex);
	if (at->state == LOC_AT)
		log_fail(result, "%s %s %s, in %s at %u", kind_name(w->kind), hex, state,
			 pack_key(&at->pack).s, at->offset);
	else
		log_fail(result, "%s %s %s", kind_name(w->kind), hex, state);
	log_set_quiet(was_quiet);
	return result;
}

/* @at: where it should have been; LOC_NONE: nobody knows. */
static int give_up(struct reader *r, const struct wanted *w, const struct loc *at, bool is_damaged)
{
	int result = is_damaged ? -EBADMSG : -ENOENT;

	r->counts.bad++;
	return say(w, result, at, note_verdict(r, w, result));
}

/* Where the object was looked for, in vain. */
struct search {
	struct reader *reader;
	struct {
		struct loc at;
		int error;
	} tried[TRIES_MAX];
	unsigned count;
	bool is_damaged;
};

/* Where the index leads there was a frame once; a hint alone may just be wrong. */
static void note_damage(struct search *s, const struct loc *at, int error)
{
	if (error != -EBADMSG)
		return;
	s->is_damaged = true;
	index_suspect(s->reader->options.index, &at->pack);
}

/* Of the places that the index knows. */
static bool is_untried(const struct loc *at, void *ctx)
{
	struct search *s = ctx;

	for (unsigned i = 0; i < s->count; i++) {
		if (is_same_place(&s->tried[i].at, at)) {
			note_damage(s, at, s->tried[i].error);
			return false;
		}
	}
	return s->count < TRIES_MAX;
}

/* As try_place(); looking elsewhere may help when it gives 1. */
static int search_at(struct search *s, const struct wanted *w, const struct loc *at, bool at_once,
		     const struct deadline *dl, struct load **ret,
		     const struct load_item **ret_item)
{
	int e = try_place(s->reader, w, at, at_once, dl, &s->is_damaged, ret, ret_item);

	if (e != -ENOENT && e != -EBADMSG)
		return e;
	s->tried[s->count].at = *at;
	s->tried[s->count++].error = e;
	return 1;
}

/* Goes through what the index knows. 1: it is at none of these. */
static int search_index(struct search *s, const struct wanted *w, bool at_once,
			const struct deadline *dl, struct load **ret,
			const struct load_item **ret_item)
{
	struct reader *r = s->reader;
	int e = 1;

	while (e == 1) {
		struct loc at;

		if (index_find(r->options.index, w->id, is_untried, s, &at) < 0)
			return 1;
		r->counts.refetches_by_index += w->hint && w->hint->state == LOC_AT;
		e = search_at(s, w, &at, at_once, dl, ret, ret_item);
		if (e == 1)
			note_damage(s, &at, s->tried[s->count - 1].error);
	}
	return e;
}

int reader_fetch(struct reader *r, const struct wanted *w, bool at_once, bool quiet,
		 const struct deadline *dl, struct load **ret, const struct load_item **ret_item)
{
	struct search s = { .reader = r };
	struct loc last = w->hint ? *w->hint : LOC_NOWHERE;
	int e;

	e = verdict_of(r, w);
	if (e < 0)
		return say(w, e, &last, false);
	if (last.state == LOC_AT) {
		e = search_at(&s, w, &last, at_once, dl, ret, ret_item);
		if (e != 1)
			return e;
	}
	e = search_index(&s, w, at_once, dl, ret, ret_item);
	if (e != 1)
		return e;
	if (quiet)
		return -ENOENT;
	if (at_once)
		return -EAGAIN;
	e = index_refresh(r->options.index, r->options.backend, true, dl);
	if (e < 0)
		return e;
	e = search_index(&s, w, at_once, dl, ret, ret_item);
	if (e != 1)
		return e;
	if (s.count > 0)
		last = s.tried[s.count - 1].at;
	return give_up(r, w, &last, s.is_damaged);
}
