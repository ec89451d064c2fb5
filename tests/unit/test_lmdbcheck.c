/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Damaged LMDB environments: found before they are used, and what is not found does no harm.
 */
#include <lmdb.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/log.h"
#include "index/index.h"
#include "index/lmdbpages.h"
#include "nosync.h"
#include "scratch.h"
#include "tablemodel.h"

static int lmdb_ok(int r)
{
	if (r)
		fail_msg("LMDB: %s", mdb_strerror(r));
	return r;
}

static MDB_env *open_env(const char *path)
{
	MDB_env *env;

	lmdb_ok(mdb_env_create(&env));
	lmdb_ok(mdb_env_set_maxdbs(env, 4));
	lmdb_ok(mdb_env_set_mapsize(env, 64 << 20));
	lmdb_ok(mdb_env_open(env, path, MDB_NOTLS | MDB_NOSYNC, 0600));
	return env;
}

static MDB_val val(const void *data, size_t len)
{
	return (MDB_val){ .mv_size = len, .mv_data = (void *)data };
}

/* Some records of each kind, changed and deleted for a while. */
static void write_plain(MDB_txn *txn, MDB_dbi db, struct prng *rnd)
{
	static uint8_t value[20000];

	for (unsigned i = 0; i < 300; i++) {
		uint8_t key[40];
		size_t len = 4 + prng_below(rnd, 30);
		MDB_val k, v;

		memset(key, 'k', sizeof(key));
		len += (size_t)snprintf((char *)key, 16, "%llu",
					(unsigned long long)prng_below(rnd, 3000));
		k = val(key, MIN(len, sizeof(key)));
		v = val(value, prng_below(rnd, prng_below(rnd, 20) ? 200 : sizeof(value)));
		if (prng_below(rnd, 3) == 0)
			mdb_del(txn, db, &k, NULL);
		else
			lmdb_ok(mdb_put(txn, db, &k, &v, 0));
	}
}

static void write_numbers(MDB_txn *txn, MDB_dbi db, struct prng *rnd)
{
	for (unsigned i = 0; i < 300; i++) {
		uint32_t key = (uint32_t)prng_below(rnd, 2000);
		MDB_val k = val(&key, sizeof(key)), v = val("number", 6);

		if (prng_below(rnd, 3) == 0)
			mdb_del(txn, db, &k, NULL);
		else
			lmdb_ok(mdb_put(txn, db, &k, &v, 0));
	}
}

/* Keys with few duplicates, and with so many that they are a tree. */
static void write_duplicates(MDB_txn *txn, MDB_dbi db, struct prng *rnd)
{
	for (unsigned i = 0; i < 300; i++) {
		uint64_t key = prng_below(rnd, 4) ? prng_below(rnd, 200) : 1000;
		uint8_t value[48];
		MDB_val k = val(&key, sizeof(key)), v = val(value, sizeof(value));

		memset(value, 0, sizeof(value));
		value[0] = (uint8_t)prng_below(rnd, 256);
		value[47] = (uint8_t)prng_below(rnd, 8);
		if (prng_below(rnd, 3) == 0)
			mdb_del(txn, db, &k, &v);
		else
			lmdb_ok(mdb_put(txn, db, &k, &v, 0));
	}
}

static void fill_env(const char *path, bool with_named)
{
	MDB_env *env = open_env(path);
	MDB_dbi plain, names, numbers, fixed, any;
	struct prng rnd = { 1 };
	MDB_txn *txn;

	for (unsigned round = 0; round < 40; round++) {
		lmdb_ok(mdb_txn_begin(env, NULL, 0, &txn));
		if (!with_named) {
			lmdb_ok(mdb_dbi_open(txn, NULL, 0, &plain));
			write_plain(txn, plain, &rnd);
		} else {
			lmdb_ok(mdb_dbi_open(txn, "names", MDB_CREATE, &names));
			lmdb_ok(mdb_dbi_open(txn, "numbers", MDB_CREATE | MDB_INTEGERKEY,
					     &numbers));
			lmdb_ok(mdb_dbi_open(txn, "fixed", MDB_CREATE | MDB_DUPSORT | MDB_DUPFIXED,
					     &fixed));
			lmdb_ok(mdb_dbi_open(txn, "any", MDB_CREATE | MDB_DUPSORT, &any));
			write_plain(txn, names, &rnd);
			write_numbers(txn, numbers, &rnd);
			write_duplicates(txn, fixed, &rnd);
			write_duplicates(txn, any, &rnd);
		}
		lmdb_ok(mdb_txn_commit(txn));
	}
	mdb_env_close(env);
}

/* The environment's file. */
static void load(const struct scratch *s, struct buf *ret)
{
	assert_ok(read_file(s->fd, "data.mdb", 64 << 20, ret));
}

static void store(const struct scratch *s, struct span data)
{
	int fd = openat(s->fd, "data.mdb", O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_ok(pwrite_all(fd, data.data, data.len, 0));
	close(fd);
}

static uint64_t last_txn(struct span file)
{
	uint64_t a, b;

	memcpy(&a, file.data + 144, sizeof(a));
	memcpy(&b, file.data + 4096 + 144, sizeof(b));
	return MAX(a, b);
}

static void sound_environments_pass(void **state)
{
	for (unsigned named = 0; named < 2; named++) {
		struct scratch s = scratch_make();

		fill_env(s.path, named);
		assert_ok(lmdb_check(s.fd));
		scratch_remove(&s);
	}
}

static void an_empty_environment_passes(void **state)
{
	struct scratch s = scratch_make();

	mdb_env_close(open_env(s.path));
	assert_ok(lmdb_check(s.fd));
	scratch_remove(&s);
}

static void where_there_is_none_it_says_so(void **state)
{
	struct scratch s = scratch_make();

	assert_int_equal(lmdb_check(s.fd), -ENOENT);
	store(&s, span_of(NULL, 0));
	assert_int_equal(lmdb_check(s.fd), -ENOENT);
	scratch_remove(&s);
}

static void while_others_write_it_passes(void **state)
{
	struct scratch s = scratch_make();
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		/* If the test fails, nobody else ends it. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			fill_env(s.path, true);
	}
	while (lmdb_check(s.fd) == -ENOENT)
		;
	for (unsigned i = 0; i < 200; i++)
		assert_ok(lmdb_check(s.fd));
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	assert_ok(lmdb_check(s.fd));
	scratch_remove(&s);
}

static void garbage_is_damaged(void **state)
{
	static uint8_t garbage[40 * 4096];
	struct scratch s = scratch_make();
	struct prng rnd = { 1 };

	store(&s, span_of(garbage, sizeof(garbage)));
	assert_int_equal(lmdb_check(s.fd), -EBADMSG);
	for (unsigned i = 0; i < 10; i++) {
		prng_fill(&rnd, garbage, sizeof(garbage));
		store(&s, span_of(garbage, 1 + prng_below(&rnd, sizeof(garbage))));
		assert_int_equal(lmdb_check(s.fd), -EBADMSG);
	}
	scratch_remove(&s);
}

static void who_ignores_dead_children_learns_it_too(void **state)
{
	static const uint8_t garbage[4 * 4096];
	struct scratch s = scratch_make();
	int sound, damaged;

	fill_env(s.path, true);
	signal(SIGCHLD, SIG_IGN);
	sound = lmdb_check(s.fd);
	store(&s, span_of(garbage, sizeof(garbage)));
	damaged = lmdb_check(s.fd);
	signal(SIGCHLD, SIG_DFL);
	assert_ok(sound);
	assert_int_equal(damaged, -EBADMSG);
	scratch_remove(&s);
}

static void what_is_cut_off_is_missed(void **state)
{
	_cleanup_buf_ struct buf file = { 0 };
	struct scratch s = scratch_make();

	fill_env(s.path, false);
	load(&s, &file);
	for (size_t len = 1; len < file.len; len += 3 * 4096 + 77) {
		store(&s, span_of(file.data, len));
		assert_int_equal(lmdb_check(s.fd), -EBADMSG);
	}
	scratch_remove(&s);
}

/* Reads all of it, changes some, and deletes the rest: LMDB must live through that. */
static void use_env(const char *path)
{
	MDB_env *env;
	MDB_txn *txn;
	MDB_cursor *c;
	MDB_val k, v;
	MDB_dbi db;
	int r;

	if (mdb_env_create(&env) || mdb_env_set_mapsize(env, 64 << 20) ||
	    mdb_env_open(env, path, MDB_NOTLS | MDB_NOSYNC, 0600))
		_exit(1);
	for (unsigned round = 0; round < 3; round++) {
		unsigned n = 0;

		if (mdb_txn_begin(env, NULL, 0, &txn) || mdb_dbi_open(txn, NULL, 0, &db) ||
		    mdb_cursor_open(txn, db, &c))
			_exit(2);
		while ((r = mdb_cursor_get(c, &k, &v, MDB_NEXT)) == 0) {
			if (n++ % 3 == round)
				r = mdb_cursor_del(c, 0);
			if (r)
				break;
		}
		mdb_cursor_close(c);
		if (r != MDB_NOTFOUND)
			_exit(3);
		for (unsigned i = 0; i < 500; i++) {
			char key[32];

			k = val(key, (size_t)snprintf(key, sizeof(key), "new %u %u", round, i));
			v = val(key, i % 32);
			if (mdb_put(txn, db, &k, &v, 0))
				_exit(4);
		}
		if (mdb_txn_commit(txn))
			_exit(5);
	}
	mdb_env_close(env);
	_exit(0);
}

static void assert_usable(const struct scratch *s, size_t at)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		use_env(s->path);
	waitpid(pid, &status, 0);
	if (status)
		fail_msg("with byte %zu changed it passes, and LMDB ends with %x", at, status);
}

static void what_passes_with_a_byte_changed_can_be_read_and_written(void **state)
{
	_cleanup_buf_ struct buf file = { 0 };
	struct scratch s = scratch_make();
	struct prng rnd = { 3 };
	unsigned found = 0, used = 0;

	fill_env(s.path, false);
	load(&s, &file);
	for (unsigned i = 0; i < 1500; i++) {
		size_t at = prng_below(&rnd, file.len);
		uint8_t former = file.data[at];

		/* Headers are few among the bytes. */
		if (i % 2)
			at = at / 4096 * 4096 + prng_below(&rnd, 64);
		former = file.data[at];
		file.data[at] ^= (uint8_t)(1 + prng_below(&rnd, 255));
		if (lmdb_pages_check(buf_span(&file), last_txn(buf_span(&file))) < 0) {
			found++;
		} else if (used < 150) {
			store(&s, buf_span(&file));
			assert_usable(&s, at);
			used++;
		}
		file.data[at] = former;
	}
	assert_true(found > 100);
	assert_true(used > 50);
	scratch_remove(&s);
}

static void no_byte_changed_in_any_kind_of_page_makes_the_check_go_astray(void **state)
{
	_cleanup_buf_ struct buf file = { 0 };
	struct scratch s = scratch_make();
	struct prng rnd = { 4 };

	fill_env(s.path, true);
	load(&s, &file);
	for (unsigned i = 0; i < 1500; i++) {
		size_t at[3];
		uint8_t former[3];

		for (unsigned k = 0; k < 3; k++) {
			at[k] = prng_below(&rnd, file.len / 4096) * 4096 +
				prng_below(&rnd, prng_below(&rnd, 2) ? 64 : 4096);
			former[k] = file.data[at[k]];
			file.data[at[k]] = (uint8_t)prng_u64(&rnd);
		}
		lmdb_pages_check(buf_span(&file), last_txn(buf_span(&file)));
		for (unsigned k = 3; k-- > 0;)
			file.data[at[k]] = former[k];
	}
	assert_ok(lmdb_pages_check(buf_span(&file), last_txn(buf_span(&file))));
	scratch_remove(&s);
}

/* The table */

enum {
	JOURNAL_FILES_MAX = 99
};

struct stand {
	struct scratch dir;
	int heads;
	struct model model;
	struct batch_source source;
	struct buf file; /* of LMDB */
	struct buf journal[JOURNAL_FILES_MAX]; /* by number; empty: there is none */
};

static void journal_name(unsigned i, char name[32])
{
	snprintf(name, 32, "journal/%08u", i);
}

static int open_table(const struct stand *s, struct table **ret)
{
	struct table_options o = { .dirfd = s->dir.fd, .memory_bytes = 256 << 10 };

	return table_open(&o, ret);
}

static int make_table(void **state)
{
	_cleanup_table_batch_ struct table_batch b = { 0 };
	struct stand *s = new0(struct stand, 1);
	struct table *t;

	s->dir = scratch_make();
	s->source = batch_source(1);
	assert_ok(open_table(s, &t));
	for (unsigned i = 0; i < 3000; i++) {
		batch_source_next(&s->source, &b);
		assert_ok(table_apply(t, &b));
		tablemodel_apply(&s->model, buf_span(&b.bytes));
	}
	assert_ok(table_checkpoint(t));
	table_free(t);
	s->heads = scratch_dir(&s->dir, "heads");
	assert_ok(read_file(s->heads, "data.mdb", 64 << 20, &s->file));
	/* What is kept in reserve is not in use. */
	while (s->file.len > 4096 && s->file.data[s->file.len - 1] == 0)
		s->file.len--;
	s->file.len = ALIGN_UP(s->file.len, 4096);
	for (unsigned i = 0; i < JOURNAL_FILES_MAX; i++) {
		char name[32];

		journal_name(i, name);
		read_file(s->dir.fd, name, 64 << 20, &s->journal[i]);
	}
	log_set_quiet(true);
	*state = s;
	return 0;
}

static int drop_table(void **state)
{
	struct stand *s = *state;

	log_set_quiet(false);
	close(s->heads);
	buf_release(&s->file);
	for (unsigned i = 0; i < JOURNAL_FILES_MAX; i++)
		buf_release(&s->journal[i]);
	tablemodel_release(&s->model);
	scratch_remove(&s->dir);
	free(s);
	return 0;
}

static void restore(const struct stand *s)
{
	assert_ok(write_file_atomic(s->heads, "data.mdb", buf_span(&s->file), 0600));
	assert_ok(remove_tree(s->dir.fd, "journal"));
	assert_ok(mkdirat(s->dir.fd, "journal", 0700));
	for (unsigned i = 0; i < JOURNAL_FILES_MAX; i++) {
		char name[32];

		journal_name(i, name);
		if (s->journal[i].len > 0)
			assert_ok(
				write_file_atomic(s->dir.fd, name, buf_span(&s->journal[i]), 0600));
	}
}

/* Returns how many records are known to be damaged. */
static unsigned check_records(struct table *t, const struct model *m)
{
	_cleanup_buf_ struct buf value = { 0 };
	unsigned damaged = 0;

	for (size_t i = 0; i < m->count; i++) {
		int r = table_get(t, buf_span(&m->records[i].key), &value);

		if (r == -EBADMSG) {
			damaged++;
			continue;
		}
		assert_ok(r);
		assert_true(span_equal(buf_span(&value), buf_span(&m->records[i].value)));
	}
	return damaged;
}

static void a_changed_byte_is_noticed_or_does_not_matter(void **state)
{
	struct stand *s = *state;
	struct prng rnd = { 1 };
	unsigned refused = 0, damaged = 0;

	for (unsigned i = 0; i < 300; i++) {
		_cleanup_table_batch_ struct table_batch b = { 0 };
		struct batch_source source = s->source;
		size_t at = prng_below(&rnd, s->file.len);
		uint8_t former = s->file.data[at];
		struct table *t;
		int r;

		s->file.data[at] ^= (uint8_t)(1 << prng_below(&rnd, 8));
		restore(s);
		s->file.data[at] = former;
		r = open_table(s, &t);
		if (r < 0) {
			assert_int_equal(r, -EBADMSG);
			refused++;
			continue;
		}
		damaged += check_records(t, &s->model);
		/* And it can be written to. */
		for (unsigned k = 0; k < 50; k++) {
			batch_source_next(&source, &b);
			assert_ok(table_apply(t, &b));
		}
		assert_ok(table_checkpoint(t));
		table_free(t);
	}
	/* How much of the file is in use varies with when checkpoints were made; some must have
	 * hit. */
	assert_true(refused > 3);
	assert_true(damaged > 3);
}

static void a_file_that_is_cut_off_is_refused_and_left_alone(void **state)
{
	struct stand *s = *state;
	_cleanup_buf_ struct buf now = { 0 };
	unsigned refused = 0;
	struct table *t;

	for (size_t len = 1; len < s->file.len - 4096; len += s->file.len / 20) {
		size_t whole = s->file.len;
		int r;

		s->file.len = len;
		restore(s);
		r = open_table(s, &t);
		if (r == 0) {
			/* Its last pages may have been free ones. */
			assert_int_equal(check_records(t, &s->model), 0);
			table_free(t);
		} else {
			assert_int_equal(r, -EBADMSG);
			assert_ok(read_file(s->heads, "data.mdb", 64 << 20, &now));
			assert_true(span_equal(buf_span(&now), buf_span(&s->file)));
			refused++;
		}
		s->file.len = whole;
	}
	assert_true(refused > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sound_environments_pass),
		cmocka_unit_test(an_empty_environment_passes),
		cmocka_unit_test(where_there_is_none_it_says_so),
		cmocka_unit_test(while_others_write_it_passes),
		cmocka_unit_test(garbage_is_damaged),
		cmocka_unit_test(who_ignores_dead_children_learns_it_too),
		cmocka_unit_test(what_is_cut_off_is_missed),
		cmocka_unit_test(what_passes_with_a_byte_changed_can_be_read_and_written),
		cmocka_unit_test(no_byte_changed_in_any_kind_of_page_makes_the_check_go_astray),
		cmocka_unit_test_setup_teardown(a_changed_byte_is_noticed_or_does_not_matter,
						make_table, drop_table),
		cmocka_unit_test_setup_teardown(a_file_that_is_cut_off_is_refused_and_left_alone,
						make_table, drop_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
