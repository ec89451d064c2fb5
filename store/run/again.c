/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A run that reads what a former one has read ("rerun" of run-begin): its pins are that one's.
 *
 * A commit that is not there any more matters only if the former run has looked at it: a run pins
 * every branch of its mount.
 */
#include <stdio.h>

#include "base/log.h"
#include "run/archive.h"
#include "run/fields.h"
#include "run/parts.h"
#include "run/tree_read.h"
#include "run/trees.h"

enum {
	RECORD_TIMEOUT_MS = 30 * 1000,
};

struct former {
	const char *id;
	json_t *start, *end; /* owned */
	struct tree_root tree;
	bool has_tree;
};

static void former_release(struct former *f)
{
	json_decref(f->start);
	json_decref(f->end);
}

static int load(struct run *run, struct former *f)
{
	struct deadline dl = deadline_in_ms(RECORD_TIMEOUT_MS);
	struct run_id id;
	int r = run_id_parse(f->id, &id);

	if (r == 0)
		r = archive_get(run->runs->opts.store, &id, &dl, &f->start, &f->end);
	if (r == -ENOENT || r == -EINVAL)
		return log_fail(r, "the store has no record of a run %s", f->id);
	if (r < 0)
		return r;
	if (!f->end)
		return log_fail(-EBUSY,
				"the run %s has not ended, as far as is known: it can be rerun "
				"when it has",
				f->id);
	f->has_tree = run_tree_read(json_object_get(f->end, "tree"), &f->tree) == 0;
	return 0;
}

/* Has the former run looked at the branch? 1, 0, -errno; without a tree nobody knows. */
static int has_looked(const struct former *f, const struct run_head *h, struct access *acc)
{
	_cleanup_(node_unrefp) struct node *leaf = NULL;
	char path[sizeof(h->repo) + sizeof(h->branch)];
	struct inode ino;
	int r;

	if (!f->has_tree)
		return 1;
	snprintf(path, sizeof(path), "%s/%s", h->repo, h->branch);
	r = run_tree_find(&f->tree, RUN_TREE_LOOKED, span_str(path), acc, &leaf, &ino);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	return !run_tree_is_absent(&ino);
}

/* Is all that the pin needs there? 0; -ENOENT, said. */
static int check_pin(struct run *run, const struct former *f, const struct run_head *h,
		     struct access *acc)
{
	struct refs *refs = run->runs->opts.store->refs;
	struct refs_wait w = { .may_wait = true, .deadline = acc->deadline };
	_cleanup_repo_rec_ struct repo_rec repo = { 0 };
	_cleanup_buf_ struct buf object = { 0 };
	char hex[OID_HEX];
	int r = refs_repo(refs, h->repo, &w, &repo);

	if (r == -ENOENT || (r == 0 && !id128_equal(&repo.id, &h->repo_id)))
		return log_fail(-ENOENT,
				"run %s has read the repo %s, which is not there any more, or is "
				"another one",
				f->id, h->repo);
	if (r == 0 && !oid_is_null(&h->pinned))
		r = refs_commit(refs, &h->repo_id, &h->pinned, &w, &object);
	if (r == -ENOENT)
		return log_fail(
			r, "run %s has read the commit %s of %s/%s, which is not there any more",
			f->id, oid_hex(&h->pinned, hex), h->repo, h->branch);
	return r;
}

/* One of "pinned", or an output: one that was pinned when it was looked at is only there. */
static int pin(struct run *run, const struct former *f, const json_t *p, const char *key,
	       struct access *acc)
{
	struct run_head h = { .is_output = true };
	int r;

	snprintf(h.repo, sizeof(h.repo), "%s", field_text(p, "repo"));
	snprintf(h.branch, sizeof(h.branch), "%s", field_text(p, "branch"));
	if (!object_name_is_valid(h.repo) || !object_name_is_valid(h.branch) ||
	    field_id128(p, "repo_id", &h.repo_id) < 0 ||
	    field_id128(p, "branch_id", &h.branch_id) < 0 || field_oid(p, key, &h.pinned) < 0 ||
	    field_oid(p, json_object_get(p, "committed") ? "committed" : key, &h.committed) < 0)
		return log_fail(-EBADMSG, "run %s: its record does not say what it has read",
				f->id);
	if (run_head_find(run, h.repo, h.branch))
		return 0;
	r = has_looked(f, &h, acc);
	if (r < 0)
		return log_errno(r, "what run %s has looked at cannot be read", f->id);
	if (r > 0)
		r = check_pin(run, f, &h, acc);
	else if (check_pin(run, f, &h, acc) < 0) {
		complaint_clear();
		return 0;
	}
	return r < 0 ? r : run_head_add(run, &h) ? 0 : -ENOMEM;
}

int run_pin_again(struct run *run, const char *of, struct access *acc)
{
	_cleanup_(former_release) struct former f = { .id = of };
	json_t *p;
	size_t i;
	int r = load(run, &f);

	json_array_foreach (json_object_get(f.start, "pinned"), i, p)
		if (r == 0)
			r = pin(run, &f, p, "commit", acc);
	json_array_foreach (json_object_get(f.end, "outputs"), i, p)
		if (r == 0)
			r = pin(run, &f, p, "pinned", acc);
	return r;
}
