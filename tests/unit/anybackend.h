/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Backends of each kind, for tests of what all of them promise: a directory, memory, layers over
 * another backend that pass everything through, and buckets on the servers that PFS_TEST_S3 and
 * PFS_TEST_GATEWAY name by their URLs (none: those kinds are left out).
 */
#pragma once

#include "backend/backend.h"
#include "backend/fault.h"
#include "backend/guard.h"
#include "base/log.h"
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

/* A single writer's. */
static inline _unused_ int make_guard(void **state)
{
	const struct guard_options opts = { .single_writer = true };
	struct stand *s;

	make_file(state);
	s = *state;
	assert_ok(guard_backend_new(s->backend, &opts, &s->backend));
	return 0;
}

static inline _unused_ int make_bucket(void **state, const char *endpoint, const char *more)
{
	const struct backend_options opts = { .create = true };
	struct stand *s = new0(struct stand, 1);
	char *url = strf("s3://pfs-tests/%016llx?endpoint=%s%s", (unsigned long long)random_u64(),
			 endpoint, more);

	assert_non_null(url);
	assert_ok(backend_open(url, &opts, &s->backend));
	free(url);
	*state = s;
	return 0;
}

static inline _unused_ int make_s3(void **state)
{
	return make_bucket(state, getenv("PFS_TEST_S3"), "");
}

static inline _unused_ int make_libs3(void **state)
{
	return make_bucket(state, getenv("PFS_TEST_S3"), "&transport=libs3");
}

static inline _unused_ int make_gateway(void **state)
{
	return make_bucket(state, getenv("PFS_TEST_GATEWAY"), "");
}

/* Was it built with libs3? It is known before a server is asked. */
static inline _unused_ bool has_libs3(void)
{
	const struct backend_options opts = { 0 };
	bool was_quiet = log_set_quiet(true), is_without;
	struct backend *b;

	is_without =
		backend_open("s3://bucket?transport=libs3&endpoint=http://127.0.0.1:1&profile=none",
			     &opts, &b) == -EOPNOTSUPP;
	log_set_quiet(was_quiet);
	return !is_without;
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
#define RUN_WITH(name, TESTS, make)                                    \
	({                                                             \
		const struct CMUnitTest _tests[] = TESTS(make);        \
                                                                       \
		cmocka_run_group_tests_name(name, _tests, NULL, NULL); \
	})
#define RUN_WITH_IF(is_there, name, TESTS, make) ((is_there) ? RUN_WITH(name, TESTS, make) : 0)
#define RUN_WITH_EACH_KIND(TESTS)                                                        \
	(RUN_WITH("file", TESTS, make_file) + RUN_WITH("memory", TESTS, make_memory) +   \
	 RUN_WITH("layer", TESTS, make_layer) + RUN_WITH("guard", TESTS, make_guard) +   \
	 RUN_WITH_IF(getenv("PFS_TEST_S3"), "s3", TESTS, make_s3) +                      \
	 RUN_WITH_IF(getenv("PFS_TEST_S3") && has_libs3(), "libs3", TESTS, make_libs3) + \
	 RUN_WITH_IF(getenv("PFS_TEST_GATEWAY"), "gateway", TESTS, make_gateway))
