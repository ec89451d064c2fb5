/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Records of runs in the store (archive.h).
 *
 *	try --0--> stored
 *	 |--condition failed, reply lost--> read back --our bytes--> stored
 *	 |                                   |--nothing--> try again, the same bytes
 *	 |                                   '--other bytes--> taken
 *	 '--refused--> nothing was written
 *
 * No two records have the same bytes: a start says the machine, the moment to the nanosecond, and
 * what its command is.
 */
#include "record/archive.h"

#include <stdio.h>

#include "base/log.h"

enum {
	IDS_MAX = 100, /* tried for one run, from its start on */
	TRIES_MAX = 20,
};

/* Is it not known what came of a swap? */
static bool is_unknown(int r)
{
	return r == -ESTALE || r == -EINPROGRESS || r == -EIO || r == -ETIME;
}

/* What is there: 0: our bytes, -EEXIST: others, -ENOENT: nothing; or it could not be read. */
static int read_back(struct backend *b, const char *key, struct span ours,
		     const struct deadline *dl)
{
	_cleanup_buf_ struct buf now = { 0 };
	struct etag tag;
	int r = b->ops->get_all(b, key, RUN_RECORD_MAX, NULL, dl, &now, &tag);

	if (r == -EFBIG)
		return -EEXIST;
	if (r < 0)
		return r;
	return span_equal(buf_span(&now), ours) ? 0 : -EEXIST;
}

/* 0, -EEXIST (something else is there), or an error. */
static int store_record(struct store *s, const char *key, struct span bytes,
			const struct deadline *dl)
{
	struct backend *b = s->backend;
	bool may_have_landed = false;
	struct etag tag;
	int r = -EIO;

	if (s->read_only)
		return log_fail(-EROFS, "%s was opened to be read only: no run can be recorded",
				b->url);
	for (unsigned n = 0; n < TRIES_MAX; n++) {
		int found;

		r = n > 0 ? deadline_back_off(n, dl) : deadline_check(dl);
		if (r < 0)
			break;
		r = b->ops->swap(b, key, NULL, bytes, dl, &tag);
		if (r == 0 || (!is_unknown(r) && !may_have_landed))
			return r;
		may_have_landed |= r != -ESTALE;
		found = read_back(b, key, bytes, dl);
		if (found == 0 || found == -EEXIST)
			return found;
		if (found != -ENOENT)
			r = found;
	}
	return may_have_landed ? -EINPROGRESS : r == -ESTALE ? -EIO : r;
}

static int64_t start_of(const json_t *start)
{
	const char *started = json_string_value(json_object_get(start, "started"));
	struct timespec now = now_wall();
	int64_t ns;

	return started && run_time_parse(started, &ns) == 0 ? ns
							    : now.tv_sec * 1000000000 + now.tv_nsec;
}

/* A record that says which run's it is. */
static int store_own(struct store *s, const struct run_id *id, const char *key,
		     const json_t *record, const struct deadline *dl)
{
	const char *own = json_string_value(json_object_get(record, "id"));
	_cleanup_buf_ struct buf bytes = { 0 };
	int r;

	if (!own || strcmp(own, id->s) != 0)
		return log_fail(-EINVAL, "run %s: its record is another run's", id->s);
	r = run_record_write(record, &bytes);
	return r < 0 ? r : store_record(s, key, buf_span(&bytes), dl);
}

int archive_start(struct store *s, const struct run_id *id, const json_t *start,
		  const struct deadline *dl)
{
	return store_own(s, id, run_start_key(id).s, start, dl);
}

int archive_begin(struct store *s, json_t *start, archive_id_fn about_to, void *ctx,
		  const struct deadline *dl, struct run_id *ret)
{
	int64_t started = start_of(start);
	int r = -EEXIST;

	for (unsigned n = 0; r == -EEXIST && n < IDS_MAX; n++) {
		struct run_id id = run_id_new(started, n);

		if (json_object_set_new(start, "id", json_string(id.s)) < 0)
			return -ENOMEM;
		r = about_to ? about_to(&id, ctx) : 0;
		if (r == 0)
			r = archive_start(s, &id, start, dl);
		if (r == 0)
			*ret = id;
	}
	return r;
}

int archive_end(struct store *s, const struct run_id *id, const json_t *end,
		const struct deadline *dl)
{
	return store_own(s, id, run_end_key(id).s, end, dl);
}

static int get_record(struct store *s, const struct run_id *id, const char *key,
		      const struct deadline *dl,
		      int (*read)(const struct run_id *id, struct span text, json_t **ret),
		      json_t **ret)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	struct etag tag;
	int r = s->backend->ops->get_all(s->backend, key, RUN_RECORD_MAX, NULL, dl, &bytes, &tag);

	if (r == -EFBIG)
		return log_fail(-EBADMSG, "run %s: the record is damaged: it is too large", id->s);
	return r < 0 ? r : read(id, buf_span(&bytes), ret);
}

int archive_get(struct store *s, const struct run_id *id, const struct deadline *dl,
		json_t **ret_start, json_t **ret_end)
{
	json_t *start, *end = NULL;
	int r = get_record(s, id, run_start_key(id).s, dl, run_start_read, &start);

	if (r < 0)
		return r;
	r = get_record(s, id, run_end_key(id).s, dl, run_end_read, &end);
	if (r < 0 && r != -ENOENT) {
		json_decref(start);
		return r;
	}
	*ret_start = start;
	*ret_end = end;
	return 0;
}

struct listing {
	archive_fn fn;
	void *ctx;
};

static int listed(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	const struct listing *l = ctx;
	struct run_id id;
	bool is_end;

	return run_key_parse(key, &id, &is_end) < 0 ? 0 : l->fn(&id, is_end, l->ctx);
}

struct prefix {
	char s[sizeof(RUN_PREFIX) + RUN_MONTH_LEN];
};

static struct prefix prefix_of(const char *month)
{
	struct prefix p;

	snprintf(p.s, sizeof(p.s), RUN_PREFIX "%s", month);
	return p;
}

int archive_list(struct store *s, const char *month, const char *after, archive_fn fn, void *ctx,
		 const struct deadline *dl)
{
	struct listing l = { .fn = fn, .ctx = ctx };

	return s->backend->ops->list(s->backend, prefix_of(month).s, after, listed, &l, dl);
}

int archive_stamp(struct store *s, const char *month, uint64_t *ret)
{
	struct backend *b = s->backend;

	return b->ops->stamp ? b->ops->stamp(b, prefix_of(month).s, ret) : -EOPNOTSUPP;
}

int archive_has_end(struct store *s, const struct run_id *id, const struct deadline *dl)
{
	uint64_t size;

	return s->backend->ops->head(s->backend, run_end_key(id).s, dl, &size);
}
