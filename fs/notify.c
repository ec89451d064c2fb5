/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Notifications: a queue and the thread that empties it.
 *
 * A notification that finds no memory waits for it: what the kernel is not told it would believe
 * for a day. Only what it need not do is dropped.
 */
#include "notify.h"

#include <unistd.h>

#include "base/list.h"
#include "base/log.h"
#include "base/thread.h"
#include "channel.h"
#include "kernel_abi.h"

enum notice_kind {
	NOTICE_EXPIRE,
	NOTICE_GONE,
	NOTICE_ATTRIBUTES,
	NOTICE_FLUSH,
	NOTICE_FORGET,
	NOTICE_THEN,
};

enum {
	PACE = 4096, /* notices */
	WAIT_STEP_MS = 100, /* how soon one who gives up is noticed */
	STUCK_MS = 1000, /* anybody can lock a directory in the kernel, and take his time */
};

struct notice {
	struct list link;
	enum notice_kind kind;
	uint64_t node; /* the directory, or the file */
	uint64_t file; /* the file itself, or 0 */
	bool by_name;
	void (*then)(struct fs *fs);
	size_t name_len;
	char name[]; /* with a NUL */
};

struct notify {
	struct fs *fs; /* borrowed */
	pthread_mutex_t lock;
	pthread_cond_t work, done;
	struct list queue; /* guarded by lock, as all below */
	uint64_t queued, sent;
	uint64_t stuck_at; /* what was sent when nothing went on for long */
	bool is_ending;
	bool has_sender;
	pthread_t sender;
};

static void put(struct notify *n, const struct notice *x, struct span name)
{
	struct notice *copy;

	while (!(copy = malloc(sizeof(*copy) + name.len + 1))) {
		if (x->kind == NOTICE_FORGET)
			return;
		usleep(1000);
	}
	*copy = *x;
	copy->name_len = name.len;
	if (name.len > 0)
		memcpy(copy->name, name.data, name.len);
	copy->name[name.len] = '\0';
	WITH_LOCK(&n->lock);

	list_append(&n->queue, &copy->link);
	n->queued++;
	pthread_cond_signal(&n->work);
}

void notify_expire(struct notify *n, uint64_t parent, struct span name)
{
	put(n, &(struct notice){ .kind = NOTICE_EXPIRE, .node = parent }, name);
}

void notify_gone(struct notify *n, uint64_t parent, struct span name, uint64_t node)
{
	put(n, &(struct notice){ .kind = NOTICE_GONE, .node = parent, .file = node }, name);
}

void notify_attributes(struct notify *n, uint64_t node)
{
	put(n, &(struct notice){ .kind = NOTICE_ATTRIBUTES, .node = node }, span_of(NULL, 0));
}

void notify_then(struct notify *n, void (*fn)(struct fs *fs))
{
	put(n, &(struct notice){ .kind = NOTICE_THEN, .then = fn }, span_of(NULL, 0));
}

void notify_flush_file(struct notify *n, uint64_t node)
{
	put(n, &(struct notice){ .kind = NOTICE_FLUSH, .node = node }, span_of(NULL, 0));
}

void notify_forget(struct notify *n, const struct vnode_stale *stale)
{
	put(n,
	    &(struct notice){ .kind = NOTICE_FORGET,
			      .node = stale->parent,
			      .file = stale->id,
			      .by_name = stale->by_name },
	    span_str(stale->name));
}

int notify_wait(struct notify *n, const struct deadline *dl)
{
	uint64_t upto;
	int r = 0;

	WITH_LOCK(&n->lock);

	upto = n->queued;
	while (n->sent < upto && !n->is_ending && (r = deadline_check(dl)) == 0)
		cond_wait_until(&n->done, &n->lock, dl, WAIT_STEP_MS);
	return r;
}

void notify_pace(struct notify *n)
{
	WITH_LOCK(&n->lock);

	while (n->queued - n->sent > PACE && n->sent != n->stuck_at && !n->is_ending) {
		struct deadline dl = deadline_in_ms(STUCK_MS);
		uint64_t before = n->sent;

		while (n->sent == before && !n->is_ending)
			if (cond_wait_until(&n->done, &n->lock, &dl, STUCK_MS) < 0)
				break;
		if (n->sent == before)
			n->stuck_at = before;
	}
}

/* From @off on; -1: attributes only. */
static int inval_inode(struct channel *s, uint64_t node, int64_t off)
{
	struct fuse_notify_inval_inode_out out = { .ino = node, .off = off };
	struct span part = span_of(&out, sizeof(out));

	return channel_notify(s, FUSE_NOTIFY_INVAL_INODE, &part, 1);
}

static int inval_entry(struct channel *s, const struct notice *x, unsigned flags)
{
	struct abi_inval_entry_out out = { .parent = x->node,
					   .namelen = (uint32_t)x->name_len,
					   .flags = flags };
	struct span parts[] = { span_of(&out, sizeof(out)), span_of(x->name, x->name_len + 1) };

	return channel_notify(s, FUSE_NOTIFY_INVAL_ENTRY, parts, ARRAY_SIZE(parts));
}

/* The name is not in the cache any more when this returns, and never gets back there. */
static int delete_entry(struct channel *s, const struct notice *x)
{
	struct fuse_notify_delete_out out = { .parent = x->node,
					      .child = x->file,
					      .namelen = (uint32_t)x->name_len };
	struct span parts[] = { span_of(&out, sizeof(out)), span_of(x->name, x->name_len + 1) };

	return channel_notify(s, FUSE_NOTIFY_DELETE, parts, ARRAY_SIZE(parts));
}

static int prune(struct channel *s, uint64_t node)
{
	struct abi_prune_out out = { .count = 1 };
	struct span parts[] = { span_of(&out, sizeof(out)), span_of(&node, sizeof(node)) };

	return channel_notify(s, ABI_NOTIFY_PRUNE, parts, ARRAY_SIZE(parts));
}

static void send(struct notify *n, const struct notice *x)
{
	struct channel *s = n->fs->channel;
	const struct channel_features *f = channel_features(s);

	switch (x->kind) {
	case NOTICE_EXPIRE:
		/* An invalidated directory that is somebody's current one would lose its path. */
		inval_entry(s, x, f->expire_only ? ABI_EXPIRE_ONLY : 0);
		inval_inode(s, x->node, -1);
		break;
	case NOTICE_GONE:
		if (x->file)
			delete_entry(s, x);
		else
			inval_entry(s, x, 0);
		break;
	case NOTICE_ATTRIBUTES:
		inval_inode(s, x->node, -1);
		break;
	case NOTICE_FLUSH:
		inval_inode(s, x->node, 0);
		break;
	case NOTICE_THEN:
		x->then(n->fs);
		return;
	case NOTICE_FORGET:
		counter_add(&n->fs->stats.expired, 1);
		if (f->prune)
			prune(s, x->file);
		else if (x->by_name)
			inval_entry(s, x, 0);
		break;
	}
	counter_add(&n->fs->stats.notifications, 1);
}

static void *work(void *arg)
{
	struct notify *n = arg;

	pthread_mutex_lock(&n->lock);
	while (!n->is_ending) {
		struct notice *x = list_first(&n->queue, struct notice, link);

		if (!x) {
			pthread_cond_wait(&n->work, &n->lock);
			continue;
		}
		list_remove(&x->link);
		pthread_mutex_unlock(&n->lock);
		send(n, x);
		free(x);
		pthread_mutex_lock(&n->lock);
		n->sent++;
		pthread_cond_broadcast(&n->done);
	}
	pthread_cond_broadcast(&n->done);
	pthread_mutex_unlock(&n->lock);
	return NULL;
}

int notify_new(struct fs *fs, struct notify **ret)
{
	_cleanup_(notify_freep) struct notify *n = new0(struct notify, 1);
	int r;

	if (!n)
		return -ENOMEM;
	n->fs = fs;
	n->stuck_at = UINT64_MAX;
	pthread_mutex_init(&n->lock, NULL);
	cond_init(&n->work);
	cond_init(&n->done);
	list_init(&n->queue);
	r = thread_start(&n->sender, "notify", work, n);
	if (r < 0)
		return r;
	n->has_sender = true;
	*ret = TAKE_PTR(n);
	return 0;
}

void notify_stop(struct notify *n)
{
	if (!n)
		return;
	pthread_mutex_lock(&n->lock);
	n->is_ending = true;
	pthread_cond_signal(&n->work);
	pthread_mutex_unlock(&n->lock);
	if (n->has_sender)
		pthread_join(n->sender, NULL);
	n->has_sender = false;
}

void notify_free(struct notify *n)
{
	if (!n)
		return;
	notify_stop(n);
	list_for_each_safe (x, &n->queue, struct notice, link)
		free(x);
	pthread_cond_destroy(&n->work);
	pthread_cond_destroy(&n->done);
	pthread_mutex_destroy(&n->lock);
	free(n);
}
