/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The index's table of packs that no segment covers yet.
 *
 * A pack has a number and one record, its footer and trailer as the pack itself has them; an id
 * leads to the number and the footer's entry. So adding a pack is one large value and a small one
 * an id, and publishing takes the footers as they are.
 *
 * Invariant: what an id leads to may be missing (a pack is being dropped) but is never another
 * pack's: a number is free for another only when the last id that leads to it has gone.
 */
#include "index/parts.h"

enum {
	DROP_BATCH = 8192, /* ids in one transaction: others wait for it */
};

/* What an id leads to, and a pack's number: only ever read by this machine. */
struct place {
	uint32_t pack;
	uint32_t entry;
};

/* A pack's record. */
struct record {
	struct id128 pack;
	struct span footer; /* and trailer */
	uint32_t count; /* entries */
};

static int record_read(struct span raw, struct record *ret)
{
	struct cursor c = cursor_of(raw);

	ret->pack = rd_id128(&c);
	ret->footer = rd_bytes(&c, cursor_left(&c));
	if (ret->footer.len < PACK_TRAILER_SIZE ||
	    (ret->footer.len - PACK_TRAILER_SIZE) % PACK_ENTRY_SIZE != 0)
		return MDB_CORRUPTED;
	ret->count = (uint32_t)((ret->footer.len - PACK_TRAILER_SIZE) / PACK_ENTRY_SIZE);
	return 0;
}

static int number_of(struct index *x, MDB_txn *txn, const struct id128 *pack, uint32_t *ret)
{
	MDB_val key = env_val(pack->b, sizeof(pack->b)), value;
	int r = mdb_get(txn, env_db(x->env, ENV_PACK_NUMBERS), &key, &value);

	if (r)
		return r;
	if (value.mv_size != sizeof(*ret))
		return MDB_CORRUPTED;
	memcpy(ret, value.mv_data, sizeof(*ret));
	return 0;
}

static int record_of(struct index *x, MDB_txn *txn, uint32_t number, struct record *ret)
{
	MDB_val key = env_val(&number, sizeof(number)), value;
	int r = mdb_get(txn, env_db(x->env, ENV_PACKS), &key, &value);

	return r ?: record_read(env_span(&value), ret);
}

/* What an id's value leads to. */
static int resolve(struct index *x, MDB_txn *txn, const struct oid *id, MDB_val value,
		   struct loc *ret)
{
	struct pack_entry e;
	struct place place;
	struct record rec;
	int r;

	if (value.mv_size != sizeof(place))
		return MDB_CORRUPTED;
	memcpy(&place, value.mv_data, sizeof(place));
	r = record_of(x, txn, place.pack, &rec);
	if (r)
		return r;
	if (place.entry >= rec.count)
		return MDB_CORRUPTED;
	pack_footer_entry(rec.footer, place.entry, &e);
	if (!oid_equal(&e.id, id))
		return MDB_CORRUPTED;
	*ret = (struct loc){
		.pack = rec.pack,
		.offset = e.offset,
		.frame_len = e.frame_len,
		.item = e.item,
		.state = LOC_AT,
	};
	return 0;
}

static int find_in(struct index *x, MDB_txn *txn, const struct oid *id, index_place_fn fn,
		   void *ctx, struct loc *ret)
{
	MDB_val key = env_val(id->b, OID_SIZE), value;
	MDB_cursor *cur;
	int r;

	r = mdb_get(txn, env_db(x->env, ENV_IDS), &key, &value);
	if (r == 0)
		r = resolve(x, txn, id, value, ret);
	if (r || !fn || fn(ret, ctx))
		return r;
	r = mdb_cursor_open(txn, env_db(x->env, ENV_IDS), &cur);
	if (r)
		return r;
	r = mdb_cursor_get(cur, &key, &value, MDB_SET);
	while (r == 0 && (r = mdb_cursor_get(cur, &key, &value, MDB_NEXT_DUP)) == 0) {
		r = resolve(x, txn, id, value, ret);
		if (r == 0 && fn(ret, ctx))
			break;
	}
	mdb_cursor_close(cur);
	return r;
}

int packs_find(struct index *x, const struct oid *id, index_place_fn fn, void *ctx, struct loc *ret)
{
	MDB_txn *txn;
	int r;

	r = index_look(x, &txn);
	if (r < 0)
		return r;
	r = find_in(x, txn, id, fn, ctx, ret);
	env_read_end(x->env, txn);
	return index_env_error(x, env_errno(r));
}

int packs_known(struct index *x, const struct id128 *pack)
{
	uint32_t number;
	MDB_txn *txn;
	int r;

	r = index_look(x, &txn);
	if (r < 0)
		return r;
	r = number_of(x, txn, pack, &number);
	env_read_end(x->env, txn);
	return index_env_error(x, env_errno(r));
}

struct addition {
	struct index *index;
	struct span raw; /* the record */
	struct record rec; /* the same, read */
};

static int next_number(struct index *x, MDB_txn *txn, uint32_t *ret)
{
	MDB_val key, value;
	MDB_cursor *cur;
	uint32_t last;
	int r;

	r = mdb_cursor_open(txn, env_db(x->env, ENV_PACKS), &cur);
	if (r)
		return r;
	r = mdb_cursor_get(cur, &key, &value, MDB_LAST);
	mdb_cursor_close(cur);
	if (r == MDB_NOTFOUND) {
		*ret = 1;
		return 0;
	}
	if (r)
		return r;
	memcpy(&last, key.mv_data, sizeof(last));
	if (last == UINT32_MAX)
		return MDB_MAP_FULL;
	*ret = last + 1;
	return 0;
}

static int put_ids(struct index *x, MDB_txn *txn, const struct record *rec, uint32_t number)
{
	MDB_cursor *cur;
	int r;

	r = mdb_cursor_open(txn, env_db(x->env, ENV_IDS), &cur);
	if (r)
		return r;
	for (uint32_t i = 0; r == 0 && i < rec->count; i++) {
		struct place place = { number, i };
		struct pack_entry e;
		MDB_val key, value;

		pack_footer_entry(rec->footer, i, &e);
		key = env_val(e.id.b, OID_SIZE);
		value = env_val(&place, sizeof(place));
		r = mdb_cursor_put(cur, &key, &value, 0);
	}
	mdb_cursor_close(cur);
	return r;
}

static int add(struct env *e, MDB_txn *txn, void *ctx)
{
	struct addition *a = ctx;
	MDB_val key = env_val(a->rec.pack.b, sizeof(a->rec.pack.b)), value;
	uint32_t number;
	int r;

	r = next_number(a->index, txn, &number);
	if (r)
		return r;
	value = env_val(&number, sizeof(number));
	r = mdb_put(txn, env_db(e, ENV_PACK_NUMBERS), &key, &value, MDB_NOOVERWRITE);
	if (r)
		return r;
	key = env_val(&number, sizeof(number));
	value = env_val(a->raw.data, a->raw.len);
	r = mdb_put(txn, env_db(e, ENV_PACKS), &key, &value, 0);
	return r ?: put_ids(a->index, txn, &a->rec, number);
}

int index_add_pack(struct index *x, const struct id128 *pack, const struct pack_entry *entries,
		   size_t n)
{
	_cleanup_free_ struct pack_entry *sorted = NULL;
	_cleanup_buf_ struct buf raw = { 0 };
	struct addition a = { .index = x };
	uint64_t end = PACK_HEADER_SIZE;
	int r;

	if (index_knows_pack(x, pack))
		return 0;
	sorted = reallocarray(NULL, MAX(n, (size_t)1), sizeof(entries[0]));
	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		if (!pack_entry_is_valid(&entries[i]))
			return -EINVAL;
		sorted[i] = entries[i];
		end = MAX(end, (uint64_t)entries[i].offset + entries[i].frame_len);
	}
	buf_put(&raw, pack->b, sizeof(pack->b));
	pack_footer_put(&raw, sorted, n, end, pack);
	if (buf_failed(&raw))
		return -ENOMEM;
	a.raw = buf_span(&raw);
	record_read(a.raw, &a.rec);
	r = index_write(x, add, &a);
	return r == -EEXIST ? 0 : r; /* another process was first */
}

struct removal {
	struct index *index;
	const struct id128 *pack;
	uint32_t first; /* entry to begin with */
	bool is_done;
};

/* Takes the ids of one batch away, and with the last of them the pack. */
static int drop(struct env *e, MDB_txn *txn, void *ctx)
{
	struct removal *d = ctx;
	MDB_val key, value;
	struct record rec;
	uint32_t number, end;
	int r;

	r = number_of(d->index, txn, d->pack, &number);
	if (r)
		return r;
	r = record_of(d->index, txn, number, &rec);
	if (r)
		return r;
	end = MIN(rec.count, d->first + DROP_BATCH);
	for (uint32_t i = d->first; i < end; i++) {
		struct place place = { number, i };
		struct pack_entry entry;

		pack_footer_entry(rec.footer, i, &entry);
		key = env_val(entry.id.b, OID_SIZE);
		value = env_val(&place, sizeof(place));
		r = mdb_del(txn, env_db(e, ENV_IDS), &key, &value);
		if (r && r != MDB_NOTFOUND)
			return r;
	}
	d->is_done = end == rec.count;
	if (!d->is_done)
		return 0;
	key = env_val(&number, sizeof(number));
	r = mdb_del(txn, env_db(e, ENV_PACKS), &key, NULL);
	if (r)
		return r;
	key = env_val(d->pack->b, sizeof(d->pack->b));
	return mdb_del(txn, env_db(e, ENV_PACK_NUMBERS), &key, NULL);
}

int packs_drop(struct index *x, const struct id128 *pack)
{
	struct removal d = { .index = x, .pack = pack };

	for (; !d.is_done; d.first += DROP_BATCH) {
		int r = index_write(x, drop, &d);

		if (r < 0)
			return r == -ENOENT ? 0 : r;
	}
	return 0;
}

/* The first pack with a number above *@number, which becomes that. */
static int pack_after(struct index *x, MDB_txn *txn, uint32_t *number, struct id128 *ret_name,
		      uint32_t *ret_count)
{
	uint32_t from = *number + 1;
	MDB_val key = env_val(&from, sizeof(from)), value;
	struct record rec;
	MDB_cursor *cur;
	int r;

	r = mdb_cursor_open(txn, env_db(x->env, ENV_PACKS), &cur);
	if (r)
		return r;
	r = mdb_cursor_get(cur, &key, &value, MDB_SET_RANGE);
	if (r == 0)
		r = record_read(env_span(&value), &rec);
	if (r == 0) {
		memcpy(number, key.mv_data, sizeof(*number));
		*ret_name = rec.pack;
		*ret_count = rec.count;
	}
	mdb_cursor_close(cur);
	return r;
}

int packs_walk(struct index *x, int (*fn)(const struct id128 *pack, uint32_t count, void *ctx),
	       void *ctx)
{
	uint32_t number = 0;

	for (;;) {
		struct id128 name;
		uint32_t count = 0;
		MDB_txn *txn;
		int r;

		r = index_look(x, &txn);
		if (r == 0) {
			r = env_errno(pack_after(x, txn, &number, &name, &count));
			env_read_end(x->env, txn);
		}
		if (r == -ENOENT)
			return 0;
		if (r < 0)
			return index_env_error(x, r);
		r = fn(&name, count, ctx);
		if (r != 0)
			return r;
	}
}

int packs_footer(struct index *x, const struct id128 *pack, struct buf *ret)
{
	struct record rec;
	uint32_t number;
	MDB_txn *txn;
	int r;

	r = index_look(x, &txn);
	if (r < 0)
		return r;
	r = number_of(x, txn, pack, &number);
	if (r == 0)
		r = record_of(x, txn, number, &rec);
	if (r == 0) {
		buf_clear(ret);
		buf_put(ret, rec.footer.data, rec.footer.len);
		if (buf_failed(ret))
			r = ENOMEM;
	}
	env_read_end(x->env, txn);
	return index_env_error(x, env_errno(r));
}

void packs_count(struct index *x, uint64_t *ret_packs, uint64_t *ret_ids)
{
	MDB_stat packs = { 0 }, ids = { 0 };
	MDB_txn *txn;

	if (index_look(x, &txn) == 0) {
		mdb_stat(txn, env_db(x->env, ENV_PACKS), &packs);
		mdb_stat(txn, env_db(x->env, ENV_IDS), &ids);
		env_read_end(x->env, txn);
	}
	*ret_packs = packs.ms_entries;
	*ret_ids = ids.ms_entries;
}
