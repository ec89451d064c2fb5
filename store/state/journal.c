/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The journal of journal.h: its files while they are written. journal_replay.c reads them.
 *
 *	free --file full--> current --next one full--> full --synced, released--> free
 *
 * Invariants
 *  - a record is written before its number is given out
 *  - no marker is written while a full file, or the directory, has unsynced writes: whoever finds a
 *    marker knows that all earlier files were durable
 *  - a file that is used again starts with a new salt, so nothing that lies in it from before can
 *    pass for a record, and nobody who puts bytes into a record can foresee a checksum
 *  - the last bytes of a file are for markers alone: when no file is left, a sync point still finds
 *    its place, and with the checkpoint behind it come free files
 *
 * Files are filled with zeroes once, and then overwritten time and again: a sync of blocks that
 * were written before needs no metadata, which makes it a third faster.
 *
 * Threads: lock guards all fields but those set at birth; it is held across the write of a record,
 * which goes to the page cache, and never across a sync.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/hash.h"
#include "base/log.h"
#include "state/journal_file.h"

enum {
	RESERVE_FILES = 2,
	MARKER_ROOM = 32 * (JOURNAL_RECORD_HEADER + JOURNAL_MARKER_LEN),
	SCRATCH_KEPT = 1 << 20,
};

void journal_file_free(struct journal_file *f)
{
	if (!f)
		return;
	list_remove(&f->link);
	if (f->fd >= 0)
		close(f->fd);
	free(f);
}

char *journal_file_name(uint32_t number, char buf[JOURNAL_NAME])
{
	snprintf(buf, JOURNAL_NAME, "%08u", number);
	return buf;
}

static void free_list(struct list *l)
{
	list_for_each_safe (f, l, struct journal_file, link)
		journal_file_free(f);
}

void journal_free(struct journal *j)
{
	if (!j)
		return;
	free_list(&j->live);
	free_list(&j->free);
	buf_release(&j->scratch);
	if (j->dirfd >= 0)
		close(j->dirfd);
	pthread_mutex_destroy(&j->lock);
	free(j);
}

static void remove_file(struct journal *j, struct journal_file *f)
{
	char name[JOURNAL_NAME];

	unlinkat(j->dirfd, journal_file_name(f->number, name), 0);
	journal_file_free(f);
}

int journal_open(const struct journal_options *o, struct journal **ret)
{
	_cleanup_(journal_freep) struct journal *j = new0(struct journal, 1);
	int r;

	if (!j)
		return -ENOMEM;
	pthread_mutex_init(&j->lock, NULL);
	list_init(&j->live);
	list_init(&j->free);
	j->file_size = o->file_size;
	j->boot = boot_id();
	j->next_number = 1;
	j->dirfd = fcntl(o->dirfd, F_DUPFD_CLOEXEC, 0);
	if (j->dirfd < 0)
		return -errno;
	r = journal_replay(j, o);
	if (r < 0)
		return r;
	list_for_each_safe (f, &j->free, struct journal_file, link)
		if (f->size != j->file_size) {
			j->free_count--;
			remove_file(j, f);
		}
	*ret = TAKE_PTR(j);
	return 0;
}

static int allocate(int fd, uint64_t from, uint64_t to)
{
	if (fallocate(fd, 0, (off_t)from, (off_t)(to - from)) == 0)
		return 0;
	/* Where space cannot be kept there is none to promise. */
	if (errno == EOPNOTSUPP)
		return ftruncate(fd, (off_t)to) < 0 ? -errno : 0;
	return -errno;
}

/* A new file on disk; the caller's lock is not needed when @number is its own. */
static int create_file(const struct journal *j, uint32_t number, struct journal_file **ret)
{
	_cleanup_(journal_file_freep) struct journal_file *f = new0(struct journal_file, 1);
	char name[JOURNAL_NAME];
	int r;

	if (!f)
		return -ENOMEM;
	list_init(&f->link);
	f->number = number;
	f->size = j->file_size;
	f->fd = openat(j->dirfd, journal_file_name(number, name),
		       O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (f->fd < 0)
		return -errno;
	r = allocate(f->fd, 0, f->size);
	if (r < 0) {
		unlinkat(j->dirfd, name, 0);
		return r;
	}
	*ret = TAKE_PTR(f);
	return 0;
}

static int fill_with_zeroes(const struct journal_file *f)
{
	enum {
		STEP = 64 << 10
	};
	static const uint8_t zeroes[STEP];

	for (uint64_t off = 0; off < f->size; off += STEP) {
		int r = pwrite_all(f->fd, zeroes, MIN((uint64_t)STEP, f->size - off), off);

		if (r < 0)
			return r;
	}
	return fdatasync_fd(f->fd);
}

bool journal_wants_files(struct journal *j)
{
	return j->free_count < RESERVE_FILES;
}

int journal_prepare(struct journal *j)
{
	while (journal_wants_files(j)) {
		struct journal_file *f;
		uint32_t number;
		int r;

		pthread_mutex_lock(&j->lock);
		number = j->next_number++;
		pthread_mutex_unlock(&j->lock);

		r = create_file(j, number, &f);
		if (r == 0) {
			r = fill_with_zeroes(f);
			if (r == 0)
				r = fsync_dir(j->dirfd, ".");
			if (r < 0)
				remove_file(j, f);
		}
		if (r < 0)
			return r;

		WITH_LOCK(&j->lock);
		list_append(&j->free, &f->link);
		j->free_count++;
	}
	return 0;
}

static int write_header(struct journal *j, struct journal_file *f)
{
	_cleanup_buf_ struct buf b = { 0 };

	buf_put(&b, JOURNAL_MAGIC, 4);
	buf_put_u16(&b, JOURNAL_VERSION);
	buf_put_u16(&b, 0);
	buf_put_u64(&b, f->order);
	buf_put_u64(&b, f->start);
	buf_put_u64(&b, j->durable);
	buf_put(&b, j->boot.b, sizeof(j->boot.b));
	buf_put_u64(&b, f->salt);
	buf_put_u64(&b, xxh64(b.data, b.len, 0));
	if (buf_failed(&b))
		return -ENOMEM;
	return pwrite_all(f->fd, b.data, b.len, 0);
}

/* Takes the next file into use, with room for a record of @need bytes. Locked. */
static int next_file(struct journal *j, uint64_t need)
{
	uint64_t size = JOURNAL_HEADER + need + MARKER_ROOM;
	struct journal_file *f;
	int r;

	/* The background is too slow, or the disk is full. */
	if (j->free_count == 0) {
		r = create_file(j, j->next_number, &f);
		if (r < 0)
			return r == -ENOMEM ? r : -ENOSPC;
		j->next_number++;
		j->is_dir_dirty = true;
		list_append(&j->free, &f->link);
		j->free_count++;
	}
	f = list_first(&j->free, struct journal_file, link);
	if (f->size < size) {
		if (allocate(f->fd, f->size, size) < 0)
			return -ENOSPC;
		f->size = size;
	}
	f->order = j->last_order + 1;
	f->start = j->last + 1;
	f->last = j->last;
	f->salt = random_u64();
	f->pos = JOURNAL_HEADER;
	f->is_synced = false;
	r = write_header(j, f);
	if (r < 0)
		return r;
	j->bytes += f->pos;

	j->last_order++;
	j->free_count--;
	list_remove(&f->link);
	list_append(&j->live, &f->link);
	j->current = f;
	return 0;
}

static bool fits(const struct journal_file *f, uint64_t len, bool is_marker)
{
	return f && f->pos + len + (is_marker ? 0 : MARKER_ROOM) <= f->size;
}

/* Locked; there is room. */
static int write_record(struct journal *j, enum journal_kind kind, struct span payload)
{
	struct journal_file *f = j->current;
	struct buf *b = &j->scratch;
	uint64_t sum;
	int r;

	buf_clear(b);
	buf_put_u64(b, 0);
	buf_put_u32(b, (uint32_t)payload.len);
	buf_put_u32(b, kind);
	buf_put_u64(b, j->last + 1);
	buf_put(b, payload.data, payload.len);
	if (buf_failed(b))
		return -ENOMEM;
	sum = htole64(journal_checksum(f->salt, buf_span(b)));
	memcpy(b->data, &sum, sizeof(sum));

	r = pwrite_all(f->fd, b->data, b->len, f->pos);
	if (r < 0)
		return r == -ENOSPC ? r : -EIO;
	f->pos += b->len;
	j->bytes += b->len;
	f->last = ++j->last;
	if (b->cap > SCRATCH_KEPT)
		buf_release(b);
	return 0;
}

int journal_append(struct journal *j, struct span record, uint64_t *ret_seq)
{
	size_t need = JOURNAL_RECORD_HEADER + record.len;
	int r = 0;

	WITH_LOCK(&j->lock);
	if (!fits(j->current, need, false))
		r = next_file(j, need);
	if (r == 0)
		r = write_record(j, JOURNAL_BATCH, record);
	if (r == 0)
		*ret_seq = j->last;
	return r;
}

/* A file that is full and has unsynced writes. Locked. */
static struct journal_file *full_unsynced(struct journal *j)
{
	list_for_each (f, &j->live, struct journal_file, link)
		if (f != j->current && !f->is_synced)
			return f;
	return NULL;
}

static int write_marker(struct journal *j, uint64_t covers)
{
	uint64_t le = htole64(covers);

	return write_record(j, JOURNAL_MARKER, span_of(&le, sizeof(le)));
}

/*
 * One step on the way to a marker: syncs what must be durable before it, or writes it and hands
 * out the file that it is in.
 */
static int step_to_marker(struct journal *j, uint64_t covers, struct journal_file **ret)
{
	struct journal_file *f;
	bool sync_dir;
	int r = 0;

	pthread_mutex_lock(&j->lock);
	sync_dir = j->is_dir_dirty;
	j->is_dir_dirty = false;
	f = full_unsynced(j);
	if (!f && !sync_dir) {
		if (fits(j->current, JOURNAL_RECORD_HEADER + JOURNAL_MARKER_LEN, true)) {
			r = write_marker(j, covers);
			*ret = j->current;
		} else {
			r = next_file(j, 0);
		}
		pthread_mutex_unlock(&j->lock);
		return r;
	}
	pthread_mutex_unlock(&j->lock);

	if (sync_dir)
		r = fsync_dir(j->dirfd, ".");
	if (r == 0 && f)
		r = fdatasync_fd(f->fd);
	if (r < 0)
		return -EIO;
	if (f) {
		WITH_LOCK(&j->lock);
		f->is_synced = true;
	}
	return 0;
}

int journal_sync(struct journal *j, uint64_t covers)
{
	struct journal_file *marked = NULL;
	int r = 0;

	while (r == 0 && !marked)
		r = step_to_marker(j, covers, &marked);
	if (r < 0)
		return r;
	if (fdatasync_fd(marked->fd) < 0)
		return -EIO;

	WITH_LOCK(&j->lock);
	j->durable = MAX(j->durable, covers);
	return 0;
}

void journal_release(struct journal *j, uint64_t position)
{
	unsigned kept = JOURNAL_BYTES_KEPT / j->file_size + RESERVE_FILES;

	WITH_LOCK(&j->lock);
	list_for_each_safe (f, &j->live, struct journal_file, link) {
		/* Syncs are under way on files that are not synced. */
		if (f == j->current || !f->is_synced || f->last > position)
			continue;
		j->bytes -= f->pos;
		if (f->size != j->file_size || j->free_count >= kept) {
			remove_file(j, f);
			continue;
		}
		list_remove(&f->link);
		list_append(&j->free, &f->link);
		j->free_count++;
	}
}

uint64_t journal_last(struct journal *j)
{
	WITH_LOCK(&j->lock);
	return j->last;
}

uint64_t journal_durable(struct journal *j)
{
	WITH_LOCK(&j->lock);
	return j->durable;
}

uint64_t journal_bytes(struct journal *j)
{
	return j->bytes;
}
