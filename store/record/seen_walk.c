/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a run has seen, sorted (seen_walk()).
 *
 * The log is read once: each of its places finds its node, by the node of the place that it is in
 * and its name, so that places logged several times become one. Then the nodes are brought in
 * order: those of one parent side by side (by counting), each such row by name (in place).
 *
 * All of it lies in one mapping, of memory where it is small, else of a file without a name beside
 * the log, whose room is taken before it is written to: the kernel may write it out, so memory is
 * bounded. A place costs about 60 bytes there.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/random.h"
#include "base/thread.h"
#include "record/seen_parts.h"

enum {
	IN_MEMORY_MAX = 8 << 20,
	ROOT_NODE = 1,
	SHORT_ROW = 12, /* sorted by insertion */
	TOP_LEVELS = 2, /* /pfs, repos, and what is in them: the tops */
};

struct seen_node {
	seen_place at; /* a record with its name */
	uint32_t parent;
	uint32_t first, count; /* where its row begins in the order; how many it has */
	uint32_t pos; /* its own place in the order */
	uint32_t what;
};

struct sorting {
	struct span log; /* mapped: as it was when the walk began, with so many places */
	uint64_t places;
	void *room; /* mapped; all below lies in it */
	size_t room_size;
	uint32_t *node_of; /* by a place's number */
	struct seen_node *nodes; /* from ROOT_NODE on */
	uint32_t node_count; /* the next one's number */
	uint32_t *buckets; /* of nodes, by parent and name; 0: free */
	size_t bucket_count;
	uint32_t *order;
};

static void sorting_release(struct sorting *s)
{
	if (s->log.len > 0)
		munmap((void *)s->log.data, s->log.len);
	if (s->room_size > 0)
		munmap(s->room, s->room_size);
}

static struct span name_of(const struct sorting *s, uint32_t node)
{
	return seen_record_name(s->log, s->nodes[node].at);
}

static int map_log(struct seen *s, struct sorting *ret)
{
	void *p = mmap(NULL, (size_t)s->written, PROT_READ, MAP_SHARED, s->fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	ret->log = span_of(p, (size_t)s->written);
	ret->places = s->places;
	return 0;
}

/* A file without a name, and with all its room. */
static int room_file(struct seen *s, size_t size)
{
	_cleanup_close_ int fd = -1;
	int r;

	fd = openat(s->dirfd, ".seen-sorted", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
		    0600);
	if (fd < 0)
		return -errno;
	if (unlinkat(s->dirfd, ".seen-sorted", 0) < 0)
		return -errno;
	r = -posix_fallocate(fd, 0, (off_t)size);
	return r < 0 ? r : TAKE_FD(fd);
}

static int make_room(struct seen *s, struct sorting *ret)
{
	size_t units = ret->log.len / SEEN_UNIT, nodes = ret->places + ROOT_NODE + 1, buckets = 16;
	_cleanup_close_ int fd = -1;
	size_t size;
	uint8_t *p;

	while (buckets < 2 * nodes)
		buckets *= 2;
	size = nodes * sizeof(struct seen_node) + (units + buckets + nodes) * sizeof(uint32_t);
	if (size > IN_MEMORY_MAX) {
		fd = room_file(s, size);
		if (fd < 0)
			return fd;
	}
	p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		 fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	ret->room = p;
	ret->room_size = size;
	ret->nodes = (struct seen_node *)p;
	ret->node_of = (uint32_t *)(ret->nodes + nodes);
	ret->buckets = ret->node_of + units;
	ret->bucket_count = buckets;
	ret->order = ret->buckets + buckets;
	return 0;
}

/* The node of the name of the record @at in @parent. */
static uint32_t node_for(struct sorting *s, uint32_t parent, seen_place at, struct span name)
{
	uint64_t i = hash_u64(hash_bytes(name.data, name.len) + parent);
	uint32_t node;

	for (;; i++) {
		node = s->buckets[i % s->bucket_count];
		if (!node)
			break;
		if (s->nodes[node].parent == parent && span_equal(name_of(s, node), name))
			return node;
	}
	node = s->node_count++;
	s->buckets[i % s->bucket_count] = node;
	s->nodes[node] = (struct seen_node){ .at = at, .parent = parent };
	s->nodes[parent].count++;
	return node;
}

static int read_log(struct sorting *s)
{
	uint64_t at = SEEN_UNIT, places = 0;
	struct seen_record rec;
	size_t size;

	s->node_count = ROOT_NODE + 1;
	s->nodes[ROOT_NODE] = (struct seen_node){ .at = SEEN_ROOT };
	for (; at < s->log.len; at += size) {
		seen_place own = (seen_place)(at / SEEN_UNIT);
		uint32_t node = ROOT_NODE;

		size = seen_record_get(s->log, at, &rec);
		if (size == 0)
			return -EBADMSG;
		if (rec.place)
			node = s->node_of[rec.place];
		if (!node || (places += rec.name.len > 0) > s->places)
			return -EBADMSG;
		if (rec.name.len > 0)
			node = node_for(s, node, own, rec.name);
		if (rec.name.len > 0 || !rec.place)
			s->node_of[own] = node;
		s->nodes[node].what |= rec.what;
	}
	return 0;
}

static bool is_before(const struct sorting *s, uint32_t a, uint32_t b)
{
	return span_cmp(name_of(s, a), name_of(s, b)) < 0;
}

static void swap_nodes(uint32_t *a, uint32_t *b)
{
	uint32_t x = *a;

	*a = *b;
	*b = x;
}

static void insertion_sort(const struct sorting *s, uint32_t *row, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		uint32_t node = row[i];
		size_t k = i;

		for (; k > 0 && is_before(s, node, row[k - 1]); k--)
			row[k] = row[k - 1];
		row[k] = node;
	}
}

/* Brings those before a pivot, chosen at random so that no order of names is a bad one, before it:
 * where it is then. */
static size_t part_row(const struct sorting *s, uint32_t *row, size_t n)
{
	size_t i = 0, k = n - 2;

	swap_nodes(&row[random_u64() % n], &row[n - 1]);
	for (;;) {
		while (i < n - 1 && is_before(s, row[i], row[n - 1]))
			i++;
		while (k > i && is_before(s, row[n - 1], row[k]))
			k--;
		if (i >= k)
			break;
		swap_nodes(&row[i++], &row[k--]);
	}
	swap_nodes(&row[i], &row[n - 1]);
	return i;
}

/* In place. It calls itself for the shorter part alone, so no deeper than a length has bits. */
static void sort_row(const struct sorting *s, uint32_t *row, size_t n)
{
	while (n > SHORT_ROW) {
		size_t left = part_row(s, row, n), right = n - left - 1;

		if (left < right) {
			sort_row(s, row, left);
			row += left + 1;
			n = right;
		} else {
			sort_row(s, row + left + 1, right);
			n = left;
		}
	}
	insertion_sort(s, row, n);
}

static void sort_nodes(struct sorting *s)
{
	uint32_t at = 0;

	for (uint32_t i = ROOT_NODE; i < s->node_count; i++) {
		s->nodes[i].first = at;
		at += s->nodes[i].count;
		s->nodes[i].count = 0;
	}
	for (uint32_t i = ROOT_NODE + 1; i < s->node_count; i++) {
		struct seen_node *parent = &s->nodes[s->nodes[i].parent];

		s->order[parent->first + parent->count++] = i;
	}
	for (uint32_t i = ROOT_NODE; i < s->node_count; i++)
		sort_row(s, s->order + s->nodes[i].first, s->nodes[i].count);
	for (uint32_t i = 0; i < at; i++)
		s->nodes[s->order[i]].pos = i;
}

/* The next node without going down: 0 at the end. */
static uint32_t next_beside(const struct sorting *s, uint32_t node, unsigned *depth)
{
	for (; node != ROOT_NODE; --*depth) {
		const struct seen_node *n = &s->nodes[node], *parent = &s->nodes[n->parent];

		if (n->pos + 1 < parent->first + parent->count)
			return s->order[n->pos + 1];
		node = n->parent;
	}
	return 0;
}

static int tell(const struct sorting *s, uint32_t node, unsigned depth, seen_fn fn, void *ctx)
{
	struct span own = node == ROOT_NODE ? span_of("", 0) : name_of(s, node);
	unsigned what = s->nodes[node].what;
	uint8_t text[2 * SEEN_NAME_MAX + 1];
	struct span repo;

	if (depth > TOP_LEVELS)
		return fn(depth - TOP_LEVELS, own, what, ctx);
	if (depth < TOP_LEVELS)
		return fn(0, own, what, ctx);
	repo = name_of(s, s->nodes[node].parent);
	memcpy(text, repo.data, repo.len);
	text[repo.len] = '/';
	memcpy(text + repo.len + 1, own.data, own.len);
	return fn(0, span_of(text, repo.len + 1 + own.len), what, ctx);
}

static int walk(const struct sorting *s, seen_fn fn, void *ctx)
{
	uint32_t node = ROOT_NODE;
	unsigned depth = 0;
	int r = 0;

	while (r == 0 && node) {
		r = tell(s, node, depth, fn, ctx);
		if (s->nodes[node].count > 0) {
			node = s->order[s->nodes[node].first];
			depth++;
		} else {
			node = next_beside(s, node, &depth);
		}
	}
	return r;
}

int seen_walk(struct seen *s, seen_fn fn, void *ctx)
{
	_cleanup_(sorting_release) struct sorting sorting = { 0 };
	int r = 0;

	pthread_mutex_lock(&s->lock);
	/* What came after an error of writing is missing; what came before is there. */
	seen_flush(s);
	if (s->written > 0)
		r = map_log(s, &sorting);
	pthread_mutex_unlock(&s->lock);
	if (r == 0)
		r = make_room(s, &sorting);
	if (r < 0)
		return log_errno(r, "what a run has seen cannot be sorted");
	r = read_log(&sorting);
	if (r < 0)
		return log_errno(r, "the log of what a run has seen, %s, is damaged", s->name);
	sort_nodes(&sorting);
	return walk(&sorting, fn, ctx);
}
