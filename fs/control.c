/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Conversations.
 *
 *	opened --write--> running --service_run() returns--> ended --the end is read--> opened
 *	                     '-- closed: cancelled, freed when the thread has ended
 *
 * A run belongs to the conversation that it was begun in until it is ended there. Closed before
 * that, the conversation has one thread more, which ends the run as lost.
 *
 * Invariants
 *  - lines that nobody has read yet are bounded: the thread waits for a reader
 *  - at most one read waits in a conversation
 *
 * Threads: workers open, write, read and release; the conversation's thread runs the request. Each
 * conversation has a lock, under which nothing else is taken and nothing is answered.
 */
#include "control.h"

#include <unistd.h>

#include "base/list.h"
#include "base/log.h"
#include "base/thread.h"
#include "control_ask.h"
#include "notify.h"
#include "realm.h"
#include "root.h"

enum {
	REQUEST_MAX = 1 << 20,
	UNREAD_MAX = 256 << 10,
};

/* How many there may be at a time: of the owner's, of the others', of one of them. A run has about
 * a megabyte, and two files open. */
static const struct bounds {
	unsigned all, others, user;
} without_run = { 64, 48, 16 }, with_run = { 256, 192, 128 };

struct conversation {
	struct list link;
	struct controls *all; /* borrowed */
	struct realm *in; /* where it was opened; held */
	struct service_caller who;
	gid_t *groups; /* owned; who's */
	atomic_bool cancelled;
	bool has_run; /* guarded by all->lock: it counts as a run */
	pthread_mutex_t lock;
	pthread_cond_t room; /* something was read, or it is cancelled */
	/* Guarded by lock. */
	unsigned refs; /* the handle's, the thread's */
	bool is_running, is_ended; /* the request; it is ended and told, too: */
	bool is_told, is_closed;
	struct realm *own; /* of the run that is who.run; held; the thread's while it runs */
	struct buf request; /* the thread's once it runs */
	struct buf unread;
	size_t read_from; /* in unread */
	/* A read that waits. */
	fuse_req_t waiting;
	uint64_t waiting_unique;
	size_t waiting_len;
};

struct controls {
	struct fs *fs; /* borrowed */
	pthread_mutex_t lock;
	pthread_cond_t ended;
	struct list conversations; /* guarded by lock, as all below */
	unsigned count; /* all there are */
	unsigned threads;
	bool is_ending;
	atomic_bool is_stopping; /* the same, for who waits */
	struct list texts; /* open `stats` */
};

/* An open `stats`. */
struct text {
	struct list link;
	struct buf bytes;
};

/* What a read is answered with, once the lock is let go of. */
struct delivery {
	fuse_req_t req; /* NULL: nothing is to be done */
	struct buf bytes; /* owned */
};

static bool is_control(uint64_t node)
{
	return root_local(node) == ROOT_OWN_CONTROL;
}

static bool is_stats(uint64_t node)
{
	return root_local(node) == ROOT_OWN_STATS;
}

static void deliver(struct delivery *d)
{
	if (d->req)
		fuse_reply_buf(d->req, (const char *)d->bytes.data, d->bytes.len);
	buf_release(&d->bytes);
}

/* Under the lock: up to @len unread bytes. */
static void take_bytes(struct conversation *v, size_t len, struct buf *ret)
{
	size_t n = MIN(len, v->unread.len - v->read_from);

	buf_put(ret, v->unread.data + v->read_from, n);
	if (buf_failed(ret))
		return;
	v->read_from += n;
	if (v->read_from == v->unread.len) {
		buf_clear(&v->unread);
		v->read_from = 0;
	}
	pthread_cond_signal(&v->room);
}

/* Under the lock: what the waiting read can be answered with now, if anything. */
static struct delivery take_delivery(struct conversation *v)
{
	struct delivery d = { 0 };

	if (!v->waiting || (v->unread.len == v->read_from && !v->is_ended))
		return d;
	d.req = v->waiting;
	v->waiting = NULL;
	v->is_told = v->unread.len == v->read_from;
	take_bytes(v, v->waiting_len, &d.bytes);
	return d;
}

static void conversation_free(struct conversation *v)
{
	buf_release(&v->request);
	buf_release(&v->unread);
	if (v->in)
		realm_put(v->in);
	pthread_cond_destroy(&v->room);
	pthread_mutex_destroy(&v->lock);
	free(v->groups);
	free(v);
}

static void conversation_unref(struct conversation *v)
{
	bool is_last;

	pthread_mutex_lock(&v->lock);
	is_last = --v->refs == 0;
	pthread_mutex_unlock(&v->lock);
	if (!is_last)
		return;
	pthread_mutex_lock(&v->all->lock);
	list_remove(&v->link);
	v->all->count--;
	pthread_mutex_unlock(&v->all->lock);
	conversation_free(v);
}

/* A line of the answer. */
static int emit(const char *line, size_t len, void *ctx)
{
	struct conversation *v = ctx;
	struct delivery d;

	/* What the request changed is seen by whoever reads that it has. */
	notify_wait(v->all->fs->notify, NULL);
	pthread_mutex_lock(&v->lock);
	while (!v->cancelled && v->unread.len - v->read_from > UNREAD_MAX)
		pthread_cond_wait(&v->room, &v->lock);
	if (v->cancelled) {
		pthread_mutex_unlock(&v->lock);
		return -ECANCELED;
	}
	buf_put(&v->unread, line, len);
	buf_put_u8(&v->unread, '\n');
	d = take_delivery(v);
	pthread_mutex_unlock(&v->lock);
	deliver(&d);
	return 0;
}

/* Under the lock: may the caller have one more, of those that have a run or of those without? */
static bool has_room(struct controls *all, const struct service_caller *who, bool is_run)
{
	const struct bounds *max = is_run ? &with_run : &without_run;
	struct bounds now = { 0 };

	list_for_each (v, &all->conversations, struct conversation, link) {
		now.all += v->has_run == is_run;
		now.others += v->has_run == is_run && !v->who.is_owner;
		now.user += v->has_run == is_run && v->who.uid == who->uid;
	}
	return now.all < max->all &&
	       (who->is_owner || (now.others < max->others && now.user < max->user));
}

/* A run may go on for days: its conversation takes nobody's place but another run's. */
static int count_run(struct conversation *v)
{
	WITH_LOCK(&v->all->lock);

	v->has_run = has_room(v->all, &v->who, true);
	return v->has_run ? 0 : log_fail(-EMFILE, "too many runs go on; wait for one to end");
}

int control_run_begun(struct run *run, const struct service_caller *who, void *ctx)
{
	struct conversation *v = container_of(who, struct conversation, who);
	struct fs *fs = ctx;
	int r = count_run(v) ?: realm_make(fs->root, run, v->in, &v->own);

	if (r == 0)
		v->who.run = run;
	return r;
}

void control_run_ending(const struct service_caller *who, void *ctx)
{
	realm_seal(container_of(who, struct conversation, who)->own);
}

void control_run_ended(const struct service_caller *who, void *ctx)
{
	struct conversation *v = container_of(who, struct conversation, who);

	v->who.run = NULL;
	realm_end(v->own);
	realm_put(v->own);
	v->own = NULL;
	WITH_LOCK(&v->all->lock);

	v->has_run = false;
}

/* Nobody has told the end of the conversation's run, and nobody will. */
static void lose_run(struct conversation *v)
{
	struct fs *fs = v->all->fs;
	struct access acc;
	json_t *answer = NULL;

	access_init(&acc, fs->store->reader, true);
	acc.deadline = DEADLINE_NEVER;
	acc.deadline.cancelled = &v->all->is_stopping;
	realm_seal(v->own);
	run_end(v->who.run, NULL, &acc, &answer);
	json_decref(answer);
	access_release(&acc);
	control_run_ended(&v->who, fs);
}

static void thread_ended(struct conversation *v)
{
	struct controls *all = v->all;

	conversation_unref(v);
	pthread_mutex_lock(&all->lock);
	all->threads--;
	pthread_cond_signal(&all->ended);
	pthread_mutex_unlock(&all->lock);
}

static void *lose(void *arg)
{
	struct conversation *v = arg;

	pthread_detach(pthread_self());
	lose_run(v);
	thread_ended(v);
	return NULL;
}

static void *converse(void *arg)
{
	struct conversation *v = arg;
	struct controls *all = v->all;
	struct delivery d;
	bool is_lost;

	pthread_detach(pthread_self());
	service_run(&all->fs->service, &v->who, (const char *)v->request.data, v->request.len, emit,
		    v);
	pthread_mutex_lock(&v->lock);
	v->is_ended = true;
	is_lost = v->is_closed && v->who.run;
	d = take_delivery(v);
	pthread_mutex_unlock(&v->lock);
	deliver(&d);
	if (is_lost)
		lose_run(v);
	thread_ended(v);
	return NULL;
}

/* The caller's supplementary groups, from /proc: he waits in open(). One that is not to be seen
 * from here, as in another pid namespace, has none. */
static int get_groups(struct call *c, struct conversation *v)
{
	int count = fuse_req_getgroups(c->req, 0, NULL), room = MAX(count, 0);

	if (room == 0)
		return 0;
	v->groups = new0(gid_t, (size_t)room);
	if (!v->groups)
		return -ENOMEM;
	count = fuse_req_getgroups(c->req, room, v->groups);
	v->who.groups = v->groups;
	v->who.group_count = count > 0 ? (size_t)MIN(count, room) : 0;
	return 0;
}

static int begin(struct call *c, struct conversation **ret)
{
	struct controls *all = c->fs->controls;
	struct conversation *v = new0(struct conversation, 1);
	int r;

	if (!v)
		return -ENOMEM;
	v->in = realm_hold(c->fs->root, c->node);
	if (!v->in) {
		free(v);
		return -ESTALE;
	}
	v->all = all;
	v->refs = 1;
	v->who = (struct service_caller){
		.uid = c->by.uid,
		.gid = c->by.gid,
		.is_owner = c->by.uid == 0 || c->by.uid == geteuid(),
		.cancelled = &v->cancelled,
		.ending = &all->is_stopping,
		.within = realm_run(v->in),
	};
	pthread_mutex_init(&v->lock, NULL);
	cond_init(&v->room);
	list_init(&v->link);
	r = get_groups(c, v);
	pthread_mutex_lock(&all->lock);
	if (r == 0 && !has_room(all, &v->who, false))
		r = -EMFILE;
	if (r == 0) {
		list_append(&all->conversations, &v->link);
		all->count++;
	}
	pthread_mutex_unlock(&all->lock);
	if (r < 0)
		conversation_free(v);
	else
		*ret = v;
	return r;
}

static int open_stats(struct call *c, struct fuse_file_info *fi)
{
	struct controls *all = c->fs->controls;
	struct text *t = new0(struct text, 1);
	int r;

	if (!t)
		return -ENOMEM;
	r = stats_text(c->fs, &t->bytes);
	if (r < 0) {
		buf_release(&t->bytes);
		free(t);
		return r;
	}
	pthread_mutex_lock(&all->lock);
	list_append(&all->texts, &t->link);
	pthread_mutex_unlock(&all->lock);
	fi->fh = (uint64_t)(uintptr_t)t;
	return 0;
}

int control_open(struct call *c)
{
	struct fuse_file_info fi = {
		.direct_io = 1,
		.nonseekable = is_control(c->node),
		.noflush = 1,
	};
	struct conversation *v;
	int r;

	if (is_stats(c->node)) {
		r = open_stats(c, &fi);
	} else if (is_control(c->node)) {
		r = begin(c, &v);
		if (r == 0)
			fi.fh = (uint64_t)(uintptr_t)v;
	} else {
		return -EISDIR;
	}
	if (r == 0 && call_reply_open(c, &fi) < 0)
		control_release(c->fs, c->node, fi.fh);
	return r;
}

static void hang_up(struct conversation *v)
{
	pthread_mutex_lock(&v->lock);
	v->cancelled = true;
	pthread_cond_signal(&v->room);
	pthread_mutex_unlock(&v->lock);
}

static void text_free(struct controls *all, struct text *t)
{
	pthread_mutex_lock(&all->lock);
	list_remove(&t->link);
	pthread_mutex_unlock(&all->lock);
	buf_release(&t->bytes);
	free(t);
}

/* The thread takes the caller's reference. */
static int start_thread(struct conversation *v, void *(*work)(void *))
{
	struct controls *all = v->all;
	pthread_t t;
	int r;

	WITH_LOCK(&all->lock);

	r = all->is_ending ? -ECANCELED : thread_start(&t, "control", work, v);
	if (r == 0)
		all->threads++;
	return r;
}

void control_release(struct fs *fs, uint64_t node, uint64_t handle)
{
	struct conversation *v = (struct conversation *)(uintptr_t)handle;
	bool is_lost;

	if (is_stats(node)) {
		text_free(fs->controls, (struct text *)(uintptr_t)handle);
		return;
	}
	pthread_mutex_lock(&v->lock);
	v->is_closed = true;
	is_lost = (!v->is_running || v->is_ended) && v->who.run;
	pthread_mutex_unlock(&v->lock);
	hang_up(v);
	if (!is_lost || start_thread(v, lose) < 0)
		conversation_unref(v);
}

/* Begins to answer the call's data. */
static int take_request(struct call *c)
{
	struct conversation *v = (struct conversation *)(uintptr_t)c->fh;
	int r = 0;

	if (c->data.len > REQUEST_MAX)
		return -EMSGSIZE;
	pthread_mutex_lock(&v->lock);
	if (v->is_running && !v->is_told)
		r = -EBUSY;
	buf_clear(&v->request);
	if (r == 0)
		buf_put(&v->request, c->data.data, c->data.len);
	if (r == 0 && buf_failed(&v->request))
		r = -ENOMEM;
	if (r == 0) {
		v->is_running = true;
		v->is_ended = v->is_told = false;
		v->refs++;
	}
	pthread_mutex_unlock(&v->lock);
	if (r < 0)
		return r;
	r = start_thread(v, converse);
	if (r < 0) {
		/* Nobody is to wait for an answer. */
		pthread_mutex_lock(&v->lock);
		v->is_ended = true;
		pthread_mutex_unlock(&v->lock);
		conversation_unref(v);
	}
	return r;
}

int control_write(struct call *c)
{
	int r = is_control(c->node) ? take_request(c) : -EPERM;

	if (r == 0)
		call_reply_written(c, c->data.len);
	return r;
}

int control_ask(struct call *c)
{
	bool is_asking = is_control(c->node) && (unsigned)c->flags == CONTROL_ASK(c->data.len);
	int r = is_asking ? take_request(c) : -ENOTTY;

	if (r == 0)
		call_reply_ioctl(c, 0);
	return r;
}

static int read_text(struct call *c)
{
	const struct text *t = (const struct text *)(uintptr_t)c->fh;
	size_t off = MIN(c->off, (uint64_t)t->bytes.len);
	size_t len = MIN(c->len, (uint64_t)(t->bytes.len - off));
	uint8_t *out = call_memory(c, MAX(len, (size_t)1));

	if (!out)
		return -ENOMEM;
	/* The text may be closed as soon as the answer is out, before its sender has returned. */
	if (len > 0)
		memcpy(out, t->bytes.data + off, len);
	call_reply_bytes(c, out, len);
	return 0;
}

int control_read(struct call *c)
{
	struct conversation *v = (struct conversation *)(uintptr_t)c->fh;
	struct delivery d = { 0 };
	int r = 0;

	if (is_stats(c->node))
		return read_text(c);
	pthread_mutex_lock(&v->lock);
	if (!v->is_running)
		r = -EINVAL;
	else if (v->waiting)
		r = -EBUSY;
	if (r == 0) {
		v->waiting = c->req;
		v->waiting_unique = c->unique;
		v->waiting_len = c->len;
		d = take_delivery(v);
	}
	pthread_mutex_unlock(&v->lock);
	/* Answered now or later. */
	if (r == 0)
		c->is_answered = true;
	deliver(&d);
	return r;
}

bool control_interrupt(struct controls *s, uint64_t unique)
{
	fuse_req_t req = NULL;

	pthread_mutex_lock(&s->lock);
	list_for_each (v, &s->conversations, struct conversation, link) {
		pthread_mutex_lock(&v->lock);
		if (v->waiting && v->waiting_unique == unique) {
			req = v->waiting;
			v->waiting = NULL;
		}
		pthread_mutex_unlock(&v->lock);
	}
	pthread_mutex_unlock(&s->lock);
	if (req)
		fuse_reply_err(req, EINTR);
	return !!req;
}

unsigned controls_count(struct controls *s)
{
	WITH_LOCK(&s->lock);

	return s->count;
}

int controls_new(struct fs *fs, struct controls **ret)
{
	struct controls *s = new0(struct controls, 1);

	if (!s)
		return -ENOMEM;
	s->fs = fs;
	pthread_mutex_init(&s->lock, NULL);
	cond_init(&s->ended);
	list_init(&s->conversations);
	list_init(&s->texts);
	*ret = s;
	return 0;
}

void controls_stop(struct controls *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->is_ending = true;
	s->is_stopping = true;
	list_for_each (v, &s->conversations, struct conversation, link)
		hang_up(v);
	while (s->threads > 0)
		pthread_cond_wait(&s->ended, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

void controls_free(struct controls *s)
{
	if (!s)
		return;
	controls_stop(s);
	/* Handles that nobody closed. */
	list_for_each_safe (v, &s->conversations, struct conversation, link)
		conversation_unref(v);
	list_for_each_safe (t, &s->texts, struct text, link)
		text_free(s, t);
	pthread_cond_destroy(&s->ended);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
