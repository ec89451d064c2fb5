/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The ordered map of memtable.h: a skip list for order, and a hash table over the same records,
 * since most look-ups are for one key and most of those find nothing.
 *
 * Invariants
 *  - level 0 of the list holds every record, ascending; level n + 1 is a part of level n
 *  - the hash table holds the same records
 *  - an allocation after memtable_reserve() for it succeeds: reserved room is one run of bytes
 */
#include "state/memtable.h"

#include "base/hash.h"

enum {
	HEIGHT_MAX = 12, /* with one record in four a level higher: good for 16 million */
	CHUNK_SIZE = 256 << 10,
	ALIGN = 8,
};

struct chunk {
	struct chunk *next;
	size_t size; /* of data */
	uint8_t data[];
};

struct memtable {
	struct htab by_key;
	struct chunk *chunks; /* the first is being filled; owned */
	size_t pos; /* in the first */
	struct chunk *spare; /* of CHUNK_SIZE, empty; owned */
	size_t bytes;
	uint64_t random;
	unsigned height; /* of the highest record */
	struct memrec *head; /* owned; has no key and comes before every one */
};

int memtable_new(struct memtable **ret)
{
	_cleanup_(memtable_freep) struct memtable *m = new0(struct memtable, 1);

	if (!m)
		return -ENOMEM;
	m->random = 0x9e3779b97f4a7c15;
	m->height = 1;
	m->head = calloc(1, sizeof(*m->head) + HEIGHT_MAX * sizeof(m->head->next[0]));
	if (!m->head)
		return -ENOMEM;
	m->head->height = HEIGHT_MAX;
	*ret = TAKE_PTR(m);
	return 0;
}

static void free_chunks(struct chunk *c)
{
	while (c) {
		struct chunk *next = c->next;

		free(c);
		c = next;
	}
}

void memtable_free(struct memtable *m)
{
	if (!m)
		return;
	free_chunks(m->chunks);
	free_chunks(m->spare);
	htab_release(&m->by_key);
	free(m->head);
	free(m);
}

void memtable_reset(struct memtable *m)
{
	while (m->chunks) {
		struct chunk *c = m->chunks;

		m->chunks = c->next;
		if (c->size != CHUNK_SIZE) {
			free(c);
			continue;
		}
		c->next = m->spare;
		m->spare = c;
	}
	m->pos = 0;
	m->bytes = 0;
	m->height = 1;
	memset(m->head->next, 0, HEIGHT_MAX * sizeof(m->head->next[0]));
	htab_clear(&m->by_key);
}

/* What a record can take at most, key and value aside. */
static size_t reserve_size(size_t records, size_t bytes)
{
	return records * (sizeof(struct memrec) + HEIGHT_MAX * sizeof(struct memrec *) +
			  2 * (ALIGN - 1)) +
	       bytes;
}

static size_t room(const struct memtable *m)
{
	return m->chunks ? m->chunks->size - m->pos : 0;
}

bool memtable_has_reserve(const struct memtable *m, size_t records, size_t bytes)
{
	return room(m) >= reserve_size(records, bytes) && htab_has_room(&m->by_key, records);
}

int memtable_reserve(struct memtable *m, size_t records, size_t bytes)
{
	size_t need = reserve_size(records, bytes);
	struct chunk *c;

	if (htab_reserve(&m->by_key, records) < 0)
		return -ENOMEM;
	if (room(m) >= need)
		return 0;
	if (need <= CHUNK_SIZE && m->spare) {
		c = m->spare;
		m->spare = c->next;
	} else {
		size_t size = MAX(need, (size_t)CHUNK_SIZE);

		c = malloc(sizeof(*c) + size);
		if (!c)
			return -ENOMEM;
		c->size = size;
	}
	c->next = m->chunks;
	m->chunks = c;
	m->pos = 0;
	return 0;
}

static void *take(struct memtable *m, size_t len)
{
	void *p = m->chunks->data + m->pos;

	len = ALIGN_UP(len, ALIGN);
	m->pos += len;
	m->bytes += len;
	return p;
}

static unsigned random_height(struct memtable *m)
{
	unsigned h = 1;

	m->random ^= m->random << 13;
	m->random ^= m->random >> 7;
	m->random ^= m->random << 17;
	for (uint64_t bits = m->random >> 16; h < HEIGHT_MAX && (bits & 3) == 0; bits >>= 2)
		h++;
	return h;
}

static struct memrec *find(const struct memtable *m, struct span key, uint64_t hash)
{
	htab_for_each (n, &m->by_key, hash) {
		struct memrec *r = container_of(n, struct memrec, node);

		if (span_equal(memrec_key(r), key))
			return r;
	}
	return NULL;
}

/* The last record below @key (with @or_equal: not above it), or the head; on every level into
 * @ret_before, which may be NULL. */
static struct memrec *search(const struct memtable *m, struct span key, bool or_equal,
			     struct memrec **ret_before)
{
	struct memrec *at = m->head, *known = NULL;

	for (unsigned l = m->height; l-- > 0;) {
		for (;;) {
			struct memrec *next = at->next[l];

			/* What stopped the level above stops this one. */
			if (next == known)
				break;
			if (span_cmp(memrec_key(next), key) >= (or_equal ? 1 : 0)) {
				known = next;
				break;
			}
			at = next;
		}
		if (ret_before)
			ret_before[l] = at;
	}
	return at;
}

static struct memrec *insert(struct memtable *m, struct span key, uint64_t hash)
{
	struct memrec *before[HEIGHT_MAX], *r;
	unsigned h = random_height(m);

	for (; m->height < h; m->height++)
		m->head->next[m->height] = NULL;
	search(m, key, false, before);

	r = take(m, sizeof(*r) + h * sizeof(r->next[0]) + key.len);
	*r = (struct memrec){ .height = (uint8_t)h, .key_len = (uint16_t)key.len };
	memcpy(r->next + h, key.data, key.len);
	for (unsigned l = 0; l < h; l++) {
		r->next[l] = before[l]->next[l];
		before[l]->next[l] = r;
	}
	htab_insert(&m->by_key, &r->node, hash); /* reserved: it cannot fail */
	return r;
}

void memtable_put(struct memtable *m, struct span key, struct span value)
{
	uint64_t hash = hash_bytes(key.data, key.len);
	struct memrec *r = find(m, key, hash) ?: insert(m, key, hash);

	if (value.len > r->value_room) {
		r->value = take(m, value.len);
		r->value_room = ALIGN_UP((uint32_t)value.len, ALIGN);
	}
	r->is_deleted = false;
	r->value_len = (uint32_t)value.len;
	if (value.len > 0)
		memcpy(r->value, value.data, value.len);
}

void memtable_delete(struct memtable *m, struct span key)
{
	uint64_t hash = hash_bytes(key.data, key.len);
	struct memrec *r = find(m, key, hash) ?: insert(m, key, hash);

	r->is_deleted = true;
	r->value_len = 0;
}

static void unlink_record(struct memtable *m, struct memrec **before, struct memrec *r)
{
	for (unsigned l = 0; l < r->height; l++)
		before[l]->next[l] = r->next[l];
	htab_remove(&m->by_key, &r->node);
}

void memtable_remove(struct memtable *m, struct span key)
{
	struct memrec *before[HEIGHT_MAX], *r;

	r = find(m, key, hash_bytes(key.data, key.len));
	if (!r)
		return;
	search(m, key, false, before);
	unlink_record(m, before, r);
}

void memtable_remove_prefix(struct memtable *m, struct span prefix)
{
	struct memrec *before[HEIGHT_MAX], *r;

	search(m, prefix, false, before);
	while ((r = before[0]->next[0])) {
		struct span key = memrec_key(r);

		if (key.len < prefix.len || memcmp(key.data, prefix.data, prefix.len) != 0)
			break;
		unlink_record(m, before, r);
	}
}

const struct memrec *memtable_get(const struct memtable *m, struct span key)
{
	return find(m, key, hash_bytes(key.data, key.len));
}

const struct memrec *memtable_seek(const struct memtable *m, struct span key, bool beyond)
{
	return search(m, key, beyond, NULL)->next[0];
}

const struct memrec *memtable_seek_back(const struct memtable *m, struct span key, bool beyond)
{
	struct memrec *r = search(m, key, !beyond, NULL);

	return r == m->head ? NULL : r;
}

size_t memtable_bytes(const struct memtable *m)
{
	return m->bytes;
}

size_t memtable_count(const struct memtable *m)
{
	return m->by_key.count;
}
