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
};

/* A frame on its way. */
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

static struct flight *take_off(struct reader *r, const struct loc *at)
{
	struct flight *f = new0(struct flight, 1);

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
	reader_spill(r, l);
}

/* The frame at @at, read by this thread or another. */
static int get_frame(struct reader *r, const struct loc *at, bool at_once,
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
	f = take_off(r, at);
	if (!f)
		return -ENOMEM;
	pthread_mutex_unlock(&r->lock);
	e = loader_read(r->loader, at, at_once, dl, ret);
	if (e == 0)
		remember(r, *ret);
	pthread_mutex_lock(&r->lock);
	f->result = e == -EAGAIN ? -ETIME : e;
	f->load = e == 0 ? load_ref(*ret) : NULL;
	f->has_landed = true;
	htab_remove(&r->flights, &f->hash);
	pthread_cond_broadcast(&r->landed);
	flight_put(f);
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

	e = get_frame(r, at, at_once, dl, &l);
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

/* Looking elsewhere may help. */
static bool is_misled(int e)
{
	return e == -ENOENT || e == -EBADMSG;
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
	v->result = result;
	v->until_ns = now_ns() + VERDICT_MS * 1000000ll;
	while (r->verdict_count > VERDICTS_MAX)
		verdict_free(r, list_first(&r->verdict_order, struct verdict, order));
	return is_news;
}

static int verdict_of(struct reader *r, const struct wanted *w)
{
	const struct verdict *v;

	WITH_LOCK(&r->lock);
	v = find_verdict(r, w);
	return v && v->until_ns > now_ns() ? v->result : 0;
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

int reader_fetch(struct reader *r, const struct wanted *w, bool at_once, bool quiet,
		 const struct deadline *dl, struct load **ret, const struct load_item **ret_item)
{
	struct loc tried = w->hint ? *w->hint : LOC_NOWHERE, at = LOC_NOWHERE;
	bool is_damaged = false, is_hinted = tried.state == LOC_AT;
	int e, tried_error = 0;

	e = verdict_of(r, w);
	if (e < 0)
		return say(w, e, &tried, false);
	if (is_hinted) {
		e = try_place(r, w, &tried, at_once, dl, &is_damaged, ret, ret_item);
		if (!is_misled(e))
			return e;
		tried_error = e;
	}
	for (int round = 0; round < 2; round++) {
		bool is_known = index_find(r->options.index, w->id, &at) == 0;

		if (is_known && !is_same_place(&at, &tried)) {
			r->counts.refetches_by_index += is_hinted;
			tried = at;
			e = try_place(r, w, &at, at_once, dl, &is_damaged, ret, ret_item);
			if (!is_misled(e))
				return e;
			tried_error = e;
		}
		/* Where the index leads there was a frame once; a hint alone may just be wrong. */
		is_damaged |= is_known && tried_error == -EBADMSG;
		if (quiet || round == 1)
			break;
		if (at_once)
			return -EAGAIN;
		e = index_refresh(r->options.index, r->options.backend, true, dl);
		if (e < 0)
			return e;
	}
	return quiet ? -ENOENT : give_up(r, w, &tried, is_damaged);
}
