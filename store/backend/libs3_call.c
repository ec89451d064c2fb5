/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The requests of backend/libs3_call.h; the only file that knows libs3.
 *
 *	idle context --request--> running --done--> idle again
 *	                             '--deadline, silence--> destroyed, request and all
 *
 * What libs3 leaves to be watched
 *  - it has no timeouts but curl's own, which are minutes: each request runs in a context that is
 *    turned step by step, and is destroyed when its time is over
 *  - a reply that is cut is a success to it, and so may no reply be: it counts only if headers of a
 *    success came, and as many bytes as they said
 *  - of a PUT it mostly takes the status for known before the reply comes (libcurl's read callback
 *    is called first), so that an error without XML is a success, and a success a lost connection:
 *    whoever PUTs must look at what is there
 *  - all its callbacks run in the thread that turns the context, and the last, once, is
 *    on_complete()
 *  - its initialisation is not to be run by two threads, and nothing of it is ever undone
 *
 * Threads: all functions from any thread; a context is one thread's at a time.
 */
#include "backend/libs3_call.h"

#include <dlfcn.h>
#include <libs3.h>
#include <sys/select.h>

#include "base/thread.h"

#define LIBRARY "libs3.so.2"

enum {
	STEP_MS = 50, /* how soon a caller that gives up is noticed */
	SILENCE_MS = 15000, /* without a byte of either side the connection is given up */
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

struct libs3_contexts {
	pthread_mutex_t lock;
	S3RequestContext *idle[IDLE_MAX]; /* guarded by lock, as all below; owned */
	unsigned idle_count;
};

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

bool libs3_is_there(void)
{
	pthread_once(&lib.once, load);
	return lib.is_loaded;
}

int libs3_contexts_new(struct libs3_contexts **ret)
{
	struct libs3_contexts *x = new0(struct libs3_contexts, 1);

	if (!x)
		return -ENOMEM;
	pthread_mutex_init(&x->lock, NULL);
	*ret = x;
	return 0;
}

void libs3_contexts_free(struct libs3_contexts *x)
{
	if (!x)
		return;
	for (unsigned i = 0; i < x->idle_count; i++)
		lib.S3_destroy_request_context(x->idle[i]);
	pthread_mutex_destroy(&x->lock);
	free(x);
}

static S3Status on_headers(const S3ResponseProperties *properties, void *ctx)
{
	struct libs3_call *c = ctx;

	c->has_headers = true;
	c->length = properties->contentLength;
	c->alive_ns = now_ns();
	return S3StatusOK;
}

static S3Status on_data(int size, const char *data, void *ctx)
{
	struct libs3_call *c = ctx;

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
	struct libs3_call *c = ctx;
	size_t n = MIN(c->body.len, (size_t)size);

	if (n > 0)
		memcpy(buffer, c->body.data, n);
	c->body = span_of(c->body.data + n, c->body.len - n);
	c->alive_ns = now_ns();
	return (int)n;
}

static void on_complete(S3Status status, const S3ErrorDetails *details, void *ctx)
{
	struct libs3_call *c = ctx;

	c->status = status;
	c->is_complete = true;
}

static void start(const S3BucketContext *bucket, S3RequestContext *context, struct libs3_call *c)
{
	const S3ResponseHandler response = { on_headers, on_complete };
	const S3PutObjectHandler put = { response, on_send };
	const S3GetObjectHandler get = { response, on_data };

	switch (c->verb) {
	case LIBS3_GET:
		lib.S3_get_object(bucket, c->key, NULL, c->range_first, c->room, context, &get, c);
		break;
	case LIBS3_PUT:
		lib.S3_put_object(bucket, c->key, c->body.len, NULL, context, &put, c);
		break;
	case LIBS3_HEAD:
		lib.S3_head_object(bucket, c->key, context, &response, c);
		break;
	case LIBS3_DELETE:
		lib.S3_delete_object(bucket, c->key, context, &response, c);
		break;
	}
}

static S3RequestContext *take_context(struct libs3_contexts *x)
{
	S3RequestContext *context = NULL;

	pthread_mutex_lock(&x->lock);
	if (x->idle_count > 0)
		context = x->idle[--x->idle_count];
	pthread_mutex_unlock(&x->lock);
	if (!context && lib.S3_create_request_context(&context) != S3StatusOK)
		return NULL;
	return context;
}

/* One with nothing under way, and a connection or two. */
static void keep_context(struct libs3_contexts *x, S3RequestContext *context)
{
	pthread_mutex_lock(&x->lock);
	if (x->idle_count < IDLE_MAX) {
		x->idle[x->idle_count++] = context;
		context = NULL;
	}
	pthread_mutex_unlock(&x->lock);
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

/* Turns the context until the call is complete. 0; else it was given up, the context is gone. */
static int turn(struct libs3_contexts *x, S3RequestContext *context, struct libs3_call *c,
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
		keep_context(x, context);
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

/* Of a call that libs3 thinks well of: 0, or -ECONNRESET if it ended early all the same. */
static int check_reply(const struct libs3_call *c)
{
	if (!c->has_headers)
		return -ECONNRESET;
	/* A range with nothing in it is another status. */
	return c->into && (c->received == 0 || c->received != c->length) ? -ECONNRESET : 0;
}

int libs3_try(struct libs3_contexts *x, const struct libs3_target *t, struct libs3_call *c,
	      const struct deadline *dl)
{
	const S3BucketContext bucket = {
		.hostName = t->host,
		.bucketName = t->bucket,
		.protocol = S3ProtocolHTTP,
		.uriStyle = t->is_virtual ? S3UriStyleVirtualHost : S3UriStylePath,
		.accessKeyId = t->access_key,
		.secretAccessKey = t->secret_key,
	};
	S3RequestContext *context = take_context(x);
	int r;

	if (!context)
		return -ENOMEM;
	c->alive_ns = now_ns();
	start(&bucket, context, c);
	r = turn(x, context, c, dl);
	if (r < 0)
		return r;
	if (c->is_overrun)
		return -EIO;
	if (c->status == S3StatusOK)
		return check_reply(c);
	return is_passing((S3Status)c->status) ? -ECONNRESET : errno_of((S3Status)c->status);
}

const char *libs3_status(const struct libs3_call *c)
{
	return lib.S3_get_status_name((S3Status)c->status);
}
