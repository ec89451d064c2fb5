/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The journal: what is replayed, in the same boot and in another.
 */
#include <dirent.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/log.h"
#include "otherboot.h"
#include "prng.h"
#include "scratch.h"
#include "state/journal_file.h"

enum {
	NUMBERS_MAX = 1 << 20
};

/* Directories that were synced: what is in files goes to the disk by fdatasync(). */
static unsigned synced_dirs;

int fsync(int fd)
{
	synced_dirs++;
	return 0;
}

struct stand {
	struct scratch dir;
	struct journal *journal;
	uint64_t position;
	uint32_t *replayed; /* the numbers that records hold */
	size_t count;
};

static int replay(void *ctx, struct span record)
{
	struct stand *s = ctx;
	uint32_t number;

	assert_true(record.len >= sizeof(number) && s->count < NUMBERS_MAX);
	memcpy(&number, record.data, sizeof(number));
	s->replayed[s->count++] = number;
	return 0;
}

static int try_open(struct stand *s)
{
	struct journal_options o = {
		.dirfd = s->dir.fd,
		.position = s->position,
		.file_size = JOURNAL_FILE_MIN,
		.replay = replay,
		.ctx = s,
	};

	s->count = 0;
	return journal_open(&o, &s->journal);
}

static void reopen(struct stand *s)
{
	journal_free(TAKE_PTR(s->journal));
	assert_ok(try_open(s));
}

static int make(void **state)
{
	struct stand *s = new0(struct stand, 1);

	s->dir = scratch_make();
	s->replayed = new0(uint32_t, NUMBERS_MAX);
	assert_ok(try_open(s));
	*state = s;
	return 0;
}

static int drop(void **state)
{
	struct stand *s = *state;

	journal_free(s->journal);
	scratch_remove(&s->dir);
	free(s->replayed);
	free(s);
	return 0;
}

static int append_bytes(struct stand *s, uint32_t number, size_t len, uint64_t *ret_seq)
{
	_cleanup_buf_ struct buf b = { 0 };
	uint8_t *p = buf_extend(&b, MAX(len, sizeof(number)));

	assert_non_null(p);
	memset(p, 'x', b.len);
	memcpy(p, &number, sizeof(number));
	return journal_append(s->journal, buf_span(&b), ret_seq);
}

/* Appends a record that holds @number; its own number. */
static uint64_t append(struct stand *s, uint32_t number)
{
	uint64_t seq;

	assert_ok(append_bytes(s, number, 100, &seq));
	return seq;
}

static void append_up_to(struct stand *s, uint32_t first, uint32_t last)
{
	for (uint32_t i = first; i <= last; i++)
		append(s, i);
}

static void assert_replayed(const struct stand *s, uint32_t first, uint32_t last)
{
	assert_int_equal(s->count, last + 1 - first);
	for (size_t i = 0; i < s->count; i++)
		assert_int_equal(s->replayed[i], first + i);
}

static unsigned files(const struct stand *s)
{
	DIR *d = opendir(s->dir.path);
	const struct dirent *e;
	unsigned n = 0;

	while ((e = readdir(d)))
		n += strlen(e->d_name) == 8;
	closedir(d);
	return n;
}

static void records_come_back_in_their_order(void **state)
{
	struct stand *s = *state;

	append_up_to(s, 1, 3000);
	reopen(s);
	assert_replayed(s, 1, 3000);
	append_up_to(s, 3001, 3010);
	reopen(s);
	assert_replayed(s, 1, 3010);
}

static void opening_goes_on_in_the_same_file(void **state)
{
	struct stand *s = *state;

	append(s, 1);
	for (uint32_t i = 2; i < 10; i++) {
		reopen(s);
		append(s, i);
		assert_ok(journal_sync(s->journal, journal_last(s->journal)));
	}
	assert_int_equal(files(s), 1);
	reopen(s);
	assert_replayed(s, 1, 9);
}

static void what_is_in_lmdb_is_not_replayed(void **state)
{
	struct stand *s = *state;

	append_up_to(s, 1, 5);
	s->position = append(s, 6);
	append_up_to(s, 7, 9);
	reopen(s);
	assert_replayed(s, 7, 9);
}

/* The only file, its size, and where its records end. */
static int open_file(struct stand *s, size_t *ret_end)
{
	int fd = openat(s->dir.fd, "00000001", O_RDWR);

	assert_true(fd >= 0);
	*ret_end = journal_bytes(s->journal);
	return fd;
}

static void a_torn_tail_ends_the_replay_and_loses_nothing_before_it(void **state)
{
	struct stand *s = *state;
	size_t start, end;
	uint8_t raw[256], hurt[256];
	int fd;

	append_up_to(s, 1, 4);
	close(open_file(s, &start));
	append(s, 5);
	fd = open_file(s, &end);
	assert_ok(pread_all(fd, raw, end - start, start));
	for (size_t cut = 0; cut < end - start; cut++) {
		memcpy(hurt, raw, sizeof(hurt));
		memset(hurt + cut, 0, end - start - cut);
		assert_ok(pwrite_all(fd, hurt, end - start, start));
		reopen(s);
		assert_replayed(s, 1, 4);

		memcpy(hurt, raw, sizeof(hurt));
		hurt[cut] ^= 0x10;
		assert_ok(pwrite_all(fd, hurt, end - start, start));
		reopen(s);
		assert_replayed(s, 1, 4);
	}
	assert_ok(pwrite_all(fd, raw, end - start, start));
	reopen(s);
	assert_replayed(s, 1, 5);
	close(fd);
}

static void what_is_written_over_a_torn_tail_counts(void **state)
{
	struct stand *s = *state;
	uint8_t garbage[64];
	size_t end;
	int fd;

	append_up_to(s, 1, 4);
	fd = open_file(s, &end);
	memset(garbage, 0xee, sizeof(garbage));
	assert_ok(pwrite_all(fd, garbage, sizeof(garbage), end));
	close(fd);
	reopen(s);
	append(s, 5);
	reopen(s);
	assert_replayed(s, 1, 5);
}

static void after_another_boot_only_what_a_marker_covers_counts(void **state)
{
	struct stand *s = *state;
	uint64_t five;

	append_up_to(s, 1, 4);
	five = append(s, 5);
	append(s, 6);
	/* Six was applied while five was being synced. */
	assert_ok(journal_sync(s->journal, five));
	append(s, 7);
	boot_again();
	reopen(s);
	assert_replayed(s, 1, 5);
	assert_int_equal(journal_durable(s->journal), five);
}

static void what_did_not_count_once_never_counts_again(void **state)
{
	struct stand *s = *state;

	append_up_to(s, 1, 5);
	assert_ok(journal_sync(s->journal, 5));
	append_up_to(s, 6, 20);
	boot_again();
	reopen(s);
	assert_replayed(s, 1, 5);
	append_up_to(s, 106, 107);
	/* In this boot those two count, six to twenty do not. */
	reopen(s);
	assert_int_equal(s->count, 7);
	assert_int_equal(s->replayed[5], 106);
	assert_int_equal(s->replayed[6], 107);
	/* After the next one neither does. */
	boot_again();
	reopen(s);
	assert_replayed(s, 1, 5);
	append(s, 206);
	assert_ok(journal_sync(s->journal, journal_last(s->journal)));
	boot_again();
	reopen(s);
	assert_int_equal(s->count, 6);
	assert_int_equal(s->replayed[5], 206);
}

static void what_was_durable_stays_so_when_its_marker_is_void(void **state)
{
	struct stand *s = *state;

	append_up_to(s, 1, 4);
	assert_ok(journal_sync(s->journal, 4));
	append_up_to(s, 5, 9);
	/* The marker has a number above nine, which the next boot gives out again. */
	assert_ok(journal_sync(s->journal, journal_last(s->journal)));
	for (unsigned i = 0; i < 3; i++) {
		boot_again();
		reopen(s);
		assert_replayed(s, 1, 9);
		append(s, 1000 + i);
	}
}

static void files_are_used_again_and_their_former_records_are_not(void **state)
{
	struct stand *s = *state;
	uint32_t number = 1;
	unsigned most = 0;

	for (unsigned round = 0; round < 50; round++) {
		uint32_t first = number;
		uint64_t last = 0;

		for (unsigned i = 0; i < 1000; i++)
			last = append(s, number++);
		assert_ok(journal_sync(s->journal, last));
		reopen(s);
		assert_replayed(s, first, number - 1);
		s->position = last;
		/* The file in use holds the last ones until it is full. */
		journal_release(s->journal, last);
		reopen(s);
		assert_int_equal(s->count, 0);
		most = MAX(most, files(s));
	}
	assert_true(most <= 6);
}

/* Or somebody who puts bytes into a record could make one up for the file's next use. */
static void each_use_of_a_file_has_a_salt_of_its_own(void **state)
{
	enum {
		SALT_AT = 48
	};
	struct stand *s = *state;
	uint64_t salts[20];

	for (unsigned round = 0; round < ARRAY_SIZE(salts); round++) {
		uint64_t first = journal_last(s->journal), last = 0;
		size_t end;
		int fd;

		while (last < first + 600)
			last = append(s, 1);
		assert_ok(journal_sync(s->journal, last));
		journal_release(s->journal, last);
		fd = open_file(s, &end);
		assert_ok(pread_all(fd, &salts[round], sizeof(salts[0]), SALT_AT));
		close(fd);
	}
	/* The file was taken every other time or so. */
	for (unsigned i = 3; i < ARRAY_SIZE(salts); i++)
		assert_true(salts[i] != salts[i - 3]);
}

static void a_record_larger_than_a_file_fits(void **state)
{
	struct stand *s = *state;
	uint64_t seq;

	append(s, 1);
	assert_ok(append_bytes(s, 2, 5 * JOURNAL_FILE_MIN, &seq));
	assert_ok(append_bytes(s, 3, JOURNAL_FILE_MIN, &seq));
	append(s, 4);
	reopen(s);
	assert_replayed(s, 1, 4);
}

static void files_in_reserve_are_made_in_the_background(void **state)
{
	struct stand *s = *state;

	assert_true(journal_wants_files(s->journal));
	assert_ok(journal_prepare(s->journal));
	assert_false(journal_wants_files(s->journal));
	assert_int_equal(files(s), 2);
	append(s, 1);
	assert_int_equal(files(s), 2);
	assert_true(journal_wants_files(s->journal));
}

static void names_that_a_former_process_made_are_synced_before_a_marker(void **state)
{
	struct stand *s = *state;
	uint64_t seq;

	/* It died before it came to its directory. */
	assert_ok(journal_prepare(s->journal));
	reopen(s);
	synced_dirs = 0;
	seq = append(s, 1);
	assert_ok(journal_sync(s->journal, seq));
	assert_int_equal(synced_dirs, 1);
	seq = append(s, 2);
	assert_ok(journal_sync(s->journal, seq));
	assert_int_equal(synced_dirs, 1);
}

static void remove_file(struct stand *s, const char *name)
{
	assert_int_equal(unlinkat(s->dir.fd, name, 0), 0);
}

static void durable_records_that_are_missing_are_not_passed_over(void **state)
{
	struct stand *s = *state;

	append_up_to(s, 1, 2500);
	assert_int_equal(files(s), 5);
	assert_ok(journal_sync(s->journal, 2500));
	journal_free(TAKE_PTR(s->journal));
	remove_file(s, "00000002");
	log_set_quiet(true);
	boot_again();
	assert_int_equal(try_open(s), -EBADMSG);
	remove_file(s, "00000001");
	assert_int_equal(try_open(s), -EBADMSG);
	log_set_quiet(false);
}

static void a_file_that_was_lost_before_it_was_durable_ends_the_replay(void **state)
{
	struct stand *s = *state;
	uint64_t last;

	append_up_to(s, 1, 100);
	assert_ok(journal_sync(s->journal, 100));
	append_up_to(s, 101, 2500);
	journal_free(TAKE_PTR(s->journal));
	remove_file(s, "00000003");
	/* Whatever the boot's id says. */
	assert_ok(try_open(s));
	assert_replayed(s, 1, 100);
	last = append(s, 101);
	assert_ok(journal_sync(s->journal, last));
	boot_again();
	reopen(s);
	assert_replayed(s, 1, 101);
}

static void a_journal_of_another_version_is_left_alone(void **state)
{
	struct stand *s = *state;
	uint8_t version = JOURNAL_VERSION + 1, now;
	size_t end;
	int fd;

	append(s, 1);
	fd = open_file(s, &end);
	journal_free(TAKE_PTR(s->journal));
	assert_ok(pwrite_all(fd, &version, 1, 4));
	log_set_quiet(true);
	assert_int_equal(try_open(s), -EBADMSG);
	log_set_quiet(false);
	assert_ok(pread_all(fd, &now, 1, 4));
	assert_int_equal(now, version);
	close(fd);
}

/* Records that count, and how many of them are durable. */
struct expected {
	uint32_t numbers[200000];
	size_t count, durable;
	uint64_t seqs[200000];
};

static void assert_as_expected(const struct stand *s, const struct expected *x)
{
	size_t skip = 0;

	while (skip < x->count && x->seqs[skip] <= s->position)
		skip++;
	assert_int_equal(s->count, x->count - skip);
	for (size_t i = 0; i < s->count; i++)
		assert_int_equal(s->replayed[i], x->numbers[skip + i]);
}

static void whatever_happens_what_counts_is_a_prefix(void **state)
{
	struct stand *s = *state;
	struct expected *x = new0(struct expected, 1);
	struct prng rnd = { 1 };
	uint32_t number = 0;

	while (x->count < 100000) {
		switch (prng_below(&rnd, 2000)) {
		case 0 ... 9:
			x->durable = x->count - prng_below(&rnd, x->count - x->durable + 1);
			if (x->durable > 0)
				assert_ok(journal_sync(s->journal, x->seqs[x->durable - 1]));
			break;
		case 10 ... 12:
			boot_again();
			x->count = x->durable;
			__attribute__((fallthrough));
		case 13 ... 15:
			reopen(s);
			assert_as_expected(s, x);
			break;
		case 16:
			if (x->durable > 0)
				s->position = x->seqs[x->durable - 1];
			journal_release(s->journal, s->position);
			break;
		case 17:
			assert_ok(journal_prepare(s->journal));
			break;
		default:
			assert_ok(append_bytes(s, ++number, prng_below(&rnd, 1000),
					       &x->seqs[x->count]));
			x->numbers[x->count++] = number;
		}
	}
	free(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(records_come_back_in_their_order, make, drop),
		cmocka_unit_test_setup_teardown(opening_goes_on_in_the_same_file, make, drop),
		cmocka_unit_test_setup_teardown(what_is_in_lmdb_is_not_replayed, make, drop),
		cmocka_unit_test_setup_teardown(
			a_torn_tail_ends_the_replay_and_loses_nothing_before_it, make, drop),
		cmocka_unit_test_setup_teardown(what_is_written_over_a_torn_tail_counts, make,
						drop),
		cmocka_unit_test_setup_teardown(after_another_boot_only_what_a_marker_covers_counts,
						make, drop),
		cmocka_unit_test_setup_teardown(what_did_not_count_once_never_counts_again, make,
						drop),
		cmocka_unit_test_setup_teardown(what_was_durable_stays_so_when_its_marker_is_void,
						make, drop),
		cmocka_unit_test_setup_teardown(
			files_are_used_again_and_their_former_records_are_not, make, drop),
		cmocka_unit_test_setup_teardown(each_use_of_a_file_has_a_salt_of_its_own, make,
						drop),
		cmocka_unit_test_setup_teardown(a_record_larger_than_a_file_fits, make, drop),
		cmocka_unit_test_setup_teardown(files_in_reserve_are_made_in_the_background, make,
						drop),
		cmocka_unit_test_setup_teardown(
			names_that_a_former_process_made_are_synced_before_a_marker, make, drop),
		cmocka_unit_test_setup_teardown(
			durable_records_that_are_missing_are_not_passed_over, make, drop),
		cmocka_unit_test_setup_teardown(
			a_file_that_was_lost_before_it_was_durable_ends_the_replay, make, drop),
		cmocka_unit_test_setup_teardown(a_journal_of_another_version_is_left_alone, make,
						drop),
		cmocka_unit_test_setup_teardown(whatever_happens_what_counts_is_a_prefix, make,
						drop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
