/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The table: what it keeps, over restarts, kills and checkpoints.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/thread.h"
#include "otherboot.h"
#include "scratch.h"
#include "state/journal.h"
#include "tablemodel.h"

enum {
	SMALL_MEMORY = 256 << 10, /* so that checkpoints come by themselves */
};

struct stand {
	struct scratch dir;
	struct table *table;
	struct table_options options;
	struct model model;
	struct batch_source source;
};

static void open_table(struct stand *s)
{
	assert_ok(table_open(&s->options, &s->table));
}

static void close_table(struct stand *s)
{
	table_free(TAKE_PTR(s->table));
}

static int make(void **state)
{
	struct stand *s = new0(struct stand, 1);

	s->dir = scratch_make();
	s->options.dirfd = s->dir.fd;
	s->options.memory_bytes = SMALL_MEMORY;
	s->source = batch_source(7);
	open_table(s);
	*state = s;
	return 0;
}

static int drop(void **state)
{
	struct stand *s = *state;

	table_free(s->table);
	tablemodel_release(&s->model);
	scratch_remove(&s->dir);
	free(s);
	return 0;
}

static struct span key_of(uint32_t layer, const char *rest, uint8_t buf[TABLE_KEY_MAX])
{
	uint32_t be = htobe32(layer);

	memcpy(buf, &be, sizeof(be));
	memcpy(buf + sizeof(be), rest, strlen(rest));
	return span_of(buf, sizeof(be) + strlen(rest));
}

static int put(struct table *t, uint32_t layer, const char *key, const char *value)
{
	_cleanup_table_batch_ struct table_batch b = { 0 };
	uint8_t bytes[TABLE_KEY_MAX];

	table_batch_put(&b, key_of(layer, key, bytes), span_str(value));
	return table_apply(t, &b);
}

static int drop_layer(struct table *t, uint32_t layer)
{
	_cleanup_table_batch_ struct table_batch b = { 0 };

	table_batch_drop(&b, layer);
	return table_apply(t, &b);
}

static void assert_value(struct table *t, uint32_t layer, const char *key, const char *value)
{
	_cleanup_buf_ struct buf got = { 0 };
	uint8_t bytes[TABLE_KEY_MAX];

	assert_int_equal(table_get(t, key_of(layer, key, bytes), &got), value ? 0 : -ENOENT);
	if (value)
		assert_true(span_equal(buf_span(&got), span_str(value)));
}

static void a_batch_is_there_after_a_restart(void **state)
{
	struct stand *s = *state;

	assert_ok(put(s->table, 1, "a", "one"));
	assert_value(s->table, 1, "a", "one");
	close_table(s);
	open_table(s);
	assert_value(s->table, 1, "a", "one");
	assert_ok(table_checkpoint(s->table));
	close_table(s);
	open_table(s);
	assert_value(s->table, 1, "a", "one");
}

static void the_later_of_two_changes_in_a_batch_wins(void **state)
{
	struct stand *s = *state;
	_cleanup_table_batch_ struct table_batch b = { 0 };
	uint8_t bytes[TABLE_KEY_MAX];

	table_batch_put(&b, key_of(1, "a", bytes), span_str("one"));
	table_batch_put(&b, key_of(1, "a", bytes), span_str("two"));
	table_batch_put(&b, key_of(1, "b", bytes), span_str("one"));
	table_batch_delete(&b, key_of(1, "b", bytes));
	table_batch_put(&b, key_of(2, "c", bytes), span_str("one"));
	table_batch_drop(&b, 2);
	assert_ok(table_apply(s->table, &b));
	assert_value(s->table, 1, "a", "two");
	assert_value(s->table, 1, "b", NULL);
	assert_value(s->table, 2, "c", NULL);
}

static void what_is_out_of_its_limits_is_refused_and_changes_nothing(void **state)
{
	struct stand *s = *state;
	_cleanup_table_batch_ struct table_batch short_key = { 0 }, long_key = { 0 }, large = { 0 },
						 own = { 0 }, empty = { 0 };
	uint8_t key[TABLE_KEY_MAX + 1] = { 0 };
	_cleanup_free_ uint8_t *value = calloc(1, TABLE_VALUE_MAX + 1);
	struct table_stats st;

	table_batch_put(&short_key, span_of(key, 3), span_str(""));
	table_batch_put(&long_key, span_of(key, sizeof(key)), span_str(""));
	table_batch_put(&large, span_of(key, 5), span_of(value, TABLE_VALUE_MAX + 1));
	memset(key, 0xff, 5);
	table_batch_put(&own, span_of(key, 5), span_str(""));
	assert_int_equal(table_apply(s->table, &short_key), -EINVAL);
	assert_int_equal(table_apply(s->table, &long_key), -EINVAL);
	assert_int_equal(table_apply(s->table, &large), -EINVAL);
	assert_int_equal(table_apply(s->table, &own), -EINVAL);
	assert_int_equal(drop_layer(s->table, 0), -EINVAL);
	assert_ok(table_apply(s->table, &empty));
	table_stats(s->table, &st);
	assert_int_equal(st.applied, 0);
}

static void the_largest_records_come_back_whole(void **state)
{
	struct stand *s = *state;
	_cleanup_table_batch_ struct table_batch b = { 0 };
	_cleanup_buf_ struct buf got = { 0 };
	_cleanup_free_ uint8_t *value = malloc(TABLE_VALUE_MAX);
	uint8_t key[TABLE_KEY_MAX] = { 0, 0, 0, 1 };
	struct prng rnd = { 1 };

	prng_fill(&rnd, value, TABLE_VALUE_MAX);
	for (uint8_t i = 0; i < 10; i++) {
		key[TABLE_KEY_MAX - 1] = i;
		value[0] = i;
		table_batch_put(&b, span_of(key, sizeof(key)), span_of(value, TABLE_VALUE_MAX));
	}
	assert_ok(table_apply(s->table, &b));
	for (unsigned round = 0; round < 3; round++) {
		for (uint8_t i = 0; i < 10; i++) {
			key[TABLE_KEY_MAX - 1] = i;
			value[0] = i;
			assert_ok(table_get(s->table, span_of(key, sizeof(key)), &got));
			assert_int_equal(got.len, TABLE_VALUE_MAX);
			assert_memory_equal(got.data, value, TABLE_VALUE_MAX);
		}
		close_table(s);
		open_table(s);
		assert_ok(table_checkpoint(s->table));
	}
}

static void a_dropped_layer_is_gone_at_once_and_for_good(void **state)
{
	struct stand *s = *state;

	/* In LMDB, in the journal, and in both. */
	assert_ok(put(s->table, 1, "a", "old"));
	assert_ok(put(s->table, 2, "a", "old"));
	assert_ok(put(s->table, 4, "a", "stays"));
	assert_ok(table_checkpoint(s->table));
	assert_ok(put(s->table, 2, "b", "new"));
	assert_ok(put(s->table, 3, "a", "new"));
	for (uint32_t layer = 1; layer <= 3; layer++)
		assert_ok(drop_layer(s->table, layer));
	for (unsigned round = 0; round < 3; round++) {
		_cleanup_buf_ struct buf key = { 0 }, value = { 0 };

		for (uint32_t layer = 1; layer <= 3; layer++)
			assert_value(s->table, layer, "a", NULL);
		assert_value(s->table, 2, "b", NULL);
		assert_value(s->table, 4, "a", "stays");
		assert_ok(table_next(s->table, span_of(NULL, 0), span_of(NULL, 0), &key, &value));
		assert_int_equal(key.data[3], 4);
		if (round == 0) {
			assert_int_equal(put(s->table, 1, "a", "again"), -EINVAL);
			close_table(s);
			open_table(s);
		}
		assert_ok(table_checkpoint(s->table));
	}
}

static void a_sync_with_nothing_new_costs_nothing(void **state)
{
	struct stand *s = *state;
	struct table_stats before, after;

	assert_ok(put(s->table, 1, "a", "one"));
	assert_ok(table_sync(s->table));
	table_stats(s->table, &before);
	assert_int_equal(before.syncs, 1);
	for (unsigned i = 0; i < 10; i++)
		assert_ok(table_sync(s->table));
	table_stats(s->table, &after);
	assert_int_equal(after.syncs, 1);
	assert_int_equal(after.journal_bytes, before.journal_bytes);
}

static void the_journal_is_emptied_by_a_checkpoint(void **state)
{
	struct stand *s = *state;
	_cleanup_table_batch_ struct table_batch b = { 0 };
	struct table_stats st;

	for (unsigned i = 0; i < 20000; i++) {
		batch_source_next(&s->source, &b);
		assert_ok(table_apply(s->table, &b));
	}
	table_stats(s->table, &st);
	assert_true(st.checkpoints > 3);
	assert_true(st.memory_bytes < 3 * SMALL_MEMORY);
	assert_ok(table_checkpoint(s->table));
	table_stats(s->table, &st);
	assert_int_equal(st.memory_bytes, 0);
	/* The file that is being written is all there is left. */
	assert_true(st.journal_bytes <= JOURNAL_FILE_MIN);
}

static void who_asks_for_room_gets_it_when_a_checkpoint_has_made_some(void **state)
{
	struct stand *s = *state;
	_cleanup_table_batch_ struct table_batch b = { 0 };
	struct deadline soon;

	for (unsigned i = 0; i < 5000; i++) {
		batch_source_next(&s->source, &b);
		assert_ok(table_apply(s->table, &b));
		soon = deadline_in_ms(60000);
		if (!table_has_room(s->table))
			assert_ok(table_wait_room(s->table, &soon));
		assert_true(table_has_room(s->table));
	}
}

/* Reads of @t see what was put, whatever the state of memory and LMDB. */
static void keys_deleted_in_memory_hide_those_in_lmdb(void **state)
{
	struct stand *s = *state;
	_cleanup_buf_ struct buf key = { 0 }, value = { 0 };
	uint8_t bytes[TABLE_KEY_MAX], from[TABLE_KEY_MAX];
	struct span prefix = key_of(1, "", bytes);

	for (unsigned i = 0; i < 100; i++) {
		char name[8];

		snprintf(name, sizeof(name), "%03u", i);
		assert_ok(put(s->table, 1, name, "below"));
	}
	assert_ok(put(s->table, 2, "x", "next layer"));
	assert_ok(table_checkpoint(s->table));
	for (unsigned i = 10; i < 90; i++) {
		_cleanup_table_batch_ struct table_batch b = { 0 };
		char name[8];

		snprintf(name, sizeof(name), "%03u", i);
		table_batch_delete(&b, key_of(1, name, from));
		assert_ok(table_apply(s->table, &b));
	}
	assert_ok(table_next(s->table, prefix, key_of(1, "010", from), &key, &value));
	assert_memory_equal(key.data + 4, "090", 3);
	assert_ok(table_prev(s->table, prefix, key_of(1, "089", from), &key, &value));
	assert_memory_equal(key.data + 4, "009", 3);
	assert_ok(put(s->table, 1, "050", "above"));
	assert_ok(table_next(s->table, prefix, key_of(1, "010", from), &key, &value));
	assert_memory_equal(key.data + 4, "050", 3);
	assert_true(span_equal(buf_span(&value), span_str("above")));
	assert_int_equal(table_next(s->table, prefix, key_of(1, "100", from), &key, &value),
			 -ENOENT);
}

static void it_is_a_sorted_array_over_restarts_and_checkpoints(void **state)
{
	struct stand *s = *state;
	_cleanup_table_batch_ struct table_batch b = { 0 };
	struct prng rnd = { 3 };

	for (unsigned i = 0; i < 100000; i++) {
		batch_source_next(&s->source, &b);
		assert_ok(table_apply(s->table, &b));
		tablemodel_apply(&s->model, buf_span(&b.bytes));
		switch (prng_below(&rnd, 2000)) {
		case 0:
		case 1:
			close_table(s);
			open_table(s);
			break;
		case 2:
		case 3:
			assert_ok(table_checkpoint(s->table));
			break;
		case 4:
		case 5:
			assert_ok(table_sync(s->table));
			break;
		case 6:
			assert_table_is(s->table, &s->model);
			break;
		default:
			assert_lookups_agree(s->table, &s->model, &rnd, 1);
		}
	}
	assert_table_is(s->table, &s->model);
	close_table(s);
	open_table(s);
	assert_table_is(s->table, &s->model);
}

/* Killing: a child applies batches and says how many; the same source tells what must be there. */

struct report {
	atomic_uint_fast64_t applied;
};

static void apply_until_killed(const struct stand *s, struct batch_source source, uint64_t seed,
			       struct report *report)
{
	_cleanup_table_batch_ struct table_batch b = { 0 };
	struct prng rnd = { seed };
	struct table *t;

	if (table_open(&s->options, &t) < 0)
		_exit(1);
	for (;;) {
		batch_source_next(&source, &b);
		if (table_apply(t, &b) < 0)
			_exit(2);
		report->applied = source.next;
		if (prng_below(&rnd, 500) == 0 && table_sync(t) < 0)
			_exit(3);
		if (prng_below(&rnd, 1000) == 0 && table_checkpoint(t) < 0)
			_exit(4);
	}
}

/* Kills it after some time or, if it is slow, some batches. */
static void kill_child(pid_t pid, const struct report *report, uint64_t from, struct prng *rnd)
{
	uint64_t until = from + prng_below(rnd, 3000);
	int status;

	while (report->applied < until && waitpid(pid, &status, WNOHANG) == 0)
		sched_yield();
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void nothing_that_was_applied_is_undone_by_kill_9(void **state)
{
	struct stand *s = *state;
	_cleanup_table_batch_ struct table_batch b = { 0 };
	struct report *report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct prng rnd = { 5 };

	close_table(s);
	for (unsigned round = 0; round < 60; round++) {
		uint64_t had = s->source.next;
		int64_t got;
		pid_t pid;

		report->applied = had;
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0)
			apply_until_killed(s, s->source, round, report);
		kill_child(pid, report, had, &rnd);

		open_table(s);
		got = table_counter(s->table);
		/* The last one may have been killed between its two promises. */
		assert_in_range(got, report->applied, report->applied + 1);
		while (s->source.next < (uint64_t)got) {
			batch_source_next(&s->source, &b);
			tablemodel_apply(&s->model, buf_span(&b.bytes));
		}
		if (round % 5 == 0)
			assert_table_is(s->table, &s->model);
		assert_lookups_agree(s->table, &s->model, &rnd, 50);
		close_table(s);
	}
	munmap(report, sizeof(*report));
}

/* Threads */

enum {
	WRITERS = 4,
	ROUNDS = 3000,
	KEYS_TOGETHER = 8,
};

struct worker {
	struct table *table;
	uint32_t number;
	pthread_t thread;
	atomic_bool *stop;
	atomic_uint *errors;
};

/* All keys of one writer have one value at all times. */
static void write_together(struct table *t, uint32_t number, uint64_t value, atomic_uint *errors)
{
	_cleanup_table_batch_ struct table_batch b = { 0 };
	uint8_t bytes[TABLE_KEY_MAX];
	char name[16];

	for (unsigned k = 0; k < KEYS_TOGETHER; k++) {
		snprintf(name, sizeof(name), "w%u-%u", number, k);
		if (value % 7 == 6 && k > 0)
			table_batch_delete(&b, key_of(1, name, bytes));
		else
			table_batch_put(&b, key_of(1, name, bytes), span_of(&value, sizeof(value)));
	}
	*errors += table_apply(t, &b) < 0;
}

static void *writer(void *arg)
{
	struct worker *w = arg;

	for (uint64_t i = 0; i < ROUNDS; i++) {
		write_together(w->table, w->number, i, w->errors);
		if (i % 100 == 0)
			*w->errors += table_sync(w->table) < 0;
	}
	return NULL;
}

static void *reader(void *arg)
{
	struct worker *w = arg;
	_cleanup_buf_ struct buf key = { 0 }, value = { 0 };
	uint8_t bytes[TABLE_KEY_MAX], from[TABLE_KEY_MAX];

	while (!*w->stop) {
		for (uint32_t n = 0; n < WRITERS; n++) {
			uint64_t first, second;
			char name[16];

			/* What is read later is not older. */
			snprintf(name, sizeof(name), "w%u-0", n);
			if (table_get(w->table, key_of(1, name, bytes), &value) < 0)
				continue;
			memcpy(&first, value.data, sizeof(first));
			snprintf(name, sizeof(name), "w%u-", n);
			if (table_prev(w->table, key_of(1, name, bytes), key_of(1, "w9", from),
				       &key, &value) < 0) {
				++*w->errors;
				continue;
			}
			memcpy(&second, value.data, sizeof(second));
			/* A whole batch: either its last key, or with the others deleted its
			 * first. */
			*w->errors += second < first ||
				      (key.data[key.len - 1] == '0') != (second % 7 == 6);
		}
	}
	return NULL;
}

static void readers_see_whole_batches_while_checkpoints_go_on(void **state)
{
	struct stand *s = *state;
	struct worker workers[WRITERS + 2];
	atomic_bool stop = false;
	atomic_uint errors = 0;

	for (uint32_t n = 0; n < WRITERS; n++)
		write_together(s->table, n, 0, &errors);
	for (uint32_t i = 0; i < ARRAY_SIZE(workers); i++) {
		workers[i] = (struct worker){ s->table, i, 0, &stop, &errors };
		assert_ok(thread_start(&workers[i].thread, "test", i < WRITERS ? writer : reader,
				       &workers[i]));
	}
	for (unsigned i = 0; i < 20; i++)
		assert_ok(table_checkpoint(s->table));
	for (uint32_t i = 0; i < ARRAY_SIZE(workers); i++) {
		/* The writers end by themselves. */
		stop = i >= WRITERS;
		pthread_join(workers[i].thread, NULL);
	}
	assert_int_equal(errors, 0);
}

static void *sync_often(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < 50; i++) {
		write_together(w->table, w->number, i, w->errors);
		*w->errors += table_sync(w->table) < 0;
	}
	return NULL;
}

static int slow_sync_data(void *ctx)
{
	usleep(2000);
	return 0;
}

static void syncs_that_come_together_are_one(void **state)
{
	struct stand *s = *state;
	struct worker workers[8];
	struct table_stats st;
	atomic_uint errors = 0;

	close_table(s);
	s->options.hooks.sync_data = slow_sync_data;
	open_table(s);
	for (uint32_t i = 0; i < ARRAY_SIZE(workers); i++) {
		workers[i] = (struct worker){ s->table, i, 0, NULL, &errors };
		assert_ok(thread_start(&workers[i].thread, "test", sync_often, &workers[i]));
	}
	for (uint32_t i = 0; i < ARRAY_SIZE(workers); i++)
		pthread_join(workers[i].thread, NULL);
	assert_int_equal(errors, 0);
	table_stats(s->table, &st);
	assert_true(st.syncs < 8 * 50 / 2);
}

/* Failures */

static int fail_sync_data(void *ctx)
{
	return *(bool *)ctx ? -EIO : 0;
}

static void after_a_failed_sync_it_is_read_only(void **state)
{
	struct stand *s = *state;
	static bool is_failing;

	close_table(s);
	s->options.hooks = (struct table_hooks){ .sync_data = fail_sync_data, .ctx = &is_failing };
	open_table(s);
	assert_ok(put(s->table, 1, "a", "one"));
	assert_ok(table_sync(s->table));
	assert_ok(put(s->table, 1, "b", "two"));
	is_failing = true;
	log_set_quiet(true);
	assert_int_equal(table_sync(s->table), -EIO);
	is_failing = false;
	assert_true(table_is_broken(s->table));
	assert_int_equal(table_sync(s->table), -EIO);
	assert_int_equal(put(s->table, 1, "c", "three"), -EIO);
	assert_int_equal(table_checkpoint(s->table), -EIO);
	assert_value(s->table, 1, "b", "two");
	close_table(s);
	log_set_quiet(false);
	/* It lives in the page cache yet, and may have its chance. */
	open_table(s);
	assert_false(table_is_broken(s->table));
	assert_value(s->table, 1, "b", "two");
	assert_ok(put(s->table, 1, "c", "three"));
}

static void count_call(void *ctx)
{
	atomic_fetch_add((atomic_uint *)ctx, 1);
}

static void nothing_is_made_durable_before_the_staged_data_can_be(void **state)
{
	struct stand *s = *state;
	static atomic_uint begun;
	char value[1001];

	/* More than makes a checkpoint necessary. */
	close_table(s);
	s->options.memory_bytes = 0;
	open_table(s);
	memset(value, 'x', 1000);
	value[1000] = '\0';
	for (unsigned i = 0; i < 300; i++) {
		char key[16];

		snprintf(key, sizeof(key), "%u", i);
		assert_ok(put(s->table, 1, key, value));
	}
	close_table(s);
	s->options.memory_bytes = SMALL_MEMORY;
	s->options.hooks = (struct table_hooks){ .begin = count_call, .ctx = &begun };
	open_table(s);
	usleep(200000);
	assert_value(s->table, 1, "299", value);
	close_table(s);
	assert_int_equal(begun, 0);
	open_table(s);
	assert_ok(put(s->table, 1, "a", "one"));
	close_table(s);
	assert_true(begun > 0);
}

struct late_drop {
	struct table *table;
	bool is_due;
};

/* Moves what layer 1 has to layer 2, in the middle of a checkpoint. */
static int drop_late(void *ctx)
{
	_cleanup_table_batch_ struct table_batch b = { 0 };
	struct late_drop *d = ctx;
	uint8_t bytes[TABLE_KEY_MAX];

	if (!d->is_due)
		return 0;
	d->is_due = false;
	table_batch_put(&b, key_of(2, "a", bytes), span_str("one"));
	table_batch_drop(&b, 1);
	return table_apply(d->table, &b);
}

static void a_drop_during_a_checkpoint_is_as_durable_as_what_it_hides(void **state)
{
	struct stand *s = *state;
	struct late_drop late = { 0 };
	int status;
	pid_t pid;

	close_table(s);
	s->options.hooks = (struct table_hooks){ .sync_data = drop_late, .ctx = &late };
	pid = fork();
	if (pid == 0) {
		bool is_done = table_open(&s->options, &late.table) == 0 &&
			       put(late.table, 1, "a", "one") == 0 && table_sync(late.table) == 0 &&
			       put(late.table, 3, "b", "two") == 0;

		late.is_due = true;
		is_done = is_done && table_checkpoint(late.table) == 0 && !late.is_due;
		_exit(is_done ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	/* The machine has lost its power: what was not synced is gone. */
	boot_again();
	open_table(s);
	assert_value(s->table, 1, "a", NULL);
	assert_value(s->table, 2, "a", "one");
	assert_value(s->table, 3, "b", "two");
}

static void a_key_may_be_its_layer_alone(void **state)
{
	struct stand *s = *state;

	assert_ok(put(s->table, 1, "", "one"));
	assert_ok(table_checkpoint(s->table));
	close_table(s);
	open_table(s);
	assert_value(s->table, 1, "", "one");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_batch_is_there_after_a_restart, make, drop),
		cmocka_unit_test_setup_teardown(the_later_of_two_changes_in_a_batch_wins, make,
						drop),
		cmocka_unit_test_setup_teardown(
			what_is_out_of_its_limits_is_refused_and_changes_nothing, make, drop),
		cmocka_unit_test_setup_teardown(the_largest_records_come_back_whole, make, drop),
		cmocka_unit_test_setup_teardown(a_dropped_layer_is_gone_at_once_and_for_good, make,
						drop),
		cmocka_unit_test_setup_teardown(a_sync_with_nothing_new_costs_nothing, make, drop),
		cmocka_unit_test_setup_teardown(the_journal_is_emptied_by_a_checkpoint, make, drop),
		cmocka_unit_test_setup_teardown(
			who_asks_for_room_gets_it_when_a_checkpoint_has_made_some, make, drop),
		cmocka_unit_test_setup_teardown(keys_deleted_in_memory_hide_those_in_lmdb, make,
						drop),
		cmocka_unit_test_setup_teardown(it_is_a_sorted_array_over_restarts_and_checkpoints,
						make, drop),
		cmocka_unit_test_setup_teardown(nothing_that_was_applied_is_undone_by_kill_9, make,
						drop),
		cmocka_unit_test_setup_teardown(readers_see_whole_batches_while_checkpoints_go_on,
						make, drop),
		cmocka_unit_test_setup_teardown(syncs_that_come_together_are_one, make, drop),
		cmocka_unit_test_setup_teardown(after_a_failed_sync_it_is_read_only, make, drop),
		cmocka_unit_test_setup_teardown(
			nothing_is_made_durable_before_the_staged_data_can_be, make, drop),
		cmocka_unit_test_setup_teardown(
			a_drop_during_a_checkpoint_is_as_durable_as_what_it_hides, make, drop),
		cmocka_unit_test_setup_teardown(a_key_may_be_its_layer_alone, make, drop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
