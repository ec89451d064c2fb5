/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The probe of backend/probe.h: a story on one key, step by step, then races on others.
 *
 * Each step has one sentence for what the server did instead of what it should. An error that says
 * nothing of the server's abilities (rights, the network) ends the probe with that error.
 */
#include "backend/probe.h"

#include <stdio.h>

#include "base/log.h"
#include "base/random.h"
#include "base/thread.h"

enum {
	RACERS = 8, /* each over a connection of its own */
	ROUNDS = 12, /* the first creates the object, each next one changes it */
	LOST_MAX = 6, /* rounds in which a reply did not come */
	COUNTERS = 6,
	COUNT_EACH = 8, /* how often each of them adds one */
	CONTENT_MAX = 256,
	PROBE_KEY_MAX = 64,
	CLEAN_MS = 10000,
};

struct probe {
	struct backend *backend;
	const struct deadline *deadline;
	char prefix[PROBE_KEY_MAX]; /* of this probe's keys */
	const char *lack; /* what is wrong with conditions; NULL: nothing so far */
};

struct content {
	char s[CONTENT_MAX];
};

static struct span span_of_content(const struct content *c)
{
	return span_str(c->s);
}

/* No two of them are equal. */
static struct content content_new(const char *what)
{
	struct content c;

	snprintf(c.s, sizeof(c.s), "pfs probes this server: %s, %016llx\n", what,
		 (unsigned long long)random_u64());
	return c;
}

struct probe_key {
	char s[PROBE_KEY_MAX + 16];
};

static struct probe_key key_of(const struct probe *p, const char *name)
{
	struct probe_key k;

	snprintf(k.s, sizeof(k.s), "%s%s", p->prefix, name);
	return k;
}

/* No store can be there. */
static int unusable(const struct probe *p, const char *what)
{
	return log_fail(-EOPNOTSUPP, "%s: the server cannot hold a store: %s", p->backend->url,
			what);
}

/* One can, for a single writer. */
static void lacks(struct probe *p, const char *what)
{
	if (!p->lack)
		p->lack = what;
}

/* The question could not be put: not for want of an ability, but of rights or of an answer. */
static int failed(const struct probe *p, int r, const char *what, const char *right)
{
	_cleanup_free_ char *said = strdup(complaint());

	if (r == -EACCES)
		return log_fail(r, "%s: %s is not allowed: the keys need the right %s there",
				p->backend->url, what, right);
	return log_fail(r, "%s: %s failed: %s", p->backend->url, what,
			said && *said ? said : errno_text(r));
}

/* Is @key what it should be? 1, 0, or an error. */
static int holds(const struct probe *p, const char *key, const struct content *c,
		 struct etag *ret_tag)
{
	_cleanup_buf_ struct buf now = { 0 };
	int r = p->backend->ops->get_all(p->backend, key, CONTENT_MAX, NULL, p->deadline, &now,
					 ret_tag);

	if (r == -ENOENT || r == -EFBIG)
		return 0;
	return r < 0 ? r : span_equal(buf_span(&now), span_of_content(c));
}

/* Writes @c over @key under a condition. With a lost reply: what it came to. */
static int swap(const struct probe *p, const char *key, const struct etag *tag,
		const struct content *c, struct etag *ret_tag)
{
	int r = p->backend->ops->swap(p->backend, key, tag, span_of_content(c), p->deadline,
				      ret_tag);

	if (r != -EINPROGRESS)
		return r;
	r = holds(p, key, c, ret_tag);
	return r < 0 ? r : r ? 0 : -ESTALE;
}

static int put(const struct probe *p, const char *key, const struct content *c)
{
	return p->backend->ops->put(p->backend, key, span_of_content(c), p->deadline);
}

/* A write that must not happen, and be said not to. 0, or an error that tells nothing. */
static int swap_in_vain(struct probe *p, const char *key, const struct etag *tag, const char *what)
{
	struct content other = content_new("must not be seen");
	struct etag ignored;
	int r = swap(p, key, tag, &other, &ignored);

	if (r == 0)
		lacks(p, what);
	if (r != -ESTALE)
		return r;
	r = holds(p, key, &other, &ignored);
	if (r == 1)
		lacks(p, "it refuses a conditional PUT and does it all the same");
	return MIN(r, 0);
}

/* The first object: made under a condition, or without if that is not to be had. */
static int try_making(struct probe *p, const char *key, struct etag *ret_tag)
{
	struct content c = content_new("first");
	struct etag tag = { "" };
	int r = swap(p, key, NULL, &c, &tag);

	if (r == -ESTALE || r == -EIO) {
		lacks(p, "it does not take a PUT with If-None-Match: * of what is not there");
		r = put(p, key, &c);
	}
	if (r < 0)
		return failed(p, r, "writing an object", "s3:PutObject");
	r = holds(p, key, &c, ret_tag);
	if (r < 0)
		return failed(p, r, "reading an object", "s3:GetObject");
	if (r == 0)
		return unusable(p, "what was just PUT is not what a GET returns");
	if (!p->lack && strcmp(tag.s, ret_tag->s) != 0)
		return unusable(p, "the ETag of a GET is not that of the PUT");
	return 0;
}

static int try_conditions(struct probe *p, const char *key, struct etag tag)
{
	struct probe_key absent = key_of(p, "absent");
	struct content c = content_new("second");
	struct etag next;
	int r = swap_in_vain(p, key, NULL, "it ignores If-None-Match: * of a PUT");

	if (r == 0 && !p->lack) {
		r = swap(p, key, &tag, &c, &next);
		if (r == -ESTALE)
			lacks(p, "it refuses a PUT with an If-Match that holds");
		if (r == -ESTALE)
			r = 0;
	}
	if (r == 0 && !p->lack)
		r = swap_in_vain(p, key, &tag, "it ignores If-Match of a PUT");
	if (r == 0 && !p->lack)
		r = swap_in_vain(p, absent.s, &tag,
				 "it ignores If-Match of a PUT where nothing is");
	if (r == -EIO) {
		lacks(p, "it does not take conditional PUTs");
		r = 0;
	}
	return r < 0 ? failed(p, r, "changing an object", "s3:PutObject") : 0;
}

/* GETs: of a part, and under a condition. */
static int try_reading(struct probe *p, const char *key, const struct content *now)
{
	static const struct etag other = { "\"00000000000000000000000000000000\"" };
	struct backend *b = p->backend;
	_cleanup_buf_ struct buf all = { 0 };
	struct etag tag;
	char part[7];
	size_t n = 0;
	int r = put(p, key, now);

	if (r < 0)
		return failed(p, r, "replacing an object", "s3:PutObject");
	r = b->ops->get(b, key, 4, sizeof(part), part, p->deadline, &n);
	if (r == -EIO || (r == 0 && (n != sizeof(part) || memcmp(part, now->s + 4, n) != 0)))
		return unusable(p, "it does not return the bytes that a GET with Range asks for");
	if (r == 0)
		r = b->ops->get_all(b, key, CONTENT_MAX, &other, p->deadline, &all, &tag);
	if (r == -EALREADY)
		return unusable(p, "it says of an object that it has not changed when it has");
	if (r == 0 && !span_equal(buf_span(&all), span_of_content(now)))
		return unusable(p, "what was replaced still shows");
	buf_clear(&all);
	if (r == 0)
		r = b->ops->get_all(b, key, CONTENT_MAX, &tag, p->deadline, &all, &tag);
	return r < 0 && r != -EALREADY ? failed(p, r, "reading an object", "s3:GetObject") : 0;
}

struct sight {
	const char *key;
	uint64_t size;
	bool is_seen;
};

static int see(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	struct sight *s = ctx;

	s->is_seen |= strcmp(key, s->key) == 0 && size == s->size;
	return 0;
}

/* Is it listed, with its size? 1, 0, or an error. */
static int is_listed(struct probe *p, const char *key, const struct content *c)
{
	struct sight s = { .key = key, .size = strlen(c->s) };
	int r = p->backend->ops->list(p->backend, p->prefix, NULL, see, &s, p->deadline);

	return r < 0 ? r : s.is_seen;
}

static int try_listing(struct probe *p, const char *key, const struct content *now)
{
	struct etag ignored;
	int r = is_listed(p, key, now);

	if (r == 0)
		return unusable(p, "what was just written is not in a listing, or with another "
				   "size");
	if (r < 0)
		return failed(p, r, "listing", "s3:ListBucket");
	r = p->backend->ops->remove(p->backend, key, p->deadline);
	if (r == -EACCES) {
		log_warning("%s: removing an object is not allowed, which nothing needs but "
			    "garbage collection; what the probe wrote stays below " PROBE_PREFIX,
			    p->backend->url);
		return 0;
	}
	if (r < 0)
		return failed(p, r, "removing an object", "s3:DeleteObject");
	r = holds(p, key, now, &ignored);
	if (r == 0)
		r = is_listed(p, key, now);
	if (r > 0)
		return unusable(p, "what was removed is still there");
	return r < 0 ? failed(p, r, "looking for an object that was removed", "s3:ListBucket") : 0;
}

/* One of many writers with the same expectation. */
struct racer {
	struct race *race;
	pthread_t thread;
	struct content content;
	struct etag tag; /* of what it wrote */
	int result;
};

struct race {
	struct probe *probe;
	const char *key;
	const struct etag *expected; /* NULL: nothing is there */
	pthread_mutex_t lock;
	pthread_cond_t start;
	bool is_started; /* guarded by lock */
	struct racer racers[RACERS];
	unsigned count; /* of racers that run */
};

static void *racer_run(void *arg)
{
	struct racer *r = arg;
	struct race *race = r->race;
	struct backend *b = race->probe->backend;

	log_set_quiet(true);
	pthread_mutex_lock(&race->lock);
	while (!race->is_started)
		pthread_cond_wait(&race->start, &race->lock);
	pthread_mutex_unlock(&race->lock);
	r->result = b->ops->swap(b, race->key, race->expected, span_of_content(&r->content),
				 race->probe->deadline, &r->tag);
	return NULL;
}

/* 0: one won, and is there now. -EINPROGRESS: a reply was lost, so nothing is known. -EOPNOTSUPP:
 * nobody won, or more than one, or not who is there. Or an error. */
static int judge_race(const struct race *race, struct etag *ret_tag)
{
	const struct racer *winner = NULL;
	unsigned winners = 0, lost = 0;
	struct etag tag;
	int r;

	for (unsigned i = 0; i < race->count; i++) {
		const struct racer *it = &race->racers[i];

		if (it->result == 0)
			winner = it;
		else if (it->result != -EINPROGRESS && it->result != -ESTALE)
			return it->result;
		winners += it->result == 0;
		lost += it->result == -EINPROGRESS;
	}
	if (winners > 1)
		return -EOPNOTSUPP;
	if (lost > 0)
		return -EINPROGRESS;
	r = winner ? holds(race->probe, race->key, &winner->content, &tag) : 0;
	if (r < 0)
		return r;
	if (r == 0 || strcmp(tag.s, winner->tag.s) != 0)
		return -EOPNOTSUPP;
	*ret_tag = tag;
	return 0;
}

static int race_run(struct race *race, struct etag *ret_tag)
{
	int r = 0;

	pthread_mutex_init(&race->lock, NULL);
	pthread_cond_init(&race->start, NULL);
	for (unsigned i = 0; i < RACERS && r == 0; i++) {
		struct racer *it = &race->racers[i];

		it->race = race;
		it->content = content_new("a race");
		r = thread_start(&it->thread, "probe", racer_run, it);
		race->count += r == 0;
	}
	pthread_mutex_lock(&race->lock);
	race->is_started = true;
	pthread_cond_broadcast(&race->start);
	pthread_mutex_unlock(&race->lock);
	for (unsigned i = 0; i < race->count; i++)
		pthread_join(race->racers[i].thread, NULL);
	pthread_cond_destroy(&race->start);
	pthread_mutex_destroy(&race->lock);
	return r < 0 ? r : judge_race(race, ret_tag);
}

/* Many writers, again and again, each round from where the last one has left it. */
static int try_races(struct probe *p)
{
	struct probe_key key = key_of(p, "race");
	struct etag tag, *expected = NULL;
	unsigned lost = 0;
	struct content c;

	for (unsigned n = 0; n < ROUNDS; n++) {
		struct race race = { .probe = p, .key = key.s, .expected = expected };
		int r = race_run(&race, &tag);

		if (r == -EOPNOTSUPP) {
			lacks(p, expected ? "of several PUTs at once with the same If-Match not "
					    "one alone succeeds"
					  : "of several PUTs at once with If-None-Match: * not one "
					    "alone succeeds");
			return 0;
		}
		if (r == -EINPROGRESS) {
			/* From a state that is known. */
			c = content_new("between races");
			r = put(p, key.s, &c);
			if (r == 0)
				r = holds(p, key.s, &c, &tag);
			lost++;
		}
		if (r < 0)
			return failed(p, r, "writing from several connections", "s3:PutObject");
		expected = &tag;
	}
	return lost <= LOST_MAX
		       ? 0
		       : failed(p, -EIO, "writing from several connections", "s3:PutObject");
}

/* Who adds one to what is there, again and again: what a GET returns must belong together, or a
 * condition is held against another state than the one that was read. */
struct counter {
	struct probe *probe;
	const char *key;
	pthread_t thread;
	int result;
};

static int add_one(const struct counter *it)
{
	const struct probe *p = it->probe;
	struct backend *b = p->backend;
	int r;

	do {
		_cleanup_buf_ struct buf now = { 0 };
		struct content next;
		struct etag tag, ignored;

		r = b->ops->get_all(b, it->key, CONTENT_MAX, NULL, p->deadline, &now, &tag);
		if (r < 0)
			return r == -ENOENT ? -EOPNOTSUPP : r;
		buf_put_u8(&now, 0);
		if (buf_failed(&now))
			return -ENOMEM;
		snprintf(next.s, sizeof(next.s), "%lu, %016llx\n",
			 strtoul((const char *)now.data, NULL, 10) + 1,
			 (unsigned long long)random_u64());
		r = b->ops->swap(b, it->key, &tag, span_of_content(&next), p->deadline, &ignored);
	} while (r == -ESTALE);
	return r;
}

static void *counter_run(void *arg)
{
	struct counter *it = arg;

	log_set_quiet(true);
	for (unsigned i = 0; i < COUNT_EACH && it->result == 0; i++)
		it->result = add_one(it);
	return NULL;
}

static int try_counting(struct probe *p)
{
	struct probe_key key = key_of(p, "count");
	struct counter counters[COUNTERS] = { 0 };
	_cleanup_buf_ struct buf now = { 0 };
	struct content zero = { "0\n" };
	unsigned started = 0;
	struct etag tag;
	int r = put(p, key.s, &zero);

	for (; started < COUNTERS && r == 0; started += r == 0) {
		counters[started] = (struct counter){ .probe = p, .key = key.s };
		r = thread_start(&counters[started].thread, "probe", counter_run,
				 &counters[started]);
	}
	for (unsigned i = 0; i < started; i++) {
		pthread_join(counters[i].thread, NULL);
		r = r ?: counters[i].result;
	}
	/* What came of a lost reply nobody knows; that it does no harm was seen in the races. */
	if (r == -EINPROGRESS)
		return 0;
	if (r == 0)
		r = p->backend->ops->get_all(p->backend, key.s, CONTENT_MAX, NULL, p->deadline,
					     &now, &tag);
	if (r == 0)
		buf_put_u8(&now, 0);
	if (r < 0 && r != -EOPNOTSUPP)
		return failed(p, r, "writing from several connections", "s3:PutObject");
	if (r < 0 || buf_failed(&now) ||
	    strtoul((const char *)now.data, NULL, 10) != COUNTERS * COUNT_EACH)
		lacks(p, "changes by PUTs with If-Match are lost when several are made at once");
	return 0;
}

/* One's own keys, as far as they can be removed. */
static void clean(const struct probe *p)
{
	static const char *const names[] = { "one", "absent", "race", "count" };
	struct deadline dl = deadline_in_ms(CLEAN_MS);

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct probe_key key = key_of(p, names[i]);

		if (p->backend->ops->remove(p->backend, key.s, &dl) == -EACCES)
			break;
	}
}

static int run(struct probe *p)
{
	struct probe_key key = key_of(p, "one");
	struct content now = content_new("third");
	struct etag tag;
	int r = try_making(p, key.s, &tag);

	if (r == 0)
		r = try_conditions(p, key.s, tag);
	if (r == 0)
		r = try_reading(p, key.s, &now);
	if (r == 0)
		r = try_listing(p, key.s, &now);
	if (r == 0 && !p->lack)
		r = try_races(p);
	if (r == 0 && !p->lack)
		r = try_counting(p);
	return r;
}

int backend_probe(struct backend *b, bool single_writer, const struct deadline *dl, bool *ret_kept)
{
	struct probe p = { .backend = b, .deadline = dl };
	_cleanup_free_ char *said = NULL;
	bool was_quiet = log_set_quiet(true);
	int r;

	snprintf(p.prefix, sizeof(p.prefix), PROBE_PREFIX "%016llx/",
		 (unsigned long long)random_u64());
	r = run(&p);
	if (r < 0)
		said = strdup(complaint());
	clean(&p);
	log_set_quiet(was_quiet);
	if (r < 0)
		return log_fail(r, "%s", said ?: errno_text(r));
	if (p.lack && !single_writer)
		return log_fail(-EOPNOTSUPP,
				"%s: the server does not tell writers apart: %s; use another "
				"server, or --single-writer if only one machine ever writes there "
				"at a time",
				b->url, p.lack);
	*ret_kept = !p.lack;
	return 0;
}

/* 0: refused as it should be. */
static int try_in_vain(struct backend *b, const char *key, const struct etag *tag, struct span now,
		       const char *what, const struct deadline *dl)
{
	struct etag ignored;
	int r = b->ops->swap(b, key, tag, now, dl, &ignored);

	if (r == -ESTALE)
		return 0;
	return r < 0 ? r
		     : log_fail(-EOPNOTSUPP,
				"%s: the server does not tell writers apart: it ignores %s of a "
				"PUT; mount it with the option single_writer, from one machine at "
				"a time",
				b->url, what);
}

int backend_check_conditions(struct backend *b, const char *key, size_t max,
			     const struct deadline *dl)
{
	static const struct etag other = { "\"00000000000000000000000000000000\"" };
	_cleanup_buf_ struct buf now = { 0 };
	struct etag tag;
	int r = b->ops->get_all(b, key, max, NULL, dl, &now, &tag);

	if (r == 0)
		r = try_in_vain(b, key, NULL, buf_span(&now), "If-None-Match: *", dl);
	return r < 0 ? r : try_in_vain(b, key, &other, buf_span(&now), "If-Match", dl);
}
