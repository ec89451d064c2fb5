/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A place of its own on the S3 server that PFS_TEST_S3 names by its URL, by two ways: straight, and
 * through a proxy with faults.
 */
#pragma once

#include "backend/backend.h"
#include "base/random.h"
#include "base/text.h"
#include "check.h"
#include "faultproxy.h"

struct s3_stand {
	struct proxy proxy;
	char prefix[17];
	struct backend *straight;
	struct backend *b; /* through the proxy */
};

static inline struct backend *s3_stand_open(const struct s3_stand *s, const char *endpoint)
{
	const struct backend_options opts = { .create = true };
	_cleanup_free_ char *url = strf("s3://pfs-tests/%s?endpoint=%s", s->prefix, endpoint);
	struct backend *b;

	assert_non_null(url);
	assert_ok(backend_open(url, &opts, &b));
	return b;
}

static inline void s3_stand_begin(struct s3_stand *s)
{
	const char *server = getenv("PFS_TEST_S3");

	snprintf(s->prefix, sizeof(s->prefix), "%016llx", (unsigned long long)random_u64());
	proxy_start(&s->proxy, server);
	s->straight = s3_stand_open(s, server);
	s->b = s3_stand_open(s, s->proxy.url);
}

static inline void s3_stand_end(struct s3_stand *s)
{
	backend_free(s->b);
	backend_free(s->straight);
	proxy_stop(&s->proxy);
}

enum {
	SKIPPED = 77, /* as meson understands it */
};

/* Is there a server? Else that is said. */
static inline bool s3_stand_is_possible(void)
{
	const char *server = getenv("PFS_TEST_S3");

	if (!server || strncmp(server, "http://127.0.0.1:", 17) != 0) {
		printf("skipped: PFS_TEST_S3 names no server at http://127.0.0.1:PORT\n");
		return false;
	}
	unsetenv("http_proxy");
	unsetenv("all_proxy");
	unsetenv("ALL_PROXY");
	return true;
}
