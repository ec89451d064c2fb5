/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The table and staging when the power goes: what was synced is there, what is there is a prefix,
 * and no record refers to bytes that are not.
 */
#include "powerloss.h"
#include "state/journal.h"
#include "state/staging.h"
#include "tablemodel.h"

enum {
	BATCHES = 1500,
	SLOTS = 48,
	IMAGES = 400,
	KILLS = 100,
	MEMORY = 256 << 10,
	SLOT_LAYER = 1000000, /* above all of the batch source's */
};

enum {
	NOTE_BEGUN = 1, /* batches */
	NOTE_APPLIED,
	NOTE_SYNCED,
};

/* A record that refers to staged bytes, which its seed tells. */
struct slot {
	bool is_used, is_own_file;
	struct stage_place place;
	uint64_t len, seed;
};

struct world {
	struct table *table;
	struct staging *staging;
	struct slot slots[SLOTS];
	struct buf batches[BATCHES]; /* as they were applied */
	size_t count;
	atomic_uint_fast64_t applied;
	atomic_bool is_done;
	unsigned boot; /* in which all this was recorded */
};

static struct world world;

static void hook_begin(void *ctx)
{
	struct world *w = ctx;

	staging_sync_begin(w->staging);
}

static int hook_sync_data(void *ctx)
{
	struct world *w = ctx;

	return staging_sync(w->staging);
}

static void hook_synced(void *ctx)
{
	struct world *w = ctx;

	staging_synced(w->staging);
	staging_settle(w->staging);
}

static void open_world(struct world *w, int dirfd)
{
	struct table_options o = {
		.dirfd = dirfd,
		.memory_bytes = MEMORY,
		.hooks = { hook_begin, hook_sync_data, hook_synced, w },
	};

	assert_ok(staging_open(dirfd, GiB, 1, &w->staging));
	assert_ok(table_open(&o, &w->table));
}

static void close_world(struct world *w)
{
	table_free(TAKE_PTR(w->table));
	staging_free(TAKE_PTR(w->staging));
}

static struct span slot_key(unsigned i, uint8_t buf[8])
{
	uint32_t be = htobe32(SLOT_LAYER);

	memcpy(buf, &be, sizeof(be));
	buf[4] = (uint8_t)i;
	return span_of(buf, 5);
}

static void slot_put(struct table_batch *b, unsigned i, const struct slot *s)
{
	_cleanup_buf_ struct buf value = { 0 };
	uint8_t key[8];

	buf_put_u32(&value, s->place.file);
	buf_put_u64(&value, s->place.pos);
	buf_put_u64(&value, s->len);
	buf_put_u64(&value, s->seed);
	table_batch_put(b, slot_key(i, key), buf_span(&value));
}

static struct slot slot_read(struct span value)
{
	struct cursor c = cursor_of(value);
	struct slot s = { .place = { .file = rd_u32(&c), .pos = rd_u64(&c) } };

	s.len = rd_u64(&c);
	s.seed = rd_u64(&c);
	assert_true(cursor_at_end(&c));
	return s;
}

/* Bytes of a slot from @from on. */
static void slot_bytes(const struct slot *s, uint64_t from, uint8_t *to, size_t len)
{
	for (size_t i = 0; i < len; i++)
		to[i] = (uint8_t)((s->seed * 2654435761u + (from + i) * 40503u) >> 7 | 1);
}

static void stage(struct world *w, struct slot *s, uint64_t from, uint64_t len)
{
	static uint8_t bytes[64 << 10];
	struct stage_place at = { s->place.file, s->place.pos + from };

	slot_bytes(s, from, bytes, len);
	assert_ok(staging_write(w->staging, at, bytes, len));
	s->len = from + len;
}

static struct slot stage_new(struct world *w, struct prng *rnd)
{
	struct slot s = { .is_used = true, .seed = prng_u64(rnd) };
	uint64_t len = 1 + prng_below(rnd, prng_below(rnd, 4) ? 6000 : 50000);

	s.is_own_file = prng_below(rnd, 8) == 0;
	if (s.is_own_file) {
		assert_ok(staging_file_new(w->staging, &s.place.file));
		s.place.pos = prng_below(rnd, 100000);
	} else {
		assert_ok(staging_alloc(w->staging, len, &s.place));
	}
	stage(w, &s, 0, len);
	return s;
}

static void release(struct world *w, const struct slot *s)
{
	if (s->is_own_file)
		staging_release_file(w->staging, s->place.file);
	else
		staging_release(w->staging, s->place, s->len);
}

static void apply(struct world *w, const struct table_batch *b)
{
	buf_put(&w->batches[w->count], b->bytes.data, b->bytes.len);
	w->count++;
	tape_note(NOTE_BEGUN, w->count);
	assert_ok(table_apply(w->table, b));
	w->applied = w->count;
	tape_note(NOTE_APPLIED, w->count);
}

static void sync_world(struct world *w)
{
	uint64_t applied = w->applied;

	assert_ok(table_sync(w->table));
	tape_note(NOTE_SYNCED, applied);
}

/* Syncs while the others go on. */
static void *sync_all_the_time(void *arg)
{
	struct world *w = arg;

	while (!w->is_done) {
		sync_world(w);
		usleep(300);
	}
	return NULL;
}

/* One change of a slot, in a batch with others. */
static void change_slot(struct world *w, struct table_batch *b, struct prng *rnd)
{
	unsigned i = (unsigned)prng_below(rnd, SLOTS);
	struct slot *s = &w->slots[i], former = *s;
	uint8_t key[8];
	uint64_t room;

	if (!s->is_used) {
		*s = stage_new(w, rnd);
		slot_put(b, i, s);
		apply(w, b);
		return;
	}
	room = staging_tail_room(w->staging,
				 (struct stage_place){ s->place.file, s->place.pos + s->len });
	if (!s->is_own_file && room > 0 && prng_below(rnd, 2)) {
		stage(w, s, s->len, 1 + prng_below(rnd, room));
		slot_put(b, i, s);
		apply(w, b);
		return;
	}
	if (prng_below(rnd, 2)) {
		*s = stage_new(w, rnd);
		slot_put(b, i, s);
	} else {
		*s = (struct slot){ 0 };
		table_batch_delete(b, slot_key(i, key));
	}
	apply(w, b);
	release(w, &former);
}

static void work(struct world *w)
{
	_cleanup_table_batch_ struct table_batch b = { 0 };
	struct batch_source source = batch_source(11);
	struct prng rnd = { 1 };

	for (unsigned i = 0; i < BATCHES; i++) {
		batch_source_next(&source, &b);
		change_slot(w, &b, &rnd);
		switch (prng_below(&rnd, 100)) {
		case 0:
			sync_world(w);
			break;
		case 1:
			assert_ok(table_checkpoint(w->table));
			break;
		case 2:
			staging_cut(w->staging);
			break;
		}
	}
}

static int record(void **state)
{
	struct scratch dir = scratch_make();
	pthread_t syncer;

	world.boot = boot_number;
	tape_start(dir.fd);
	open_world(&world, dir.fd);
	assert_ok(thread_start(&syncer, "sync", sync_all_the_time, &world));
	work(&world);
	world.is_done = true;
	pthread_join(syncer, NULL);
	close_world(&world);
	tape_stop();
	scratch_remove(&dir);
	return 0;
}

static int forget(void **state)
{
	for (size_t i = 0; i < world.count; i++)
		buf_release(&world.batches[i]);
	tape_free();
	return 0;
}

/* Every record's bytes are where it says. */
static void check_slots(struct world *w)
{
	static uint8_t want[64 << 10], got[64 << 10];
	_cleanup_buf_ struct buf key = { 0 }, value = { 0 };
	uint8_t bytes[8];
	struct span from = slot_key(0, bytes), prefix = span_of(bytes, 4);

	while (table_next(w->table, prefix, from, &key, &value) == 0) {
		struct slot s = slot_read(buf_span(&value));

		assert_ok(staging_recover(w->staging, s.place, s.len));
		assert_ok(staging_read(w->staging, s.place, got, s.len));
		slot_bytes(&s, 0, want, s.len);
		assert_memory_equal(got, want, s.len);
		if (key.data[4] == UINT8_MAX)
			break;
		from = slot_key(key.data[4] + 1u, bytes);
	}
	assert_ok(staging_recover_end(w->staging));
}

/* The table has the first so many batches, and nothing else. */
static void check_table(struct world *w, uint64_t count)
{
	struct model m = { 0 };

	for (uint64_t i = 0; i < count; i++)
		tablemodel_apply(&m, buf_span(&world.batches[i]));
	assert_table_is(w->table, &m);
	tablemodel_release(&m);
}

static void check_image(size_t end, struct prng *rnd, uint64_t at_least)
{
	_cleanup_table_batch_ struct table_batch b = { 0 };
	struct image *m = image_make(end, rnd);
	struct scratch dir = scratch_make();
	struct world w = { 0 };
	uint8_t key[8];
	int64_t count;

	image_write_dir(m, 0, dir.fd);
	image_free(m);
	open_world(&w, dir.fd);
	count = table_counter(w.table);
	assert_in_range(count, at_least, noted(NOTE_BEGUN, end));
	check_table(&w, (uint64_t)count);
	check_slots(&w);

	/* It goes on from there. */
	table_batch_put(&b, slot_key(UINT8_MAX, key), span_str("goes on"));
	assert_ok(table_apply(w.table, &b));
	assert_ok(table_checkpoint(w.table));
	close_world(&w);
	open_world(&w, dir.fd);
	assert_int_equal(table_counter(w.table), count);
	assert_ok(table_get(w.table, slot_key(UINT8_MAX, key), &b.bytes));
	close_world(&w);
	scratch_remove(&dir);
}

/* A moment: anywhere, while all is young, or right after space was given back. */
static size_t random_moment(struct prng *rnd)
{
	size_t end = 1 + prng_below(rnd, tape.count);

	switch (prng_below(rnd, 8)) {
	case 0:
		return 1 + prng_below(rnd, tape.count / 30);
	case 1 ... 3:
		while (end < tape.count && tape.events[end - 1].kind != EVENT_ZERO &&
		       tape.events[end - 1].kind != EVENT_UNLINK)
			end++;
		break;
	}
	return end;
}

static void when_the_power_goes_what_was_synced_is_there_and_the_rest_is_a_prefix(void **state)
{
	struct prng rnd = { 2 };

	for (unsigned i = 0; i < IMAGES; i++) {
		size_t end = random_moment(&rnd);

		boot_again();
		check_image(end, &rnd, noted(NOTE_SYNCED, end));
	}
}

static void when_the_process_dies_everything_that_was_applied_is_there(void **state)
{
	struct prng rnd = { 3 };

	boot_number = world.boot;
	for (unsigned i = 0; i < KILLS; i++) {
		size_t end = random_moment(&rnd);

		check_image(end, NULL, noted(NOTE_APPLIED, end));
	}
}

/* The journal alone, which makes its files when it needs them */

struct log_world {
	uint64_t next; /* what the next record holds */
	struct journal *journal;
};

static int replay(void *ctx, struct span record)
{
	struct log_world *w = ctx;
	struct cursor c = cursor_of(record);

	assert_int_equal(rd_u64(&c), ++w->next);
	return 0;
}

static void open_log(struct log_world *w, int dirfd)
{
	struct journal_options o = {
		.dirfd = dirfd, .file_size = JOURNAL_FILE_MIN, .replay = replay, .ctx = w
	};

	w->next = 0;
	assert_ok(journal_open(&o, &w->journal));
}

static void append(struct log_world *w, struct prng *rnd)
{
	uint8_t bytes[3000] = { 0 };
	uint64_t number = htole64(++w->next), seq;

	memcpy(bytes, &number, sizeof(number));
	tape_note(NOTE_BEGUN, w->next);
	assert_ok(journal_append(w->journal, span_of(bytes, 8 + prng_below(rnd, 2900)), &seq));
	tape_note(NOTE_APPLIED, w->next);
	if (prng_below(rnd, 20) == 0) {
		assert_ok(journal_sync(w->journal, seq));
		tape_note(NOTE_SYNCED, w->next);
	}
}

static int record_log(void **state)
{
	struct scratch dir = scratch_make();
	struct log_world w;
	struct prng rnd = { 4 };

	tape_start(dir.fd);
	open_log(&w, dir.fd);
	for (unsigned i = 0; i < 600; i++)
		append(&w, &rnd);
	journal_free(w.journal);
	tape_stop();
	scratch_remove(&dir);
	return 0;
}

static int forget_log(void **state)
{
	tape_free();
	return 0;
}

static void files_of_the_journal_are_there_before_markers_in_them(void **state)
{
	struct prng rnd = { 5 };

	for (unsigned i = 0; i < IMAGES; i++) {
		size_t end = 1 + prng_below(&rnd, tape.count);
		struct image *m = image_make(end, &rnd);
		struct scratch dir = scratch_make();
		struct log_world w;

		boot_again();
		image_write_dir(m, 0, dir.fd);
		image_free(m);
		open_log(&w, dir.fd);
		assert_in_range(w.next, noted(NOTE_SYNCED, end), noted(NOTE_BEGUN, end));
		journal_free(w.journal);
		scratch_remove(&dir);
	}
}

int main(void)
{
	const struct CMUnitTest log_tests[] = {
		cmocka_unit_test(files_of_the_journal_are_there_before_markers_in_them),
	};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			when_the_power_goes_what_was_synced_is_there_and_the_rest_is_a_prefix),
		cmocka_unit_test(when_the_process_dies_everything_that_was_applied_is_there),
	};

	return cmocka_run_group_tests(log_tests, record_log, forget_log) +
	       cmocka_run_group_tests(tests, record, forget);
}
