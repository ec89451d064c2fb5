/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A clean head follows its branch to commits of other mounts; a pinned one moves to another pin
 * (advance.c) by the same way.
 *
 * The bases are exchanged at one instant, in which what differs is left behind (moving.c). Then
 * the client is told, and this is why it cannot keep what is outdated:
 *
 *  - a look-up is answered wholly from before that instant or wholly from after it
 *  - the kernel holds a directory's lock from before it sends a look-up, a listing or a create
 *    until the answer is in its cache, and a notification of a name takes that lock; so when it is
 *    told of a name, all answers from before are in the cache, and are dropped there
 *  - only a look-up that confirms a name it knows is sent without that lock. It confirms the node,
 *    and sets how long to believe it: but a name whose node was left behind is taken out of the
 *    cache, not expired, so that it confirms what nobody finds any more. (A name that stays is
 *    expired; whatever confirms that is right.)
 *  - attributes that arrive after a notification of them and were asked for before are dropped by
 *    the kernel; and since the name comes first, it has the node by then
 *  - pages belong to a node, whose bytes never change this way
 *  - a rename takes along the node that the kernel has for the name: who answers one while names
 *    are still being told must have the new name told as well (OUTDATED_BEGIN, OUTDATED_END)
 *
 * Who changes something through a vnode that was left behind gets -ESTALE, upon which the kernel
 * looks the name up again.
 */
#include "head/commit.h"
#include "head/moving.h"

/* Under the view's lock: is nobody about to take it or its branch elsewhere? */
static bool is_free(const struct head *h)
{
	return !h->is_removed && head_standing(h) == HEAD_ON_BRANCH;
}

/* The same: is nothing of it uncommitted, or about to be? */
static bool is_clean(struct head *h, bool under_writers)
{
	return is_free(h) && (!h->writers || under_writers) && !is_uncommitted(h);
}

/* Worth a look at all? */
static bool may_move(struct head *h, const struct oid *target, bool under_writers)
{
	WITH_LOCK(&h->view.lock);

	return is_clean(h, under_writers) && !oid_equal(&h->view.base.id, target);
}

/* Looks at what has come up since, until that is little. */
static int look_again(struct moving *m)
{
	int r;

	do {
		WITH_LOCK(&m->head->view.lock);

		r = moving_look_again(m);
	} while (r > 0);
	return r;
}

/* May it move now? Branches only go forward: a commit that is not above the base's is what somebody
 * knew before that. To another pin it moves as long as there is no change over the one it is at;
 * what is open for writing is no hindrance if it stays: a log, say, of what is running. */
static bool may_exchange(const struct moving *m)
{
	struct head *h = m->head;

	if (is_pinned(h))
		return is_free(h) && !has_changes(h);
	return is_clean(h, m->under_writers) &&
	       m->base.commit.generation > h->view.base.commit.generation;
}

/* Exchanges the base if the head may move: 1, 0; -EAGAIN: there is more to be walked over. */
static int move(struct moving *m)
{
	struct head *h = m->head;
	int r;

	WITH_WRLOCK(&h->gate);
	WITH_LOCK(&h->view.lock);

	if (!may_exchange(m))
		return 0;
	while ((r = moving_look_again(m)) > 0)
		;
	if (r == 0 && moving_has_more(m))
		r = -EAGAIN;
	if (r == 0 && moving_leaves_writers(m))
		return 0;
	if (r == 0)
		r = moving_exchange(m);
	return r < 0 ? r : 1;
}

/* As move(), walking until there is no more. */
static int walk_and_move(struct moving *m)
{
	int r;

	for (;;) {
		r = moving_walk(m);
		if (r == 0)
			r = WITH_ACCESS(m->acc, look_again(m));
		if (r < 0)
			return r;
		if (moving_has_more(m))
			continue;
		access_at_hand(m->acc);
		r = move(m);
		if (r == -EAGAIN && !moving_has_more(m))
			r = access_wait(m->acc) ?: -EAGAIN;
		access_may_fetch(m->acc);
		if (r != -EAGAIN)
			return r;
	}
}

static void say(struct head *h, enum outdated_kind kind)
{
	const struct heads_options *o = &h->heads->opts;

	if (o->outdated)
		o->outdated(&h->view, &(struct outdated){ .kind = kind }, o->ctx);
}

int head_move(struct head *h, struct base *base, const struct oid *committed, bool under_writers,
	      struct access *acc)
{
	_cleanup_moving_ struct moving m;
	int r = moving_init(&m, h, acc, base);

	if (r < 0)
		return r;
	m.committed = *committed;
	m.under_writers = under_writers;
	say(h, OUTDATED_BEGIN);
	r = walk_and_move(&m);
	if (r > 0 && h->heads->opts.outdated)
		moving_tell(&m);
	say(h, OUTDATED_END);
	return r;
}

int follow_locked(struct head *h, const struct oid *target, bool under_writers, struct access *acc)
{
	struct refs_wait w = { .may_wait = true, .deadline = acc->deadline };
	_cleanup_base_ struct base base = { 0 };
	_cleanup_buf_ struct buf object = { 0 };
	int r;

	if (!may_move(h, target, under_writers))
		return 0;
	r = refs_commit(h->view.store->refs, &h->view.repo, target, &w, &object);
	if (r == 0)
		r = base_load(target, buf_span(&object), &base);
	return r < 0 ? r : head_move(h, &base, target, under_writers, acc);
}

int head_follow(struct view *head, const struct oid *target, struct access *acc)
{
	struct head *h = head_of(head);
	int r;

	if (oid_is_null(target) || pthread_mutex_trylock(&h->commit_lock) != 0)
		return 0;
	r = follow_locked(h, target, false, acc);
	pthread_mutex_unlock(&h->commit_lock);
	return r;
}
