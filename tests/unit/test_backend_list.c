/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What every backend promises of listings.
 */
#include "anybackend.h"
#include "prng.h"

enum {
	KEYS_MAX = 400
};

struct keys {
	char *key[KEYS_MAX];
	size_t n;
	size_t stop_after; /* 0: never */
};

static int collect(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	struct keys *k = ctx;

	assert_true(k->n < KEYS_MAX);
	assert_int_equal(size, strlen(key));
	k->key[k->n++] = strdup(key);
	return k->n == k->stop_after ? 7 : 0;
}

static void keys_release(struct keys *k)
{
	for (size_t i = 0; i < k->n; i++)
		free(k->key[i]);
	k->n = 0;
}

static int by_key(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Keys whose order in a directory and in a bucket differ if one does not mind the '/'. */
static void keys_make(struct prng *p, struct keys *k)
{
	static const char *const parts[] = { "a", "a-", "a.b", "a0", "a-b", "b", "A", "_", "-" };
	size_t n = 0;

	for (size_t i = 0; i < KEYS_MAX; i++) {
		char key[64] = "";

		for (size_t d = 1 + prng_below(p, 4); d > 0; d--) {
			strcat(key, parts[prng_below(p, ARRAY_SIZE(parts))]);
			/* a last part of its own: no key is the beginning of another's path */
			strcat(key, d > 1 ? "/" : ".end");
		}
		k->key[k->n++] = strdup(key);
	}
	qsort(k->key, k->n, sizeof(k->key[0]), by_key);
	for (size_t i = 0; i < k->n; i++) {
		if (n > 0 && strcmp(k->key[n - 1], k->key[i]) == 0)
			free(k->key[i]);
		else
			k->key[n++] = k->key[i];
	}
	k->n = n;
}

static void assert_lists(struct backend *b, const struct keys *all, const char *prefix,
			 const char *after)
{
	struct keys seen = { 0 };
	size_t n = 0;

	assert_ok(b->ops->list(b, prefix, after, collect, &seen, NULL));
	for (size_t i = 0; i < all->n; i++) {
		if (strncmp(all->key[i], prefix, strlen(prefix)) != 0 ||
		    (after && strcmp(all->key[i], after) <= 0))
			continue;
		if (n == seen.n)
			fail_msg("'%s' is not listed below '%s' after '%s'", all->key[i], prefix,
				 after ?: "");
		assert_string_equal(all->key[i], seen.key[n]);
		n++;
	}
	assert_int_equal(n, seen.n);
	keys_release(&seen);
}

static void a_listing_is_in_order_and_complete(void **state)
{
	struct backend *b = backend_of(state);
	struct keys all = { 0 };
	struct prng p = { 3 };

	keys_make(&p, &all);
	for (size_t i = all.n; i-- > 0;)
		put(b, all.key[i], all.key[i]);
	assert_lists(b, &all, "", NULL);
	assert_lists(b, &all, "none", NULL);
	assert_lists(b, &all, "none/", NULL);
	assert_lists(b, &all, "a/none/", NULL);
	assert_lists(b, &all, "", "zzz");
	for (int i = 0; i < 500; i++) {
		const char *any = all.key[prng_below(&p, all.n)];
		const char *other = all.key[prng_below(&p, all.n)];
		char prefix[64], after[64];

		snprintf(prefix, sizeof(prefix), "%.*s", (int)prng_below(&p, strlen(any) + 1), any);
		snprintf(after, sizeof(after), "%.*s", (int)prng_below(&p, strlen(other) + 1),
			 other);
		assert_lists(b, &all, prefix, NULL);
		assert_lists(b, &all, prefix, after);
		assert_lists(b, &all, prefix, other);
	}
	keys_release(&all);
}

static void a_listing_ends_when_its_reader_has_enough(void **state)
{
	struct backend *b = backend_of(state);
	struct keys seen = { .stop_after = 2 };

	put(b, "a/1", "a/1");
	put(b, "a/2", "a/2");
	put(b, "a/3", "a/3");
	assert_int_equal(b->ops->list(b, "a/", NULL, collect, &seen, NULL), 7);
	assert_int_equal(seen.n, 2);
	keys_release(&seen);
}

static int delete_it(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	struct backend *b = ctx;

	return b->ops->remove(b, key, NULL);
}

static void a_listing_may_delete_what_it_sees(void **state)
{
	struct backend *b = backend_of(state);
	struct keys seen = { 0 };

	for (int i = 0; i < 50; i++) {
		char key[32];

		snprintf(key, sizeof(key), "a/%d/b", i);
		put(b, key, "x");
	}
	assert_ok(b->ops->list(b, "a/", NULL, delete_it, b, NULL));
	assert_ok(b->ops->list(b, "", NULL, collect, &seen, NULL));
	assert_int_equal(seen.n, 0);
}

static void what_no_key_starts_with_is_not_listed(void **state)
{
	static const char *const bad[] = {
		"/", "a//", "../", "a/../", "a b", "./", "tmp/", "tmp/x"
	};
	struct backend *b = backend_of(state);
	struct keys seen = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(b->ops->list(b, bad[i], NULL, collect, &seen, NULL), -EINVAL);
}

#define TESTS(make)                                                            \
	{                                                                      \
		TEST(a_listing_is_in_order_and_complete, make),                \
			TEST(a_listing_ends_when_its_reader_has_enough, make), \
			TEST(a_listing_may_delete_what_it_sees, make),         \
			TEST(what_no_key_starts_with_is_not_listed, make),     \
	}

int main(void)
{
	return RUN_WITH_EACH_KIND(TESTS);
}
