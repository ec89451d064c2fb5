/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The log of what a run has seen, as it grows (seen.h).
 *
 * A look-up that has been logged lately costs one look into the table and no record. The table
 * knows names and places by 64-bit hashes with a seed of this process; it begins with a MiB and
 * doubles up to 16.
 *
 * After an error nothing is logged any more: a log with a hole would say less than it seems to.
 */
#include "record/seen.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/thread.h"
#include "format/entry.h"
#include "record/seen_parts.h"

enum {
	WAYS = 4, /* slots of a bucket: a cache line */
	SLOTS_FIRST = (1 << 20) / sizeof(struct seen_slot),
	SLOTS_MAX = (16 << 20) / sizeof(struct seen_slot),
};

int seen_flush(struct seen *s)
{
	int r = atomic_load(&s->error);

	if (r == 0 && s->waiting > 0) {
		r = pwrite_all(s->fd, s->piece, s->waiting, s->written);
		if (r < 0) {
			atomic_store(&s->error, r);
			log_errno(r, "what a run has seen cannot be written to %s", s->name);
		} else {
			s->written += s->waiting;
		}
		s->waiting = 0;
	}
	return r;
}

/* Its number, or 0. */
static seen_place append(struct seen *s, seen_place place, unsigned what, struct span name)
{
	struct seen_record rec = { .place = place, .what = (uint8_t)what, .name = name };
	uint64_t at;

	if (s->waiting + SEEN_HEAD + SEEN_NAME_MAX + SEEN_UNIT > sizeof(s->piece))
		seen_flush(s);
	at = (s->written + s->waiting) / SEEN_UNIT;
	if (at > UINT32_MAX && atomic_load(&s->error) == 0) {
		atomic_store(&s->error, -EFBIG);
		log_error("what a run has seen is too much for %s", s->name);
	}
	if (atomic_load(&s->error) < 0)
		return 0;
	s->waiting += seen_record_put(s->piece + s->waiting, &rec);
	if (name.len > 0)
		s->places++;
	return (seen_place)at;
}

static struct seen_slot *bucket(struct seen *s, uint64_t hash)
{
	return &s->slots[((hash >> 8) & (s->slot_count / WAYS - 1)) * WAYS];
}

static struct seen_slot *find(struct seen *s, uint64_t hash)
{
	struct seen_slot *b = bucket(s, hash);

	for (unsigned i = 0; i < WAYS; i++)
		if (b[i].hash == hash)
			return &b[i];
	return NULL;
}

static void insert(struct seen *s, const struct seen_slot *slot)
{
	struct seen_slot *b = bucket(s, slot->hash);

	for (unsigned i = 0; i < WAYS; i++) {
		if (b[i].hash == 0) {
			b[i] = *slot;
			s->used++;
			return;
		}
	}
	b[s->victim++ % WAYS] = *slot;
}

/* Doubles the table. Without memory it stays as it is, and forgets sooner. */
static void grow(struct seen *s)
{
	struct seen_slot *old = s->slots, *more = new0(struct seen_slot, 2 * s->slot_count);
	size_t n = s->slot_count;

	if (!more)
		return;
	s->slots = more;
	s->slot_count = 2 * n;
	s->used = 0;
	for (size_t i = 0; i < n; i++)
		if (old[i].hash)
			insert(s, &old[i]);
	free(old);
}

static void remember(struct seen *s, uint64_t hash, seen_place place, unsigned what)
{
	if (s->used > s->slot_count / 2 && s->slot_count < SLOTS_MAX)
		grow(s);
	insert(s, &(struct seen_slot){ .hash = hash, .place = place, .what = what });
}

/* Not 0, which is an empty slot. */
static uint64_t hash_name(seen_place dir, struct span name)
{
	return hash_u64(hash_bytes(name.data, name.len) + dir) | 1;
}

/* Apart from that of any name. */
static uint64_t hash_place(seen_place p)
{
	return hash_u64(~(uint64_t)p) | 1;
}

static seen_place note_name(struct seen *s, seen_place dir, struct span name, unsigned what)
{
	uint64_t hash = hash_name(dir, name);
	struct seen_slot *slot;
	seen_place p;

	WITH_LOCK(&s->lock);
	if (atomic_load(&s->error) < 0)
		return 0;
	slot = find(s, hash);
	if (slot) {
		if (what & ~slot->what) {
			append(s, slot->place, what, span_of(NULL, 0));
			slot->what |= what;
		}
		return slot->place;
	}
	p = append(s, dir, what, name);
	if (p)
		remember(s, hash, p, what);
	return p;
}

seen_place seen_name(struct seen *s, seen_place dir, struct span name, enum seen_what what)
{
	return dir && file_name_is_valid(name) ? note_name(s, dir, name, what) : 0;
}

seen_place seen_top(struct seen *s, const char *name)
{
	seen_place p = SEEN_ROOT;

	while (p && *name) {
		size_t len = strcspn(name, "/");

		p = len > 0 && len <= SEEN_NAME_MAX ? note_name(s, p, span_of(name, len), 0) : 0;
		name += len + (name[len] == '/');
	}
	return p;
}

void seen_mark(struct seen *s, seen_place p, enum seen_what what)
{
	uint64_t hash = hash_place(p);
	struct seen_slot *slot;

	if (!p)
		return;
	WITH_LOCK(&s->lock);
	slot = find(s, hash);
	if (slot && !((unsigned)what & ~slot->what))
		return;
	if (!append(s, p, what, span_of(NULL, 0)))
		return;
	if (slot)
		slot->what |= (unsigned)what;
	else
		remember(s, hash, p, what);
}

int seen_error(const struct seen *s)
{
	return atomic_load(&s->error);
}

void seen_stats(struct seen *s, struct seen_stats *ret)
{
	WITH_LOCK(&s->lock);
	*ret = (struct seen_stats){
		.places = s->places,
		.log_bytes = s->written + s->waiting,
		.memory_bytes = sizeof(*s) + s->slot_count * sizeof(s->slots[0]),
	};
}

/* How much of a log is whole; counts its places. */
static uint64_t whole_part(struct seen *s, struct span log)
{
	uint64_t at = SEEN_UNIT;
	struct seen_record rec;
	size_t size;

	if (log.len < SEEN_UNIT || memcmp(log.data, SEEN_MAGIC, SEEN_UNIT) != 0)
		return 0;
	for (; (size = seen_record_get(log, at, &rec)) > 0; at += size)
		s->places += rec.name.len > 0;
	return at > SEEN_UNIT ? at : 0;
}

/* Takes up the log that is there. */
static int take_up(struct seen *s)
{
	struct stat st;
	void *log;

	if (fstat(s->fd, &st) < 0)
		return -errno;
	if (st.st_size > 0) {
		log = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, s->fd, 0);
		if (log == MAP_FAILED)
			return -errno;
		s->written = whole_part(s, span_of(log, (size_t)st.st_size));
		munmap(log, (size_t)st.st_size);
	}
	if (s->written < (uint64_t)st.st_size) {
		log_warning(
			"the log of what a run has seen ends early: %s has %llu bytes of no use",
			s->name, (unsigned long long)st.st_size - s->written);
		if (ftruncate(s->fd, (off_t)s->written) < 0)
			return -errno;
	}
	if (s->written == 0) {
		memcpy(s->piece, SEEN_MAGIC, SEEN_UNIT);
		s->waiting = SEEN_UNIT;
		append(s, 0, 0, span_of(NULL, 0));
	}
	return 0;
}

int seen_open(int dirfd, const char *name, struct seen **ret)
{
	_cleanup_(seen_freep) struct seen *s = new0(struct seen, 1);
	int r;

	if (!s)
		return -ENOMEM;
	s->fd = s->dirfd = -1;
	pthread_mutex_init(&s->lock, NULL);
	s->slot_count = SLOTS_FIRST;
	s->slots = new0(struct seen_slot, s->slot_count);
	s->name = strdup(name);
	if (!s->slots || !s->name)
		return -ENOMEM;
	s->dirfd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	s->fd = openat(dirfd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	r = s->fd < 0 || s->dirfd < 0 ? -errno : take_up(s);
	if (r < 0)
		return log_errno(r, "the log of what a run has seen, %s, cannot be opened", name);
	*ret = TAKE_PTR(s);
	return 0;
}

void seen_free(struct seen *s)
{
	if (!s)
		return;
	if (s->fd >= 0)
		seen_flush(s);
	closep(&s->fd);
	closep(&s->dirfd);
	pthread_mutex_destroy(&s->lock);
	free(s->slots);
	free(s->name);
	free(s);
}
