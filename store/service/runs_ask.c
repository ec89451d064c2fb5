/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Questions about runs: what differs between two, where a file comes from, what was made from it.
 */
#include "base/log.h"
#include "lineage/compare.h"
#include "lineage/uses.h"
#include "lineage/why.h"
#include "record/archive.h"
#include "service/address.h"
#include "service/describe.h"
#include "service/runs.h"
#include "service/verbs.h"

static int give(json_t *line, void *ctx)
{
	return request_give(ctx, line);
}

static bool may_see(const struct run_row *row, void *ctx)
{
	return runs_may_see(ctx, row);
}

/* One side of a comparison. */
struct side {
	struct run_id id;
	struct buf bytes;
	struct run_row row;
	json_t *start, *end; /* owned */
};

static void sides_release(struct side (*sides)[2])
{
	for (int i = 0; i < 2; i++) {
		buf_release(&(*sides)[i].bytes);
		json_decref((*sides)[i].start);
		json_decref((*sides)[i].end);
	}
}

static int load_side(struct request *q, const char *field, struct side *s)
{
	struct deadline dl = request_deadline(q, REFS_TIMEOUT_MS);
	int r = request_run(q, field, &s->id);

	if (r == 0)
		r = catalog_row(q->service->store, &s->id, &s->bytes, &s->row);
	if (r < 0)
		return r;
	if (!runs_may_see(q, &s->row))
		return log_fail(-EACCES, "the run %s is another user's", s->id.s);
	r = archive_get(q->service->store, &s->id, &dl, &s->start, &s->end);
	if (r < 0)
		return request_fail(r, "the run %s cannot be read", s->id.s);
	runs_leave_out_hidden(q, s->start);
	return 0;
}

/* Both, and tells the caller of them. */
static int load_sides(struct request *q, struct side s[2])
{
	int r = runs_look(q);

	if (r == 0)
		r = load_side(q, "a", &s[0]);
	if (r == 0)
		r = load_side(q, "b", &s[1]);
	if (r == 0)
		r = request_give(q, json_pack("{s:o, s:o}", "a", run_row_json(&s[0].row), "b",
					      run_row_json(&s[1].row)));
	return r;
}

/*
 * run-diff		what differs between two runs
 *
 *	a, b: runs, as in run-show
 *
 * Lines: {"a", "b": facts of both}, then differences (lineage/compare.h)
 */
int verb_run_diff(struct request *q)
{
	_cleanup_(sides_release) struct side s[2] = { 0 };
	struct run_comparison c = { .rd = { q->service->store, &q->access },
				    .emit = give,
				    .ctx = q };
	int r = load_sides(q, s);

	if (r == 0)
		r = run_compare_records(&c, s[0].start, s[0].end, s[1].start, s[1].end);
	if (r == 0)
		r = run_compare_inputs(&c, &s[0].row, &s[1].row);
	return r < 0 ? request_fail(r, "what the runs read cannot be compared") : 0;
}

/*
 * run-made		what two runs have made, whether the same or not
 *
 *	a, b: runs, as in run-show
 *
 * Lines: {"a", "b": facts of both}, then comparisons (lineage/compare.h)
 */
int verb_run_made(struct request *q)
{
	_cleanup_(sides_release) struct side s[2] = { 0 };
	struct run_comparison c = { .rd = { q->service->store, &q->access },
				    .emit = give,
				    .ctx = q };
	int r = load_sides(q, s);

	if (r == 0)
		r = run_compare_outputs(&c, s[0].end, s[1].end);
	if (r == 0)
		r = run_compare_ends(&c, s[0].end, s[1].end);
	return r < 0 ? request_fail(r, "what the runs have made cannot be compared") : 0;
}

/* What a question is about. */
struct question {
	struct address address;
	struct loaded tip; /* the commit there */
	struct run_file file; /* in it */
	bool is_there; /* it has it */
	bool is_uncommitted; /* the head has something else */
};

static void question_release(struct question *k)
{
	address_release(&k->address);
	loaded_release(&k->tip);
}

static struct run_reading reading(struct request *q)
{
	return (struct run_reading){ q->service->store, &q->access };
}

static struct run_place place_of(const struct question *k)
{
	return (struct run_place){ span_str(k->address.repo), span_str(address_branch(&k->address)),
				   buf_span(&k->address.path) };
}

/* Is the path in a view, as far as the caller may look? 0, -ENOENT (then nothing is said). */
static int stat_in(struct request *q, struct question *k, bool is_head, struct stat *ret)
{
	_cleanup_view_ struct view *v = NULL;
	_cleanup_held_ struct held at = { 0 };
	int r = is_head ? address_view(q, &k->address, &v)
			: address_commit_view(q, &k->address, &v);

	if (r == 0)
		r = address_walk(q, v, buf_span(&k->address.path), &at, ret);
	return r == -ENOTDIR ? -ENOENT : r;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_mode == b->st_mode &&
	       (S_ISDIR(a->st_mode) ||
		(a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
		 a->st_mtim.tv_nsec == b->st_mtim.tv_nsec));
}

/* What the path is in the commit, and whether the head has something else. The look through a
 * view is the one that asks whether the caller may. */
static int question_read(struct request *q, struct question *k)
{
	struct run_reading rd = reading(q);
	struct stat committed = { 0 }, now = { 0 };
	int r = address_find(q, "path", &k->address), head = -ENOENT;
	bool has_commit;

	if (r < 0)
		return r;
	has_commit = !oid_is_null(&k->address.commit);
	r = has_commit ? stat_in(q, k, false, &committed) : -ENOENT;
	if (r < 0 && r != -ENOENT)
		return request_fail(r, "the path cannot be looked at");
	k->is_there = r == 0;
	if (k->address.is_branch && q->service->heads) {
		head = stat_in(q, k, true, &now);
		k->is_uncommitted =
			k->is_there ? head == -ENOENT || !is_same(&committed, &now) : head == 0;
	}
	complaint_clear();
	if (!has_commit)
		return 0;
	r = commit_load(q, &k->address.rec.id, &k->address.commit, &k->tip);
	if (r == 0 && k->is_there)
		r = run_file_in_commit(&rd, &k->tip.commit, buf_span(&k->address.path), &k->file);
	return r;
}

static int not_there(const struct question *k)
{
	return log_fail(-ENOENT, "%s/%s has no `%.*s`%s", k->address.repo,
			address_branch(&k->address), (int)k->address.path.len,
			(const char *)k->address.path.data,
			k->is_uncommitted ? " in a commit yet: `pfs commit` it, or ask again when "
					    "the run has ended"
					  : "");
}

static void answer_path(struct answer *a, const struct question *k)
{
	_cleanup_buf_ struct buf b = { 0 };

	buf_printf(&b, "%s/%s", k->address.repo, address_branch(&k->address));
	if (k->address.path.len > 0)
		buf_put_u8(&b, '/');
	buf_put(&b, k->address.path.data, k->address.path.len);
	a->failed |= buf_failed(&b);
	answer_bytes(a, "path", buf_span(&b));
	if (k->is_there)
		answer_oid(a, "id", &k->file.id);
	if (k->is_uncommitted)
		answer_bool(a, "uncommitted", true);
}

static bool is_file(const struct question *k)
{
	return k->file.type == FT_REG || k->file.type == FT_LNK;
}

/* The run that a commit's metadata names. */
static bool run_of_commit(const struct commit *c, struct run_id *ret)
{
	for (unsigned i = 0; i < c->meta_count; i++) {
		char text[RUN_ID_LEN + 1] = { 0 };

		if (!span_equal(c->meta[i].key, span_str("pfs.run")) ||
		    c->meta[i].value.len != RUN_ID_LEN)
			continue;
		memcpy(text, c->meta[i].value.data, RUN_ID_LEN);
		return run_id_parse(text, ret) == 0;
	}
	return false;
}

/*
 * The commit by which a run brought the file to where it is, if that is how it came there: the
 * commit has the very same entry, with its times, and its parent has not.
 */
static int published_by(struct request *q, struct question *k, const struct run_id *run,
			struct loaded *ret, bool *ret_is_it)
{
	struct run_place place = place_of(k);
	struct oid published;
	int r = run_published(q->service->store, run, &place, &published);

	*ret_is_it = false;
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = commit_load(q, &k->address.rec.id, &published, ret);
	if (r < 0) {
		complaint_clear();
		return r == -EIO || r == -EBADMSG ? 0 : r;
	}
	return path_is_from(q, &k->tip.commit, &ret->commit, &k->address.rec.id,
			    buf_span(&k->address.path), ret_is_it);
}

/* The commit that last changed the file, and the run behind it. */
static int find_run(struct request *q, struct question *k, struct loaded *commit,
		    struct run_id *ret, enum run_how *ret_how)
{
	const struct run_reading rd = reading(q);
	struct run_place place = place_of(k);
	bool is_it = false;
	int r = run_maker(q->service->store, &place, &k->file.id, NULL, ret, ret_how);

	if (r == 0 && *ret_how == RUN_HOW_PLACE)
		r = published_by(q, k, ret, commit, &is_it);
	if (r < 0 || is_it)
		return r;
	loaded_release(commit);
	*commit = (struct loaded){ 0 };
	r = path_last_commit(q, &k->address, commit);
	if (r < 0 || run_of_commit(&commit->commit, ret)) {
		*ret_how = RUN_HOW_PLACE;
		return r;
	}
	if (*ret_how != RUN_HOW_PLACE)
		return 0;
	r = run_wrote(&rd, ret, &place, &k->file);
	/* A run wrote these bytes there, but somebody has changed the file since, and back. */
	if (r == 0)
		*ret_how = RUN_HOW_CONTENT;
	return MIN(r, 0);
}

static int why_file(struct request *q, struct question *k, const struct run_why *w)
{
	static const char *const hows[] = { "none", "place", "content" };
	_cleanup_loaded_ struct loaded commit = { 0 };
	_cleanup_answer_ struct answer a = answer_new();
	static const struct name_map no_names;
	struct answer of = answer_new();
	struct run_id run = { 0 };
	enum run_how how;
	int r = find_run(q, k, &commit, &run, &how);

	if (r < 0) {
		answer_release(&of);
		return r;
	}
	answer_path(&a, k);
	answer_commit(q, &of, &commit.id, &commit.commit, &no_names);
	answer_object(&a, "commit", &of);
	answer_text(&a, "how", hows[how]);
	if (how != RUN_HOW_NOT)
		answer_text(&a, "run", run.s);
	r = request_answer(q, &a);
	return r == 0 && how != RUN_HOW_NOT ? run_why(w, &run) : r;
}

static int why_below(struct request *q, struct question *k, const struct run_why *w)
{
	_cleanup_answer_ struct answer a = answer_new();
	struct run_place place = place_of(k);
	int r;

	if (!q->who->is_owner)
		return log_fail(
			-EPERM,
			"only the mount's owner can ask this of a directory; ask of a file");
	answer_path(&a, k);
	answer_bool(&a, "directory", true);
	r = request_answer(q, &a);
	return r == 0 ? run_why_below(w, &place, &k->file.dir) : r;
}

/*
 * why                     where a file comes from
 *
 *	path: of a file or directory in a branch or commit
 *
 * First line: path, id: of its content; uncommitted?: the head has something else; of a file
 * commit: the one that last changed it; how: "place": run made it there, "content": run made the
 * same bytes elsewhere, "none": no run is known; of a directory, directory: true. Then lines as in
 * lineage/why.h.
 */
int verb_why(struct request *q)
{
	_cleanup_(question_release) struct question k = { 0 };
	struct run_why w = { .rd = reading(q), .may_see = may_see, .emit = give, .ctx = q };
	int r = question_read(q, &k);

	if (r == 0 && !k.is_there)
		return not_there(&k);
	if (r == 0)
		r = runs_look(q);
	if (r == 0)
		r = k.file.type == FT_DIR ? why_below(q, &k, &w) : why_file(q, &k, &w);
	return r < 0 ? request_fail(r, "where it comes from cannot be looked at") : 0;
}

/*
 * uses                    what was made from a file, in any repo
 *
 *	path: of a file or directory in a branch or commit, which may be gone; stale?: only
 *	what is there now
 *	and was made from what its branch has another version of
 *
 * First line: path, id?, uncommitted?. Then lines as in lineage/uses.c.
 */
int verb_uses(struct request *q)
{
	_cleanup_(question_release) struct question k = { 0 };
	_cleanup_(run_tips_freep) struct run_tips *tips = NULL;
	_cleanup_answer_ struct answer a = answer_new();
	struct run_uses u = { .rd = reading(q), .may_see = may_see, .emit = give, .ctx = q };
	struct refs_wait w = request_wait(q);
	struct run_place place;
	int r = question_read(q, &k);

	if (r == 0)
		r = request_bool(q, "stale", &u.stale);
	if (r == 0)
		r = runs_look(q);
	if (r == 0)
		r = run_tips_new(&u.rd, &w, &tips);
	/* What is not committed yet counts where it can be told: in a mount's own heads. */
	if (r == 0 && u.stale && q->service->runs && !q->who->within)
		r = runs_pin_tips(q, tips);
	if (r < 0)
		return r;
	u.tips = tips;
	place = place_of(&k);
	answer_path(&a, &k);
	r = request_answer(q, &a);
	if (r == 0)
		r = run_uses(&u, &place, k.is_there && is_file(&k) ? &k.file.id : NULL);
	return r < 0 ? request_fail(r, "what was made from it cannot be looked at") : 0;
}
