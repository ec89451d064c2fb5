/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Backends of each kind, for tests of what all of them promise: a directory, memory, a layer over
 * another backend that passes everything through, and a bucket on the server that PFS_TEST_S3 names
 * by its URL (none: that kind is left out).
 */
#pragma once

#include "backend/backend.h"
#include "backend/fault.h"
#include "base/random.h"
#include "base/text.h"
#include "check.h"
#include "scratch.h"

struct stand {
	struct backend *backend;
	struct scratch dir; /* its path empty: none */
};

static inline _unused_ int make_file(void **state)
{
	const struct backend_options opts = { .create = true };
	struct stand *s = new0(struct stand, 1);

	s->dir = scratch_make();
	assert_ok(backend_open(s->dir.path, &opts, &s->backend));
	*state = s;
	return 0;
}

static inline _unused_ int make_memory(void **state)
{
	const struct backend_options opts = { 0 };
	struct stand *s = new0(struct stand, 1);

	assert_ok(backend_open("mem:", &opts, &s->backend));
	*state = s;
	return 0;
}

static inline _unused_ int make_layer(void **state)
{
	struct stand *s;

	make_file(state);
	s = *state;
	assert_ok(fault_backend_new(s->backend, &s->backend));
	return 0;
}

static inline _unused_ int make_s3(void **state)
{
	const struct backend_options opts = { .create = true };
	struct stand *s = new0(struct stand, 1);
	char *url = strf("s3://pfs-tests/%016llx?endpoint=%s", (unsigned long long)random_u64(),
			 getenv("PFS_TEST_S3"));

	assert_non_null(url);
	assert_ok(backend_open(url, &opts, &s->backend));
	free(url);
	*state = s;
	return 0;
}

static inline _unused_ int drop(void **state)
{
	struct stand *s = *state;

	backend_free(s->backend);
	if (s->dir.path[0])
		scratch_remove(&s->dir);
	free(s);
	return 0;
}

static inline _unused_ struct backend *backend_of(void **state)
{
	return ((struct stand *)*state)->backend;
}

static inline _unused_ void put(struct backend *b, const char *key, const char *text)
{
	assert_ok(b->ops->put(b, key, span_str(text), NULL));
}

#define TEST(name, make)                      \
	{                                     \
#name, name, make, drop, NULL \
	}

/* Runs the tests that @TESTS(make) is an initializer of with each kind; how many failed. */
#define RUN_WITH_EACH_KIND(TESTS)                                                      \
	({                                                                             \
		const struct CMUnitTest _file[] = TESTS(make_file);                    \
		const struct CMUnitTest _memory[] = TESTS(make_memory);                \
		const struct CMUnitTest _layer[] = TESTS(make_layer);                  \
		const struct CMUnitTest _s3[] = TESTS(make_s3);                        \
		int _failed = cmocka_run_group_tests_name("file", _file, NULL, NULL);  \
                                                                                       \
		_failed += cmocka_run_group_tests_name("memory", _memory, NULL, NULL); \
		_failed += cmocka_run_group_tests_name("layer", _layer, NULL, NULL);   \
		if (getenv("PFS_TEST_S3"))                                             \
			_failed += cmocka_run_group_tests_name("s3", _s3, NULL, NULL); \
		_failed;                                                               \
	})
