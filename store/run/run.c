/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A run while it goes on: what it is begun with, and what its branches are.
 */
#include "run/run.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/log.h"
#include "base/text.h"
#include "format/name.h"
#include "object/refs.h"
#include "record/fields.h"
#include "run/parts.h"

struct run *run_alloc(struct runs *r)
{
	struct run *run = new0(struct run, 1);

	if (!run)
		return NULL;
	run->refs = 1;
	run->runs = r;
	run->dirfd = -1;
	pthread_mutex_init(&run->lock, NULL);
	pthread_mutex_init(&run->end_lock, NULL);
	return run;
}

struct run *run_ref(struct run *run)
{
	atomic_fetch_add(&run->refs, 1);
	return run;
}

void run_unref(struct run *run)
{
	if (!run || atomic_fetch_sub(&run->refs, 1) > 1)
		return;
	for (size_t i = 0; i < run->head_count; i++) {
		view_unref(run->heads[i]->view);
		free(run->heads[i]);
	}
	free(run->heads);
	free(run->listed);
	seen_free(run->seen);
	json_decref(run->start);
	json_decref(run->note);
	if (run->dirfd >= 0)
		close(run->dirfd);
	run_unref(run->parent);
	pthread_mutex_destroy(&run->lock);
	pthread_mutex_destroy(&run->end_lock);
	free(run);
}

const struct run_id *run_id(const struct run *run)
{
	return &run->id;
}

uid_t run_uid(const struct run *run)
{
	return run->uid;
}

struct seen *run_seen(struct run *run)
{
	return run->seen;
}

void run_spoil(struct run *run)
{
	atomic_store(&run->is_spoiled, true);
}

int run_dirfd(const struct run *run)
{
	return run->dirfd;
}

int run_open_dir(struct run *run, const char *name)
{
	run->dirfd = openat(run->runs->dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return run->dirfd < 0 ? -errno : seen_open(run->dirfd, "seen", &run->seen);
}

int run_file_read(struct run *run, const char *name, json_t **ret)
{
	_cleanup_buf_ struct buf b = { 0 };
	int r = read_file(run->dirfd, name, RUN_RECORD_MAX, &b);

	if (r < 0)
		return r;
	*ret = json_loadb((const char *)b.data, b.len, 0, NULL);
	return json_is_object(*ret) ? 0 : -EBADMSG;
}

int run_file_write(struct run *run, const char *name, const json_t *value)
{
	_cleanup_free_ char *text = json_dumps(value, JSON_COMPACT);

	return text ? write_file_atomic(run->dirfd, name, span_str(text), 0600) : -ENOMEM;
}

int run_branch_parse(const char *text, struct run_head *ret)
{
	const char *slash = strchr(text, '/');
	size_t n = slash ? (size_t)(slash - text) : 0;

	if (!slash || n >= sizeof(ret->repo) || strlen(slash + 1) >= sizeof(ret->branch))
		return -EINVAL;
	*ret = (struct run_head){ 0 };
	memcpy(ret->repo, text, n);
	memcpy(ret->branch, slash + 1, strlen(slash + 1) + 1);
	return object_name_is_valid(ret->repo) && object_name_is_valid(ret->branch) ? 0 : -EINVAL;
}

struct run_head *run_head_find(struct run *run, const char *repo, const char *branch)
{
	for (size_t i = 0; i < run->head_count; i++)
		if (strcmp(run->heads[i]->repo, repo) == 0 &&
		    strcmp(run->heads[i]->branch, branch) == 0)
			return run->heads[i];
	return NULL;
}

struct run_head *run_head_add(struct run *run, const struct run_head *h)
{
	struct run_head **all =
		reallocarray(run->heads, run->head_count + 1, sizeof(struct run_head *));
	struct run_head *one;

	if (!all)
		return NULL;
	run->heads = all;
	one = new0(struct run_head, 1);
	if (!one)
		return NULL;
	*one = *h;
	all[run->head_count++] = one;
	return one;
}

ssize_t run_heads(struct run *run, struct run_head ***ret)
{
	struct run_head **all;
	WITH_LOCK(&run->lock);

	all = reallocarray(NULL, run->head_count + 1, sizeof(struct run_head *));
	if (!all)
		return -ENOMEM;
	for (size_t i = 0; i < run->head_count; i++)
		all[i] = run->heads[i];
	*ret = all;
	return (ssize_t)run->head_count;
}

/* As a run in another one finds its branch: what that has of it now. */
static int pin_in_parent(struct run *run, struct run_head *h, struct access *acc)
{
	const struct pin_request req = { .message = "as a run in a run found it" };
	struct run *parent = run->parent;
	_cleanup_view_ struct view *v = NULL;
	const struct run_head *of;
	bool is_new;
	int r = run_branch(parent, h->repo, h->branch, acc, &v);

	if (r < 0)
		return r;
	pthread_mutex_lock(&parent->lock);
	of = run_head_find(parent, h->repo, h->branch);
	pthread_mutex_unlock(&parent->lock);
	*h = *of;
	h->view = NULL;
	h->is_late = false;
	return view_is_head(v) ? head_pin(v, &req, acc, &h->pinned, &is_new) : 0;
}

int run_head_look_up(struct run *run, struct run_head *h, struct access *acc)
{
	struct refs *refs = run->runs->opts.store->refs;
	struct refs_wait w = { .may_wait = acc->may_wait, .deadline = acc->deadline };
	_cleanup_repo_rec_ struct repo_rec repo = { 0 };
	_cleanup_ref_ struct ref ref = { 0 };
	struct etag tag;
	int r;

	if (run->parent)
		return pin_in_parent(run, h, acc);
	r = refs_repo(refs, h->repo, &w, &repo);
	if (r == 0)
		r = refs_get(refs, &repo.id, REF_BRANCH, h->branch, &w, &ref, &tag);
	if (r < 0)
		return r;
	h->repo_id = repo.id;
	h->branch_id = ref.branch;
	h->pinned = h->committed = ref.target;
	h->is_output = true;
	return 0;
}

static struct view *view_there(struct run *run, struct run_head *h)
{
	WITH_LOCK(&run->lock);

	return h->view ? view_ref(h->view) : NULL;
}

/* What the run makes of its branch: a head, or the commit alone, if there is one. */
static int open_view(struct run *run, const struct run_head *h, struct access *acc,
		     struct view **ret)
{
	struct runs_options *o = &run->runs->opts;
	struct refs_wait w = { .may_wait = acc->may_wait, .deadline = acc->deadline };
	_cleanup_buf_ struct buf object = { 0 };
	char label[RUN_LABEL_MAX + 1];
	int r;

	if (h->is_output || oid_is_null(&h->pinned)) {
		r = h->is_late ? run_late_sync(run) : 0;
		if (r < 0)
			return r;
		snprintf(label, sizeof(label), "%s %s/%s", run->id.s, h->repo, h->branch);
		r = heads_new_private(o->heads, &h->repo_id, h->repo, h->branch, &h->pinned,
				      span_str(label), acc, ret);
		if (r == 0 && !h->is_output)
			head_fix(*ret);
		return r;
	}
	r = refs_commit(o->store->refs, &h->repo_id, &h->pinned, &w, &object);
	return r < 0 ? r : view_of_commit(o->store, o->vnodes, h->repo, buf_span(&object), ret);
}

/* Two may open it at once: the first one's is used. */
static struct view *use_view(struct run *run, struct run_head *h, struct view *v)
{
	struct view *mine = v;

	pthread_mutex_lock(&run->lock);
	if (!h->view)
		h->view = TAKE_PTR(mine);
	v = view_ref(h->view);
	pthread_mutex_unlock(&run->lock);
	if (mine && view_is_head(mine))
		head_discard(mine);
	view_unref(mine);
	return v;
}

/* A branch that was not there, or not known, at the start. */
static int pin_late(struct run *run, const char *repo, const char *branch, struct access *acc,
		    struct run_head **ret)
{
	struct run_head h = { 0 };
	int r;

	snprintf(h.repo, sizeof(h.repo), "%s", repo);
	snprintf(h.branch, sizeof(h.branch), "%s", branch);
	r = run_head_look_up(run, &h, acc);
	if (r < 0)
		return r;
	h.is_late = true;
	h.is_output &= !json_object_get(run->start, "out");
	WITH_LOCK(&run->lock);

	*ret = run_head_find(run, repo, branch);
	if (*ret)
		return 0;
	r = run_late_note(run, &h);
	if (r < 0)
		return r;
	*ret = run_head_add(run, &h);
	return *ret ? 0 : -ENOMEM;
}

/* As it was pinned, or is now. */
static int head_of(struct run *run, const char *repo, const char *branch, struct access *acc,
		   struct run_head **ret)
{
	pthread_mutex_lock(&run->lock);
	*ret = run_head_find(run, repo, branch);
	pthread_mutex_unlock(&run->lock);
	return *ret ? 0 : pin_late(run, repo, branch, acc, ret);
}

int run_head_now(struct run *run, const char *repo, const char *branch, struct run_head *ret)
{
	const struct run_head *h;
	WITH_LOCK(&run->lock);

	h = run_head_find(run, repo, branch);
	if (!h)
		return -ENOENT;
	*ret = *h;
	ret->view = NULL;
	return 0;
}

bool run_has_pinned(struct run *run, const char *repo, const char *branch)
{
	struct run_head h;

	return run_head_now(run, repo, branch, &h) == 0;
}

int run_pinned(struct run *run, const char *repo, const char *branch, struct access *acc,
	       struct oid *ret)
{
	struct run_head *h;
	int r = head_of(run, repo, branch, acc, &h);

	if (r == 0)
		*ret = h->pinned;
	return r;
}

int run_branch(struct run *run, const char *repo, const char *branch, struct access *acc,
	       struct view **ret)
{
	struct run_head *h;
	struct view *v;
	int r = head_of(run, repo, branch, acc, &h);

	if (r < 0)
		return r;
	v = view_there(run, h);
	if (!v) {
		r = open_view(run, h, acc, &v);
		if (r < 0)
			return r;
		v = use_view(run, h, v);
	}
	*ret = v;
	return 0;
}
