/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reading a journal (journal_file.h says what it looks like).
 *
 * The files that count are chosen backwards from the one taken last: each must start before the
 * one chosen before it, until one starts no later than the first record that is wanted. Then they
 * are read forwards: records must follow one another without a gap, over the files too.
 *
 *  - a record that is torn, of another salt or out of order ends its file
 *  - where the next file does not go on, writes were lost: that happens with the machine's power
 *    only, whatever the boot's id says, and nothing beyond counts. But if something beyond says
 *    that what is missing was durable, the journal is damaged.
 *  - after a power loss only what a marker covers counts; a header's `durable` is a marker too
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cursor.h"
#include "base/fdio.h"
#include "base/log.h"
#include "state/journal_file.h"

static bool parse_name(const char *name, uint32_t *ret)
{
	uint32_t v = 0;

	if (strlen(name) != 8)
		return false;
	for (; *name; name++) {
		if (*name < '0' || *name > '9')
			return false;
		v = v * 10 + (uint32_t)(*name - '0');
	}
	*ret = v;
	return true;
}

/* 0, also when there is no header; then `order` stays 0. */
static int parse_header(const struct journal *j, struct span raw, struct journal_file *f)
{
	struct cursor c = cursor_of(raw);
	struct span magic = rd_bytes(&c, 4);
	uint16_t version = rd_u16(&c), flags = rd_u16(&c);
	uint64_t order = rd_u64(&c), start = rd_u64(&c), durable = rd_u64(&c);
	struct id128 boot = rd_id128(&c);
	uint64_t salt = rd_u64(&c);
	uint64_t sum = rd_u64(&c);

	if (cursor_failed(&c) || memcmp(magic.data, JOURNAL_MAGIC, 4) != 0)
		return 0;
	if (version != JOURNAL_VERSION || flags != 0)
		return log_fail(-EBADMSG, "journal/%08u is of a version that is not known (%u)",
				f->number, version);
	if (sum != xxh64(raw.data, JOURNAL_HEADER - sizeof(sum), 0) || order == 0 || start == 0 ||
	    durable >= start)
		return 0;
	f->order = order;
	f->start = start;
	f->last = start - 1;
	f->durable = durable;
	f->salt = salt;
	f->is_this_boot = !id128_is_null(&boot) && id128_equal(&boot, &j->boot);
	f->pos = JOURNAL_HEADER;
	return 0;
}

static int open_file(struct journal *j, const char *name, uint32_t number)
{
	_cleanup_(journal_file_freep) struct journal_file *f = new0(struct journal_file, 1);
	uint8_t raw[JOURNAL_HEADER];
	struct stat st;
	ssize_t n;
	int r;

	if (!f)
		return -ENOMEM;
	list_init(&f->link);
	f->number = number;
	f->fd = openat(j->dirfd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (f->fd < 0)
		return -errno;
	if (fstat(f->fd, &st) < 0)
		return -errno;
	f->size = (uint64_t)st.st_size;
	n = pread_upto(f->fd, raw, sizeof(raw), 0);
	if (n < 0)
		return (int)n;
	r = parse_header(j, span_of(raw, (size_t)n), f);
	if (r < 0)
		return r;

	j->next_number = MAX(j->next_number, number + 1);
	j->last_order = MAX(j->last_order, f->order);
	list_append(&j->free, &f->link);
	j->free_count++;
	(void)TAKE_PTR(f);
	return 0;
}

/* All files, into the list of free ones. */
static int open_files(struct journal *j)
{
	int fd = openat(j->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *e;
	uint32_t number;
	int r = 0;
	DIR *d;

	if (fd < 0)
		return -errno;
	d = fdopendir(fd);
	if (!d) {
		r = -errno;
		close(fd);
		return r;
	}
	while (r == 0 && (e = readdir(d)))
		if (parse_name(e->d_name, &number))
			r = open_file(j, e->d_name, number);
	closedir(d);
	return r;
}

/* The file taken last of those that were taken before @order. */
static struct journal_file *taken_before(struct journal *j, uint64_t order)
{
	struct journal_file *best = NULL;

	list_for_each (f, &j->free, struct journal_file, link)
		if (f->order > 0 && f->order < order && (!best || f->order > best->order))
			best = f;
	return best;
}

/* Moves the files that count to the list of live ones. */
static void choose_files(struct journal *j, uint64_t position)
{
	uint64_t order = UINT64_MAX, limit = UINT64_MAX;
	struct journal_file *f;

	while (limit > position + 1 && (f = taken_before(j, order))) {
		order = f->order;
		if (f->start >= limit)
			continue;
		limit = f->start;
		list_remove(&f->link);
		list_prepend(&j->live, &f->link);
		j->free_count--;
	}
}

/* Where the file after @f begins; what @f has from there on is void. */
static uint64_t void_from(const struct journal *j, const struct journal_file *f)
{
	if (f->link.next == &j->live)
		return UINT64_MAX;
	return list_entry(f->link.next, struct journal_file, link)->start;
}

struct record {
	enum journal_kind kind;
	uint64_t seq;
	struct span payload;
	uint64_t covers; /* a marker's */
};

/* The record at @c; false: there is none. */
static bool read_record(struct cursor *c, const struct journal_file *f, struct record *ret)
{
	const uint8_t *at = c->p;
	uint64_t sum = rd_u64(c);
	uint32_t len = rd_u32(c);
	uint32_t kind = rd_u32(c);
	struct record rec = { .kind = kind, .seq = rd_u64(c) };

	rec.payload = rd_bytes(c, len);
	if (cursor_failed(c) || sum != journal_checksum(f->salt, span_of(at, (size_t)(c->p - at))))
		return false;
	if (kind == JOURNAL_MARKER) {
		struct cursor m = cursor_of(rec.payload);

		rec.covers = rd_u64(&m);
		if (!cursor_at_end(&m) || rec.covers >= rec.seq)
			return false;
	} else if (kind != JOURNAL_BATCH) {
		return false;
	}
	*ret = rec;
	return true;
}

/*
 * Reads a file and calls @fn, if there is one, for each of its records below @limit. Sets where it
 * ends, and raises @durable by what its header and markers say.
 */
static int read_records(struct journal_file *f, uint64_t limit, uint64_t *durable,
			int (*fn)(void *ctx, const struct record *rec), void *ctx)
{
	size_t size = MIN(f->size, (uint64_t)JOURNAL_RECORD_MAX + JOURNAL_FILE_MAX);
	_cleanup_buf_ struct buf b = { 0 };
	struct record rec;
	struct cursor c;
	ssize_t n;
	int r;

	if (buf_reserve(&b, size) < 0)
		return -ENOMEM;
	n = pread_upto(f->fd, b.data, size, 0);
	if (n < 0)
		return (int)n;
	b.len = (size_t)n;

	f->last = f->start - 1;
	f->pos = JOURNAL_HEADER;
	*durable = MAX(*durable, f->durable);
	c = cursor_of(buf_span(&b));
	rd_bytes(&c, JOURNAL_HEADER);
	while (read_record(&c, f, &rec) && rec.seq == f->last + 1 && rec.seq < limit) {
		f->last = rec.seq;
		f->pos = (uint64_t)(c.p - b.data);
		if (rec.kind == JOURNAL_MARKER)
			*durable = MAX(*durable, rec.covers);
		r = fn ? fn(ctx, &rec) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

/* What lies beyond a gap after record @last must not say that more than that was durable. */
static int check_beyond_gap(struct journal *j, struct journal_file *f, uint64_t last)
{
	uint64_t durable = 0;
	int r;

	for (; &f->link != &j->live; f = list_entry(f->link.next, struct journal_file, link)) {
		r = read_records(f, UINT64_MAX, &durable, NULL, NULL);
		if (r < 0)
			return r;
	}
	if (durable > last)
		return log_fail(-EBADMSG,
				"the journal is damaged: records %llu to %llu are missing",
				(unsigned long long)last + 1, (unsigned long long)durable);
	return 0;
}

/* Goes on in the file where the former process stopped, so that a full disk does not need another.
 * After a power loss one cannot: void records lie in the way. */
static void resume(struct journal *j)
{
	j->current = list_entry(j->live.prev, struct journal_file, link);
}

/* Finds the last record that counts, and with it what is known to be durable. */
static int find_end(struct journal *j, uint64_t position)
{
	uint64_t last = position, durable = position;
	bool is_same_boot = false;
	int r;

	list_for_each (f, &j->live, struct journal_file, link) {
		if (f->start > last + 1) {
			is_same_boot = false;
			r = check_beyond_gap(j, f, last);
			if (r < 0)
				return r;
			break;
		}
		is_same_boot = f->is_this_boot;
		r = read_records(f, void_from(j, f), &durable, NULL, NULL);
		if (r < 0)
			return r;
		last = MAX(last, f->last);
	}
	j->last = is_same_boot ? last : durable;
	j->durable = is_same_boot ? position : durable;
	if (is_same_boot)
		resume(j);
	return 0;
}

struct replay {
	const struct journal_options *o;
	uint64_t last;
};

static int replay_record(void *ctx, const struct record *rec)
{
	const struct replay *p = ctx;

	if (rec->kind != JOURNAL_BATCH || rec->seq <= p->o->position || rec->seq > p->last)
		return 0;
	return p->o->replay(p->o->ctx, rec->payload);
}

int journal_replay(struct journal *j, const struct journal_options *o)
{
	struct replay ctx = { .o = o };
	int r;

	/* The former process may have died before it synced a new file's name. */
	j->is_dir_dirty = true;
	r = open_files(j);
	if (r < 0)
		return r;
	choose_files(j, o->position);
	r = find_end(j, o->position);
	if (r < 0)
		return r;

	ctx.last = j->last;
	list_for_each_safe (f, &j->live, struct journal_file, link) {
		uint64_t unused = 0;

		if (f != j->current && f->start > j->last) {
			list_remove(&f->link);
			list_append(&j->free, &f->link);
			j->free_count++;
			continue;
		}
		r = read_records(f, void_from(j, f), &unused, replay_record, &ctx);
		if (r < 0)
			return r;
		f->is_synced = !f->is_this_boot;
		j->bytes += f->pos;
	}
	return 0;
}
