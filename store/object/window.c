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
	struct load_watch watch;
	pthread_mutex_t lock;
	pthread_cond_t read;
	struct htab table; /* guarded by lock, as all below */
	struct list lru;
	uint64_t used;
};

int windows_new(struct backend *backend, uint64_t budget, const struct load_watch *watch,
		struct windows **ret)
{
	struct windows *w = new0(struct windows, 1);

	if (!w)
		return -ENOMEM;
	w->backend = backend;
	w->budget = budget;
	w->watch = *watch;
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

/* A new one, which is the table's. */
static struct slot *add(struct windows *w, const struct id128 *pack, uint64_t number)
{
	struct slot *s = new0(struct slot, 1);

	if (!s)
		return NULL;
	s->pack = *pack;
	s->number = number;
	s->window.owner = w;
	s->refs = 1;
	if (htab_insert(&w->table, &s->hash, hash_of(pack, number)) < 0) {
		free(s);
		return NULL;
	}
	return s;
}

/* Windows that are read with one request, one behind the other; in the table, and referenced. */
struct group {
	uint64_t first;
	unsigned count;
	struct slot *slots[WINDOWS_TOGETHER]; /* by their number modulo that */
};

static bool has_neighbour(struct windows *w, const struct id128 *pack, uint64_t number,
			  enum window_reach reach)
{
	if (reach == REACH_NEXT)
		return number > 0 && find(w, pack, number - 1);
	list_for_each (s, &w->lru, struct slot, lru)
		if (id128_equal(&s->pack, pack))
			return true;
	return false;
}

static bool take_in(struct windows *w, const struct id128 *pack, uint64_t number, struct group *g)
{
	struct slot *s = add(w, pack, number);

	if (!s)
		return false;
	s->refs++;
	g->slots[number % WINDOWS_TOGETHER] = s;
	g->count++;
	return true;
}

/* The window @number, which is not here, and neighbours that are not either. False: no memory. */
static bool gather(struct windows *w, const struct id128 *pack, uint64_t number,
		   enum window_reach reach, struct group *g)
{
	bool has_company = has_neighbour(w, pack, number, reach);
	uint64_t lowest = number;

	*g = (struct group){ .first = number };
	if (reach == REACH_AROUND)
		lowest = ALIGN_DOWN(number, (uint64_t)WINDOWS_TOGETHER);
	if (!take_in(w, pack, number, g))
		return false;
	if (!has_company)
		return true;
	while (g->first > lowest && !find(w, pack, g->first - 1) &&
	       take_in(w, pack, g->first - 1, g))
		g->first--;
	while (g->first + g->count < lowest + WINDOWS_TOGETHER &&
	       !find(w, pack, g->first + g->count) && take_in(w, pack, g->first + g->count, g))
		;
	return true;
}

/* What was read of it comes in, or it goes. */
static void settle(struct windows *w, struct slot *s, const uint8_t *bytes, size_t len)
{
	s->data = malloc(MAX(len, (size_t)1)); /* packs may be small */
	if (!s->data) {
		slot_remove(w, s);
		return;
	}
	memcpy(s->data, bytes, len);
	s->window.bytes = s->data;
	s->window.len = (uint32_t)len;
	s->state = HERE;
	list_prepend(&w->lru, &s->lru);
	w->used += len;
}

/* Reads them, with the lock given up, and gives the references back but for @wanted's. */
static int fill(struct windows *w, struct group *g, struct slot *wanted, const struct deadline *dl)
{
	const struct slot *first = g->slots[g->first % WINDOWS_TOGETHER];
	size_t size = g->count * (size_t)WINDOW_SIZE, len = 0;
	_cleanup_free_ uint8_t *data = malloc(size);
	const struct id128 pack = first->pack;
	uint64_t off = first->number * WINDOW_SIZE;
	int r = -ENOMEM;

	pthread_mutex_unlock(&w->lock);
	if (data)
		r = w->backend->ops->get(w->backend, pack_key(&pack).s, off, size, data, dl, &len);
	if (r == 0)
		w->watch.fetched(len, w->watch.ctx);
	pthread_mutex_lock(&w->lock);
	for (unsigned i = 0; i < g->count; i++) {
		struct slot *s = g->slots[(g->first + i) % WINDOWS_TOGETHER];
		size_t at = MIN(i * (size_t)WINDOW_SIZE, len);

		/* Beyond the pack's end there is nothing to keep. */
		if (r < 0 || (at == len && s != wanted))
			slot_remove(w, s);
		else
			settle(w, s, data + at, MIN(len - at, (size_t)WINDOW_SIZE));
		if (s != wanted)
			slot_put(s);
	}
	while (w->used > w->budget && w->lru.prev != w->lru.next)
		slot_remove(w, list_entry(w->lru.prev, struct slot, lru));
	pthread_cond_broadcast(&w->read);
	if (r < 0)
		return r;
	if (w->watch.arrived) {
		pthread_mutex_unlock(&w->lock);
		w->watch.arrived(&pack, off, TAKE_PTR(data), len, w->watch.ctx);
		pthread_mutex_lock(&w->lock);
	}
	return wanted->data ? 0 : -ENOMEM;
}

int windows_get(struct windows *w, const struct id128 *pack, uint64_t number,
		enum window_reach reach, bool at_once, const struct deadline *dl,
		struct window **ret)
{
	struct group g;
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
	if (!gather(w, pack, number, reach, &g))
		return -ENOMEM;
	s = g.slots[number % WINDOWS_TOGETHER];
	r = fill(w, &g, s, dl);
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
