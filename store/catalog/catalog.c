/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Asking for rows (catalog/catalog.h).
 */
#include "base/log.h"
#include "catalog/catalog_parts.h"

enum {
	SCAN_BATCH = 512,
};

int catalog_row(struct store *s, const struct run_id *id, struct buf *bytes, struct run_row *ret)
{
	int r = index_runs_get(s->index, id->s, bytes);

	if (r == 0)
		r = run_row_read(id, buf_span(bytes), ret);
	return r == -EBADMSG ? -ENOENT : r;
}

int catalog_scan(struct store *s, bool backwards, catalog_row_fn fn, void *ctx)
{
	_cleanup_run_batch_ struct index_run_batch b = { 0 };
	struct run_id id = { 0 };
	bool has_after = false;
	ssize_t n;
	int r = index_run_batch_new(SCAN_BATCH, &b);

	if (r < 0)
		return r;
	while ((n = index_runs_next(s->index, has_after ? id.s : NULL, backwards, &b)) > 0) {
		const uint8_t *at = b.records.data;

		for (ssize_t i = 0; i < n; at += b.len[i++]) {
			struct run_row row;

			memcpy(id.s, b.ids[i], INDEX_RUN_ID);
			if (run_row_read(&id, span_of(at, b.len[i]), &row) < 0)
				continue;
			r = fn(&row, ctx);
			if (r != 0)
				return r;
		}
		has_after = true;
	}
	return (int)n;
}

struct finding_run {
	const char *text;
	struct run_id named, first;
	bool has_name;
	unsigned prefixed;
};

static int find_in(const struct run_row *row, void *ctx)
{
	struct finding_run *f = ctx;

	if (span_equal(row->name, span_str(f->text))) {
		f->named = row->id;
		f->has_name = true;
		return 1;
	}
	if (strncmp(row->id.s, f->text, strlen(f->text)) == 0 && f->prefixed++ == 0)
		f->first = row->id;
	return 0;
}

static int find_known(struct store *s, const char *text, struct run_id *ret)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	struct finding_run f = { .text = text };
	struct run_row row;
	struct run_id id;
	int r;

	if (run_id_parse(text, &id) == 0) {
		r = catalog_row(s, &id, &bytes, &row);
		if (r == 0)
			*ret = id;
		return r;
	}
	if (!*text)
		return -ENOENT;
	r = catalog_scan(s, true, find_in, &f);
	if (r < 0)
		return r;
	if (!f.has_name && f.prefixed > 1)
		return log_fail(-ENOTUNIQ, "%u runs' ids start with `%s`", f.prefixed, text);
	if (!f.has_name && f.prefixed == 0)
		return -ENOENT;
	*ret = f.has_name ? f.named : f.first;
	return 0;
}

int catalog_find(struct store *s, const char *text, const struct deadline *dl, struct run_id *ret)
{
	static const struct catalog_look full = { .is_full = true };
	int r = find_known(s, text, ret);

	if (r == -ENOENT && catalog_look(s, &full, dl) == 0)
		r = find_known(s, text, ret);
	return r == -ENOENT ? log_fail(r, "there is no run `%s`", text) : r;
}

int64_t catalog_time(struct store *s, const char *key)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct cursor c;

	if (index_runs_get_state(s->index, key, &b) < 0)
		return 0;
	c = cursor_of(buf_span(&b));
	return (int64_t)rd_u64(&c);
}

void catalog_stats(struct store *s, struct catalog_stats *ret)
{
	_cleanup_buf_ struct buf open = { 0 };

	index_runs_open(s->index, &open);
	*ret = (struct catalog_stats){
		.runs = index_runs_count(s->index),
		.open = open.len / INDEX_RUN_ID,
		.looked = catalog_time(s, "looked"),
		.swept = catalog_time(s, "full"),
	};
}
