/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The thread of the disk cache: first it sees to it that the index knows what is here, then it
 * keeps the budget.
 *
 * The oldest file goes first. What was read from it since it was written gets a second chance and
 * is written again at the end, up to half of what there is, or there would be no end; so the
 * worker begins while there still is room for that.
 */
#include <fcntl.h>
#include <unistd.h>

#include "base/log.h"
#include "object/cache_files.h"

/* Tells the index of every file's table. Called with the lock held, which is given up. */
static void reload(struct cache *c)
{
	_cleanup_free_ uint32_t *numbers = NULL;
	size_t n = 0, cap = 0;

	list_for_each (f, &c->order, struct cache_file, list)
		cap += f->is_sealed;
	numbers = reallocarray(NULL, cap + 1, sizeof(numbers[0]));
	if (!numbers)
		return;
	list_for_each (f, &c->order, struct cache_file, list)
		if (f->is_sealed)
			numbers[n++] = f->number;
	for (size_t i = 0; i < n && !c->is_ending; i++) {
		_cleanup_free_ struct index_cached *e = NULL;
		size_t count;

		pthread_mutex_unlock(&c->lock);
		if (cache_table_read(c, numbers[i], &e, &count) == 0)
			index_cached_add(c->index, e, count); /* newer places stay */
		pthread_mutex_lock(&c->lock);
	}
	if (c->is_ending)
		return;
	pthread_mutex_unlock(&c->lock);
	cache_identity_set(c);
	pthread_mutex_lock(&c->lock);
}

/* The entry is still in the file, and somebody has read it, or a neighbour. */
static bool deserves_a_chance(struct cache *c, const struct cache_file *f,
			      const struct index_cached *e)
{
	uint64_t word = e->place.offset / CACHE_LARGE;
	struct index_place now;

	return word < f->words && f->used[word] &&
	       index_cached_get(c->index, e->kind, &e->id, &now) == 0 &&
	       now.file == e->place.file && now.offset == e->place.offset;
}

/* Writes again what was read; up to @max bytes. */
static void rescue(struct cache *c, const struct cache_file *f, const struct index_cached *e,
		   size_t n, uint64_t max)
{
	for (size_t i = 0; i < n && !c->is_ending; i++) {
		_cleanup_free_ uint8_t *bytes = NULL;
		struct cache_item item = { .kind = e[i].kind, .id = &e[i].id };

		if (e[i].place.len > max || !deserves_a_chance(c, f, &e[i]))
			continue;
		bytes = malloc(MAX(e[i].place.len, 1u));
		if (!bytes || cache_load(c, &e[i].place, bytes) < 0)
			continue;
		item.data = span_of(bytes, e[i].place.len);
		if (!cache_append(c, &item, 1))
			return;
		max -= e[i].place.len;
	}
}

/* Removes the oldest file that is sealed. Called with the lock held, which is given up. False:
 * there is none. */
static bool evict(struct cache *c)
{
	_cleanup_free_ struct index_cached *e = NULL;
	char name[CACHE_NAME_SIZE];
	struct cache_file *f = NULL;
	bool is_over = c->used > c->budget;
	size_t n = 0;

	list_for_each (i, &c->order, struct cache_file, list)
		if (i->is_sealed && i->writers == 0) {
			f = i;
			break;
		}
	if (!f)
		return false;
	f->refs++;
	pthread_mutex_unlock(&c->lock);
	if (cache_table_read(c, f->number, &e, &n) == 0 && !is_over)
		rescue(c, f, e, n, f->size / 2);
	index_cached_drop(c->index, e, n);
	unlinkat(c->dirfd, cache_file_name(f->number, name), 0);
	unlinkat(c->dirfd, cache_table_name(f->number, name), 0);
	pthread_mutex_lock(&c->lock);
	cache_file_forget(c, f);
	cache_file_put(c, f);
	return true;
}

/* Is it time to make room? One file's worth is kept free. */
static bool is_full(const struct cache *c)
{
	return c->used > 0 && c->used + cache_file_target(c) > c->budget;
}

void *cache_work(void *arg)
{
	struct cache *c = arg;

	pthread_mutex_lock(&c->lock);
	if (c->must_reload)
		reload(c);
	while (!c->is_ending) {
		if (is_full(c)) {
			if (evict(c))
				continue;
			/* What is being filled is all there is: it goes too when it must. */
			if (c->active && c->active->writers == 0 && c->used > c->budget) {
				cache_seal(c, c->active);
				continue;
			}
		}
		pthread_cond_wait(&c->wake, &c->lock);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}
