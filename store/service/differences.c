/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Verbs that tell what differs.
 *
 * A difference is a line:
 *
 *	{change, path, from?, old?: {type, mode, uid, gid, size, mtime}, new?: the same,
 *	 old_bytes?, new_bytes?}
 *
 * change: "added", "removed", "modified" (bytes, a symlink's target, a device's number), "type",
 * "mode" (mode, owner or extended attributes), "renamed" (from: its path before). A directory that
 * only one side has stands for all below it, but what is told as renamed. The path "." is the thing
 * that was asked about. With `stat`, old_bytes and new_bytes are those of a file or of all files
 * below a directory.
 *
 * After the differences comes {"summary": {added, removed, modified, type, mode, renamed: how many;
 * hidden: how many in directories the caller may not read; renames_sought: false when there were
 * too many differences; with `stat` bytes_added, bytes_removed}}.
 */
#include "base/log.h"
#include "base/text.h"
#include "run/run.h"
#include "service/compare.h"
#include "service/describe.h"
#include "service/verbs.h"

enum {
	KINDS = 6
};

struct telling {
	struct request *q;
	struct comparison c;
	bool with_bytes;
	uint64_t counts[KINDS];
	uint64_t bytes_added, bytes_removed;
};

static const struct {
	uint8_t what;
	const char *name;
} kinds[KINDS] = {
	{ DIFF_ADDED, "added" }, { DIFF_REMOVED, "removed" }, { DIFF_CONTENT, "modified" },
	{ DIFF_TYPE, "type" },	 { DIFF_ATTRS, "mode" },      { DIFF_RENAMED, "renamed" },
};

static unsigned kind_of(uint8_t what)
{
	unsigned i = 0;

	while (kinds[i].what != what)
		i++;
	return i;
}

static void put_fact(struct answer *a, const char *key, const struct fact *f)
{
	struct answer s = answer_new();
	struct stat st = {
		.st_mode = f->mode,
		.st_uid = f->uid,
		.st_gid = f->gid,
		.st_size = (off_t)f->size,
		.st_mtim = f->mtime,
	};

	answer_stat(&s, &st);
	answer_object(a, key, &s);
}

static int add_size(const struct fact *f, struct span path, void *ctx)
{
	uint64_t *sum = ctx;

	if (S_ISREG(f->mode))
		*sum = add_sat(*sum, f->size);
	return 0;
}

/* Bytes of a file, or below a directory that is not told of file by file. Of one that is committed
 * the tree says so, but for files with several names. */
static int bytes_of(struct telling *t, const struct difference *d, unsigned side, uint64_t *ret)
{
	_cleanup_held_ struct held at = { 0 };
	_cleanup_buf_ struct buf size = { 0 };
	bool is_from = side == 0 && d->from;
	struct span path = is_from ? span_of(d->from, d->from_len) : span_of(d->path, d->path_len);
	const struct fact *f = &d->side[side];
	struct stat st;
	int r;

	*ret = S_ISREG(f->mode) ? f->size : 0;
	if (!S_ISDIR(f->mode) || d->what == DIFF_ATTRS)
		return 0;
	if (span_equal(path, span_str("."))) /* the thing itself */
		path.len = 0;
	r = address_walk_from(t->q, t->c.side[side], path, &at, &st);
	if (r == 0 && oid_is_null(&f->id)) {
		r = walk_below(t->q, at.vnode, span_str(""), add_size, ret);
	} else if (r == 0) {
		r = view_getxattr(at.vnode, span_str("user.pfs.size"), &t->q->access, &size);
		buf_put_u8(&size, 0);
		if (r == 0)
			r = buf_failed(&size) ? -ENOMEM : parse_u64((char *)size.data, ret);
	}
	return r == -ENOENT || r == -ENOTDIR || r == -EACCES ? 0 : r;
}

static int put_bytes(struct telling *t, const struct difference *d, struct answer *a)
{
	static const char *const keys[2] = { "old_bytes", "new_bytes" };
	uint64_t n[2] = { 0, 0 };
	int r = 0;

	for (unsigned i = 0; r == 0 && i < 2; i++) {
		if (!d->has[i])
			continue;
		r = bytes_of(t, d, i, &n[i]);
		answer_number(a, keys[i], n[i]);
	}
	if (d->what == DIFF_RENAMED)
		return r;
	t->bytes_removed = add_sat(t->bytes_removed, n[0]);
	t->bytes_added = add_sat(t->bytes_added, n[1]);
	return r;
}

static int tell(const struct difference *d, void *ctx)
{
	_cleanup_answer_ struct answer a = answer_new();
	struct telling *t = ctx;
	unsigned kind = kind_of(d->what);
	int r = 0;

	t->counts[kind]++;
	answer_text(&a, "change", kinds[kind].name);
	answer_bytes(&a, "path", span_of(d->path, d->path_len));
	if (d->from)
		answer_bytes(&a, "from", span_of(d->from, d->from_len));
	if (d->has[0])
		put_fact(&a, "old", &d->side[0]);
	if (d->has[1])
		put_fact(&a, "new", &d->side[1]);
	if (t->with_bytes)
		r = put_bytes(t, d, &a);
	return r < 0 ? r : request_answer(t->q, &a);
}

static int tell_all(struct telling *t)
{
	_cleanup_answer_ struct answer a = answer_new();
	struct answer s = answer_new();
	int r;

	t->c.fn = tell;
	t->c.ctx = t;
	r = compare(t->q, &t->c);
	for (unsigned i = 0; i < KINDS; i++)
		answer_number(&s, kinds[i].name, t->counts[i]);
	answer_number(&s, "hidden", t->c.hidden);
	answer_bool(&s, "renames_sought", !t->c.is_plain);
	if (t->with_bytes) {
		answer_number(&s, "bytes_added", t->bytes_added);
		answer_number(&s, "bytes_removed", t->bytes_removed);
	}
	answer_object(&a, "summary", &s);
	return r < 0 ? r : request_answer(t->q, &a);
}

/* What a field's path leads to, opened. */
static int open_field(struct request *q, const char *field, struct address *p, struct view **v,
		      struct held *ret)
{
	struct stat st;
	int r = address_find(q, field, p);

	if (r == 0)
		r = address_callers_view(q, p, v);
	return r < 0 ? r : address_open(q, p, *v, ret, &st);
}

/*
 * diff			what differs between two files or trees
 *
 *	a, b: paths; a null: all of b is new; stat?
 *
 * Lines: see above.
 */
int verb_diff(struct request *q)
{
	_cleanup_address_ struct address pa = { 0 }, pb = { 0 };
	_cleanup_view_ struct view *va = NULL, *vb = NULL;
	_cleanup_held_ struct held a = { 0 }, b = { 0 };
	struct telling t = { .q = q };
	int r = request_bool(q, "stat", &t.with_bytes);

	if (r == 0 && !json_is_null(json_object_get(q->fields, "a")))
		r = open_field(q, "a", &pa, &va, &a);
	if (r == 0)
		r = open_field(q, "b", &pb, &vb, &b);
	if (r < 0)
		return r;
	t.c.side[0] = a.vnode;
	t.c.side[1] = b.vnode;
	r = tell_all(&t);
	return r < 0 ? request_fail(r, "they cannot be compared") : 0;
}

static int answer_head(struct request *q, const struct address *p, const struct head_status *s,
		       const struct oid *base)
{
	_cleanup_answer_ struct answer a = answer_new();
	const struct run *run = q->who->within;

	answer_text(&a, "repo", p->repo);
	answer_text(&a, "branch", address_branch(p));
	if (run)
		answer_text(&a, "run", run_id(run)->s);
	answer_oid(&a, "base", base);
	answer_oid(&a, "tip", &p->commit);
	answer_bool(&a, "is_mounted", q->service->heads != NULL);
	answer_bool(&a, "is_dirty", s->is_dirty);
	answer_bool(&a, "is_committing", s->is_committing);
	answer_bool(&a, "is_behind", !run && !oid_equal(base, &p->commit));
	answer_text(&a, "standing", standing_text(s->standing));
	answer_number(&a, "changed", s->changed);
	answer_number(&a, "staged_bytes", s->staged_bytes);
	return request_answer(q, &a);
}

/* A path that is not there is no clean one. */
static int check_is_there(struct request *q, const struct address *p)
{
	_cleanup_view_ struct view *v = NULL;
	_cleanup_held_ struct held at = { 0 };
	struct stat st;
	int r;

	if (p->path.len == 0)
		return 0;
	r = address_callers_view(q, p, &v);
	return r < 0 ? r : address_open(q, p, v, &at, &st);
}

/* What has changed below the address since the head's base. */
static int tell_changes(struct request *q, const struct address *p, struct view *head,
			const struct oid *base)
{
	_cleanup_view_ struct view *before = NULL;
	_cleanup_held_ struct held a = { 0 }, b = { 0 };
	struct telling t = { .q = q };
	struct stat st;
	int r = address_open(q, p, head, &b, &st);

	if (r == 0 && !oid_is_null(base)) {
		r = address_view_of(q, p, base, &before);
		if (r == 0)
			r = address_walk(q, before, buf_span(&p->path), &a, &st);
		if (r == -ENOENT || r == -ENOTDIR) /* all of it is new */
			r = 0;
	}
	if (r < 0)
		return r;
	t.c.side[0] = a.vnode;
	t.c.side[1] = b.vnode;
	return tell_all(&t);
}

/* What a run may not write is no head. */
static int look_at_head(struct request *q, const struct address *p, struct view **ret,
			struct head_status *ret_status, struct oid *ret_base)
{
	int r = address_callers_view(q, p, ret);

	if (r == 0 && view_is_head(*ret))
		r = head_status(*ret, ret_status);
	if (r == 0)
		*ret_base = view_is_head(*ret) ? ret_status->base : view_commit(*ret);
	return r;
}

/*
 * status		what a head is, and what is uncommitted in it
 *
 *	path: of a branch, or of something in it: then only what is below that
 *
 * First line: {repo, branch, run?: in whose view the caller is, who is told of what that has
 * changed, base: the commit it is based on or null; of a run, the one that it found, tip: the
 * branch's last or null, is_mounted, is_dirty, is_committing, is_behind: the tip is not the base,
 * never of a run, standing: of the base (as of commit), changed: inodes, roughly, staged_bytes: of
 * the whole mount}. Then {conflict: how, path} for each name that stands in the way of a diverged
 * head, and differences, if there may be any, as above.
 */
int verb_status(struct request *q)
{
	_cleanup_address_ struct address p = { 0 };
	_cleanup_view_ struct view *v = NULL;
	_cleanup_(head_status_release) struct head_status s = { 0 };
	struct commit_result res;
	struct oid base;
	int r = address_find(q, "path", &p);

	if (r == 0 && !p.is_branch)
		r = log_fail(-EINVAL, "%s/%s is a commit, which never changes", p.repo, p.rev);
	if (r < 0)
		return r;
	base = p.commit;
	if (q->service->heads)
		r = look_at_head(q, &p, &v, &s, &base);
	if (r == 0)
		r = check_is_there(q, &p);
	if (r == 0)
		r = answer_head(q, &p, &s, &base);
	if (r == 0 && s.standing == HEAD_DIVERGED)
		r = head_conflicts(v, answer_conflict, q, &q->access, &res);
	if (r == 0 && s.is_dirty)
		r = tell_changes(q, &p, v, &base);
	return r < 0 ? request_fail(r, "%s/%s", p.repo, address_branch(&p)) : 0;
}
