/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The layer of backend/libs3.h: what goes over libs3 is tried until it is done, as all of it may be
 * repeated. A PUT is done when a HEAD finds the object there with its size; names are used once.
 *
 * Threads: all functions from any thread; nothing here is changed after it is opened.
 */
#include "backend/libs3.h"

#include "backend/held_put.h"
#include "backend/libs3_call.h"
#include "base/log.h"
#include "base/random.h"
#include "base/text.h"
#include "s3/credentials.h"
#include "s3/url.h"

enum {
	PAUSE_FIRST_MS = 50,
	PAUSE_MAX_MS = 5000,
	PAUSE_STEP_MS = 50, /* how soon a caller that gives up is noticed */
	TRIES_MAX = 10, /* of who has no deadline */
};

struct libs3_backend {
	struct backend b; /* first */
	struct backend *inner; /* owned, as all below */
	struct s3_place place;
	struct s3_credentials *credentials;
	struct libs3_contexts *contexts;
	bool is_read_only;
};

static struct libs3_backend *libs3_of(struct backend *b)
{
	return container_of(b, struct libs3_backend, b);
}

static struct backend *inner_of(struct backend *b)
{
	return libs3_of(b)->inner;
}

static int attempt(struct libs3_backend *l, const struct s3_keys *keys, struct libs3_call *c,
		   const struct deadline *dl)
{
	const char *host = l->place.host + (l->place.is_virtual ? strlen(l->place.bucket) + 1 : 0);
	const struct libs3_target t = {
		.host = host,
		.bucket = l->place.bucket,
		.is_virtual = l->place.is_virtual,
		.access_key = keys->access_key,
		.secret_key = keys->secret_key,
	};

	return libs3_try(l->contexts, &t, c, dl);
}

/* Before try @n (from 1): 0, or the deadline's error. */
static int rest(unsigned n, const struct deadline *dl)
{
	unsigned doublings = MIN(n, 10u);
	int64_t most = MIN((int64_t)PAUSE_FIRST_MS << doublings, (int64_t)PAUSE_MAX_MS);
	int64_t end = now_ns() + (int64_t)(random_u64() % (uint64_t)(most + 1)) * 1000000;
	int r = 0;

	while (r == 0 && now_ns() < end) {
		struct timespec step = { .tv_nsec = PAUSE_STEP_MS * 1000000l };

		nanosleep(&step, NULL);
		r = deadline_check(dl);
	}
	return r;
}

static int conclude(struct libs3_backend *l, const struct libs3_call *c, int r)
{
	static const char *const verbs[] = {
		[LIBS3_GET] = "GET",
		[LIBS3_PUT] = "PUT",
		[LIBS3_HEAD] = "HEAD",
		[LIBS3_DELETE] = "DELETE",
	};

	switch (r) {
	case 0:
	case -ENOENT:
	case -ERANGE:
	case -ECANCELED:
	case -ENOMEM:
		return r;
	default:
		break;
	}
	if (r != -EACCES && r != -ETIME)
		r = -EIO;
	return log_fail(r, "%s: %s %s over libs3: %s", l->b.url, verbs[c->verb], c->key,
			r == -ETIME ? errno_text(r) : libs3_status(c));
}

static int get_keys(struct libs3_backend *l, struct s3_keys *ret)
{
	int r = s3_credentials_get(l->credentials, ret);

	if (r == 0 && ret->session_token)
		return log_fail(-EOPNOTSUPP,
				"%s: libs3 cannot sign with a session token: use keys without one, "
				"or leave out transport=libs3",
				l->b.url);
	return r == -EINVAL ? -EACCES : r;
}

/* A try of a PUT, and a look at what is there. -ECONNRESET: not yet what it should be. */
static int attempt_put(struct libs3_backend *l, const struct s3_keys *keys, struct libs3_call *c,
		       const struct deadline *dl)
{
	struct libs3_call look = { .verb = LIBS3_HEAD, .key = c->key };
	size_t size = c->body.len;
	int r = attempt(l, keys, c, dl);

	if ((r == 0 && c->has_headers) || (r < 0 && (r != -ECONNRESET || c->body.len > 0)))
		return r;
	r = attempt(l, keys, &look, dl);
	if (r == 0)
		return look.length == size ? 0 : -ECONNRESET;
	return r == -ENOENT ? -ECONNRESET : r;
}

/* As often as it takes: what goes over libs3 may be repeated. */
static int perform(struct libs3_backend *l, struct libs3_call *c, const struct deadline *dl)
{
	const struct libs3_call fresh = *c;
	bool is_renewed = false;
	int r = deadline_check(dl);

	for (unsigned n = 1; r == 0; n++) {
		_cleanup_s3_keys_ struct s3_keys keys = { 0 };

		r = get_keys(l, &keys);
		if (r < 0)
			return r;
		*c = fresh;
		r = c->verb == LIBS3_PUT ? attempt_put(l, &keys, c, dl) : attempt(l, &keys, c, dl);
		if (r == -EACCES && !is_renewed) {
			is_renewed = s3_credentials_refused(l->credentials, &keys);
			if (is_renewed) {
				r = 0;
				continue;
			}
		}
		if (r != -ECONNRESET || (!dl && n >= TRIES_MAX))
			return conclude(l, c, r);
		r = rest(n, dl);
	}
	return conclude(l, c, r);
}

/* A call for @key, once it was looked at. */
static int ask(struct backend *b, const char *key, struct libs3_call *c, const struct deadline *dl)
{
	struct libs3_backend *l = libs3_of(b);
	_cleanup_free_ char *full = NULL;

	if (!backend_key_is_valid(key))
		return -EINVAL;
	if (l->is_read_only && (c->verb == LIBS3_PUT || c->verb == LIBS3_DELETE))
		return -EROFS;
	full = strf("%s%s", l->place.prefix, key);
	if (!full)
		return -ENOMEM;
	c->key = full;
	return perform(l, c, dl);
}

static int libs3_head(struct backend *b, const char *key, const struct deadline *dl,
		      uint64_t *ret_size)
{
	struct libs3_call c = { .verb = LIBS3_HEAD };
	int r = ask(b, key, &c, dl);

	if (r == 0)
		*ret_size = c.length;
	return r;
}

static int libs3_get(struct backend *b, const char *key, uint64_t off, size_t len, void *buf,
		     const struct deadline *dl, size_t *ret_len)
{
	struct libs3_call c = { .verb = LIBS3_GET, .into = buf, .room = len, .range_first = off };
	uint64_t size;
	int r;

	/* Nothing is wanted, or nothing is there; to libs3 no bytes are all bytes. */
	if (len == 0 || off > INT64_MAX - len)
		r = libs3_head(b, key, dl, &size);
	else
		r = ask(b, key, &c, dl);
	if (r == -ERANGE)
		r = 0;
	if (r == 0)
		*ret_len = c.received;
	return r;
}

static int libs3_get_all(struct backend *b, const char *key, size_t max, const struct etag *known,
			 const struct deadline *dl, struct buf *ret, struct etag *ret_tag)
{
	return inner_of(b)->ops->get_all(inner_of(b), key, max, known, dl, ret, ret_tag);
}

static int libs3_put(struct backend *b, const char *key, struct span data,
		     const struct deadline *dl)
{
	struct libs3_call c = { .verb = LIBS3_PUT, .body = data };

	return ask(b, key, &c, dl);
}

static int libs3_put_begin(struct backend *b, const char *key, struct backend_put **ret)
{
	return libs3_of(b)->is_read_only ? -EROFS : held_put_begin(b, key, ret);
}

static int libs3_put_end(struct backend_put *put, const struct deadline *dl)
{
	struct held_put *p = container_of(put, struct held_put, p);
	int r = libs3_put(put->backend, p->key, buf_span(&p->data), dl);

	held_put_abort(put);
	return r;
}

static int libs3_swap(struct backend *b, const char *key, const struct etag *tag, struct span data,
		      const struct deadline *dl, struct etag *ret_tag)
{
	return inner_of(b)->ops->swap(inner_of(b), key, tag, data, dl, ret_tag);
}

static int libs3_list(struct backend *b, const char *prefix, const char *after, backend_list_fn fn,
		      void *ctx, const struct deadline *dl)
{
	return inner_of(b)->ops->list(inner_of(b), prefix, after, fn, ctx, dl);
}

static int libs3_remove(struct backend *b, const char *key, const struct deadline *dl)
{
	struct libs3_call c = { .verb = LIBS3_DELETE };
	int r = ask(b, key, &c, dl);

	return r == -ENOENT ? 0 : r;
}

static uint64_t libs3_space(struct backend *b)
{
	return inner_of(b)->ops->space(inner_of(b));
}

static void libs3_free(struct backend *b)
{
	struct libs3_backend *l = libs3_of(b);

	libs3_contexts_free(l->contexts);
	backend_free(l->inner);
	s3_credentials_free(l->credentials);
	s3_place_release(&l->place);
	free(l->b.url);
	free(l);
}

static const struct backend_ops libs3_ops = {
	.get = libs3_get,
	.get_all = libs3_get_all,
	.head = libs3_head,
	.put = libs3_put,
	.put_begin = libs3_put_begin,
	.put_write = held_put_write,
	.put_end = libs3_put_end,
	.put_abort = held_put_abort,
	.swap = libs3_swap,
	.list = libs3_list,
	.remove = libs3_remove,
	.space = libs3_space,
	.free = libs3_free,
};

int libs3_backend_new(const char *url, struct backend *inner, const struct backend_options *opts,
		      struct backend **ret)
{
	_cleanup_s3_keys_ struct s3_keys keys = { 0 };
	struct libs3_backend *l;
	int r;

	if (!libs3_is_there())
		return log_fail(-EOPNOTSUPP,
				"%s: libs3.so.2 is not to be had: install libs3-2, or leave out "
				"transport=libs3",
				inner->url);
	l = new0(struct libs3_backend, 1);
	if (!l)
		return -ENOMEM;
	l->b = (struct backend){ .ops = &libs3_ops, .url = strdup(inner->url) };
	l->is_read_only = opts->read_only;
	r = l->b.url ? s3_place_parse(url, &l->place) : -ENOMEM;
	if (r == 0)
		r = s3_credentials_new(l->place.credentials_file, l->place.profile,
				       &l->credentials);
	if (r == 0)
		r = get_keys(l, &keys);
	if (r == 0)
		r = libs3_contexts_new(&l->contexts);
	if (r < 0) {
		libs3_free(&l->b);
		return r;
	}
	l->inner = inner;
	*ret = &l->b;
	return 0;
}
