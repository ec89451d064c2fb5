/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Segments and sets of them, of index/segment_set.h.
 */
#include "index/segment_set.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/fdio.h"

bool segment_id_equal(const struct segment_id *a, const struct segment_id *b)
{
	return a->tier == b->tier && id128_equal(&a->name, &b->name);
}

static int64_t age_of(const struct stat *st)
{
	return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

int seg_map(int dirfd, const struct segment_id *id, const char *name, struct seg **ret)
{
	_cleanup_close_ int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	_cleanup_(seg_unrefp) struct seg *g = NULL;
	struct stat st;
	void *map;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size <= 0 || (uint64_t)st.st_size > SEGMENT_MAX)
		return -EBADMSG;
	g = new0(struct seg, 1);
	if (!g)
		return -ENOMEM;
	g->refs = 1;
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	g->map = map;
	g->id = *id;
	g->size = (uint64_t)st.st_size;
	g->since_ns = age_of(&st);
	if (segment_open(span_of(map, g->size), &g->s) < 0 || g->s.tier != id->tier)
		return -EBADMSG;
	madvise(map, g->size, MADV_RANDOM);
	*ret = TAKE_PTR(g);
	return 0;
}

struct seg *seg_ref(struct seg *g)
{
	g->refs++;
	return g;
}

void seg_unref(struct seg *g)
{
	if (!g || --g->refs > 0)
		return;
	if (g->map)
		munmap(g->map, g->size);
	free(g);
}

bool seg_replaces(const struct seg *g, const struct segment_id *id)
{
	for (uint32_t i = 0; i < g->s.replaces; i++) {
		struct segment_id r = segment_replaced(&g->s, i);

		if (segment_id_equal(&r, id))
			return true;
	}
	return false;
}

static int newest_first(const void *a, const void *b)
{
	const struct seg *x = *(struct seg *const *)a, *y = *(struct seg *const *)b;

	if (x->id.tier != y->id.tier)
		return x->id.tier < y->id.tier ? -1 : 1;
	if (x->since_ns != y->since_ns)
		return x->since_ns > y->since_ns ? -1 : 1;
	return id128_cmp(&x->id.name, &y->id.name);
}

int seg_set_new(struct seg **segs, size_t n, struct seg_set **ret)
{
	struct seg_set *set = calloc(1, sizeof(*set) + n * sizeof(set->seg[0]));

	if (!set)
		return -ENOMEM;
	if (n > 0)
		qsort(segs, n, sizeof(segs[0]), newest_first);
	set->refs = 1;
	set->n = n;
	for (size_t i = 0; i < n; i++)
		set->seg[i] = seg_ref(segs[i]);
	*ret = set;
	return 0;
}

void seg_set_unref(struct seg_set *set)
{
	if (!set || --set->refs > 0)
		return;
	for (size_t i = 0; i < set->n; i++)
		seg_unref(set->seg[i]);
	free(set);
}

const struct seg *seg_set_find(const struct seg_set *set, const struct segment_id *id)
{
	for (size_t i = 0; i < set->n; i++)
		if (segment_id_equal(&set->seg[i]->id, id))
			return set->seg[i];
	return NULL;
}
