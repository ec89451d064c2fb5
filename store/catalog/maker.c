/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Whose work a file is (catalog/maker.h).
 */
#include "catalog/maker.h"

#include "catalog/catalog.h"
#include "record/archive.h"
#include "record/json_bytes.h"

enum {
	CANDIDATES_MAX = 4096, /* runs that wrote the same bytes */
	PARTS_MAX = 2048, /* of a path */
	WITHIN_MAX = 64, /* runs in one another */
	RECORDS_MAX = 16, /* that are read for what the catalog does not have */
};

/* Of one run: 0, and the run into whose heads it was published (empty: it was on the branch). */
static int published_by(struct store *s, const struct run_id *run, const struct run_place *place,
			struct oid *ret, struct run_id *ret_into)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	struct run_output o;
	struct run_row row;
	struct cursor c;
	int r = catalog_row(s, run, &bytes, &row);

	if (r < 0)
		return r;
	c = cursor_of(row.outputs);
	while (run_output_next(&c, &o)) {
		if (oid_is_null(&o.published) || !span_equal(o.repo, place->repo) ||
		    !span_equal(o.branch, place->rev))
			continue;
		*ret = o.published;
		*ret_into = (struct run_id){ 0 };
		memcpy(ret_into->s, o.into.data, MIN(o.into.len, (size_t)RUN_ID_LEN));
		return 0;
	}
	return -ENOENT;
}

int run_published(struct store *s, const struct run_id *run, const struct run_place *place,
		  struct oid *ret)
{
	struct run_id at = *run, into = { 0 };
	struct oid id;
	int r = -ENOENT;

	for (unsigned i = 0; i < WITHIN_MAX; i++, at = into) {
		r = published_by(s, &at, place, &id, &into);
		if (r < 0)
			return r;
		if (!into.s[0]) {
			*ret = id;
			return 0;
		}
	}
	return -ENOENT;
}

/* The last of @ids before @before; one that published to the place before others. */
static bool choose(struct store *s, const struct index_run_ids *ids, const struct run_place *place,
		   const struct run_id *before, struct run_id *ret)
{
	struct oid published;
	bool has = false;

	for (size_t i = ids->count; i > 0; i--) {
		struct run_id id = { 0 };

		memcpy(id.s, ids->ids[i - 1], INDEX_RUN_ID);
		if (before && strcmp(id.s, before->s) >= 0)
			continue;
		if (!has)
			*ret = id;
		has = true;
		if (!place)
			break;
		if (run_published(s, &id, place, &published) == 0) {
			*ret = id;
			break;
		}
	}
	return has;
}

/* The first that read the content there: what was written later and elsewhere is not where that
 * comes from. @q: of the place and the content. 1, 0 (none), -errno. */
static int first_reader(struct store *s, struct index_run_query q, struct run_id *ret)
{
	_cleanup_run_ids_ struct index_run_ids ids = { 0 };
	int r;

	q.tree = INDEX_RUN_READ;
	r = index_runs_having(s->index, &q, &ids);
	if (r < 0 || ids.count == 0)
		return r;
	memcpy(ret->s, ids.ids[0], INDEX_RUN_ID);
	return 1;
}

int run_maker(struct store *s, const struct run_place *place, const struct oid *id,
	      const struct run_id *before, struct run_id *ret, enum run_how *ret_how)
{
	_cleanup_run_ids_ struct index_run_ids ids = { 0 };
	uint64_t names[PARTS_MAX + 2];
	struct index_run_query q = { .tree = INDEX_RUN_WRITTEN,
				     .content = id,
				     .max = CANDIDATES_MAX };
	struct run_id first = { 0 };
	size_t count;
	int r;

	*ret_how = RUN_HOW_NOT;
	if (oid_is_null(id))
		return 0;
	if (place) {
		q.names = names;
		q.name_count = run_place_names(place, names, PARTS_MAX + 2);
		r = index_runs_having(s->index, &q, &ids);
		if (r < 0)
			return r;
		if (choose(s, &ids, place, before, ret)) {
			*ret_how = RUN_HOW_PLACE;
			return 0;
		}
		index_run_ids_release(&ids);
	}
	count = q.name_count;
	q.name_count = 0;
	r = index_runs_having(s->index, &q, &ids);
	if (r < 0 || !choose(s, &ids, NULL, before, ret))
		return r;
	q.name_count = count;
	r = place ? first_reader(s, q, &first) : 0;
	if (r < 0)
		return r;
	if (r == 0 || strcmp(ret->s, first.s) < 0 || choose(s, &ids, NULL, &first, ret))
		*ret_how = RUN_HOW_CONTENT;
	return 0;
}

int run_wrote(const struct run_reading *rd, const struct run_id *run, const struct run_place *place,
	      const struct run_file *file)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	struct run_file written;
	struct run_row row;
	int r = catalog_row(rd->store, run, &bytes, &row);

	if (r == 0)
		r = run_files_written(rd, &row, place, &written);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	return written.type == file->type && oid_equal(&written.id, &file->id) &&
	       written.ctime.sec == file->ctime.sec && written.ctime.nsec == file->ctime.nsec;
}

/* Had a shell opened the place for what the run printed? 1, 0, errors of the archive. */
static int has_printed_to(struct store *s, const struct run_id *id, const struct run_place *place,
			  const struct deadline *dl)
{
	static const char *const streams[] = { "stdout", "stderr" };
	json_t *start = NULL, *end = NULL;
	int r = archive_get(s, id, dl, &start, &end);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(streams); i++) {
		const json_t *at = json_object_get(json_object_get(start, streams[i]), "pfs");
		_cleanup_buf_ struct buf text = { 0 };
		struct run_place p;

		if (at && json_to_bytes(at, &text) == 0 && run_place_read(buf_span(&text), &p) &&
		    span_equal(p.repo, place->repo) && span_equal(p.rev, place->rev) &&
		    span_equal(p.path, place->path))
			r = 1;
	}
	json_decref(start);
	json_decref(end);
	return r == -ENOENT || r == -EBADMSG || r == -ENOTSUP ? 0 : r;
}

int run_last_writer(struct store *s, const struct run_place *place, const struct deadline *dl,
		    struct run_id *ret)
{
	_cleanup_run_ids_ struct index_run_ids ids = { 0 };
	uint64_t names[PARTS_MAX + 2];
	struct index_run_query q = { .tree = INDEX_RUN_WRITTEN,
				     .names = names,
				     .max = CANDIDATES_MAX };
	unsigned asked = 0;
	int r;

	q.name_count = run_place_names(place, names, PARTS_MAX + 2);
	r = index_runs_having(s->index, &q, &ids);
	for (size_t i = ids.count; r == 0 && i > 0; i--) {
		struct run_id id = { 0 };
		struct oid published;

		memcpy(id.s, ids.ids[i - 1], INDEX_RUN_ID);
		r = run_published(s, &id, place, &published);
		r = r == 0 ? 1 : r == -ENOENT ? 0 : r;
		if (r == 0 && asked < RECORDS_MAX) {
			r = has_printed_to(s, &id, place, dl);
			asked++;
		}
		if (r == 1) {
			*ret = id;
			return 1;
		}
	}
	return r;
}
