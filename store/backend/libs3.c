/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The transport of backend/libs3.h; the only file that knows libs3.
 *
 *	idle context --request--> running --done--> idle again
 *	                             '--deadline, silence, refusal of ours--> destroyed, request and all
 *
 * What libs3 leaves to be watched
 *  - it has no timeouts but curl's own, which are minutes: each request runs in a context that is
 *    turned step by step, and is destroyed when its time is over
 *  - a reply that is cut is a success to it, and so may no reply be: it counts only if headers of a
 *    success came, and as many bytes as they said
 *  - all its callbacks run in the thread that turns the context, and the last, once, is `completed`
 *  - of a PUT it mostly takes the status for known before the reply comes (libcurl's read callback is
 *    called first), so that an error without XML is a success, and a success may be a lost
 *    connection: a PUT is done when a HEAD finds the object with its size. (Names are used once.)
 *  - its initialisation is not to be run by two threads, and nothing of it is ever undone
 *
 * Threads: all functions from any thread; a context is one thread's at a time.
 */
#include "backend/libs3.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <libs3.h>
#include <sys/select.h>

#include "base/log.h"
#include "base/random.h"
#include "base/text.h"
#include "base/thread.h"
#include "s3/credentials.h"
#include "s3/url.h"

#define LIBRARY "libs3.so.2"

enum {
	STEP_MS = 50, /* how soon a caller that gives up is noticed */
	SILENCE_MS = 15000, /* without a byte of either side the connection is given up */
	PAUSE_FIRST_MS = 50,
	PAUSE_MAX_MS = 5000,
	TRIES_MAX = 10, /* of who has no deadline */
	IDLE_MAX = 16, /* contexts kept, with their connections */
};

/* The library, loaded. */
#define FUNCTIONS(X)                     \
	X(S3_initialize)                 \
	X(S3_get_status_name)            \
	X(S3_status_is_retryable)        \
	X(S3_create_request_context)     \
	X(S3_destroy_request_context)    \
	X(S3_runonce_request_context)    \
	X(S3_get_request_context_fdsets) \
	X(S3_put_object)                 \
	X(S3_get_object)                 \
	X(S3_head_object)                \
	X(S3_delete_object)

static struct {
	pthread_once_t once;
	bool is_loaded;
#define X(name) __typeof__(&name) name;
	FUNCTIONS(X)
#undef X
} lib = { .once = PTHREAD_ONCE_INIT };

struct libs3_backend {
	struct backend b; /* first */
	struct backend *inner; /* owned, as all below */
	struct s3_place place;
	struct s3_credentials *credentials;
	bool is_read_only;
	pthread_mutex_t lock;
	S3RequestContext *idle[IDLE_MAX]; /* guarded by lock */
	unsigned idle_count; /* guarded by lock */
};

struct libs3_put {
	struct backend_put p; /* first */
	char *key; /* owned */
	struct buf data;
};

static struct libs3_backend *libs3_of(struct backend *b)
{
	return container_of(b, struct libs3_backend, b);
}

static struct backend *inner_of(struct backend *b)
{
	return libs3_of(b)->inner;
}

static void load(void)
{
	void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);

	if (!handle)
		return;
#define X(name)                                                \
	lib.name = (__typeof__(lib.name))dlsym(handle, #name); \
	if (!lib.name)                                         \
		return;
	FUNCTIONS(X)
#undef X
	lib.is_loaded = lib.S3_initialize("pfs", S3_INIT_ALL, NULL) == S3StatusOK;
}

/* A request and what has come of it. */
struct call {
	const char *verb; /* for messages */
	const char *full_key; /* prefix and all */
	struct span body; /* what is left of it to be sent */
	uint8_t *into;
	size_t room;
	uint64_t range_first;
	/* Told by the callbacks. */
	size_t received;
	uint64_t length;
	bool has_headers, is_overrun, is_complete;
	S3Status status;
	int64_t alive_ns; /* the last byte, of either side */
};

static S3Status on_headers(const S3ResponseProperties *properties, void *ctx)
{
	struct call *c = ctx;

	c->has_headers = true;
	c->length = properties->contentLength;
	c->alive_ns = now_ns();
	return S3StatusOK;
}

static S3Status on_data(int size, const char *data, void *ctx)
{
	struct call *c = ctx;

	if (size < 0 || (size_t)size > c->room - c->received) {
		c->is_overrun = true;
		return S3StatusAbortedByCallback;
	}
	memcpy(c->into + c->received, data, (size_t)size);
	c->received += (size_t)size;
	c->alive_ns = now_ns();
	return S3StatusOK;
}

static int on_send(int size, char *buffer, void *ctx)
{
	struct call *c = ctx;
	size_t n = MIN(c->body.len, (size_t)size);

	if (n > 0)
		memcpy(buffer, c->body.data, n);
	c->body = span_of(c->body.data + n, c->body.len - n);
	c->alive_ns = now_ns();
	return (int)n;
}

static void on_complete(S3Status status, const S3ErrorDetails *details, void *ctx)
{
	struct call *c = ctx;

	c->status = status;
	c->is_complete = true;
}

typedef void (*start_fn)(const S3BucketContext *bucket, S3RequestContext *context, struct call *c);

static void start_put(const S3BucketContext *bucket, S3RequestContext *context, struct call *c)
{
	const S3PutObjectHandler h = { { on_headers, on_complete }, on_send };

	lib.S3_put_object(bucket, c->full_key, c->body.len, NULL, context, &h, c);
}

static void start_get(const S3BucketContext *bucket, S3RequestContext *context, struct call *c)
{
	const S3GetObjectHandler h = { { on_headers, on_complete }, on_data };

	lib.S3_get_object(bucket, c->full_key, NULL, c->range_first, c->room, context, &h, c);
}

static void start_head(const S3BucketContext *bucket, S3RequestContext *context, struct call *c)
{
	const S3ResponseHandler h = { on_headers, on_complete };

	lib.S3_head_object(bucket, c->full_key, context, &h, c);
}

static void start_delete(const S3BucketContext *bucket, S3RequestContext *context, struct call *c)
{
	const S3ResponseHandler h = { on_headers, on_complete };

	lib.S3_delete_object(bucket, c->full_key, context, &h, c);
}

static S3RequestContext *take_context(struct libs3_backend *l)
{
	S3RequestContext *context = NULL;

	pthread_mutex_lock(&l->lock);
	if (l->idle_count > 0)
		context = l->idle[--l->idle_count];
	pthread_mutex_unlock(&l->lock);
	if (!context && lib.S3_create_request_context(&context) != S3StatusOK)
		return NULL;
	return context;
}

/* One with nothing under way, and a connection or two. */
static void keep_context(struct libs3_backend *l, S3RequestContext *context)
{
	pthread_mutex_lock(&l->lock);
	if (l->idle_count < IDLE_MAX) {
		l->idle[l->idle_count++] = context;
		context = NULL;
	}
	pthread_mutex_unlock(&l->lock);
	if (context)
		lib.S3_destroy_request_context(context);
}

/* Waits for something to do; descriptors that select() cannot take are looked at each step. */
static void wait_a_step(S3RequestContext *context)
{
	struct timeval step = { .tv_usec = STEP_MS * 1000l };
	fd_set in, out, err;
	int max = -1;

	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_ZERO(&err);
	if (lib.S3_get_request_context_fdsets(context, &in, &out, &err, &max) != S3StatusOK)
		max = -1;
	/* Not connected yet: a name is looked up, say. */
	if (max < 0)
		step.tv_usec = 1000;
	select(max + 1, &in, &out, &err, &step);
}

/* Turns the context until the call is complete. 0; else it was given up, and the context is gone. */
static int turn(struct libs3_backend *l, S3RequestContext *context, struct call *c,
		const struct deadline *dl)
{
	int remaining, r = 0;

	while (r == 0 && !c->is_complete) {
		if (lib.S3_runonce_request_context(context, &remaining) != S3StatusOK) {
			r = -EIO;
			break;
		}
		if (c->is_complete)
			break;
		wait_a_step(context);
		r = deadline_check(dl);
		if (r == 0 && now_ns() - c->alive_ns > SILENCE_MS * 1000000ll)
			r = -ECONNRESET;
	}
	if (r == 0)
		keep_context(l, context);
	else
		lib.S3_destroy_request_context(context); /* completes it */
	return r;
}

static bool is_passing(S3Status status)
{
	switch (status) {
	case S3StatusNameLookupError:
	case S3StatusFailedToConnect:
	case S3StatusConnectionFailed:
	case S3StatusInternalError: /* any other word of curl's */
	case S3StatusErrorRequestTimeout:
	case S3StatusErrorSlowDown:
	case S3StatusErrorInternalError:
	case S3StatusErrorOperationAborted:
		return true;
	default:
		return lib.S3_status_is_retryable(status);
	}
}

static int errno_of(S3Status status)
{
	switch (status) {
	case S3StatusOK:
		return 0;
	case S3StatusErrorNoSuchKey:
	case S3StatusHttpErrorNotFound:
		return -ENOENT;
	case S3StatusErrorInvalidRange:
		return -ERANGE;
	case S3StatusErrorAccessDenied:
	case S3StatusErrorInvalidAccessKeyId:
	case S3StatusErrorSignatureDoesNotMatch:
	case S3StatusErrorAccountProblem:
	case S3StatusHttpErrorForbidden:
		return -EACCES;
	case S3StatusOutOfMemory:
		return -ENOMEM;
	default:
		return -EIO;
	}
}

/* Of a call that libs3 thinks well of: 0, or -ECONNRESET if it does not know that it ended early. */
static int check_reply(const struct call *c)
{
	if (!c->has_headers)
		return -ECONNRESET;
	/* A range with nothing in it is another status. */
	return c->into && (c->received == 0 || c->received != c->length) ? -ECONNRESET : 0;
}

/* One try. */
static int attempt(struct libs3_backend *l, const struct s3_keys *keys, start_fn start,
		   struct call *c, const struct deadline *dl)
{
	const char *host = l->place.host + (l->place.is_virtual ? strlen(l->place.bucket) + 1 : 0);
	const S3BucketContext bucket = {
		.hostName = host,
		.bucketName = l->place.bucket,
		.protocol = S3ProtocolHTTP,
		.uriStyle = l->place.is_virtual ? S3UriStyleVirtualHost : S3UriStylePath,
		.accessKeyId = keys->access_key,
		.secretAccessKey = keys->secret_key,
	};
	S3RequestContext *context = take_context(l);
	int r;

	if (!context)
		return -ENOMEM;
	c->alive_ns = now_ns();
	start(&bucket, context, c);
	r = turn(l, context, c, dl);
	if (r < 0)
		return r;
	if (c->is_overrun)
		return -EIO;
	return c->status == S3StatusOK ? check_reply(c)
	       : is_passing(c->status) ? -ECONNRESET
				       : errno_of(c->status);
}

/* Before try @n (from 1): 0, or the deadline's error. */
static int rest(unsigned n, const struct deadline *dl)
{
	unsigned doublings = MIN(n, 10u);
	int64_t most = MIN((int64_t)PAUSE_FIRST_MS << doublings, (int64_t)PAUSE_MAX_MS);
	int64_t end = now_ns() + (int64_t)(random_u64() % (uint64_t)(most + 1)) * 1000000;
	int r = 0;

	while (r == 0 && now_ns() < end) {
		struct timespec step = { .tv_nsec = STEP_MS * 1000000l };

		nanosleep(&step, NULL);
		r = deadline_check(dl);
	}
	return r;
}

static int conclude(struct libs3_backend *l, const struct call *c, int r)
{
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
	return log_fail(r, "%s: %s %s over libs3: %s", l->b.url, c->verb, c->full_key,
			r == -ETIME ? errno_text(r) : lib.S3_get_status_name(c->status));
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

/* A try of a PUT, which ends with a look at what is there. -ECONNRESET: not yet what it should be. */
static int attempt_put(struct libs3_backend *l, const struct s3_keys *keys, struct call *c,
		       const struct deadline *dl)
{
	struct call look = { .verb = "HEAD", .full_key = c->full_key };
	size_t size = c->body.len;
	int r = attempt(l, keys, start_put, c, dl);

	if ((r == 0 && c->has_headers) || (r < 0 && (r != -ECONNRESET || c->body.len > 0)))
		return r;
	r = attempt(l, keys, start_head, &look, dl);
	if (r == 0)
		return look.length == size ? 0 : -ECONNRESET;
	return r == -ENOENT ? -ECONNRESET : r;
}

/* As often as it takes: what goes over libs3 may be repeated. */
static int perform(struct libs3_backend *l, start_fn start, struct call *c,
		   const struct deadline *dl)
{
	const struct call fresh = *c;
	bool is_renewed = false;
	int r = deadline_check(dl);

	for (unsigned n = 1; r == 0; n++) {
		_cleanup_s3_keys_ struct s3_keys keys = { 0 };

		r = get_keys(l, &keys);
		if (r < 0)
			return r;
		*c = fresh;
		r = start == start_put ? attempt_put(l, &keys, c, dl)
				       : attempt(l, &keys, start, c, dl);
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
static int ask(struct backend *b, const char *key, start_fn start, struct call *c,
	       const struct deadline *dl)
{
	struct libs3_backend *l = libs3_of(b);
	_cleanup_free_ char *full = NULL;

	if (!backend_key_is_valid(key))
		return -EINVAL;
	if (l->is_read_only && (start == start_put || start == start_delete))
		return -EROFS;
	full = strf("%s%s", l->place.prefix, key);
	if (!full)
		return -ENOMEM;
	c->full_key = full;
	return perform(l, start, c, dl);
}

static int libs3_head(struct backend *b, const char *key, const struct deadline *dl,
		      uint64_t *ret_size)
{
	struct call c = { .verb = "HEAD" };
	int r = ask(b, key, start_head, &c, dl);

	if (r == 0)
		*ret_size = c.length;
	return r;
}

static int libs3_get(struct backend *b, const char *key, uint64_t off, size_t len, void *buf,
		     const struct deadline *dl, size_t *ret_len)
{
	struct call c = { .verb = "GET", .into = buf, .room = len, .range_first = off };
	uint64_t size;
	int r;

	/* Nothing is wanted, or nothing is there; to libs3 no bytes are all bytes. */
	if (len == 0 || off > INT64_MAX - len)
		r = libs3_head(b, key, dl, &size);
	else
		r = ask(b, key, start_get, &c, dl);
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
	struct call c = { .verb = "PUT", .body = data };

	return ask(b, key, start_put, &c, dl);
}

static int libs3_put_begin(struct backend *b, const char *key, struct backend_put **ret)
{
	struct libs3_put *p;

	if (!backend_key_is_valid(key))
		return -EINVAL;
	if (libs3_of(b)->is_read_only)
		return -EROFS;
	p = new0(struct libs3_put, 1);
	if (!p)
		return -ENOMEM;
	p->p.backend = b;
	p->key = strdup(key);
	if (!p->key) {
		free(p);
		return -ENOMEM;
	}
	*ret = &p->p;
	return 0;
}

static int libs3_put_write(struct backend_put *put, struct span data, const struct deadline *dl)
{
	struct libs3_put *p = container_of(put, struct libs3_put, p);
	int r = deadline_check(dl);

	if (r < 0)
		return r;
	buf_put(&p->data, data.data, data.len);
	return buf_failed(&p->data) ? -ENOMEM : 0;
}

static void libs3_put_abort(struct backend_put *put)
{
	struct libs3_put *p = container_of(put, struct libs3_put, p);

	buf_release(&p->data);
	free(p->key);
	free(p);
}

static int libs3_put_end(struct backend_put *put, const struct deadline *dl)
{
	struct libs3_put *p = container_of(put, struct libs3_put, p);
	int r = libs3_put(put->backend, p->key, buf_span(&p->data), dl);

	libs3_put_abort(put);
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
	struct call c = { .verb = "DELETE" };
	int r = ask(b, key, start_delete, &c, dl);

	return r == -ENOENT ? 0 : r;
}

static uint64_t libs3_space(struct backend *b)
{
	return inner_of(b)->ops->space(inner_of(b));
}

static void libs3_free(struct backend *b)
{
	struct libs3_backend *l = libs3_of(b);

	for (unsigned i = 0; i < l->idle_count; i++)
		lib.S3_destroy_request_context(l->idle[i]);
	backend_free(l->inner);
	s3_credentials_free(l->credentials);
	s3_place_release(&l->place);
	pthread_mutex_destroy(&l->lock);
	free(l->b.url);
	free(l);
}

static const struct backend_ops libs3_ops = {
	.get = libs3_get,
	.get_all = libs3_get_all,
	.head = libs3_head,
	.put = libs3_put,
	.put_begin = libs3_put_begin,
	.put_write = libs3_put_write,
	.put_end = libs3_put_end,
	.put_abort = libs3_put_abort,
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

	pthread_once(&lib.once, load);
	if (!lib.is_loaded)
		return log_fail(-EOPNOTSUPP,
				"%s: " LIBRARY " is not to be had: install libs3-2, or leave out "
				"transport=libs3",
				inner->url);
	l = new0(struct libs3_backend, 1);
	if (!l)
		return -ENOMEM;
	pthread_mutex_init(&l->lock, NULL);
	l->b = (struct backend){ .ops = &libs3_ops, .url = strdup(inner->url) };
	l->is_read_only = opts->read_only;
	r = l->b.url ? s3_place_parse(url, &l->place) : -ENOMEM;
	if (r == 0)
		r = s3_credentials_new(l->place.credentials_file, l->place.profile,
				       &l->credentials);
	if (r == 0)
		r = get_keys(l, &keys);
	if (r < 0) {
		libs3_free(&l->b);
		return r;
	}
	l->inner = inner;
	*ret = &l->b;
	return 0;
}
