/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What transfer/transfer.h promises of tar streams.
 */
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "nosync.h"
#include "transferstand.h"

enum {
	BLOCK = 512,
	MUTATIONS = 400,
};

/* A stream that is made by hand, in a file without a name. */
struct stream {
	int fd;
};

static struct stream stream_make(void)
{
	struct stream t = { .fd = memfd_create("tar", MFD_CLOEXEC) };

	assert_true(t.fd >= 0);
	return t;
}

static void stream_put(struct stream *t, const void *data, size_t len)
{
	static const uint8_t zeroes[BLOCK];

	assert_ok(write_all(t->fd, data, len));
	assert_ok(write_all(t->fd, zeroes, (BLOCK - len % BLOCK) % BLOCK));
}

/* One entry as ustar has it, with content. */
static void stream_entry(struct stream *t, const char *path, char type, const char *link,
			 const char *content)
{
	char b[BLOCK] = { 0 };
	size_t len = strlen(content);
	unsigned sum = 0;

	assert_true(strlen(path) <= 100 && strlen(link) <= 100);
	memcpy(b, path, strlen(path));
	snprintf(b + 100, 8, "%07o", 0640);
	snprintf(b + 108, 8, "%07o", 5);
	snprintf(b + 116, 8, "%07o", 6);
	snprintf(b + 124, 12, "%011o", (unsigned)len);
	snprintf(b + 136, 12, "%011o", 1000000000);
	b[156] = type;
	memcpy(b + 157, link, strlen(link));
	memcpy(b + 257,
	       "ustar\0"
	       "00",
	       8);
	memset(b + 148, ' ', 8);
	for (size_t i = 0; i < BLOCK; i++)
		sum += (uint8_t)b[i];
	snprintf(b + 148, 8, "%06o", sum);
	stream_put(t, b, BLOCK);
	stream_put(t, content, len);
}

static void stream_end(struct stream *t)
{
	static const uint8_t zeroes[2 * BLOCK];

	stream_put(t, zeroes, sizeof(zeroes));
	assert_int_equal(lseek(t->fd, 0, SEEK_SET), 0);
}

static int import_stream(struct transferstand *s, int fd, const char *path, struct oid *ret_id)
{
	struct import_request q = { .src = "-", .fd = fd, .path = path };
	bool is_new;

	return import_with(s, q, ret_id, &is_new);
}

/* A file of the commit, which must have that content. */
static void assert_reads(struct transferstand *s, const struct oid *id, const char *path,
			 const char *want)
{
	_cleanup_free_ char *out = place_of(s, "read");
	_cleanup_buf_ struct buf b = { 0 };

	assert_ok(export_to(s, id, path, out));
	assert_ok(read_file(AT_FDCWD, out, 1 << 20, &b));
	assert_true(span_equal(buf_span(&b), span_str(want)));
	assert_ok(unlink(out));
}

static void a_tree_comes_back_by_way_of_a_stream(void **state)
{
	struct transferstand *s = *state;
	_cleanup_free_ char *src = place_of(s, "src"), *out = place_of(s, "out");
	struct stream t = stream_make();
	struct prng r = { 11 };
	struct oid id, again;
	bool is_new;

	localtree_make(&r, src, 300);
	id = import_new(s, src, "");
	assert_ok(export_with(s, &id,
			      (struct export_request){ .path = "", .dest = "-", .fd = t.fd }));
	assert_int_equal(s->skipped, 0);
	assert_int_equal(lseek(t.fd, 0, SEEK_CUR) % 10240, 0);
	assert_int_equal(lseek(t.fd, 0, SEEK_SET), 0);
	assert_ok(import_stream(s, t.fd, "copy", &id));
	assert_int_equal(s->skipped, 0);
	assert_ok(export_to(s, &id, "copy", out));
	assert_same_trees(src, out);
	assert_int_equal(lseek(t.fd, 0, SEEK_SET), 0);
	assert_ok(import_with(s, (struct import_request){ .src = "-", .fd = t.fd, .path = "copy" },
			      &again, &is_new));
	assert_false(is_new);
	assert_true(oid_equal(&id, &again));
	close(t.fd);
}

static void entries_come_in_any_order(void **state)
{
	struct transferstand *s = *state;
	struct stream t = stream_make();
	struct oid id;

	stream_entry(&t, "z/late", '0', "", "late");
	stream_entry(&t, "/absolute//path/./f", '0', "", "absolute");
	stream_entry(&t, "./a", '0', "", "first");
	stream_entry(&t, "z/link", '1', "a", "");
	stream_entry(&t, "a", '0', "", "second");
	stream_entry(&t, "z/", '5', "", "");
	stream_entry(&t, "z/late", '2', "elsewhere", "");
	stream_entry(&t, "b", '0', "", "");
	stream_end(&t);
	assert_ok(import_stream(s, t.fd, "", &id));
	assert_int_equal(s->skipped, 0);
	assert_reads(s, &id, "a", "second");
	assert_reads(s, &id, "z/link", "first");
	assert_reads(s, &id, "absolute/path/f", "absolute");
	assert_reads(s, &id, "b", "");
	close(t.fd);
}

static void stream_acl(struct stream *t, const char *key, const char *acl)
{
	char record[256];
	/* The length counts itself. */
	int len = (int)(strlen("00 =\n") + strlen(key) + strlen(acl));

	len += len > 99;
	assert_in_range(len, 10, sizeof(record) - 1);
	snprintf(record, sizeof(record), "%d %s=%s\n", len, key, acl);
	stream_entry(t, "PaxHeaders/x", 'x', "", record);
}

static void acls_as_text_arrive_and_the_mode_follows_them(void **state)
{
	struct transferstand *s = *state;
	_cleanup_free_ char *out = place_of(s, "out"), *known = place_of(s, "out/known"),
			    *unknown = place_of(s, "out/unknown"), *dir = place_of(s, "out/dir");
	struct stream t = stream_make();
	struct stat st;
	struct oid id;

	stream_acl(
		&t, "SCHILY.acl.access",
		"user::rw-\nuser:54322:r--\nuser:54321:rwx\ngroup::r--\nmask::rwx\nother::r--\n");
	stream_entry(&t, "known", '0', "", "1");
	stream_acl(&t, "SCHILY.acl.access",
		   "user::rw-\nuser:there-is-nobody-who-is-called-like-that:rwx\ngroup::r--\n"
		   "mask::rwx\nother::---\n");
	stream_entry(&t, "unknown", '0', "", "2");
	stream_acl(&t, "SCHILY.acl.default",
		   "user::rwx\nuser:54321:rwx\ngroup::r-x\nmask::rwx\nother::r-x\n");
	stream_entry(&t, "dir/", '5', "", "");
	stream_end(&t);
	assert_ok(import_stream(s, t.fd, "", &id));
	assert_int_equal(s->skipped, 0);
	assert_ok(export_to(s, &id, "", out));
	assert_ok(stat(known, &st));
	assert_int_equal(st.st_mode & 07777, 0674);
	assert_int_equal(getxattr(known, "system.posix_acl_access", NULL, 0), 4 + 6 * 8);
	assert_ok(stat(unknown, &st));
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(getxattr(unknown, "system.posix_acl_access", NULL, 0), -1);
	assert_int_equal(getxattr(dir, "system.posix_acl_default", NULL, 0), 4 + 5 * 8);
	close(t.fd);
}

static void links_of_a_stream_are_links(void **state)
{
	struct transferstand *s = *state;
	_cleanup_free_ char *out = place_of(s, "out"), *a = place_of(s, "out/a");
	_cleanup_free_ char *c = place_of(s, "out/d/c");
	struct stream t = stream_make();
	struct stat x, y;
	struct oid id;

	stream_entry(&t, "a", '0', "", "shared");
	stream_entry(&t, "b", '1', "a", "");
	stream_entry(&t, "d/c", '1', "./b", "");
	stream_entry(&t, "b", '2', "x", "");
	stream_end(&t);
	assert_ok(import_stream(s, t.fd, "", &id));
	assert_ok(export_to(s, &id, "", out));
	assert_ok(stat(a, &x));
	assert_ok(stat(c, &y));
	assert_int_equal(x.st_ino, y.st_ino);
	assert_int_equal(x.st_nlink, 2);
	close(t.fd);
}

static void what_cannot_be_is_left_out_and_told_of(void **state)
{
	static const int errors[] = {
		-EINVAL, -EINVAL, -ENOENT, -ENOTDIR, -EISDIR, -EEXIST, -EISDIR
	};
	struct transferstand *s = *state;
	struct stream t = stream_make();
	struct oid id = { 0 };

	stream_entry(&t, "good", '0', "", "good");
	stream_entry(&t, "../bad", '0', "", "bad");
	stream_entry(&t, "d/../../bad", '0', "", "bad");
	stream_entry(&t, "link", '1', "nothing", "");
	stream_entry(&t, "good/below", '0', "", "");
	stream_entry(&t, "d", '0', "", "a file");
	stream_entry(&t, "good", '5', "", "");
	stream_entry(&t, "x", '1', "d", "");
	stream_end(&t);
	assert_int_equal(import_stream(s, t.fd, "", &id), -EREMOTEIO);
	assert_int_equal(s->skipped, ARRAY_SIZE(errors));
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
		assert_int_equal(s->skipped_errors[i], errors[i]);
	assert_reads(s, &id, "good", "good");
	close(t.fd);
}

static void directories_that_are_not_told_of_stay_as_they_were(void **state)
{
	struct transferstand *s = *state;
	_cleanup_free_ char *src = place_of(s, "src"), *f = place_of(s, "src/d/e/f");
	_cleanup_free_ char *d = place_of(s, "src/d"), *out = place_of(s, "out");
	_cleanup_free_ char *got = place_of(s, "out/d/e");
	struct stream t = stream_make();
	struct stat x, y;
	struct oid id;

	localtree_write(f, "old", 3);
	assert_ok(chmod(d, 0711));
	import_new(s, src, "");
	stream_entry(&t, "d/e/f", '0', "", "new");
	stream_end(&t);
	assert_ok(import_stream(s, t.fd, "", &id));
	assert_ok(export_to(s, &id, "", out));
	assert_reads(s, &id, "d/e/f", "new");
	free(TAKE_PTR(f));
	f = place_of(s, "src/d/e");
	assert_ok(stat(f, &x));
	assert_ok(stat(got, &y));
	assert_int_equal(x.st_mode, y.st_mode);
	assert_int_equal(x.st_mtim.tv_nsec, y.st_mtim.tv_nsec);
	close(t.fd);
}

/* A stream with a bit of everything. */
static struct buf sample(struct transferstand *s)
{
	_cleanup_free_ char *src = place_of(s, "sample");
	struct stream t = stream_make();
	struct prng r = { 12 };
	struct buf b = { 0 };
	struct oid id;
	size_t len;

	localtree_make(&r, src, 5);
	{
		_cleanup_free_ char *big = place_of(s, "sample/of 3145728 bytes");
		_cleanup_free_ char *big2 = place_of(s, "sample/sub/a big");

		assert_ok(truncate(big, 5000));
		assert_ok(unlink(big2));
		for (unsigned i = 1; i < 6; i++) {
			_cleanup_free_ char *sparse = strf("%s/sparse-%u", src, i);

			assert_ok(truncate(sparse, 100000));
		}
	}
	id = import_new(s, src, "");
	assert_ok(export_with(s, &id,
			      (struct export_request){ .path = "", .dest = "-", .fd = t.fd }));
	len = (size_t)lseek(t.fd, 0, SEEK_END);
	assert_non_null(buf_extend(&b, len));
	assert_ok(pread_all(t.fd, b.data, len, 0));
	close(t.fd);
	return b;
}

static int import_bytes(struct transferstand *s, struct span bytes)
{
	struct stream t = stream_make();
	struct oid id;
	int r;

	assert_ok(write_all(t.fd, bytes.data, bytes.len));
	assert_int_equal(lseek(t.fd, 0, SEEK_SET), 0);
	r = import_stream(s, t.fd, "there", &id);
	close(t.fd);
	return r;
}

static void a_stream_that_was_cut_off_is_refused(void **state)
{
	struct transferstand *s = *state;
	_cleanup_buf_ struct buf b = sample(s);
	struct oid before = tip_of(s), after;
	size_t end = b.len;

	/* What ends it are two blocks of zeroes and what fills the record up. */
	while (end > 0 && b.data[end - 1] == 0)
		end--;
	for (size_t n = 0; n <= end; n += n < 8 * BLOCK || n + 8 * BLOCK > end ? 128 : 17 * BLOCK) {
		complaint_clear();
		if (import_bytes(s, span_of(b.data, n)) != -EBADMSG)
			fail_msg("the first %zu of %zu bytes are taken for a stream", n, b.len);
		assert_true(strlen(complaint()) > 0);
	}
	after = tip_of(s);
	assert_true(oid_equal(&before, &after));
	assert_ok(import_bytes(s, buf_span(&b)));
}

static void damage_is_refused_or_does_no_harm(void **state)
{
	struct transferstand *s = *state;
	_cleanup_buf_ struct buf b = sample(s);
	struct prng r = { 13 };
	uint8_t noise[4096];

	prng_fill(&r, noise, sizeof(noise));
	assert_int_equal(import_bytes(s, span_of(noise, sizeof(noise))), -EBADMSG);
	for (unsigned i = 0; i < MUTATIONS; i++) {
		size_t at = prng_below(&r, b.len);
		uint8_t was = b.data[at];
		int e;

		b.data[at] ^= (uint8_t)(1 << prng_below(&r, 8));
		s->skipped = 0;
		e = import_bytes(s, buf_span(&b));
		assert_true(e == 0 || e == -EBADMSG || e == -EREMOTEIO);
		b.data[at] = was;
	}
}

static void a_stream_that_cannot_be_written_or_read_says_so(void **state)
{
	struct transferstand *s = *state;
	_cleanup_close_ int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	_cleanup_close_ int dir = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct buf b = sample(s);
	struct oid id = tip_of(s), ignored;

	buf_release(&b);
	assert_true(full >= 0 && dir >= 0);
	assert_int_equal(
		export_with(s, &id, (struct export_request){ .path = "", .dest = "-", .fd = full }),
		-ENOSPC);
	assert_int_equal(import_stream(s, dir, "", &ignored), -EISDIR);
}

static void a_stream_is_stopped_at_once(void **state)
{
	struct transferstand *s = *state;
	_cleanup_buf_ struct buf b = sample(s);
	struct oid id = tip_of(s);
	struct stream t = stream_make();

	s->cancelled = true;
	assert_int_equal(import_bytes(s, buf_span(&b)), -ECANCELED);
	s->cancelled = false;
	s->cancelled = true;
	assert_int_equal(
		export_with(s, &id, (struct export_request){ .path = "", .dest = "-", .fd = t.fd }),
		-ECANCELED);
	s->cancelled = false;
	close(t.fd);
}

/* An import of a stream that is still being written. */
struct importing {
	struct transferstand *s;
	int fd;
	struct oid id;
	int result;
};

static void *import_slowly(void *arg)
{
	struct importing *x = arg;
	struct import_request q = {
		.src = "-", .fd = x->fd, .repo = "r", .branch = "main", .path = ""
	};
	struct transfer_options o = { .threads = 1 };
	bool is_new;

	log_set_quiet(true);
	x->result = transfer_import(x->s->store, &q, &o, &x->id, &is_new);
	return NULL;
}

static void an_import_is_merged_with_what_came_meanwhile(void **state)
{
	struct transferstand *s = *state;
	_cleanup_free_ char *src = place_of(s, "src"), *f = place_of(s, "src/f");
	_cleanup_free_ char *text = malloc(1 << 20);
	struct stream t;
	struct oid tip;
	pthread_t thread;
	int ends[2];

	memset(text, 'x', (1 << 20) - 1);
	text[(1 << 20) - 1] = '\0';
	localtree_write(f, "theirs", 6);
	assert_ok(pipe2(ends, O_CLOEXEC));
	{
		struct importing x = { .s = s, .fd = ends[0] };

		assert_ok(pthread_create(&thread, NULL, import_slowly, &x));
		t.fd = ends[1];
		/* More than a pipe takes: when it is through, the branch has been looked at. */
		stream_entry(&t, "mine", '0', "", text);
		import_new(s, src, "");
		assert_ok(write_all(ends[1], (char[1024]){ 0 }, 1024));
		close(ends[1]);
		assert_ok(pthread_join(thread, NULL));
		close(ends[0]);
		assert_ok(x.result);
		tip = tip_of(s);
		assert_reads(s, &tip, "f", "theirs");
		assert_reads(s, &tip, "mine", text);
		assert_reads(s, &x.id, "mine", text);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, transferstand_set_up, transferstand_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_tree_comes_back_by_way_of_a_stream),
		TEST(entries_come_in_any_order),
		TEST(acls_as_text_arrive_and_the_mode_follows_them),
		TEST(links_of_a_stream_are_links),
		TEST(what_cannot_be_is_left_out_and_told_of),
		TEST(directories_that_are_not_told_of_stay_as_they_were),
		TEST(a_stream_that_was_cut_off_is_refused),
		TEST(damage_is_refused_or_does_no_harm),
		TEST(a_stream_that_cannot_be_written_or_read_says_so),
		TEST(a_stream_is_stopped_at_once),
		TEST(an_import_is_merged_with_what_came_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
