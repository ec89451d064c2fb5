/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which of the store's segments this machine holds, and how they come here.
 *
 * Of all that are listed or held, what another one that is held replaces is not wanted; of the rest
 * low tiers come first, and within a tier what is here already, as far as the budget goes. So the
 * choice does not depend on its history, and processes that share the files agree.
 *
 * A file gets its name when it is whole, checked and synced.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/log.h"
#include "base/text.h"
#include "index/segment_set.h"

enum {
	PIECE = 4 << 20, /* one GET */
};

/* A segment that might be held. */
struct candidate {
	struct segment_id id;
	uint64_t size;
	struct seg *seg; /* NULL: not here; a reference */
	bool is_dropped;
};

struct choice {
	struct segments *segments; /* borrowed */
	struct candidate *all;
	size_t n, cap;
	bool failed; /* no memory */
};

static void choice_release(struct choice *c)
{
	for (size_t i = 0; i < c->n; i++)
		seg_unref(c->all[i].seg);
	free(c->all);
}

static struct candidate *choice_find(struct choice *c, const struct segment_id *id)
{
	for (size_t i = 0; i < c->n; i++)
		if (segment_id_equal(&c->all[i].id, id))
			return &c->all[i];
	return NULL;
}

/* @seg is taken. */
static void choice_add(struct choice *c, const struct segment_id *id, uint64_t size,
		       struct seg *seg)
{
	if (c->n == c->cap) {
		size_t cap = MAX(2 * c->cap, (size_t)16);
		struct candidate *more = reallocarray(c->all, cap, sizeof(c->all[0]));

		if (!more) {
			c->failed = true;
			seg_unref(seg);
			return;
		}
		c->all = more;
		c->cap = cap;
	}
	c->all[c->n++] = (struct candidate){ .id = *id, .size = size, .seg = seg };
}

static bool is_bad(const struct segments *s, const struct segment_id *id)
{
	for (size_t i = 0; i < s->bad_count; i++)
		if (segment_id_equal(&s->bad[i], id))
			return true;
	return false;
}

/* It is not asked for again by this process. */
static void note_bad(struct segments *s, const struct segment_id *id)
{
	struct segment_id *more;

	log_warning("%s: damaged, and left out", segment_key(id).s);
	more = reallocarray(s->bad, s->bad_count + 1, sizeof(s->bad[0]));
	if (!more)
		return;
	s->bad = more;
	s->bad[s->bad_count++] = *id;
}

static int listed(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	struct choice *c = ctx;
	struct segment_id id;

	if (segment_key_parse(key, &id) == 0 && size <= SEGMENT_MAX && !is_bad(c->segments, &id) &&
	    !choice_find(c, &id))
		choice_add(c, &id, size, NULL);
	return 0;
}

static void drop_replaced(struct choice *c)
{
	for (size_t i = 0; i < c->n; i++) {
		if (!c->all[i].seg)
			continue;
		for (size_t k = 0; k < c->n; k++)
			if (seg_replaces(c->all[i].seg, &c->all[k].id))
				c->all[k].is_dropped = true;
	}
}

static int by_worth(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	if (x->id.tier != y->id.tier)
		return x->id.tier < y->id.tier ? -1 : 1;
	if (!x->seg != !y->seg)
		return x->seg ? -1 : 1;
	return id128_cmp(&x->id.name, &y->id.name);
}

static void drop_over_budget(struct choice *c)
{
	uint64_t sum = 0;

	if (c->n > 0)
		qsort(c->all, c->n, sizeof(c->all[0]), by_worth);
	for (size_t i = 0; i < c->n; i++) {
		if (c->all[i].is_dropped)
			continue;
		sum = add_sat(sum, c->all[i].size);
		if (sum <= c->segments->budget)
			continue;
		c->all[i].is_dropped = true;
		if (!c->segments->has_complained)
			log_warning("the index's budget is spent: not all segments are held");
		c->segments->has_complained = true;
	}
}

/* The one to get next: high tiers first, since they make others unwanted. */
static struct candidate *next_wanted(struct choice *c)
{
	for (size_t i = c->n; i-- > 0;)
		if (!c->all[i].seg && !c->all[i].is_dropped)
			return &c->all[i];
	return NULL;
}

static int copy_object(struct backend *b, const char *key, uint64_t size, int fd,
		       const struct deadline *dl)
{
	_cleanup_free_ uint8_t *piece = malloc(MIN(size, (uint64_t)PIECE));
	size_t n;
	int r;

	if (!piece)
		return -ENOMEM;
	for (uint64_t off = 0; off < size; off += n) {
		r = b->ops->get(b, key, off, MIN(size - off, (uint64_t)PIECE), piece, dl, &n);
		if (r < 0)
			return r;
		if (n == 0)
			return -EBADMSG;
		r = pwrite_all(fd, piece, n, off);
		if (r < 0)
			return r;
	}
	return fdatasync_fd(fd);
}

/* A name for a file that is being made, which none of the processes here uses. */
static char *temporary(const struct segment_id *id)
{
	struct key key = segment_key(id);

	return strf("%s.%016llx", segment_file(&key), (unsigned long long)random_u64());
}

/* Checks the file @tmp and gives it its name. */
static int settle(struct segments *s, const struct segment_id *id, const char *tmp,
		  struct seg **ret)
{
	_cleanup_(seg_unrefp) struct seg *g = NULL;
	struct key key = segment_key(id);
	int r;

	r = seg_map(s->dirfd, id, tmp, &g);
	if (r < 0)
		return r;
	if (renameat(s->dirfd, tmp, s->dirfd, segment_file(&key)) < 0)
		return -errno;
	*ret = TAKE_PTR(g);
	return 0;
}

static int fetch_one(struct segments *s, struct backend *b, const struct candidate *c,
		     const struct deadline *dl, struct seg **ret)
{
	_cleanup_free_ char *tmp = temporary(&c->id);
	struct key key = segment_key(&c->id);
	_cleanup_close_ int fd = -1;
	int r;

	if (seg_map(s->dirfd, &c->id, segment_file(&key), ret) == 0)
		return 0; /* another process has fetched it */
	if (!tmp)
		return -ENOMEM;
	fd = openat(s->dirfd, tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	r = copy_object(b, key.s, c->size, fd, dl);
	if (r == 0)
		r = settle(s, &c->id, tmp, ret);
	if (r < 0)
		unlinkat(s->dirfd, tmp, 0);
	return r;
}

/* Makes what was chosen the current set, and removes the files of the rest. */
static int settle_choice(struct choice *c)
{
	_cleanup_free_ struct seg **segs = new0(struct seg *, c->n + 1);
	struct seg_set *set;
	size_t n = 0;
	int r;

	if (!segs)
		return -ENOMEM;
	for (size_t i = 0; i < c->n; i++)
		if (c->all[i].seg && !c->all[i].is_dropped)
			segs[n++] = c->all[i].seg;
	r = seg_set_new(segs, n, &set);
	if (r < 0)
		return r;
	segments_become(c->segments, set);
	for (size_t i = 0; i < c->n; i++) {
		struct key key = segment_key(&c->all[i].id);

		if (c->all[i].seg && c->all[i].is_dropped)
			unlinkat(c->segments->dirfd, segment_file(&key), 0);
	}
	return 0;
}

static void choice_add_held(struct choice *c)
{
	_cleanup_(seg_set_unrefp) struct seg_set *set = segments_current(c->segments);

	for (size_t i = 0; i < set->n; i++)
		choice_add(c, &set->seg[i]->id, set->seg[i]->size, seg_ref(set->seg[i]));
}

int segments_fetch(struct segments *s, struct backend *b, const struct deadline *dl)
{
	_cleanup_(choice_release) struct choice c = { .segments = s };
	struct candidate *want;
	int r, first = 0;

	choice_add_held(&c);
	first = b->ops->list(b, SEGMENT_PREFIX, NULL, listed, &c, dl);
	if (c.failed)
		return -ENOMEM;
	drop_replaced(&c);
	drop_over_budget(&c);
	while (first == 0 && (want = next_wanted(&c))) {
		r = fetch_one(s, b, want, dl, &want->seg);
		if (r == -EBADMSG)
			note_bad(s, &want->id);
		if (r == -EBADMSG || r == -ENOENT)
			want->is_dropped = true;
		else if (r < 0)
			first = r;
		drop_replaced(&c);
	}
	r = settle_choice(&c);
	return first < 0 ? first : r;
}

int segments_add(struct segments *s, const struct segment_id *id, struct span bytes)
{
	_cleanup_(choice_release) struct choice c = { .segments = s };
	_cleanup_free_ char *tmp = temporary(id);
	_cleanup_close_ int fd = -1;
	struct seg *g;
	int r;

	if (!tmp)
		return -ENOMEM;
	fd = openat(s->dirfd, tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	r = pwrite_all(fd, bytes.data, bytes.len, 0);
	if (r == 0)
		r = fdatasync_fd(fd);
	if (r == 0)
		r = settle(s, id, tmp, &g);
	if (r < 0) {
		unlinkat(s->dirfd, tmp, 0);
		return r;
	}
	choice_add_held(&c);
	choice_add(&c, id, g->size, g);
	if (c.failed)
		return -ENOMEM;
	drop_replaced(&c);
	drop_over_budget(&c);
	return settle_choice(&c);
}
