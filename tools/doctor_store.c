/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A store: that it is one, what may be done there, and how fast. Writing is tried on an object of
 * its own below "probe/", which is removed again.
 */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "backend/backend.h"
#include "base/log.h"
#include "base/random.h"
#include "base/text.h"
#include "doctor.h"
#include "format/key.h"
#include "format/storeformat.h"
#include "object/store.h"

enum {
	CALL_MS = 30000,
	PINGS = 9,
	PING_WARN_MS = 100,
	BULK = 4 << 20,
};

#define SPACE_WARN (1 * GiB)

/* The object that writing is tried on. */
struct probe {
	struct backend *backend; /* borrowed */
	char key[80];
	struct deadline deadline; /* of one call */
};

static const struct deadline *call(struct probe *p)
{
	p->deadline = deadline_in_ms(CALL_MS);
	return &p->deadline;
}

static bool check_format(struct doctor *d, struct probe *p)
{
	struct backend *b = p->backend;
	_cleanup_buf_ struct buf object = { 0 };
	struct format_rec f;
	struct etag tag;
	char id[ID128_HEX];
	int r = b->ops->get_all(b, FORMAT_KEY, FORMAT_OBJECT_MAX, NULL, call(p), &object, &tag);

	if (r == -ENOENT) {
		finding(d, VERDICT_FAIL, "store", "%s is not a store yet; `pfs init` makes one",
			b->url);
		return false;
	}
	if (r == -EACCES) {
		finding_of_error(
			d, VERDICT_FAIL, "store", r,
			"the keys may be wrong, or lack the right to read (s3:GetObject) here");
		return false;
	}
	if (r == 0)
		r = format_read(buf_span(&object), &f);
	if (r < 0) {
		finding(d, VERDICT_FAIL, "store", "%s: its `format` cannot be read: %s", b->url,
			r == -ENOTSUP ? "it is of a newer version of pfs" : errno_text(r));
		return false;
	}
	finding(d, VERDICT_OK, "store", "%s is the store %s, of version %d, features %#" PRIx64,
		b->url, id128_hex(&f.store_id, id), FORMAT_VERSION,
		f.compat | f.ro_compat | f.incompat);
	return true;
}

static int see_key(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	bool *seen = ctx;

	*seen = true;
	return 1;
}

static void check_list(struct doctor *d, struct probe *p, const char *prefix)
{
	bool seen = false;
	int r = p->backend->ops->list(p->backend, prefix, NULL, see_key, &seen, call(p));

	if (r < 0)
		finding_of_error(d, VERDICT_FAIL, "rights", r,
				 "listing needs s3:ListBucket on the bucket");
	else if (!seen)
		finding(d, VERDICT_FAIL, "rights", "%s: a listing lacks what is there",
			p->backend->url);
	else
		finding(d, VERDICT_OK, "rights", "listing works");
}

/*
 * Must hold: not over what is there, not over what it was before, but over what it is. Returns what
 * the server did wrong, NULL: nothing; and an error that kept it from being seen.
 */
static const char *wrong_with_conditions(struct probe *p, int *ret_error)
{
	const struct backend_ops *ops = p->backend->ops;
	struct etag first, second, third;
	struct buf now = { 0 };
	int r = ops->get_all(p->backend, p->key, BULK, NULL, call(p), &now, &first);

	*ret_error = 0;
	buf_release(&now);
	if (r == 0) {
		r = ops->swap(p->backend, p->key, NULL, span_str("new"), call(p), &second);
		if (r != -ESTALE)
			return r == 0 ? "it wrote over an object that must not have been there"
				      : (*ret_error = r, NULL);
		r = ops->swap(p->backend, p->key, &first, span_str("second"), call(p), &second);
	}
	if (r == -ESTALE)
		return "it refused to write over what had not changed";
	if (r == 0) {
		r = ops->swap(p->backend, p->key, &first, span_str("third"), call(p), &third);
		if (r == 0)
			return "it wrote over an object that had changed meanwhile";
		r = r == -ESTALE ? 0 : r;
	}
	*ret_error = r;
	return NULL;
}

static void check_conditions(struct doctor *d, struct probe *p)
{
	int r;
	const char *wrong = wrong_with_conditions(p, &r);

	if (wrong)
		finding(d, VERDICT_FAIL, "conditions",
			"the server does not keep conditions: %s. Only one machine may write here "
			"(single_writer), or commits get lost; MinIO keeps them from 2025-09-07 on",
			wrong);
	else if (r < 0)
		finding_of_error(d, VERDICT_FAIL, "conditions", r, NULL);
	else
		finding(d, VERDICT_OK, "conditions",
			"of two who change the same thing one gets through");
}

static int cmp_time(const void *a, const void *b)
{
	const int64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void check_latency(struct doctor *d, struct probe *p)
{
	int64_t took[PINGS];
	uint8_t byte[16];
	double ms;

	for (unsigned i = 0; i < PINGS; i++) {
		int64_t began = now_ns();
		size_t n;
		int r = p->backend->ops->get(p->backend, FORMAT_KEY, 0, sizeof(byte), byte, call(p),
					     &n);

		if (r < 0) {
			finding_of_error(d, VERDICT_FAIL, "latency", r, NULL);
			return;
		}
		took[i] = now_ns() - began;
	}
	qsort(took, PINGS, sizeof(took[0]), cmp_time);
	ms = (double)took[PINGS / 2] / 1e6;
	finding(d, ms > PING_WARN_MS ? VERDICT_WARN : VERDICT_OK, "latency",
		"%.2f ms for a small read (median of %d)%s", ms, PINGS,
		ms > PING_WARN_MS ? "; each first look at something will take as long" : "");
}

/* Writing: the object is there then. */
static bool check_write(struct doctor *d, struct probe *p, uint8_t *bulk)
{
	int64_t began = now_ns();
	char rate[24];
	int r = p->backend->ops->put(p->backend, p->key, span_of(bulk, BULK), call(p));

	if (r < 0) {
		finding_of_error(
			d, VERDICT_FAIL, "rights", r,
			r == -EACCES || r == -EROFS
				? "without the right to write (s3:PutObject) it can only be "
				  "mounted with -o ro"
				: NULL);
		return false;
	}
	finding(d, VERDICT_OK, "rights", "writing works, at %s/s",
		format_size((uint64_t)(BULK / ((double)(now_ns() - began + 1) / 1e9)), rate,
			    sizeof(rate)));
	return true;
}

static void check_read(struct doctor *d, struct probe *p, const uint8_t *bulk)
{
	_cleanup_free_ uint8_t *back = malloc(BULK);
	int64_t began = now_ns();
	char rate[24];
	size_t n = 0;
	int r = back ? p->backend->ops->get(p->backend, p->key, 0, BULK, back, call(p), &n)
		     : -ENOMEM;

	if (r < 0)
		finding_of_error(d, VERDICT_FAIL, "rights", r, "reading needs s3:GetObject");
	else if (n != BULK || memcmp(back, bulk, BULK) != 0)
		finding(d, VERDICT_FAIL, "rights", "%s does not give back what was written to it",
			p->backend->url);
	else
		finding(d, VERDICT_OK, "rights", "reading works, at %s/s",
			format_size((uint64_t)(BULK / ((double)(now_ns() - began + 1) / 1e9)), rate,
				    sizeof(rate)));
}

static void remove_probe(struct doctor *d, struct probe *p)
{
	struct backend *b = p->backend;
	_cleanup_free_ char *dir = NULL;
	int r = b->ops->remove(b, p->key, call(p));

	if (r < 0)
		finding_of_error(d, VERDICT_WARN, "rights", r,
				 "without the right to remove (s3:DeleteObject) leftovers stay");
	else
		finding(d, VERDICT_OK, "rights", "removing works");
	if (strncmp(b->url, "file://", strlen("file://")) == 0) {
		dir = strf("%s/probe", b->url + strlen("file://"));
		if (dir)
			rmdir(dir);
	}
}

static void check_writing(struct doctor *d, struct probe *p)
{
	_cleanup_free_ uint8_t *bulk = malloc(BULK);
	char hex[ID128_HEX];
	struct id128 name = id128_random();

	if (!bulk)
		return;
	random_bytes(bulk, BULK);
	snprintf(p->key, sizeof(p->key), "probe/doctor-%s", id128_hex(&name, hex));
	if (!check_write(d, p, bulk))
		return;
	check_read(d, p, bulk);
	check_list(d, p, "probe/doctor-");
	check_conditions(d, p);
	remove_probe(d, p);
}

static void check_space(struct doctor *d, struct backend *b)
{
	uint64_t space = b->ops->space(b);
	char text[24];

	if (space == UINT64_MAX)
		return;
	finding(d, space < SPACE_WARN ? VERDICT_WARN : VERDICT_OK, "space", "%s has %s left",
		b->url, format_size(space, text, sizeof(text)));
}

/* What a mount would do first; versions and features are judged there. */
static void check_opening(struct doctor *d, const char *url, bool read_only)
{
	_cleanup_(store_freep) struct store *s = NULL;
	struct store_options o = { .read_only = read_only };
	int r = store_open(url, &o, &s);

	if (r < 0)
		finding_of_error(d, VERDICT_FAIL, "store", r, NULL);
}

void doctor_store(struct doctor *d, const char *url, bool read_only)
{
	_cleanup_(backend_freep) struct backend *b = NULL;
	struct backend_options o = { .read_only = read_only };
	struct probe p = { 0 };
	_cleanup_free_ char *why = NULL;
	int r = backend_open(url, &o, &b);

	if (r == -EACCES || r == -EROFS) {
		/* Perhaps it may be read. */
		why = strdup(complaint());
		o.read_only = read_only = true;
		if (backend_open(url, &o, &b) == 0)
			r = 0;
	}
	if (r < 0) {
		finding_of_error(d, VERDICT_FAIL, "store", r,
				 r == -EACCES
					 ? "the keys are wrong, or may not even look whether it is "
					   "there (s3:ListBucket)"
					 : NULL);
		return;
	}
	if (why)
		finding(d, VERDICT_WARN, "store", "%s; it can only be mounted with -o ro", why);
	p.backend = b;
	if (!check_format(d, &p))
		return;
	check_opening(d, url, read_only);
	check_latency(d, &p);
	if (read_only)
		check_list(d, &p, FORMAT_KEY);
	else
		check_writing(d, &p);
	check_space(d, b);
}
