/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The windows of object/window.h.
 *
 *	wanted --who came first reads--> here --pushed out, or distrusted--> gone
 *	   '--the read failed--> gone; those who waited read themselves
 */
#include "object/window.h"

#include "base/hash.h"
#include "base/htab.h"
#include "base/list.h"
#include "base/thread.h"
#include "format/key.h"

enum {
	WAIT_STEP_MS = 100
};

enum state {
	READING,
	HERE,
	GONE, /* from the table; some may still use it */
};

struct slot {
	struct window window;
	struct hnode hash;
	struct list lru; /* in the list while HERE */
	struct id128 pack;
	uint64_t number;
	uint8_t *data; /* owned */
	/* Guarded by the windows' lock: */
	unsigned refs; /* one of the table's while READING or HERE */
	enum state state;
};

struct windows {
	struct backend *backend;
	uint64_t budget;
	void (*fetched)(uint64_t bytes, void *ctx);
	void *ctx;
	pthread_mutex_t lock;
	pthread_cond_t read;
	struct htab table; /* guarded by lock, as all below */
	struct list lru;
	uint64_t used;
};

int windows_new(struct backend *backend, uint64_t budget,
		void (*fetched)(uint64_t bytes, void *ctx), void *ctx, struct windows **ret)
{
	struct windows *w = new0(struct windows, 1);

	if (!w)
		return -ENOMEM;
	w->backend = backend;
	w->budget = budget;
	w->fetched = fetched;
	w->ctx = ctx;
	pthread_mutex_init(&w->lock, NULL);
	cond_init(&w->read);
	list_init(&w->lru);
	*ret = w;
	return 0;
}

static void slot_put(struct slot *s)
{
	if (--s->refs > 0)
		return;
	free(s->data);
	free(s);
}

/* Takes it out of the table. */
static void slot_remove(struct windows *w, struct slot *s)
{
	if (s->state == HERE) {
		list_remove(&s->lru);
		w->used -= s->window.len;
	}
	htab_remove(&w->table, &s->hash);
	s->state = GONE;
	slot_put(s);
}

void windows_free(struct windows *w)
{
	if (!w)
		return;
	list_for_each_safe (s, &w->lru, struct slot, lru)
		slot_remove(w, s);
	htab_release(&w->table);
	pthread_cond_destroy(&w->read);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

static uint64_t hash_of(const struct id128 *pack, uint64_t number)
{
	return hash_bytes(pack->b, sizeof(pack->b)) ^ hash_u64(number);
}

static struct slot *find(struct windows *w, const struct id128 *pack, uint64_t number)
{
	htab_for_each (n, &w->table, hash_of(pack, number)) {
		struct slot *s = container_of(n, struct slot, hash);

		if (s->number == number && id128_equal(&s->pack, pack))
			return s;
	}
	return NULL;
}

static struct slot *add(struct windows *w, const struct id128 *pack, uint64_t number)
{
	struct slot *s = new0(struct slot, 1);

	if (!s)
		return NULL;
	s->pack = *pack;
	s->number = number;
	s->window.owner = w;
	s->refs = 2; /* the table's and the reader's */
	if (htab_insert(&w->table, &s->hash, hash_of(pack, number)) < 0) {
		free(s);
		return NULL;
	}
	return s;
}

/* Reads it, with the lock given up. */
static int fill(struct windows *w, struct slot *s, const struct deadline *dl)
{
	uint8_t *data = malloc(WINDOW_SIZE);
	size_t len = 0;
	int r = -ENOMEM;

	pthread_mutex_unlock(&w->lock);
	if (data)
		r = w->backend->ops->get(w->backend, pack_key(&s->pack).s, s->number * WINDOW_SIZE,
					 WINDOW_SIZE, data, dl, &len);
	if (r == 0)
		w->fetched(len, w->ctx);
	pthread_mutex_lock(&w->lock);
	if (r < 0) {
		free(data);
		slot_remove(w, s);
	} else {
		s->data = realloc(data, MAX(len, (size_t)1)) ?: data; /* packs may be small */
		s->window.bytes = s->data;
		s->window.len = (uint32_t)len;
		s->state = HERE;
		list_prepend(&w->lru, &s->lru);
		w->used += len;
		while (w->used > w->budget && w->lru.prev != &s->lru)
			slot_remove(w, list_entry(w->lru.prev, struct slot, lru));
	}
	pthread_cond_broadcast(&w->read);
	return r;
}

int windows_get(struct windows *w, const struct id128 *pack, uint64_t number, bool at_once,
		const struct deadline *dl, struct window **ret)
{
	struct slot *s;
	int r;

	WITH_LOCK(&w->lock);
	while ((s = find(w, pack, number)) && s->state == READING) {
		r = at_once ? -EAGAIN : deadline_check(dl);
		if (r < 0)
			return r;
		cond_wait_until(&w->read, &w->lock, dl, WAIT_STEP_MS);
	}
	if (s) {
		s->refs++;
		list_remove(&s->lru);
		list_prepend(&w->lru, &s->lru);
		*ret = &s->window;
		return 0;
	}
	if (at_once)
		return -EAGAIN;
	s = add(w, pack, number);
	if (!s)
		return -ENOMEM;
	r = fill(w, s, dl);
	if (r < 0)
		slot_put(s);
	else
		*ret = &s->window;
	return r;
}

void window_unref(struct window *window)
{
	if (!window)
		return;
	WITH_LOCK(&window->owner->lock);
	slot_put(container_of(window, struct slot, window));
}

void window_distrust(struct window *window)
{
	struct slot *s = container_of(window, struct slot, window);

	WITH_LOCK(&window->owner->lock);
	if (s->state == HERE)
		slot_remove(window->owner, s);
}
