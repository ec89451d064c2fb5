/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Pushing runs (push_runs.h).
 *
 *	scan of this store's catalog --> window of runs --listing of the other store's records-->
 *	those that it lacks --> their trees, in shared packs --> starts and ends
 *
 * Both go by id, so no more than a window of them is in memory. An end comes last of all that a run
 * has: one that is there is there whole, and what is stopped half-way is done again.
 *
 * A record is what it is here but for the hint of its tree. One whose tree cannot be read goes as
 * it is: it says there what it says here.
 */
#include "catalog/push_runs.h"

#include "base/log.h"
#include "catalog/catalog.h"
#include "record/archive.h"
#include "record/tree_read.h"
#include "record/trees.h"
#include "transfer/crew.h"
#include "transfer/push_copy.h"

enum {
	WINDOW = 512, /* runs */
	CREW = 8, /* threads that wait for a bucket */
	ATTEMPTS = 3, /* the collector may have moved meanwhile */
	PUT_TIMEOUT_MS = 60 * 1000,
};

struct pushed_run {
	struct run_id id;
	struct tree_root tree; /* null: none, or it cannot be read */
	struct loc at; /* there */
	bool is_done;
};

struct pushing {
	const struct run_push *p;
	struct run_push_result *result; /* borrowed; guarded by lock */
	pthread_mutex_t lock;
	struct pushed_run runs[WINDOW];
	size_t count, next; /* next: in a listing */
};

static struct deadline until_cancelled(const struct pushing *k)
{
	return (struct deadline){ .at_ns = INT64_MAX, .cancelled = k->p->report->o->cancelled };
}

static bool is_of_branch(const struct run_output *o, const char *branch)
{
	struct span s = span_str(branch);

	return span_equal(o->branch, s) || span_equal(o->kept, s);
}

static bool is_meant(const struct run_push *p, const struct run_row *row)
{
	struct cursor c = cursor_of(row->outputs);
	struct run_output o;

	/* What cannot be read cannot be made another store's. */
	if (row->status == RUN_RUNNING || row->status >= RUN_DAMAGED)
		return false;
	if (!p->repo)
		return true;
	while (run_output_next(&c, &o))
		if (id128_equal(&o.repo_id, p->repo) && (!p->branch || is_of_branch(&o, p->branch)))
			return true;
	return false;
}

/* The other store's records of the window, beside it. */
static int take_there(const struct run_id *id, bool is_end, void *ctx)
{
	struct pushing *k = ctx;

	while (k->next < k->count && strcmp(k->runs[k->next].id.s, id->s) < 0)
		k->next++;
	if (k->next == k->count)
		return 1;
	if (is_end && strcmp(k->runs[k->next].id.s, id->s) == 0)
		k->runs[k->next].is_done = true;
	return 0;
}

/* Takes off the window what the other store has whole. */
static int leave_out_known(struct pushing *k)
{
	struct deadline dl = until_cancelled(k);
	struct key after = run_end_key(&k->runs[0].id);
	size_t kept = 0;
	int r;

	/* It begins with the first run's end, which comes before its start. */
	after.s[strlen(after.s) - 1] = '\0';
	k->next = 0;
	r = archive_list(k->p->to, "", after.s, take_there, k, &dl);
	if (r < 0)
		return log_errno(r, "%s: the runs cannot be listed", k->p->to->backend->url);
	for (size_t i = 0; i < k->count; i++)
		if (!k->runs[i].is_done)
			k->runs[kept++] = k->runs[i];
	k->count = kept;
	return 0;
}

/* What is in "extra" is the run's own, and goes whole; of all else only the nodes. */
static int copy_run(struct copier *c, struct pushed_run *x)
{
	_cleanup_(node_unrefp) struct node *leaf = NULL;
	struct node *root;
	struct inode extra;
	struct loc at;
	int r = reader_node(c->from->reader, &x->tree.id, &x->tree.loc, &c->access, &root);

	if (r < 0)
		return r == -ENOENT ? -EIO : r;
	/* A row has not all that the root's sum has. */
	x->tree.sum = root->sum;
	node_unref(root);
	r = run_tree_find(&x->tree, RUN_TREE_EXTRA, span_of(NULL, 0), &c->access, &leaf, &extra);
	if (r == 0 && extra.type == FT_DIR)
		r = copier_tree(c, &extra.dir, false, &at);
	if (r < 0 && r != -ENOENT)
		return r;
	return copier_tree(c, &x->tree, true, &x->at);
}

/* The trees of runs, @runs[0 .. n). */
static int copy_trees(struct pushing *k, struct pushed_run *runs, size_t n)
{
	const struct run_push *p = k->p;
	struct copier c;
	int r = copier_init(&c, p->from, p->to, p->report);

	for (size_t i = 0; r == 0 && i < n; i++)
		if (!oid_is_null(&runs[i].tree.id))
			r = copy_run(&c, &runs[i]);
	if (r == 0)
		r = copier_finish(&c);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = copier_resolve_tree(&c, &runs[i].tree.id, &runs[i].at);
	if (r == 0)
		r = packer_recheck(c.packer);
	if (r == 0) {
		packer_tell_index(c.packer);
		push_add_stats(p->stored, c.packer);
	}
	copier_release(&c);
	return r;
}

static bool is_of_tree(int r)
{
	return r == -EIO || r == -EBADMSG;
}

/* All of the window's; where one of them cannot be read, one by one. */
static int copy_window(struct pushing *k)
{
	int r = copy_trees(k, k->runs, k->count);

	for (unsigned i = 1; r == -ERESTART && i < ATTEMPTS; i++)
		r = copy_trees(k, k->runs, k->count);
	if (!is_of_tree(r))
		return r;
	r = 0;
	for (size_t i = 0; r == 0 && i < k->count; i++) {
		struct pushed_run *x = &k->runs[i];

		r = copy_trees(k, x, 1);
		if (!is_of_tree(r))
			continue;
		log_warning("run %s: what it read and wrote cannot be moved: %s", x->id.s,
			    errno_text(r));
		x->tree = (struct tree_root){ 0 };
		r = 0;
	}
	return r;
}

/* The end as it is to be there. */
static int set_hint(const struct pushed_run *x, json_t *end)
{
	struct tree_root t;
	json_t *tree = json_object_get(end, "tree"), *now, *hint;
	int r;

	if (oid_is_null(&x->tree.id) || !json_is_object(tree) || run_tree_read(tree, &t) < 0 ||
	    !oid_equal(&t.id, &x->tree.id))
		return 0;
	t.loc = x->at;
	now = run_tree_json(&t);
	hint = json_object_get(now, "hint");
	r = hint && json_object_set(tree, "hint", hint) == 0 ? 0 : -ENOMEM;
	json_decref(now);
	return r;
}

/* Is what is there under the start's key this run's, as another version may have written it? */
static int is_same_start(struct pushing *k, const struct pushed_run *x, const json_t *start,
			 const struct deadline *dl)
{
	json_t *there = NULL, *end = NULL;
	int r = archive_get(k->p->to, &x->id, dl, &there, &end);

	if (r == 0)
		r = json_equal(start, there) ? 0 : -EEXIST;
	json_decref(there);
	json_decref(end);
	return r == -EBADMSG || r == -ENOTSUP ? -EEXIST : r;
}

static int put_record(struct pushing *k, const struct pushed_run *x, const json_t *start,
		      json_t *end, const struct deadline *dl)
{
	int r = set_hint(x, end);

	if (r == 0)
		r = archive_start(k->p->to, &x->id, start, dl);
	if (r == -EEXIST)
		r = is_same_start(k, x, start, dl);
	if (r < 0)
		return r;
	r = archive_end(k->p->to, &x->id, end, dl);
	/* Somebody else pushes it as well. */
	return r == -EEXIST ? 0 : r;
}

static int push_one(size_t i, void *ctx)
{
	struct pushing *k = ctx;
	const struct pushed_run *x = &k->runs[i];
	struct deadline dl = deadline_in_ms(PUT_TIMEOUT_MS);
	json_t *start = NULL, *end = NULL;
	int r;

	dl.cancelled = k->p->report->o->cancelled;
	r = archive_get(k->p->from, &x->id, &dl, &start, &end);
	if (r == 0 && end)
		r = put_record(k, x, start, end, &dl);
	json_decref(start);
	json_decref(end);
	if (r == -EEXIST)
		log_warning("run %s: %s has another run of that id; this one is left out", x->id.s,
			    k->p->to->backend->url);
	else if (r < 0)
		return r == -ECANCELED
			       ? r
			       : log_errno(r, "run %s: its record cannot be moved", x->id.s);
	report_add(k->p->report, 1, 0);
	WITH_LOCK(&k->lock);
	k->result->clashes += r == -EEXIST;
	k->result->runs += r == 0;
	return 0;
}

static int push_window(struct pushing *k)
{
	const struct run_push *p = k->p;
	const bool is_local = p->from->backend->is_local && p->to->backend->is_local;
	int r = k->count > 0 ? leave_out_known(k) : 0;

	if (r == 0 && p->is_dry)
		k->result->runs += k->count;
	else if (r == 0 && k->count > 0)
		r = copy_window(k);
	if (r == -ERESTART)
		return log_fail(-EAGAIN, "%s: the garbage collector was in the way; try again",
				p->to->backend->url);
	if (r < 0 && r != -ECANCELED)
		log_errno(r, "%s: what runs read and wrote cannot be moved", p->from->backend->url);
	if (r == 0 && !p->is_dry)
		r = crew_run(is_local ? 1 : CREW, k->count, push_one, k);
	k->count = 0;
	return r;
}

static int take_row(const struct run_row *row, void *ctx)
{
	struct pushing *k = ctx;
	struct pushed_run *x = &k->runs[k->count];

	if (report_is_cancelled(k->p->report))
		return -ECANCELED;
	if (!is_meant(k->p, row))
		return 0;
	*x = (struct pushed_run){ .id = row->id };
	if (!(row->flags & RUN_ROW_NO_TREES))
		x->tree = (struct tree_root){ .id = row->tree, .loc = row->tree_loc };
	return ++k->count == WINDOW ? push_window(k) : 0;
}

int run_push(const struct run_push *p, struct run_push_result *ret)
{
	struct pushing *k = new0(struct pushing, 1);
	struct deadline dl;
	int r;

	if (!k)
		return -ENOMEM;
	k->p = p;
	k->result = ret;
	pthread_mutex_init(&k->lock, NULL);
	dl = until_cancelled(k);
	r = catalog_look(p->from, &(struct catalog_look){ 0 }, &dl);
	if (r < 0 && r != -ECANCELED) {
		log_warning("%s: runs that cannot be listed are left out: %s",
			    p->from->backend->url, errno_text(r));
		r = 0;
	}
	if (r == 0)
		r = catalog_scan(p->from, false, take_row, k);
	if (r == 0)
		r = push_window(k);
	pthread_mutex_destroy(&k->lock);
	free(k);
	return r;
}
