/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Who made a file in turn (catalog/turns.h).
 */
#include "catalog/turns.h"

#include "catalog/catalog.h"
#include "catalog/maker.h"

enum {
	PARENTS_MAX = 100, /* of runs in one another */
	PARTS_MAX = 2048, /* of a path */
	READERS_MAX = 4096, /* of one content */
};

void run_turns_release(struct run_turns *t)
{
	free(t->at);
	*t = (struct run_turns){ 0 };
}

size_t run_turns_find(const struct run_turns *t, const struct run_id *id)
{
	for (size_t i = 0; i < t->count; i++)
		if (strcmp(t->at[i].id.s, id->s) == 0)
			return i;
	return SIZE_MAX;
}

int run_outermost(struct store *s, struct run_id *id)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	struct run_row row;

	for (int i = 0; i < PARENTS_MAX; i++) {
		int r = catalog_row(s, id, &bytes, &row);

		if (r < 0 || row.parent.len != RUN_ID_LEN)
			return r == -ENOENT ? 0 : r;
		memcpy(id->s, row.parent.data, RUN_ID_LEN);
	}
	return 0;
}

/* Nothing is known of a record that cannot be read. */
static bool is_nothing(int r)
{
	return r == -ENOENT || r == -EIO || r == -EBADMSG;
}

/* What the run found at the place: 1, 0 (nothing), -errno. */
static int find_found(const struct run_reading *rd, const struct run_place *place,
		      const struct run_id *id, struct run_file *ret, bool *ret_has_read)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	struct run_row row;
	int r = catalog_row(rd->store, id, &bytes, &row);

	if (r == 0)
		r = run_files_found(rd, &row, place, ret, ret_has_read);
	return is_nothing(r) ? 0 : r < 0 ? r : 1;
}

/* What it left there: likewise. */
static int find_left(const struct run_reading *rd, const struct run_place *place,
		     const struct run_id *id, struct run_file *ret)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	struct run_row row;
	int r = catalog_row(rd->store, id, &bytes, &row);

	if (r == 0)
		r = run_files_written(rd, &row, place, ret);
	return is_nothing(r) ? 0 : r < 0 ? r : 1;
}

static int add(struct run_turns *t, const struct run_turn *turn)
{
	if (t->count == t->cap) {
		size_t more = MAX(2 * t->cap, (size_t)2);
		struct run_turn *at = reallocarray(t->at, more, sizeof(*at));

		if (!at)
			return -ENOMEM;
		t->at = at;
		t->cap = more;
	}
	t->at[t->count++] = *turn;
	return 0;
}

int run_turns_ever(const struct run_reading *rd, const struct run_place *place,
		   struct index_run_ids *ret)
{
	uint64_t names[PARTS_MAX + 2];
	const struct index_run_query q = {
		.tree = INDEX_RUN_WRITTEN,
		.names = names,
		.name_count = run_place_names(place, names, PARTS_MAX + 2),
		.max = READERS_MAX,
	};

	return index_runs_having(rd->store->index, &q, ret);
}

/* The last that left it empty there; of contents alone the index knows. 1, 0, -errno. */
static int maker_of_nothing(const struct run_reading *rd, const struct run_place *place,
			    const struct run_id *before, struct run_id *ret)
{
	_cleanup_run_ids_ struct index_run_ids ids = { 0 };
	struct run_file left;
	struct oid published;
	int r = run_turns_ever(rd, place, &ids);

	for (size_t i = ids.count; r == 0 && i > 0; i--) {
		*ret = (struct run_id){ 0 };
		memcpy(ret->s, ids.ids[i - 1], INDEX_RUN_ID);
		if (before && strcmp(ret->s, before->s) >= 0)
			continue;
		r = find_left(rd, place, ret, &left);
		if (r == 1)
			r = left.type == FT_REG && oid_is_null(&left.id) &&
			    run_published(rd->store, ret, place, &published) == 0;
	}
	return r;
}

/* In place of whom a run was run: 1, 0 (nobody), -errno. @bytes: those of @ret_row. */
static int former_of(struct store *s, const struct run_id *id, struct buf *bytes,
		     struct run_row *ret_row, struct run_id *ret)
{
	int r = catalog_row(s, id, bytes, ret_row);

	if (r < 0 || ret_row->update.len != RUN_ID_LEN)
		return r == -ENOENT ? 0 : r;
	*ret = (struct run_id){ 0 };
	memcpy(ret->s, ret_row->update.data, RUN_ID_LEN);
	/* That was there before. */
	return strcmp(ret->s, id->s) < 0;
}

int run_step_back(struct store *s, struct run_id *id)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	struct run_row row;
	struct run_id of;
	int r = former_of(s, id, &bytes, &row, &of);

	if (r == 1)
		*id = of;
	return r;
}

static int first_of(struct store *s, struct run_id *id)
{
	int r;

	while ((r = run_step_back(s, id)) == 1)
		;
	return r;
}

/* May the run have found what that one had left, as far as their order says? Who is run in place of
 * another one finds what those before that one left, or who is run in place of these: contents
 * alone may be those of one that came behind it then. 1, 0, -errno. */
static int may_have_found(struct store *s, const struct run_id *by, const struct run_id *left)
{
	_cleanup_buf_ struct buf a = { 0 }, b = { 0 };
	struct run_id former, other, x = *by, y = *left;
	struct run_row mine, its;
	int r = former_of(s, by, &a, &mine, &former);

	if (r <= 0 || strcmp(left->s, former.s) < 0)
		return r < 0 ? r : 1;
	r = former_of(s, left, &b, &its, &other);
	/* One update has run both, in order. */
	if (r == 1 && mine.group.len > 0 && span_equal(mine.group, its.group))
		return 1;
	if (r >= 0)
		r = first_of(s, &x) ?: first_of(s, &y);
	return r < 0 ? r : strcmp(y.s, x.s) < 0;
}

/* The last that left a file like that there: 1, 0, -errno. */
static int maker_there(const struct run_reading *rd, const struct run_place *place,
		       const struct run_file *file, const struct run_id *before, struct run_id *ret)
{
	enum run_how how;
	int r;

	if (oid_is_null(&file->id))
		return maker_of_nothing(rd, place, before, ret);
	r = run_maker(rd->store, place, &file->id, before, ret, &how);
	return r < 0 ? r : how == RUN_HOW_PLACE;
}

/* Likewise, of runs in one another the outermost; @by: of what that run found, or NULL. */
static int maker_before(const struct run_reading *rd, const struct run_place *place,
			const struct run_file *file, const struct run_id *by, struct run_id *ret)
{
	const struct run_id *before = by;
	struct run_id last;
	int r;

	while ((r = maker_there(rd, place, file, before, ret)) == 1) {
		r = run_outermost(rd->store, ret);
		if (r == 0)
			r = by ? may_have_found(rd->store, by, ret) : 1;
		if (r != 0)
			return r;
		last = *ret;
		before = &last;
	}
	return r;
}

int run_turns_of(const struct run_reading *rd, const struct run_place *place,
		 const struct run_file *now, const struct run_id *by, struct run_turns *ret)
{
	_cleanup_run_turns_ struct run_turns t = { 0 };
	struct run_turn turn = { .found = *now };
	struct run_id since;

	while (turn.found.type == FT_REG && t.count < RUN_TURNS_MAX) {
		int r;

		turn.left = turn.found;
		r = maker_before(rd, place, &turn.left, by, &turn.id);
		if (r == 0)
			break;
		turn.found = (struct run_file){ 0 };
		turn.has_read = false;
		if (r == 1)
			r = find_found(rd, place, &turn.id, &turn.found, &turn.has_read);
		if (r >= 0)
			r = add(&t, &turn);
		if (r < 0)
			return r;
		since = turn.id;
		by = &since;
	}
	*ret = t;
	t = (struct run_turns){ 0 };
	return 0;
}

/* Has it found that file there, and ended well? *@ret_left: what it has published in place of it,
 * type 0: nothing. 1, 0, -errno. */
static int has_found(const struct run_reading *rd, const struct run_place *place,
		     const struct run_id *id, const struct run_file *file,
		     struct run_file *ret_left)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	struct run_file found;
	struct oid published;
	struct run_row row;
	bool has_read;
	int r = catalog_row(rd->store, id, &bytes, &row);

	*ret_left = (struct run_file){ 0 };
	if (r == 0)
		r = find_found(rd, place, id, &found, &has_read);
	if (r <= 0 || found.type != file->type || !oid_equal(&found.id, &file->id))
		return is_nothing(r) ? 0 : MIN(r, 0);
	r = run_published(rd->store, id, place, &published);
	if (r == -ENOENT)
		return row.status == RUN_OK;
	if (r == 0)
		r = find_left(rd, place, id, ret_left);
	return r < 0 ? r : 1;
}

struct behind {
	const struct run_reading *rd;
	const struct run_place *place;
	uint64_t names[PARTS_MAX + 2];
	size_t name_count;
	struct run_turns *met; /* borrowed */
};

/* Those that have found what the run left there, if they are new. */
static int look_behind(struct behind *b, const struct run_id *run, const struct run_file *left)
{
	const struct index_run_query q = {
		.tree = INDEX_RUN_READ,
		.content = oid_is_null(&left->id) ? NULL : &left->id,
		.names = b->names,
		.name_count = b->name_count,
		.max = READERS_MAX,
	};
	_cleanup_run_ids_ struct index_run_ids ids = { 0 };
	int r = index_runs_having(b->rd->store->index, &q, &ids);

	for (size_t i = 0; r == 0 && i < ids.count; i++) {
		struct run_turn turn = { 0 };

		memcpy(turn.id.s, ids.ids[i], INDEX_RUN_ID);
		r = run_outermost(b->rd->store, &turn.id);
		if (r < 0 || strcmp(turn.id.s, run->s) <= 0 || b->met->count == RUN_TURNS_MAX ||
		    run_turns_find(b->met, &turn.id) != SIZE_MAX)
			continue;
		r = has_found(b->rd, b->place, &turn.id, left, &turn.left);
		if (r == 1)
			r = add(b->met, &turn);
	}
	return r;
}

int run_turns_behind(const struct run_reading *rd, const struct run_place *place,
		     const struct run_id *run, struct run_turns *ret)
{
	_cleanup_free_ struct behind *b = new0(struct behind, 1);
	size_t first = ret->count;
	struct run_file left;
	int r = b ? find_left(rd, place, run, &left) : -ENOMEM;

	if (r <= 0 || left.type != FT_REG)
		return MIN(r, 0);
	b->rd = rd;
	b->place = place;
	b->name_count = run_place_names(place, b->names, PARTS_MAX + 2);
	b->met = ret;
	r = look_behind(b, run, &left);
	for (; r == 0 && first < ret->count; first++) {
		const struct run_turn turn = ret->at[first];

		if (turn.left.type == FT_REG)
			r = look_behind(b, &turn.id, &turn.left);
	}
	return r;
}
