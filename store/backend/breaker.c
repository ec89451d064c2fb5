/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The layer of backend/breaker.h.
 *
 *	closed --a call waited in vain, and none was answered meanwhile--> open
 *	   ^------------------------- the probe is answered ----------------'
 *	unconfirmed --the probe is answered, and it is the store--> closed
 *	         '--the same, and it is not--> refused --it is, by a later probe--> closed
 *
 * Refused is not for good: one damaged reply, or somebody else's at the same address for a while,
 * is no reason to unmount.
 *
 * The probe goes out at once: a backend that was only slow with a large object is back in a moment.
 * Any answer will do, "no such object" and "you may not" too.
 *
 * A call that finds it open has a probe sent for itself and waits for what comes of it, so that the
 * first call after an outage is not the last one to fail. Where nothing is there that is a moment.
 * Where a probe hangs, nobody waits for it, or for the next ones, when it has done so for WAIT_MS.
 *
 * Invariants
 *  - a call that fails because it is open has not reached the inner backend
 *  - while it is open there is one thread that probes
 *
 * Threads: the lock is never held across a call to the inner backend.
 */
#include "backend/breaker.h"

#include "base/log.h"
#include "base/thread.h"

enum {
	IN_VAIN_MS = 1000, /* a call that fails sooner was answered, or refused */
	SILENCE_MS = 4000, /* nobody was answered for so long */
	PROBE_MS = 5000, /* deadline of a probe */
	PAUSE_MS = 500, /* between probes */
	REFUSED_MS = 2000, /* the same while something else answers */
	GAP_MS = 20, /* the same when somebody waits for one */
	WAIT_MS = 2000, /* so long at most */
	STEP_MS = 100, /* how soon a caller that gives up is noticed */
};

struct breaker {
	struct backend base; /* first */
	struct backend *inner; /* owned */
	char *probe_key; /* owned */
	atomic_bool is_refused; /* the last that was asked whether it is the store was not */
	atomic_bool is_open;
	atomic_bool is_ending;
	atomic_int_fast64_t answered_ns; /* the last answer */
	pthread_mutex_t lock;
	pthread_cond_t wake; /* of the prober, and of who waits for it */
	/* What must agree before anybody gets through; NULL: nothing. Guarded by lock, as all
	 * below. */
	breaker_confirm_fn confirm;
	void *confirm_ctx;
	pthread_t prober;
	bool has_prober;
	uint64_t begun, ended; /* probes */
	uint64_t wanted; /* up to this one without a pause */
	int64_t begun_ns; /* the last that was begun */
	bool is_silent; /* the last that ended took longer than anybody waits */
};

struct breaker_put {
	struct backend_put base; /* first */
	struct backend_put *inner; /* owned */
};

static struct breaker *breaker_of(struct backend *b)
{
	return container_of(b, struct breaker, base);
}

static bool is_older(int64_t ns, int64_t ms)
{
	return now_ns() - ns >= ms * 1000000;
}

/* Does a probe hang, or did the last one? */
static bool is_hanging(const struct breaker *k)
{
	return k->begun > k->ended ? is_older(k->begun_ns, WAIT_MS) : k->is_silent;
}

/* Waits for a probe that begins from now on, if it is worth it. 0, or the caller's deadline. */
static int await_probe(struct breaker *k, const struct deadline *dl)
{
	struct deadline wait = deadline_in_ms(WAIT_MS);
	uint64_t mine;
	int r = 0;

	WITH_LOCK(&k->lock);

	if (k->is_silent || k->is_refused || is_hanging(k))
		return 0;
	mine = k->begun + 1;
	k->wanted = MAX(k->wanted, mine);
	pthread_cond_broadcast(&k->wake);
	while (r == 0 && k->is_open && !k->is_refused && !k->is_ending && k->ended < mine &&
	       !is_hanging(k) && deadline_check(&wait) == 0) {
		cond_wait_until(&k->wake, &k->lock, dl, STEP_MS);
		r = deadline_check(dl);
	}
	return r;
}

/* 0, or how a call fails that must not be tried. Nothing is logged: it was when it opened. */
static int enter(struct breaker *k, const struct deadline *dl)
{
	bool was_quiet;
	int r;

	if (!k->is_open)
		return 0;
	r = await_probe(k, dl);
	if (r < 0 || !k->is_open)
		return r;
	was_quiet = log_set_quiet(true);
	log_fail(-EIO, "%s %s", k->base.url,
		 k->is_refused ? "is not the store that was mounted" : "does not answer");
	log_set_quiet(was_quiet);
	return -EIO;
}

static bool is_answer(int r)
{
	switch (r) {
	case -EIO:
	case -ETIME:
	case -ECANCELED:
	case -EINPROGRESS:
	case -ENOMEM:
		return false;
	default:
		return true;
	}
}

/* Does the backend answer? */
static bool is_answered(struct breaker *k)
{
	struct deadline dl = deadline_in_ms(PROBE_MS);
	bool was_quiet = log_set_quiet(true);
	uint64_t size;
	int r;

	dl.cancelled = &k->is_ending;
	dl.one_try = true;
	r = k->inner->ops->head(k->inner, k->probe_key, &dl, &size);
	log_set_quiet(was_quiet);
	return is_answer(r);
}

/* It answers: is it what it was taken for? What it is not is said once. */
static bool is_confirmed(struct breaker *k, breaker_confirm_fn confirm)
{
	struct deadline dl = deadline_in_ms(PROBE_MS);
	bool was_quiet;
	int r;

	if (!confirm)
		return true;
	dl.cancelled = &k->is_ending;
	was_quiet = log_set_quiet(k->is_refused);
	r = confirm(k->inner, &dl, k->confirm_ctx);
	log_set_quiet(was_quiet);
	k->is_refused = r < 0 && is_answer(r);
	return r == 0;
}

/* Until it is time for the next probe. */
static void pause_probes(struct breaker *k)
{
	int64_t since = now_ns();

	while (!k->is_ending) {
		int ms = k->is_refused ? REFUSED_MS : k->wanted > k->ended ? GAP_MS : PAUSE_MS;

		if (is_older(since, ms))
			return;
		cond_wait_until(&k->wake, &k->lock, NULL, ms);
	}
}

static void *probe(void *arg)
{
	struct breaker *k = arg;
	bool is_back = false;

	pthread_mutex_lock(&k->lock);
	while (!k->is_ending && !is_back) {
		breaker_confirm_fn confirm = k->confirm;

		k->begun++;
		k->begun_ns = now_ns();
		pthread_mutex_unlock(&k->lock);
		is_back = is_answered(k) && is_confirmed(k, confirm);
		if (is_back)
			log_info("%s answers again", k->base.url);
		pthread_mutex_lock(&k->lock);
		/* Since then it may have come to need one. */
		is_back = is_back && k->confirm == confirm;
		k->ended = k->begun;
		k->is_silent = !is_back && is_older(k->begun_ns, WAIT_MS);
		if (is_back) {
			k->answered_ns = now_ns();
			k->confirm = NULL;
			k->is_open = false;
		}
		pthread_cond_broadcast(&k->wake);
		if (!is_back)
			pause_probes(k);
	}
	pthread_mutex_unlock(&k->lock);
	return NULL;
}

/* With the lock held. */
static int open_now(struct breaker *k)
{
	int r;

	/* The last prober has ended, or is about to. */
	if (k->has_prober)
		pthread_join(k->prober, NULL);
	k->is_open = true;
	r = thread_start(&k->prober, "probe", probe, k);
	k->has_prober = r == 0;
	if (r < 0)
		k->is_open = false;
	return r;
}

static void open_it(struct breaker *k)
{
	WITH_LOCK(&k->lock);

	if (!k->is_open && !k->is_ending && open_now(k) == 0)
		log_warning("%s does not answer; what is cached can be read", k->base.url);
}

/* A call that began then ends with @r. */
static int leave(struct breaker *k, int64_t began, int r)
{
	int64_t now = now_ns();

	if (is_answer(r))
		k->answered_ns = now;
	else if ((r == -ETIME || r == -EIO || r == -EINPROGRESS) &&
		 now - began >= IN_VAIN_MS * 1000000ll &&
		 now - k->answered_ns >= SILENCE_MS * 1000000ll)
		open_it(k);
	return r;
}

static int breaker_get(struct backend *b, const char *key, uint64_t off, size_t len, void *buf,
		       const struct deadline *dl, size_t *ret_len)
{
	struct breaker *k = breaker_of(b);
	int64_t began = now_ns();
	int r = enter(k, dl);

	return r < 0 ? r
		     : leave(k, began,
			     k->inner->ops->get(k->inner, key, off, len, buf, dl, ret_len));
}

static int breaker_get_all(struct backend *b, const char *key, size_t max, const struct etag *known,
			   const struct deadline *dl, struct buf *ret, struct etag *ret_tag)
{
	struct breaker *k = breaker_of(b);
	int64_t began = now_ns();
	int r = enter(k, dl);

	return r < 0 ? r
		     : leave(k, began,
			     k->inner->ops->get_all(k->inner, key, max, known, dl, ret, ret_tag));
}

static int breaker_head(struct backend *b, const char *key, const struct deadline *dl,
			uint64_t *ret_size)
{
	struct breaker *k = breaker_of(b);
	int64_t began = now_ns();
	int r = enter(k, dl);

	return r < 0 ? r : leave(k, began, k->inner->ops->head(k->inner, key, dl, ret_size));
}

static int breaker_put_whole(struct backend *b, const char *key, struct span data,
			     const struct deadline *dl)
{
	struct breaker *k = breaker_of(b);
	int64_t began = now_ns();
	int r = enter(k, dl);

	return r < 0 ? r : leave(k, began, k->inner->ops->put(k->inner, key, data, dl));
}

static int breaker_put_begin(struct backend *b, const char *key, struct backend_put **ret)
{
	struct breaker *k = breaker_of(b);
	struct breaker_put *p;
	int r = enter(k, NULL);

	if (r < 0)
		return r;
	p = new0(struct breaker_put, 1);
	if (!p)
		return -ENOMEM;
	p->base.backend = b;
	r = k->inner->ops->put_begin(k->inner, key, &p->inner);
	if (r < 0) {
		free(p);
		return r;
	}
	*ret = &p->base;
	return 0;
}

static int breaker_put_write(struct backend_put *put, struct span data, const struct deadline *dl)
{
	struct breaker_put *p = container_of(put, struct breaker_put, base);
	struct breaker *k = breaker_of(put->backend);
	int64_t began = now_ns();
	int r = enter(k, dl);

	return r < 0 ? r : leave(k, began, k->inner->ops->put_write(p->inner, data, dl));
}

static void breaker_put_abort(struct backend_put *put)
{
	struct breaker_put *p = container_of(put, struct breaker_put, base);

	p->inner->backend->ops->put_abort(p->inner);
	free(p);
}

static int breaker_put_end(struct backend_put *put, const struct deadline *dl)
{
	struct breaker_put *p = container_of(put, struct breaker_put, base);
	struct breaker *k = breaker_of(put->backend);
	int64_t began = now_ns();
	int r = enter(k, dl);

	if (r < 0) {
		breaker_put_abort(put);
		return r;
	}
	r = leave(k, began, k->inner->ops->put_end(p->inner, dl));
	free(p);
	return r;
}

static int breaker_swap(struct backend *b, const char *key, const struct etag *tag,
			struct span data, const struct deadline *dl, struct etag *ret_tag)
{
	struct breaker *k = breaker_of(b);
	int64_t began = now_ns();
	int r = enter(k, dl);

	return r < 0 ? r
		     : leave(k, began, k->inner->ops->swap(k->inner, key, tag, data, dl, ret_tag));
}

static int breaker_list(struct backend *b, const char *prefix, const char *after,
			backend_list_fn fn, void *ctx, const struct deadline *dl)
{
	struct breaker *k = breaker_of(b);
	int64_t began = now_ns();
	int r = enter(k, dl);

	return r < 0 ? r
		     : leave(k, began, k->inner->ops->list(k->inner, prefix, after, fn, ctx, dl));
}

static int breaker_remove(struct backend *b, const char *key, const struct deadline *dl)
{
	struct breaker *k = breaker_of(b);
	int64_t began = now_ns();
	int r = enter(k, dl);

	return r < 0 ? r : leave(k, began, k->inner->ops->remove(k->inner, key, dl));
}

static uint64_t breaker_space(struct backend *b)
{
	struct breaker *k = breaker_of(b);

	return k->inner->ops->space(k->inner);
}

static void breaker_free(struct backend *b)
{
	struct breaker *k = breaker_of(b);

	pthread_mutex_lock(&k->lock);
	k->is_ending = true;
	pthread_cond_broadcast(&k->wake);
	pthread_mutex_unlock(&k->lock);
	if (k->has_prober)
		pthread_join(k->prober, NULL);
	backend_free(k->inner);
	pthread_cond_destroy(&k->wake);
	pthread_mutex_destroy(&k->lock);
	free(k->probe_key);
	free(k->base.url);
	free(k);
}

static const struct backend_ops breaker_ops = {
	.get = breaker_get,
	.get_all = breaker_get_all,
	.head = breaker_head,
	.put = breaker_put_whole,
	.put_begin = breaker_put_begin,
	.put_write = breaker_put_write,
	.put_end = breaker_put_end,
	.put_abort = breaker_put_abort,
	.swap = breaker_swap,
	.list = breaker_list,
	.remove = breaker_remove,
	.space = breaker_space,
	.free = breaker_free,
};

int breaker_backend_new(struct backend *inner, const char *probe_key, struct backend **ret)
{
	struct breaker *k = new0(struct breaker, 1);

	if (!k)
		return -ENOMEM;
	k->base = (struct backend){
		.ops = &breaker_ops,
		.url = strdup(inner->url),
		.is_local = inner->is_local,
	};
	k->probe_key = strdup(probe_key);
	if (!k->base.url || !k->probe_key) {
		free(k->base.url);
		free(k->probe_key);
		free(k);
		return -ENOMEM;
	}
	k->answered_ns = INT64_MIN / 2;
	pthread_mutex_init(&k->lock, NULL);
	cond_init(&k->wake);
	k->inner = inner;
	*ret = &k->base;
	return 0;
}

int breaker_open_unconfirmed(struct backend *b, breaker_confirm_fn confirm, void *ctx)
{
	struct breaker *k = breaker_of(b);

	WITH_LOCK(&k->lock);
	k->confirm_ctx = ctx;
	k->confirm = confirm;
	/* The call that found it silent may have opened it. */
	return k->is_open ? 0 : open_now(k);
}

bool breaker_is_closed(struct backend *b)
{
	return !breaker_of(b)->is_open;
}
