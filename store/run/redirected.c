/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Files of the mount that the caller's shell has opened as a run's stdin, stdout or stderr. They
 * are the plain heads', so what the run reads from them and writes to them passes by its view
 * (RUNS.md, section 1, "Redirections").
 *
 * What was written is told from two pins of the head: the run's own, and one at its end.
 */
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "catalog/files.h"
#include "record/fields.h"
#include "record/json_bytes.h"
#include "record/trees.h"
#include "run/parts.h"

/* Where a stream lies, "REPO/REV/PATH". */
struct place {
	struct buf text; /* owned */
	char repo[OBJECT_NAME_MAX + 1], rev[OBJECT_NAME_MAX + 1];
	struct span path; /* borrows from text */
};

static void place_release(struct place *p)
{
	buf_release(&p->text);
}
#define _cleanup_place_ _cleanup_(place_release)

/* The first part of a path, which is one of a name's length; false: it is none. */
static bool take_part(struct span *path, char ret[OBJECT_NAME_MAX + 1])
{
	const uint8_t *slash = path->len > 0 ? memchr(path->data, '/', path->len) : NULL;
	size_t n = slash ? (size_t)(slash - path->data) : 0;

	if (n == 0 || n > OBJECT_NAME_MAX)
		return false;
	memcpy(ret, path->data, n);
	ret[n] = '\0';
	*path = span_of(slash + 1, path->len - n - 1);
	return true;
}

/* 1; 0: not in the mount, or no file of a repo's; -ENOMEM. */
static int place_of(const struct run *run, const char *stream, struct place *ret)
{
	const json_t *path = json_object_get(json_object_get(run->start, stream), "pfs");
	int r = path ? json_to_bytes(path, &ret->text) : -EINVAL;

	if (r < 0)
		return r == -EINVAL ? 0 : r;
	ret->path = buf_span(&ret->text);
	if (!take_part(&ret->path, ret->repo) || !take_part(&ret->path, ret->rev))
		return 0;
	if (strcmp(ret->rev, "commits") == 0 && !take_part(&ret->path, ret->rev))
		return 0;
	return ret->path.len > 0;
}

static void see(struct seen *s, const char *top, struct span path)
{
	seen_place at = seen_top(s, top);

	while (path.len > 0) {
		const uint8_t *slash = memchr(path.data, '/', path.len);
		size_t n = slash ? (size_t)(slash - path.data) : path.len;
		unsigned what = slash ? SEEN_PRESENT : SEEN_PRESENT | SEEN_READ;

		at = seen_name(s, at, span_of(path.data, n), (enum seen_what)what);
		n += slash != NULL;
		path = span_of(path.data + n, path.len - n);
	}
}

/* What a revision that is no branch of the run's leads to. -ENOENT, or errors of refs. */
static int commit_of(struct run *run, const struct place *p, struct access *acc, struct oid *ret)
{
	struct refs_wait w = { .may_wait = true, .deadline = acc->deadline };
	struct refs *refs = run->runs->opts.store->refs;
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct resolved x;
	int r = refs_repo(refs, p->repo, &w, &rec);

	if (r == 0)
		r = refs_resolve(refs, &rec.id, p->rev, &w, &x);
	if (r == 0 && x.is_branch)
		r = -ENOENT;
	if (r == 0)
		*ret = x.commit;
	return r;
}

int run_see_stdin(struct run *run, struct access *acc)
{
	_cleanup_place_ struct place p = { 0 };
	_cleanup_free_ char *top = NULL;
	char hex[OID_HEX];
	struct oid id;
	int r = place_of(run, "stdin", &p);

	if (r <= 0)
		return r;
	if (run_has_pinned(run, p.repo, p.rev)) {
		top = strf("%s/%s", p.repo, p.rev);
	} else {
		r = commit_of(run, &p, acc, &id);
		if (r < 0)
			return r == -ENOENT ? 0 : r;
		top = strf("%s/%s", p.repo, oid_hex(&id, hex));
	}
	if (!top)
		return -ENOMEM;
	see(run->seen, top, p.path);
	return 0;
}

/* The mount's own head of a branch. */
struct search {
	const struct run_head *of;
	struct view *head; /* a reference */
};

static int is_of(struct view *head, void *ctx)
{
	struct search *s = ctx;

	if (!head_is_of(head, &s->of->repo_id, &s->of->branch_id))
		return 0;
	s->head = view_ref(head);
	return 1;
}

/* What the file is in a commit: -ENOENT. */
static int file_in(struct run *run, const struct run_head *h, const struct oid *id,
		   struct span path, struct access *acc, struct run_file *ret)
{
	const struct run_reading rd = { run->runs->opts.store, acc };
	struct refs_wait w = { .may_wait = true, .deadline = acc->deadline };
	_cleanup_loaded_ struct loaded l = { 0 };
	int r = -ENOENT;

	if (!oid_is_null(id))
		r = refs_load_commit(rd.store->refs, &h->repo_id, id, &w, &l);
	return r < 0 ? r : run_file_in_commit(&rd, &l.commit, path, ret);
}

/* Is it another file at @now than when the run began? 1, 0, -errno. */
static int has_changed(struct run *run, const struct run_head *h, const struct oid *now,
		       struct span path, struct access *acc)
{
	struct run_file was, is;
	int r = file_in(run, h, now, path, acc, &is);

	if (r < 0 || is.type != FT_REG)
		return r == -ENOENT ? 0 : r;
	r = file_in(run, h, &h->pinned, path, acc, &was);
	if (r < 0)
		return r == -ENOENT ? 1 : r;
	return was.type != is.type || !oid_equal(&was.id, &is.id);
}

static bool is_in(const json_t *all, const json_t *one)
{
	json_t *other;
	size_t i;

	json_array_foreach ((json_t *)all, i, other)
		if (json_equal(other, one))
			return true;
	return false;
}

/* The head as it is now, which has what was written to the file. */
static int pin_now(struct run *run, const struct run_head *h, struct access *acc, struct oid *ret)
{
	const struct pin_request req = { .message = "with what a run has printed" };
	_cleanup_view_ struct view *head = NULL;
	struct search s = { .of = h };
	bool is_new;

	heads_each(run->runs->opts.heads, is_of, &s);
	head = s.head;
	return head ? head_pin(head, &req, acc, ret, &is_new) : -ESTALE;
}

static int note(struct run *run, const char *stream, struct access *acc, json_t *all)
{
	_cleanup_place_ struct place p = { 0 };
	struct run_head h;
	struct oid now;
	json_t *one;
	int r = place_of(run, stream, &p);

	if (r <= 0 || run_head_now(run, p.repo, p.rev, &h) < 0)
		return r;
	r = pin_now(run, &h, acc, &now);
	if (r == 0)
		r = has_changed(run, &h, &now, p.path, acc);
	if (r <= 0)
		return r == -ESTALE ? 0 : r;
	one = json_pack("{s:s, s:s, s:o, s:o}", "repo", h.repo, "branch", h.branch, "path",
			json_of_bytes(p.path), "commit", json_of_oid(&now));
	if (one && is_in(all, one)) {
		json_decref(one);
		return 0;
	}
	return json_array_append_new(all, one) < 0 ? -ENOMEM : 0;
}

int run_note_redirected(struct run *run, struct access *acc)
{
	static const char *const streams[] = { "stdout", "stderr" };
	json_t *all;
	int r = 0;

	/* In a run they are the outer one's, which has its own way to know. */
	if (run_is_within(run) || json_object_get(run->note, "tree") ||
	    json_object_get(run->note, "redirected"))
		return 0;
	all = json_array();
	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(streams); i++)
		r = note(run, streams[i], acc, all);
	if (r < 0 || json_array_size(all) == 0) {
		json_decref(all);
		return r < 0 ? log_errno(r, "run %s: what it has printed cannot be committed yet",
					 run->id.s)
			     : 0;
	}
	if (json_object_set_new(run->note, "redirected", all) < 0)
		return -ENOMEM;
	return run_note_save(run);
}

int run_redirected_of(const struct run *run, const struct run_head *h, struct buf *paths,
		      struct run_redirected *ret)
{
	json_t *one;
	int count = 0;
	size_t i;

	json_array_foreach (json_object_get(run->note, "redirected"), i, one) {
		struct run_redirected *x = &ret[count];
		int r;

		if (i >= RUN_REDIRECTED_MAX || strcmp(field_text(one, "repo"), h->repo) != 0 ||
		    strcmp(field_text(one, "branch"), h->branch) != 0)
			continue;
		r = json_to_bytes(json_object_get(one, "path"), &paths[i])
			    ?: field_oid(one, "commit", &x->commit);
		if (r < 0)
			return r;
		x->path = buf_span(&paths[i]);
		count++;
	}
	return count;
}
