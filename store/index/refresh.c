/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the index learns of the store: new segments, and as a last resort the footers of packs.
 *
 * One refresh runs at a time. Who comes meanwhile waits for it, and then for one that began after
 * he came: of many who wait, one runs it and the others take its result.
 */
#include "base/log.h"
#include "format/key.h"
#include "index/parts.h"

enum {
	FOOTER_GUESS = 64 << 10, /* read at a pack's end: most footers are in it */
	WAIT_STEP_MS = 100, /* how soon a caller that gives up is noticed */
};

/* A pack whose footer is to be read. */
struct unknown_pack {
	struct id128 name;
	uint64_t size;
};

struct pack_listing {
	struct index *index;
	struct unknown_pack *packs; /* owned */
	size_t n, cap;
};

static void pack_listing_release(struct pack_listing *l)
{
	free(l->packs);
}

static bool is_bad_pack(const struct index *x, const struct id128 *pack)
{
	for (size_t off = 0; off < x->bad_packs.len; off += sizeof(pack->b))
		if (memcmp(x->bad_packs.data + off, pack->b, sizeof(pack->b)) == 0)
			return true;
	return false;
}

static int list_pack(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	struct pack_listing *l = ctx;
	struct id128 name;

	if (pack_key_parse(key, &name) < 0 || size > PACK_MAX ||
	    index_knows_pack(l->index, &name) || is_bad_pack(l->index, &name))
		return 0;
	if (l->n == l->cap) {
		size_t cap = MAX(2 * l->cap, (size_t)64);
		struct unknown_pack *more = reallocarray(l->packs, cap, sizeof(more[0]));

		if (!more)
			return -ENOMEM;
		l->packs = more;
		l->cap = cap;
	}
	l->packs[l->n++] = (struct unknown_pack){ name, size };
	return 0;
}

/* Reads the last @len bytes of an object that is @size long, in front of what @buf has of it. */
static int read_end(struct backend *b, const char *key, uint64_t size, uint64_t len,
		    const struct deadline *dl, struct buf *ret)
{
	uint8_t *p;
	size_t n;
	int r;

	buf_clear(ret);
	p = buf_extend(ret, len);
	if (!p)
		return -ENOMEM;
	r = b->ops->get(b, key, size - len, len, p, dl, &n);
	if (r < 0)
		return r;
	return n == len ? 0 : -EBADMSG;
}

/* The footer with the trailer of a pack, checked. */
static int read_footer(struct backend *b, const struct unknown_pack *p, const struct deadline *dl,
		       struct buf *buf, struct pack_trailer *ret_trailer, struct span *ret_footer)
{
	uint64_t len = MIN(p->size, (uint64_t)FOOTER_GUESS), footer_len;
	struct key key = pack_key(&p->name);
	int r;

	if (p->size < PACK_HEADER_SIZE + PACK_TRAILER_SIZE)
		return -EBADMSG;
	r = read_end(b, key.s, p->size, len, dl, buf);
	if (r < 0)
		return r;
	r = pack_trailer_read(span_of(buf->data + len - PACK_TRAILER_SIZE, PACK_TRAILER_SIZE),
			      p->size, ret_trailer);
	if (r < 0)
		return r;
	if (!id128_equal(&ret_trailer->name, &p->name))
		return -EBADMSG;
	footer_len = p->size - ret_trailer->footer_off;
	if (footer_len > len) {
		len = footer_len;
		r = read_end(b, key.s, p->size, len, dl, buf);
		if (r < 0)
			return r;
	}
	*ret_footer = span_of(buf->data + len - footer_len, footer_len);
	return pack_footer_check(*ret_footer, ret_trailer);
}

static int learn_pack(struct index *x, struct backend *b, const struct unknown_pack *p,
		      const struct deadline *dl)
{
	_cleanup_free_ struct pack_entry *entries = NULL;
	_cleanup_buf_ struct buf buf = { 0 };
	struct pack_trailer trailer;
	struct span footer;
	int r;

	r = read_footer(b, p, dl, &buf, &trailer, &footer);
	if (r < 0)
		return r;
	entries = reallocarray(NULL, MAX(trailer.count, 1u), sizeof(entries[0]));
	if (!entries)
		return -ENOMEM;
	for (uint32_t i = 0; i < trailer.count; i++)
		pack_footer_entry(footer, i, &entries[i]);
	return index_add_pack(x, &p->name, entries, trailer.count);
}

static int learn_packs(struct index *x, struct backend *b, const struct deadline *dl)
{
	_cleanup_(pack_listing_release) struct pack_listing l = { .index = x };
	int r;

	r = b->ops->list(b, PACK_PREFIX, NULL, list_pack, &l, dl);
	if (r < 0)
		return r;
	for (size_t i = 0; i < l.n; i++) {
		r = learn_pack(x, b, &l.packs[i], dl);
		if (r == -EBADMSG) {
			log_warning("%s: its footer is damaged, what it holds is not known",
				    pack_key(&l.packs[i].name).s);
			buf_put(&x->bad_packs, l.packs[i].name.b, sizeof(l.packs[i].name.b));
		} else if (r < 0 && r != -ENOENT) {
			return r;
		}
	}
	return 0;
}

struct names {
	struct index *index;
	struct buf covered; /* id128s */
};

static int collect_covered(const struct id128 *pack, uint32_t count, void *ctx)
{
	struct names *n = ctx;

	if (segments_cover(n->index->segments, pack))
		buf_put(&n->covered, pack->b, sizeof(pack->b));
	return 0;
}

int index_drop_covered(struct index *x)
{
	struct names n = { .index = x };
	int r;

	r = packs_walk(x, collect_covered, &n);
	if (buf_failed(&n.covered))
		r = -ENOMEM;
	for (size_t off = 0; r == 0 && off < n.covered.len; off += sizeof(struct id128)) {
		struct id128 pack;

		memcpy(pack.b, n.covered.data + off, sizeof(pack.b));
		r = packs_drop(x, &pack);
	}
	buf_release(&n.covered);
	return r;
}

static int refresh(struct index *x, struct backend *b, bool footers, const struct deadline *dl)
{
	int r;

	r = segments_fetch(x->segments, b, dl);
	if (r == 0)
		x->fetched_at = now_ns();
	index_drop_covered(x);
	if (r == 0 && footers)
		r = learn_packs(x, b, dl);
	return r;
}

int index_enter(struct index *x, const struct deadline *dl)
{
	while (x->is_refreshing) {
		int r = deadline_check(dl);

		if (r < 0)
			return r;
		cond_wait_until(&x->refreshed, &x->refresh_lock, dl, WAIT_STEP_MS);
	}
	x->is_refreshing = true;
	return 0;
}

void index_leave(struct index *x)
{
	x->is_refreshing = false;
	pthread_cond_broadcast(&x->refreshed);
}

int index_refresh(struct index *x, struct backend *b, bool footers, const struct deadline *dl)
{
	uint64_t came;
	int r;

	WITH_LOCK(&x->refresh_lock);
	came = x->begun;
	r = index_enter(x, dl);
	if (r < 0)
		return r;
	/* One that began after we came, and looked at no less, was ours as well. */
	if (x->begun > came && x->last_result == 0 && (x->last_had_footers || !footers)) {
		index_leave(x);
		return 0;
	}
	x->begun++;
	pthread_mutex_unlock(&x->refresh_lock);
	r = refresh(x, b, footers, dl);
	pthread_mutex_lock(&x->refresh_lock);
	x->last_result = r;
	x->last_had_footers = footers;
	index_leave(x);
	return r;
}
