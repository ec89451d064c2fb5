/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Refs and commits as last seen, and the places of cached objects.
 */
#include "index_world.h"

struct listing {
	char text[400];
};

static int list_key(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	struct listing *l = ctx;
	size_t n = strlen(l->text);

	snprintf(l->text + n, sizeof(l->text) - n, "%s:%d ", key, (int)size);
	return strcmp(key, "heads/b/stop") == 0 ? 7 : 0;
}

static void objects_are_kept_with_their_tags(void **state)
{
	struct world *w = *state;
	struct etag tag = { "a-tag" }, got;
	_cleanup_buf_ struct buf b = { 0 };
	struct listing l = { "" };

	assert_int_equal(index_object_get(w->index, "repos/x", &b, &got), -ENOENT);
	index_object_put(w->index, "repos/x", span_str("one"), &tag);
	index_object_put(w->index, "heads/a/main", span_str("two2"), &tag);
	index_object_put(w->index, "heads/a/old", span_str(""), &tag);
	index_object_put(w->index, "heads/b/main", span_str("three"), &tag);
	index_object_put(w->index, "heads/b/stop", span_str("4"), &tag);
	index_object_put(w->index, "heads/b/unseen", span_str("5"), &tag);
	reopen(w);
	assert_ok(index_object_get(w->index, "repos/x", &b, &got));
	assert_true(span_equal(buf_span(&b), span_str("one")));
	assert_string_equal(got.s, "a-tag");
	index_object_forget(w->index, "repos/x");
	assert_int_equal(index_object_get(w->index, "repos/x", &b, &got), -ENOENT);

	assert_ok(index_object_list(w->index, "heads/a/", list_key, &l));
	assert_string_equal(l.text, "heads/a/main:4 heads/a/old:0 ");
	l.text[0] = '\0';
	assert_int_equal(index_object_list(w->index, "heads/b/", list_key, &l), 7);
	assert_string_equal(l.text, "heads/b/main:5 heads/b/stop:1 ");
}

static int count_key(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	++*(int *)ctx;
	return 0;
}

static void a_long_listing_gives_each_key_once(void **state)
{
	struct world *w = *state;
	struct etag tag = { "t" };
	int n = 0;

	for (int i = 0; i < 1000; i++) {
		char key[40];

		snprintf(key, sizeof(key), "names/x/n%d", i);
		index_object_put(w->index, key, span_str("v"), &tag);
	}
	assert_ok(index_object_list(w->index, "names/x/", count_key, &n));
	assert_int_equal(n, 1000);
	n = 0;
	assert_ok(index_object_list(w->index, "", count_key, &n));
	assert_int_equal(n, 1000);
}

static int count_cached(const struct index_cached *e, void *ctx)
{
	uint64_t *sum = ctx;

	*sum += e->place.offset;
	return 0;
}

static void places_of_cached_objects_are_kept_until_dropped(void **state)
{
	enum {
		N = 3000
	};
	struct world *w = *state;
	struct index_cached *e = calloc(N, sizeof(*e)), moved;
	struct index_place p;
	uint64_t sum = 0;

	for (uint32_t i = 0; i < N; i++)
		e[i] = (struct index_cached){
			.kind = i % 2 ? OID_CHUNK : OID_NODE,
			.id = sample_oid(&w->random),
			.place = { .file = i, .offset = i, .len = 5, .checksum = ~0ull - i },
		};
	assert_ok(index_cached_put(w->index, e, N));
	assert_ok(index_cached_get(w->index, OID_CHUNK, &e[1].id, &p));
	assert_memory_equal(&p.checksum, &e[1].place.checksum, 8);
	assert_int_equal(p.file, 1);
	assert_int_equal(index_cached_get(w->index, OID_NODE, &e[1].id, &p), -ENOENT);
	assert_ok(index_cached_walk(w->index, count_cached, &sum));
	assert_int_equal(sum, N * (N - 1) / 2);

	moved = e[1];
	moved.place.file = 77777;
	assert_ok(index_cached_add(w->index, &moved, 1));
	assert_ok(index_cached_get(w->index, OID_CHUNK, &e[1].id, &p));
	assert_int_equal(p.file, 1);

	/* One that lies elsewhere by now stays. */
	moved = e[2];
	moved.place.file = 99999;
	assert_ok(index_cached_put(w->index, &moved, 1));
	assert_ok(index_cached_drop(w->index, e, N));
	assert_int_equal(index_cached_get(w->index, OID_CHUNK, &e[1].id, &p), -ENOENT);
	assert_ok(index_cached_get(w->index, OID_NODE, &e[2].id, &p));
	assert_int_equal(p.file, 99999);
	free(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(objects_are_kept_with_their_tags),
		TEST(a_long_listing_gives_each_key_once),
		TEST(places_of_cached_objects_are_kept_until_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
