/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Look-ups in segments, and the files they lie in. What the store has of them, and what of that is
 * fetched, is in segments_fetch.c.
 *
 * The current set is replaced, never changed: a look-up that began with the former one ends with
 * it. Replacing it is for one thread at a time, which refresh.c sees to.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/log.h"
#include "base/thread.h"
#include "index/segment_set.h"

int segments_new(int dirfd, uint64_t budget, struct segments **ret)
{
	_cleanup_(segments_freep) struct segments *s = new0(struct segments, 1);

	if (!s)
		return -ENOMEM;
	s->budget = budget;
	pthread_mutex_init(&s->load_lock, NULL);
	pthread_mutex_init(&s->lock, NULL);
	s->dirfd = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
	if (s->dirfd < 0)
		return -errno;
	if (seg_set_new(NULL, 0, &s->set) < 0)
		return -ENOMEM;
	*ret = TAKE_PTR(s);
	return 0;
}

void segments_free(struct segments *s)
{
	if (!s)
		return;
	seg_set_unref(s->set);
	closep(&s->dirfd);
	free(s->bad);
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->load_lock);
	free(s);
}

/* Opens every file that is there; a damaged one is removed. */
static void load(struct segments *s)
{
	int fd = openat(s->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_free_ struct seg **segs = NULL;
	struct seg_set *set;
	struct dirent *e;
	size_t n = 0;
	DIR *d;

	if (fd < 0)
		return;
	d = fdopendir(fd);
	if (!d) {
		close(fd);
		return;
	}
	while ((e = readdir(d))) {
		struct seg **more, *g;
		struct segment_id id;
		struct key key;
		int r;

		snprintf(key.s, sizeof(key.s), SEGMENT_PREFIX "%.100s", e->d_name);
		if (segment_key_parse(key.s, &id) < 0)
			continue;
		r = seg_map(s->dirfd, &id, e->d_name, &g);
		if (r == -EBADMSG) {
			log_warning("index segment %s is damaged here; it will be fetched again",
				    e->d_name);
			unlinkat(s->dirfd, e->d_name, 0);
		}
		if (r < 0)
			continue;
		more = reallocarray(segs, n + 1, sizeof(segs[0]));
		if (!more) {
			seg_unref(g);
			break;
		}
		segs = more;
		segs[n++] = g;
	}
	closedir(d);
	if (seg_set_new(segs, n, &set) == 0)
		segments_become(s, set);
	for (size_t i = 0; i < n; i++)
		seg_unref(segs[i]);
}

void segments_become(struct segments *s, struct seg_set *set)
{
	struct seg_set *former;

	pthread_mutex_lock(&s->lock);
	former = s->set;
	s->set = set;
	pthread_mutex_unlock(&s->lock);
	seg_set_unref(former);
}

struct seg_set *segments_current(struct segments *s)
{
	pthread_mutex_lock(&s->load_lock);
	if (!s->is_loaded) {
		load(s);
		s->is_loaded = true;
	}
	pthread_mutex_unlock(&s->load_lock);

	WITH_LOCK(&s->lock);
	s->set->refs++;
	return s->set;
}

int segments_find(struct segments *s, const struct oid *id,
		  bool (*fn)(const struct loc *at, void *ctx), void *ctx, struct loc *ret)
{
	_cleanup_(seg_set_unrefp) struct seg_set *set = segments_current(s);

	for (size_t i = 0; i < set->n; i++)
		if (segment_find(&set->seg[i]->s, id, ret) == 0 && (!fn || fn(ret, ctx)))
			return 0;
	return -ENOENT;
}

bool segments_cover(struct segments *s, const struct id128 *pack)
{
	_cleanup_(seg_set_unrefp) struct seg_set *set = segments_current(s);

	for (size_t i = 0; i < set->n; i++)
		if (segment_covers(&set->seg[i]->s, pack))
			return true;
	return false;
}

size_t segments_crowd(struct segments *s, size_t max, uint64_t bytes, struct segment_id *ret)
{
	_cleanup_(seg_set_unrefp) struct seg_set *set = segments_current(s);

	for (uint32_t tier = 0; tier < SEGMENT_TIER_MAX; tier++) {
		uint64_t sum = 0;
		size_t n = 0;

		/* The oldest of the tier: from the end. */
		for (size_t i = set->n; i-- > 0 && n < max;) {
			const struct seg *g = set->seg[i];

			if (g->id.tier != tier)
				continue;
			ret[n++] = g->id;
			sum += g->size;
		}
		if (n == max && sum <= bytes)
			return n;
	}
	return 0;
}

int segments_merge(struct segments *s, const struct segment_id *ids, size_t n, struct buf *out)
{
	_cleanup_(seg_set_unrefp) struct seg_set *set = segments_current(s);
	_cleanup_free_ struct segment *in = new0(struct segment, MAX(n, (size_t)1));

	if (!in)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const struct seg *g = seg_set_find(set, &ids[i]);

		if (!g)
			return -ENOENT;
		in[i] = g->s;
	}
	return segment_of_segments(in, ids, n, out);
}

void segments_stats(struct segments *s, uint64_t *ret_count, uint64_t *ret_bytes, uint64_t *ret_ids)
{
	_cleanup_(seg_set_unrefp) struct seg_set *set = segments_current(s);

	*ret_count = set->n;
	*ret_bytes = *ret_ids = 0;
	for (size_t i = 0; i < set->n; i++) {
		*ret_bytes += set->seg[i]->size;
		*ret_ids += set->seg[i]->s.count;
	}
}
