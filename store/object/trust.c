/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The notes and layers of object/trust.h. A note is one line: "probed SECONDS URL".
 */
#include "object/trust.h"

#include <inttypes.h>
#include <stdio.h>

#include "backend/guard.h"
#include "base/fdio.h"
#include "base/text.h"
#include "format/key.h"

enum {
	NOTE_MAX = 8192,
	NOTE_AGE_S = 30 * 24 * 3600, /* then it is asked again */
};

void trust_note(int dirfd, const char *url)
{
	_cleanup_free_ char *line =
		strf("probed %" PRId64 " %s\n", (int64_t)now_wall().tv_sec, url);

	/* Without it, the question is put again. */
	if (line)
		write_file_atomic(dirfd, TRUST_FILE, span_str(line), 0600);
}

bool trust_is_noted(int dirfd, const char *url)
{
	_cleanup_free_ char *end = strf(" %s\n", url);
	_cleanup_buf_ struct buf b = { 0 };
	int64_t when, now = now_wall().tv_sec;
	int n = 0;

	if (!end || read_file(dirfd, TRUST_FILE, NOTE_MAX, &b) < 0)
		return false;
	buf_put_u8(&b, 0);
	return !buf_failed(&b) &&
	       sscanf((const char *)b.data, "probed %" SCNd64 "%n", &when, &n) == 1 &&
	       strcmp((const char *)b.data + n, end) == 0 && when <= now && now - when < NOTE_AGE_S;
}

static void proved(void *ctx)
{
	struct store *s = ctx;

	s->trust = TRUST_PROVED;
	trust_note(s->state_fd, s->backend->url);
}

int trust_guard(struct store *s, bool is_served, bool single_writer, bool noted)
{
	struct guard_options o = {
		.single_writer = single_writer,
		.key = FORMAT_KEY,
		.key_max = FORMAT_OBJECT_MAX,
		.proved = proved,
		.ctx = s,
	};
	struct backend *guard;
	int r;

	if (single_writer && !s->backend->is_local && !s->read_only)
		s->trust = TRUST_SINGLE_WRITER;
	else if (!is_served)
		s->trust = TRUST_LOCAL;
	else if (noted)
		s->trust = TRUST_PROVED;
	else
		s->trust = s->read_only ? TRUST_READ_ONLY : TRUST_UNPROVED;
	if (s->trust != TRUST_SINGLE_WRITER && s->trust != TRUST_UNPROVED)
		return 0;
	r = guard_backend_new(s->backend, &o, &guard);
	if (r == 0)
		s->backend = guard;
	return r;
}

const char *trust_word(const struct store *s)
{
	static const char *const words[] = {
		[TRUST_LOCAL] = "local",
		[TRUST_READ_ONLY] = "read-only",
		[TRUST_UNPROVED] = "unproved",
		[TRUST_PROVED] = "proved",
		[TRUST_SINGLE_WRITER] = "single writer",
	};

	return words[s->trust];
}
