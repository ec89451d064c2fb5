/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The ends of realms: one thread, which sleeps while no run has ended whose realm is in use.
 *
 * The kernel keeps names that nobody uses. Told that the run's directory is gone it drops all of
 * them below, and keeps what somebody has open, or as the current directory; for those who come by
 * the path it finds the same nodes again. Afterwards it is told now and then of what no longer has
 * anything below it. (A kernel that cannot let go of nodes, but of names only, takes the path from
 * who has just that as the current directory.)
 */
#include "base/thread.h"
#include "notify.h"
#include "root_parts.h"

enum {
	POLL_MS = 100,
	BATCH = 256,
};

static const int64_t pause_first_ns = 100 * 1000000ll, pause_max_ns = 60 * 1000000000ll;

/* Under the lock. */
static bool is_in_use(struct root *r, const struct realm *k)
{
	return k->pins > 0 || k->holds > 0 || k->children > 0 || aliases_are_visited(r, k);
}

/* One that is gone now, taken out, or NULL. *@ret_waits: for others. */
static struct realm *take_unused(struct root *r, bool *ret_waits)
{
	WITH_LOCK(&r->lock);

	*ret_waits = false;
	list_for_each (k, &r->realm_list, struct realm, link) {
		if (!k->is_ended)
			continue;
		if (is_in_use(r, k)) {
			*ret_waits = true;
			continue;
		}
		htab_remove(&r->realms, &k->by_number);
		list_remove(&k->link);
		k->parent->children--;
		return k;
	}
	return NULL;
}

static bool end_unused(struct root *r)
{
	struct realm *k;
	bool waits;

	while ((k = take_unused(r, &waits))) {
		aliases_drop(r, k->number);
		run_forgotten(k->run);
		run_unref(k->run);
		free(k);
	}
	return waits;
}

/* One of which the kernel is to be told, held, or NULL. *@ret_alone: no other lies in it, so that
 * nothing is mounted there by a run. */
static struct realm *take_due(struct root *r, bool *ret_alone)
{
	int64_t now = now_ns();

	WITH_LOCK(&r->lock);

	list_for_each (k, &r->realm_list, struct realm, link) {
		if (!k->is_ended || now < k->look_at)
			continue;
		k->pause_ns = k->pause_ns ? MIN(2 * k->pause_ns, pause_max_ns) : pause_first_ns;
		k->look_at = now + k->pause_ns;
		k->holds++;
		*ret_alone = k->children == 0;
		return k;
	}
	return NULL;
}

static bool is_of(const struct view *v, void *ctx)
{
	return view_owner(v) == ctx;
}

/* Vnodes of the realm that nothing here uses. How many there were. */
static size_t forget_files(struct fs *fs, struct realm *k, struct vnode_stale *some)
{
	size_t at = 0, n, all = 0;

	while ((n = vnode_list(fs->vnodes, is_of, k, &at, some, BATCH)) > 0) {
		for (size_t i = 0; i < n; i++)
			notify_forget(fs->notify, &some[i]);
		all += n;
		notify_pace(fs->notify);
	}
	return all;
}

/* The nodes above the views, from the lowest. */
static void forget_tops(struct fs *fs, struct realm *k)
{
	uint64_t top = root_own_node(k->number, ROOT_OWN_TOP);
	_cleanup_free_ struct vnode_stale *all = NULL;
	size_t n = realm_names(k, &all);
	struct vnode_stale root = {
		.id = top, .parent = run_dir_node(k->parent, k), .by_name = true, .name = "root"
	};

	for (size_t i = 0; i < n; i++)
		notify_forget(fs->notify, &all[i]);
	notify_forget(fs->notify, &root);
}

/* As long as something goes, there may soon be more. */
static void forget_rest(struct fs *fs, struct realm *k)
{
	_cleanup_free_ struct vnode_stale *some = malloc(BATCH * sizeof(*some));
	size_t n = some ? forget_files(fs, k, some) : 0;

	forget_tops(fs, k);
	if (n != k->left)
		k->pause_ns = pause_first_ns;
	k->left = n;
}

static void tell_kernel(struct root *r)
{
	struct fs *fs = r->fs;
	struct realm *k;
	bool alone;

	while ((k = take_due(r, &alone))) {
		uint64_t runs = root_own_node(k->parent->number, ROOT_OWN_RUNS);

		if (alone)
			notify_gone(fs->notify, runs, span_str(run_id(k->run)->s), 0);
		/* What is dropped then need not be told of. */
		if (k->is_shrunk)
			forget_rest(fs, k);
		k->is_shrunk = true;
		realm_put(k);
	}
}

/* False: the end. */
static bool wait_for(struct root *r, bool soon)
{
	struct deadline dl = deadline_in_ms(POLL_MS);

	WITH_LOCK(&r->lock);

	while (!r->is_ending && !r->has_ended_one) {
		if (!soon)
			pthread_cond_wait(&r->wake, &r->lock);
		else if (cond_wait_until(&r->wake, &r->lock, &dl, POLL_MS) < 0)
			break;
	}
	r->has_ended_one = false;
	return !r->is_ending;
}

static void *work(void *arg)
{
	struct root *r = arg;
	bool waits = false;

	while (wait_for(r, waits)) {
		tell_kernel(r);
		waits = end_unused(r);
	}
	return NULL;
}

int realms_start(struct root *r)
{
	int e = thread_start(&r->ender, "realms", work, r);

	r->has_ender = e == 0;
	return e;
}

void realms_stop(struct root *r)
{
	if (!r || !r->has_ender)
		return;
	pthread_mutex_lock(&r->lock);
	r->is_ending = true;
	pthread_cond_signal(&r->wake);
	pthread_mutex_unlock(&r->lock);
	pthread_join(r->ender, NULL);
	r->has_ender = false;
}
