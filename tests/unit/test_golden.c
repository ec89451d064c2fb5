/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Golden files: objects of every kind, as this version writes them and every later one must read
 * them. Together they are a small store: `branch.ref` leads to `second.commit`, that to a directory
 * in `nodes.pack`, and that to the chunks in `chunks.pack`.
 *
 * Everything is compared byte by byte, but for the payloads in `nodes.pack`, which another zstd may
 * write otherwise: those must uncompress to the same. After a change to the format that is meant,
 * `test_golden --write` makes the files anew.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdio.h"
#include "check.h"
#include "format/gcstate.h"
#include "format/node.h"
#include "format/pack.h"
#include "format/repo.h"
#include "format/segment.h"
#include "format/storeformat.h"
#include "prng.h"

enum {
	NOISE = 3000
};

static const struct inode_time some_time = { 1768435200, 123456789 };
static const struct id128 repo_id = { "a repo's id     " };
static const struct id128 chunks_pack = { "pack of chunks  " };
static const struct id128 nodes_pack = { "pack of nodes   " };

static int dir_fd; /* of the golden files */
static bool is_writing;

/* The same in all: what the world below is made of. */
static struct codec *codec;
static uint8_t noise[NOISE];
static struct buf chunks, nodes; /* packs */
static struct pack_entry chunk_entries[3], node_entries[1];
static struct buf node_item;
static struct tree_root root;
static struct buf first_commit, second_commit;
static struct oid first_id, second_id;

static const char hello[] = "hello, world\n";
static const char target[] = "hello.txt";

static struct oid chunk_id(const void *data, size_t len)
{
	return oid_of(OID_CHUNK, data, len);
}

static void pack_end(struct buf *pack, const struct id128 *name, const struct frame_item *items,
		     uint16_t n, struct span raw, struct pack_entry *entries)
{
	pack_header_put(pack, name);
	assert_ok(frame_encode(codec, items, n, raw, pack));
	for (uint16_t i = 0; i < n; i++)
		entries[i] = (struct pack_entry){
			.id = items[i].id,
			.offset = PACK_HEADER_SIZE,
			.frame_len = (uint32_t)pack->len - PACK_HEADER_SIZE,
			.item = i,
			.kind = items[i].kind,
			.len = items[i].len,
		};
	pack_footer_put(pack, entries, n, pack->len, name);
	assert_false(buf_failed(pack));
}

static void chunks_make(void)
{
	_cleanup_buf_ struct buf raw = { 0 };
	const struct frame_item items[] = {
		{ OID_CHUNK, sizeof(hello) - 1, chunk_id(hello, sizeof(hello) - 1) },
		{ OID_CHUNK, sizeof(target) - 1, chunk_id(target, sizeof(target) - 1) },
		{ OID_CHUNK, NOISE, chunk_id(noise, NOISE) },
	};

	buf_put(&raw, hello, sizeof(hello) - 1);
	buf_put(&raw, target, sizeof(target) - 1);
	buf_put(&raw, noise, NOISE);
	pack_end(&chunks, &chunks_pack, items, 3, buf_span(&raw), chunk_entries);
	/* so that no zstd has a say in it */
	assert_int_equal(chunk_entries[0].frame_len, FRAME_HEADER_SIZE(3) + raw.len);
}

static struct inode an_inode(uint8_t type, const void *data, size_t len, uint16_t item)
{
	struct inode ino = {
		.type = type,
		.mode = type == FT_LNK ? 0777 : 0644,
		.uid = 1000,
		.gid = 100,
		.mtime = some_time,
		.ctime = { some_time.sec + 1, 0 },
	};

	if (type == FT_DIR)
		return ino;
	ino.content = (struct content){
		.id = chunk_id(data, len),
		.size = len,
		.data = len,
		.loc = { chunks_pack, PACK_HEADER_SIZE, 0, item, LOC_AT },
	};
	if (len <= INLINE_MAX)
		ino.content.inlined = span_of(data, len);
	return ino;
}

/* One directory: a subdirectory with nothing in it, two files, a symlink. */
static void nodes_make(void)
{
	struct dirent_rec names[] = {
		{ .name = span_str("empty"), .inode = an_inode(FT_DIR, NULL, 0, 0) },
		{ .name = span_str("hello.txt"),
		  .inode = an_inode(FT_REG, hello, sizeof(hello) - 1, 0) },
		{ .name = span_str("link"),
		  .inode = an_inode(FT_LNK, target, sizeof(target) - 1, 1) },
		{ .name = span_str("noise"), .inode = an_inode(FT_REG, noise, NOISE, 2) },
	};
	_cleanup_buf_ struct buf canon = { 0 }, hint = { 0 };
	struct entry_hint hints[ARRAY_SIZE(names)];
	struct frame_item item = { .kind = OID_NODE };

	node_canon_begin(&canon, TREE_DIR, 0);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		dirent_put(&canon, &names[i]);
		hints[i] = inode_hint_get(&names[i].inode);
		root.sum = tree_sum_add(root.sum, inode_sum(&names[i].inode, false));
	}
	node_canon_end(&canon, ARRAY_SIZE(names));
	hint_put(&hint, hints, ARRAY_SIZE(names));
	buf_put_str32(&node_item, buf_span(&canon));
	buf_put(&node_item, hint.data, hint.len);

	item.len = (uint32_t)node_item.len;
	item.id = oid_of(OID_NODE, canon.data, canon.len);
	pack_end(&nodes, &nodes_pack, &item, 1, buf_span(&node_item), node_entries);
	root.id = item.id;
	/* its frame's length is another zstd's to choose: not known */
	root.loc = (struct loc){ nodes_pack, PACK_HEADER_SIZE, 0, 0, LOC_AT };
}

static void commits_make(void)
{
	struct commit_meta meta[] = {
		{ span_str("pfs.branch"), span_str("main") },
		{ span_str("run"), span_str("20260115-143052-7f3a") },
	};
	struct commit first = {
		.repo = repo_id,
		.generation = 1,
		.root = an_inode(FT_DIR, NULL, 0, 0),
		.time = some_time,
		.nonce = { "a nonce        1" },
		.author = span_str("ada"),
		.machine = span_str("engine"),
	};
	struct commit second = {
		.repo = repo_id,
		.generation = 2,
		.parent_count = 1,
		.root = an_inode(FT_DIR, NULL, 0, 0),
		.time = { some_time.sec + 60, 0 },
		.nonce = { "a nonce        2" },
		.author = span_str("ada"),
		.machine = span_str("engine"),
		.message = span_str("Say hello, in UTF-8: \xc3\xa4\n"),
		.meta_count = ARRAY_SIZE(meta),
		.meta = meta,
	};

	first.root.mode = second.root.mode = 0755;
	assert_ok(commit_write(&first, &first_commit, &first_id));
	second.parents[0] = first_id;
	second.root.dir = root;
	assert_ok(commit_write(&second, &second_commit, &second_id));
}

static int world_make(void **state)
{
	struct prng p = { 1 };

	dir_fd = open(PFS_GOLDEN_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(dir_fd >= 0);
	assert_ok(codec_new(1, &codec));
	prng_fill(&p, noise, sizeof(noise));
	chunks_make();
	nodes_make();
	commits_make();
	return 0;
}

static int world_drop(void **state)
{
	close(dir_fd);
	codec_free(codec);
	buf_release(&chunks);
	buf_release(&nodes);
	buf_release(&node_item);
	buf_release(&first_commit);
	buf_release(&second_commit);
	return 0;
}

static void golden_read(const char *name, struct buf *ret)
{
	if (read_file(dir_fd, name, 1 << 20, ret) < 0)
		fail_msg("there is no golden file %s", name);
}

/* Writes the file, or holds it against @object. */
static void assert_golden(const char *name, const struct buf *object)
{
	_cleanup_buf_ struct buf file = { 0 };

	if (is_writing)
		assert_ok(write_file_atomic(dir_fd, name, buf_span(object), 0644));
	golden_read(name, &file);
	assert_int_equal(file.len, object->len);
	assert_memory_equal(file.data, object->data, file.len);
}

static void the_format_is_as_ever(void **state)
{
	const struct format_rec f = {
		.store_id = { "a store's id    " },
		.created = some_time.sec,
		.hash = OID_HASH_NAME,
	};
	_cleanup_buf_ struct buf b = { 0 };

	assert_ok(format_write(&f, &b));
	assert_golden("store.format", &b);
}

static void repos_are_as_ever(void **state)
{
	char autocommit[] = "autocommit", idle[] = "idle=30s", keep[] = "keep", all[] = "all";
	struct repo_setting settings[] = { { autocommit, idle }, { keep, all } };
	struct repo_rec r = {
		.state = REF_LIVE,
		.seq = 1,
		.nonce = { "a nonce        3" },
		.id = repo_id,
		.writer = "ada@engine",
		.time = some_time,
		.default_branch = "main",
		.chunk = CHUNK_PARAMS_DEFAULT,
		.root_mode = 0755,
		.root_uid = 1000,
		.root_gid = 100,
		.created = some_time,
		.setting_count = ARRAY_SIZE(settings),
		.settings = settings,
	};
	_cleanup_buf_ struct buf b = { 0 };

	assert_ok(repo_write(&r, &b));
	assert_golden("live.repo", &b);
	r.state = REF_TOMBSTONE;
	r.seq++;
	assert_ok(repo_write(&r, &b));
	assert_golden("tombstone.repo", &b);
}

static void commits_are_as_ever(void **state)
{
	assert_golden("first.commit", &first_commit);
	assert_golden("second.commit", &second_commit);
}

static void refs_are_as_ever(void **state)
{
	struct ref r = {
		.kind = REF_BRANCH,
		.state = REF_LIVE,
		.nonce = { "a nonce        4" },
		.branch = { "a branch's id   " },
		.writer = "ada@engine",
		.time = some_time,
	};
	_cleanup_buf_ struct buf b = { 0 };

	assert_ok(ref_write(&r, &b));
	assert_golden("unborn.ref", &b);
	r.seq = 1;
	r.target = second_id;
	r.commit = second_commit;
	assert_ok(ref_write(&r, &b));
	assert_golden("branch.ref", &b);
	r.state = REF_TOMBSTONE;
	r.seq++;
	strcpy(r.renamed_to, "other");
	assert_ok(ref_write(&r, &b));
	assert_golden("renamed.ref", &b);
	r = (struct ref){
		.kind = REF_NAME,
		.state = REF_LIVE,
		.nonce = { "a nonce        5" },
		.writer = "ada@engine",
		.time = some_time,
		.target = first_id,
	};
	assert_ok(ref_write(&r, &b));
	assert_golden("name.ref", &b);
}

static void a_pack_of_what_does_not_compress_is_as_ever(void **state)
{
	assert_golden("chunks.pack", &chunks);
}

/* A golden pack of one frame, uncompressed. */
static void a_compressed_pack_reads_as_ever(void **state)
{
	_cleanup_buf_ struct buf pack = { 0 };
	_cleanup_free_ uint8_t *raw = NULL;
	struct pack_trailer t;
	struct pack_entry e;
	struct span bytes;
	struct frame f;
	size_t need;

	if (is_writing)
		assert_golden("nodes.pack", &nodes);
	golden_read("nodes.pack", &pack);
	bytes = span_of(pack.data + PACK_HEADER_SIZE, pack.len - PACK_HEADER_SIZE);
	assert_ok(pack_header_check(buf_span(&pack), &nodes_pack));
	assert_ok(frame_header_read(bytes, &f, &need));
	assert_int_equal(f.codec, CODEC_ZSTD);
	assert_int_equal(f.raw_len, node_item.len);
	raw = malloc(f.raw_len);
	assert_ok(frame_decode(codec, &f, span_of(bytes.data + f.header_len, f.stored_len), raw));
	assert_memory_equal(raw, node_item.data, node_item.len);

	assert_ok(pack_trailer_read(
		span_of(pack.data + pack.len - PACK_TRAILER_SIZE, PACK_TRAILER_SIZE), pack.len,
		&t));
	bytes = span_of(pack.data + t.footer_off, pack.len - t.footer_off);
	assert_ok(pack_footer_check(bytes, &t));
	assert_int_equal(t.count, 1);
	pack_footer_entry(bytes, 0, &e);
	assert_true(oid_equal(&e.id, &root.id));
	assert_int_equal(e.frame_len, frame_len(&f));
}

/* Of the chunks' pack, and of one that only the segment knows. */
static void segments_are_as_ever(void **state)
{
	struct pack_entry made_up[] = {
		{ chunk_entries[0].id, 700, 300, 0, OID_CHUNK, 13 },
		{ first_id, 1000, 200, 1, OID_NODE, 80 },
	};
	const struct id128 other = { "another pack    " };
	_cleanup_buf_ struct buf footer = { 0 }, low = { 0 }, high = { 0 };
	struct segment_footer in[2];
	struct segment s;
	struct segment_id id = { 0, { "a segment       " } };

	in[0] = (struct segment_footer){
		chunks_pack,
		span_of(chunks.data + chunk_entries[0].offset + chunk_entries[0].frame_len,
			3 * PACK_ENTRY_SIZE),
		3,
	};
	pack_footer_put(&footer, made_up, 2, 2000, &other);
	in[1] = (struct segment_footer){ other, buf_span(&footer), 2 };
	assert_ok(segment_of_footers(in, 2, &low));
	assert_golden("low.segment", &low);
	assert_ok(segment_open(buf_span(&low), &s));
	assert_int_equal(s.count, 4);
	assert_ok(segment_of_segments(&s, &id, 1, &high));
	assert_golden("high.segment", &high);
}

static void the_collectors_state_is_as_ever(void **state)
{
	struct id128 condemned[] = { chunks_pack, nodes_pack };
	struct gc_state g = { .epoch = 7 };
	_cleanup_buf_ struct buf b = { 0 };

	assert_ok(gc_state_write(&g, &b));
	assert_golden("idle.gcstate", &b);
	g.epoch++;
	g.phase = GC_SWEEPING;
	g.condemned = condemned;
	g.condemned_count = ARRAY_SIZE(condemned);
	assert_ok(gc_state_write(&g, &b));
	assert_golden("sweeping.gcstate", &b);
}

/* From the branch to the bytes of a file, with nothing but what the files say. */
static void the_golden_files_lead_from_a_branch_to_a_files_bytes(void **state)
{
	_cleanup_buf_ struct buf b = { 0 }, pack = { 0 };
	_cleanup_commit_ struct commit c = { 0 };
	_cleanup_ref_ struct ref r = { 0 };
	_cleanup_(node_unrefp) struct node *n = NULL;
	struct dirent_rec hello_txt;
	uint8_t raw[NOISE + 100];
	struct frame_item it;
	struct span bytes;
	struct frame f;
	uint32_t i, at;
	size_t need;
	bool is_there;

	golden_read("branch.ref", &b);
	assert_ok(ref_read(buf_span(&b), &r));
	assert_ok(commit_read(buf_span(&r.commit), &r.target, &c));

	golden_read("nodes.pack", &pack);
	bytes = span_of(pack.data + c.root.dir.loc.offset, pack.len - c.root.dir.loc.offset);
	assert_ok(frame_header_read(bytes, &f, &need));
	frame_item(&f, c.root.dir.loc.item, &it, &at);
	assert_ok(frame_decode(codec, &f, span_of(bytes.data + f.header_len, f.stored_len), raw));
	assert_ok(node_parse(&c.root.dir.id, span_of(raw + at, it.len), &n));

	i = node_search(n, span_str("hello.txt"), &is_there);
	assert_true(is_there);
	node_dirent(n, i, &hello_txt);
	assert_true(span_equal(hello_txt.inode.content.inlined, span_str(hello)));
	golden_read("chunks.pack", &pack);
	bytes = span_of(pack.data + hello_txt.inode.content.loc.offset,
			pack.len - hello_txt.inode.content.loc.offset);
	assert_ok(frame_header_read(bytes, &f, &need));
	frame_item(&f, hello_txt.inode.content.loc.item, &it, &at);
	assert_ok(frame_decode(codec, &f, span_of(bytes.data + f.header_len, f.stored_len), raw));
	assert_true(span_equal(span_of(raw + at, it.len), span_str(hello)));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_format_is_as_ever),
		cmocka_unit_test(repos_are_as_ever),
		cmocka_unit_test(commits_are_as_ever),
		cmocka_unit_test(refs_are_as_ever),
		cmocka_unit_test(a_pack_of_what_does_not_compress_is_as_ever),
		cmocka_unit_test(a_compressed_pack_reads_as_ever),
		cmocka_unit_test(segments_are_as_ever),
		cmocka_unit_test(the_collectors_state_is_as_ever),
		cmocka_unit_test(the_golden_files_lead_from_a_branch_to_a_files_bytes),
	};

	is_writing = argc == 2 && strcmp(argv[1], "--write") == 0;
	return cmocka_run_group_tests(tests, world_make, world_drop);
}
