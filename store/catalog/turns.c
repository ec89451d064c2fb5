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

int run_turns_of(const struct run_reading *rd, const struct run_place *place,
		 const struct run_file *now, const struct run_id *before, struct run_turns *ret)
{
	_cleanup_run_turns_ struct run_turns t = { 0 };
	struct run_turn turn = { .found = *now };
	struct run_id since;

	while (turn.found.type == FT_REG && t.count < RUN_TURNS_MAX) {
		enum run_how how;
		int r;

		turn.left = turn.found;
		r = run_maker(rd->store, place, &turn.left.id, before, &turn.id, &how);
		if (r == 0 && how != RUN_HOW_PLACE)
			break;
		if (r == 0)
			r = run_outermost(rd->store, &turn.id);
		turn.found = (struct run_file){ 0 };
		if (r == 0)
			r = find_found(rd, place, &turn.id, &turn.found, &turn.has_read);
		if (r >= 0)
			r = add(&t, &turn);
		if (r < 0)
			return r;
		since = turn.id;
		before = &since;
	}
	*ret = t;
	t = (struct run_turns){ 0 };
	return 0;
}

/* Those of a query, of runs in one another the outermost, to @ret. */
static int take_all(const struct run_reading *rd, const struct index_run_query *q,
		    struct run_turns *ret)
{
	_cleanup_run_ids_ struct index_run_ids ids = { 0 };
	int r = index_runs_having(rd->store->index, q, &ids);

	for (size_t i = 0; r == 0 && i < ids.count; i++) {
		struct run_turn turn = { 0 };

		memcpy(turn.id.s, ids.ids[i], INDEX_RUN_ID);
		r = run_outermost(rd->store, &turn.id);
		if (r == 0)
			r = add(ret, &turn);
	}
	return r;
}

int run_turns_ever(const struct run_reading *rd, const struct run_place *place,
		   struct run_turns *ret)
{
	uint64_t names[PARTS_MAX + 2];
	const struct index_run_query q = {
		.tree = INDEX_RUN_WRITTEN,
		.names = names,
		.name_count = run_place_names(place, names, PARTS_MAX + 2),
		.max = RUN_TURNS_MAX,
	};

	return take_all(rd, &q, ret);
}

/* Has it found that file there, and published another one? 1, 0, -errno. */
static int has_changed(const struct run_reading *rd, const struct run_place *place,
		       const struct run_id *id, const struct run_file *file)
{
	struct run_file found, left;
	struct oid published;
	bool has_read;
	int r = run_published(rd->store, id, place, &published);

	if (r == 0)
		r = find_found(rd, place, id, &found, &has_read);
	if (r == 1)
		r = found.type == file->type && oid_equal(&found.id, &file->id);
	if (r == 1)
		r = find_left(rd, place, id, &left);
	return is_nothing(r) ? 0 : r;
}

struct behind {
	const struct run_reading *rd;
	const struct run_place *place;
	uint64_t names[PARTS_MAX + 2];
	size_t name_count;
	struct run_turns *met; /* only ids; borrowed */
};

/* Those that have changed what the run left there, if they are new. */
static int look_behind(struct behind *b, const struct run_id *run)
{
	_cleanup_run_turns_ struct run_turns readers = { 0 };
	struct run_file left;
	struct index_run_query q = { .tree = INDEX_RUN_READ,
				     .content = &left.id,
				     .names = b->names,
				     .name_count = b->name_count,
				     .max = READERS_MAX };
	int r = find_left(b->rd, b->place, run, &left);

	if (r <= 0 || left.type != FT_REG || oid_is_null(&left.id))
		return MIN(r, 0);
	r = take_all(b->rd, &q, &readers);
	for (size_t i = 0; r == 0 && i < readers.count; i++) {
		const struct run_turn *turn = &readers.at[i];

		if (strcmp(turn->id.s, run->s) <= 0 || b->met->count == RUN_TURNS_MAX ||
		    run_turns_find(b->met, &turn->id) != SIZE_MAX)
			continue;
		r = has_changed(b->rd, b->place, &turn->id, &left);
		if (r == 1)
			r = add(b->met, turn);
	}
	return r;
}

int run_turns_behind(const struct run_reading *rd, const struct run_place *place,
		     const struct run_id *run, struct run_turns *ret)
{
	_cleanup_free_ struct behind *b = new0(struct behind, 1);
	size_t first = ret->count;
	int r;

	if (!b)
		return -ENOMEM;
	b->rd = rd;
	b->place = place;
	b->name_count = run_place_names(place, b->names, PARTS_MAX + 2);
	b->met = ret;
	r = look_behind(b, run);
	for (; r == 0 && first < ret->count; first++) {
		const struct run_id id = ret->at[first].id;

		r = look_behind(b, &id);
	}
	return r;
}
