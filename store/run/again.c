/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Runs that do again what a former one has done.
 *
 * A *rerun* reads what that has read: its pins are that one's. A commit that is not there any more
 * matters only if the former run has looked at it: a run pins every branch of its mount.
 *
 * An *update* finds all as it is now, but for what the former run has made and nobody has changed
 * since, which is as that found it: what makes a directory, appends to a file or changes it in
 * place does so once. To the run that is as if it were uncommitted, so it is not published.
 */
#include <stdio.h>

#include "base/hash.h"
#include "base/htab.h"
#include "base/log.h"
#include "base/text.h"
#include "catalog/turns.h"
#include "merge/merge.h"
#include "record/archive.h"
#include "record/fields.h"
#include "record/tree_read.h"
#include "record/trees.h"
#include "run/parts.h"
#include "run/publish.h"
#include "write/publish.h"

enum {
	RECORD_TIMEOUT_MS = 30 * 1000,
	RESTARTS_MAX = 3,
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

/* ---- what it has made, taken back ---- */

/* Is in the metadata of a commit from which that was taken: the pin that it was in. */
#define META_FOUND "pfs.found"

/* Paths in a branch. */
struct path {
	struct hnode node;
	char *text; /* owned */
};

static bool paths_have(struct span path, void *paths)
{
	htab_for_each (n, (struct htab *)paths, hash_bytes(path.data, path.len))
		if (span_equal(span_str(container_of(n, struct path, node)->text), path))
			return true;
	return false;
}

static int paths_add(struct htab *paths, struct span path)
{
	struct path *p = new0(struct path, 1);

	if (p)
		p->text = strndup((const char *)path.data, path.len);
	if (!p || !p->text || htab_insert(paths, &p->node, hash_bytes(path.data, path.len)) < 0) {
		free(p ? p->text : NULL);
		free(p);
		return -ENOMEM;
	}
	return 0;
}

static void free_path(struct hnode *n, void *ctx)
{
	free(container_of(n, struct path, node)->text);
	free(container_of(n, struct path, node));
}

static void paths_release(struct htab *paths)
{
	htab_walk(paths, free_path, NULL);
	htab_release(paths);
}

/* A three-way merge of commits, in which ours counts where both have changed something. */
struct mix {
	struct run *run;
	struct access *acc;
	const char *repo_name, *branch;
	struct id128 repo;
	struct chunk_params chunk;
	struct loaded ours, base, theirs; /* without an id: nothing */
	struct htab kept; /* paths where ours counts; owned, with its elements */
	struct inode empty;
};

static void mix_release(struct mix *m)
{
	loaded_release(&m->ours);
	loaded_release(&m->base);
	loaded_release(&m->theirs);
	paths_release(&m->kept);
}

/* @theirs null: nothing. */
static int mix_load(struct mix *m, const struct oid *ours, const struct oid *base,
		    const struct oid *theirs)
{
	struct refs *refs = m->run->runs->opts.store->refs;
	struct refs_wait w = { .may_wait = true, .deadline = m->acc->deadline };
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	const struct oid *ids[] = { ours, base, theirs };
	struct loaded *to[] = { &m->ours, &m->base, &m->theirs };
	int r = refs_repo(refs, m->repo_name, &w, &rec);

	m->repo = rec.id;
	m->chunk = rec.chunk;
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(ids); i++)
		if (!oid_is_null(ids[i]))
			r = refs_load_commit(refs, &m->repo, ids[i], &w, to[i]);
	return r;
}

static struct merge_side side_of(const struct mix *m, const struct loaded *l)
{
	static const struct tree_root no_links;

	return oid_is_null(&l->id)
		       ? (struct merge_side){ .root = &m->empty, .links = &no_links }
		       : (struct merge_side){ .root = &l->commit.root, .links = &l->commit.links };
}

/* As a commit on @parent, which has @meta besides. */
static int mix_once(struct mix *m, const struct loaded *parent, const struct commit_meta *more,
		    struct oid *ret)
{
	struct commit_meta meta[2] = { { span_str(META_PIN), span_str("1") } };
	_cleanup_(session_freep) struct session *s = NULL;
	_cleanup_buf_ struct buf object = { 0 };
	const struct session_options so = { .store = m->run->runs->opts.store,
					    .chunk = m->chunk,
					    .cancelled = m->acc->deadline.cancelled };
	const struct publication p = { .store = so.store,
				       .repo = m->repo,
				       .branch = m->branch,
				       .parents = &parent->id,
				       .parent_count = 1,
				       .generation = parent->commit.generation + 1,
				       .meta = meta,
				       .meta_count = 1 + !!more,
				       .deadline = m->acc->deadline };
	struct merge_options o = { .access = m->acc, .base_count = 1, .prefer = MERGE_PREFER_OURS };
	struct snapshot snap;
	int r = session_new(&so, &s);

	if (more)
		meta[1] = *more;
	m->empty = m->ours.commit.root;
	m->empty.dir = (struct tree_root){ 0 };
	o.ours = side_of(m, &m->ours);
	o.theirs = side_of(m, &m->theirs);
	o.bases[0] = side_of(m, &m->base);
	if (m->kept.count > 0) {
		o.is_ours = paths_have;
		o.is_ours_ctx = &m->kept;
	}
	if (r == 0)
		r = merge_write(&o, s, &snap);
	if (r == 0)
		r = publish(&p, s, &snap, ret, &object);
	if (r < 0)
		return r;
	refs_note_commit(so.store->refs, &m->repo, ret, buf_span(&object));
	packer_tell_index(session_packer(s));
	return 0;
}

static int mix(struct mix *m, const struct loaded *parent, const struct commit_meta *more,
	       struct oid *ret)
{
	int r = -ERESTART;

	for (unsigned i = 0; r == -ERESTART && i <= RESTARTS_MAX; i++)
		r = mix_once(m, parent, more, ret);
	return r == -ERESTART ? -EAGAIN : r;
}

/* The pin from which something was taken back; itself, where nothing was. */
static int found_in(struct run *run, const struct id128 *repo, struct access *acc, struct oid *id)
{
	struct refs_wait w = { .may_wait = true, .deadline = acc->deadline };
	_cleanup_loaded_ struct loaded c = { 0 };
	int r = refs_load_commit(run->runs->opts.store->refs, repo, id, &w, &c);

	for (unsigned i = 0; r == 0 && i < c.commit.meta_count; i++)
		if (span_equal(c.commit.meta[i].key, span_str(META_FOUND)))
			return oid_parse(c.commit.meta[i].value, id);
	return r;
}

/* What looks like its work, and is another run's, which has made the same since. */
struct sorting {
	struct mix *mix;
	struct loaded now; /* from which it is taken back, and before that others' */
	struct run_id id;
};

static int keep_others(struct span path, const struct inode *ino, void *ctx)
{
	struct sorting *s = ctx;
	const struct run_file was = run_file_of(ino);
	const struct run_reading rd = { s->mix->run->runs->opts.store, s->mix->acc };
	_cleanup_run_turns_ struct run_turns line = { 0 };
	struct run_place place;
	struct run_file now;
	int r;

	if (ino->type != FT_REG || !run_place_read(path, &place) ||
	    !span_equal(place.repo, span_str(s->mix->repo_name)) ||
	    !span_equal(place.rev, span_str(s->mix->branch)))
		return 0;
	r = run_file_in_commit(&rd, &s->now.commit, place.path, &now);
	if (r < 0 || now.type != was.type || !oid_equal(&now.id, &was.id))
		return r == -ENOENT ? 0 : r;
	r = run_turns_of(&rd, &place, &now, NULL, &line);
	if (r < 0 || line.count == 0 || run_turns_find(&line, &s->id) != SIZE_MAX)
		return r;
	return paths_add(&s->mix->kept, place.path);
}

static int sort_out(struct mix *m, const struct former *f, const struct oid *found)
{
	struct refs_wait w = { .may_wait = true, .deadline = m->acc->deadline };
	struct sorting s = { .mix = m };
	int r = f->has_tree ? run_id_parse(f->id, &s.id) : 0;

	if (r < 0 || !f->has_tree)
		return r;
	r = refs_load_commit(m->run->runs->opts.store->refs, &m->repo, found, &w, &s.now);
	if (r == 0)
		r = run_tree_walk(&f->tree, RUN_TREE_WRITTEN, m->acc, keep_others, &s);
	loaded_release(&s.now);
	return r;
}

static int undo(struct run *run, const struct former *f, const json_t *out, struct access *acc)
{
	struct run_head *h = run_head_find(run, field_text(out, "repo"), field_text(out, "branch"));
	_cleanup_(mix_release) struct mix m = { .run = run, .acc = acc };
	struct commit_meta meta = { .key = span_str(META_FOUND) };
	struct oid made, was, found;
	struct id128 branch;
	char hex[OID_HEX];
	int r;

	if (!h || oid_is_null(&h->pinned) || !json_object_get(out, "result") ||
	    field_id128(out, "branch_id", &branch) < 0 || !id128_equal(&branch, &h->branch_id))
		return 0;
	m.repo_name = h->repo;
	m.branch = h->branch;
	found = h->pinned;
	r = field_oid(out, "result", &made) ?: field_oid(out, "pinned", &was);
	if (r == 0)
		r = found_in(run, &h->repo_id, acc, &found);
	if (r == 0)
		r = mix_load(&m, &h->pinned, &made, &was);
	/* Then it finds what the former run has made, and overwrites that. */
	if (r == -ENOENT)
		return 0;
	if (r == 0)
		r = sort_out(&m, f, &found);
	meta.value = span_str(oid_hex(&found, hex));
	return r < 0 ? r : mix(&m, &m.ours, &meta, &h->pinned);
}

static int undo_all(struct run *run, const char *of, struct access *acc)
{
	_cleanup_(former_release) struct former f = { .id = of };
	json_t *out;
	size_t i;
	int r = load(run, &f);

	json_array_foreach (json_object_get(f.end, "outputs"), i, out)
		if (r == 0)
			r = undo(run, &f, out, acc);
	return r;
}

int run_undo(struct run *run, const char *of, const json_t *more, struct access *acc)
{
	json_t *id;
	size_t i;
	int r = 0;

	json_array_foreach ((json_t *)more, i, id)
		if (r == 0)
			r = undo_all(run, json_string_value(id) ?: "", acc);
	return r < 0 ? r : undo_all(run, of, acc);
}

int run_redo(struct run *run, const struct publishing *p, struct access *acc, struct oid *ret_base,
	     struct oid *ret_result)
{
	_cleanup_(mix_release) struct mix m = {
		.run = run, .acc = acc, .repo_name = p->repo_name, .branch = p->branch
	};
	struct run_head h;
	int r = run_head_now(run, p->repo_name, p->branch, &h);

	if (r == 0 && !oid_is_null(&h.pinned))
		r = found_in(run, &p->repo, acc, &h.pinned);
	if (r < 0)
		return r;
	*ret_base = h.pinned;
	*ret_result = p->result;
	if (oid_is_null(&h.pinned) || oid_equal(&h.pinned, &p->pinned))
		return 0;
	r = mix_load(&m, &p->result, &p->pinned, &h.pinned);
	return r < 0 ? r : mix(&m, &m.theirs, NULL, ret_result);
}
