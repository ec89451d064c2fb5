/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Listing runs, and telling of one (service/runs.h).
 */
#include "service/runs.h"

#include <time.h>

#include "base/log.h"
#include "catalog/expr.h"
#include "catalog/learner.h"
#include "head/pin.h"
#include "record/archive.h"
#include "service/address.h"
#include "service/permit.h"
#include "service/verbs.h"

enum {
	LOOK_TIMEOUT_MS = 600 * 1000, /* of a first look; each request to the store has its own */
	PARTS_MAX = 1024, /* of a path */
	RUNS_MAX = 1 << 20, /* that wrote to one path */
	DEPTH_MAX = 64, /* runs in one another */
};

int request_give(struct request *q, json_t *line)
{
	struct answer a = { .object = line, .failed = !line };
	int r = request_answer(q, &a);

	answer_release(&a);
	return r;
}

static int tell_learned(uint64_t learned, void *ctx)
{
	struct request *q = ctx;
	int r = request_check(q);

	return r < 0 ? r : request_give(q, json_pack("{s:I}", "learned", (json_int_t)learned));
}

int runs_look(struct request *q)
{
	struct deadline dl = request_deadline(q, LOOK_TIMEOUT_MS);
	struct catalog_look look = { .progress = tell_learned, .ctx = q };
	int r;

	complaint_clear();
	r = catalog_look(q->service->store, &look, &dl);
	if (q->service->learner)
		learner_note_question(q->service->learner);
	if (r == 0 || r == -EINTR || r == -ECANCELED || r == -ENOMEM)
		return r;
	r = request_give(q, json_pack("{s:o}", "note",
				      json_sprintf("runs that other machines have made lately may "
						   "be missing: %s",
						   complaint()[0] ? complaint()
								  : "the store does not answer")));
	complaint_clear();
	return r;
}

int runs_pin_tips(struct request *q, struct run_tips *tips)
{
	const struct pin_request req = { .message = "as it was asked for" };
	_cleanup_free_ struct pinned *all = NULL;
	size_t n = 0;
	int r = heads_pin(q->service->heads, &req, &q->access, &all, &n);

	for (size_t i = 0; r == 0 && i < n; i++)
		r = run_tips_pin(tips, all[i].repo_name, all[i].branch_name, &all[i].repo,
				 &all[i].commit);
	return r;
}

int request_run(struct request *q, const char *field, struct run_id *ret)
{
	struct deadline dl = request_deadline(q, LOOK_TIMEOUT_MS);
	const char *text;
	int r = request_string(q, field, &text);

	if (r < 0)
		return r;
	r = catalog_find(q->service->store, text, &dl, ret);
	return r < 0 ? request_fail(r, "the run %s cannot be looked for", text) : 0;
}

bool runs_may_see(const struct request *q, const struct run_row *row)
{
	return q->who->is_owner || (row->uid != UINT32_MAX && row->uid == q->who->uid);
}

static bool may_enter(struct request *q, const json_t *pinned)
{
	const char *repo = json_string_value(json_object_get(pinned, "repo"));
	const char *id = json_string_value(json_object_get(pinned, "repo_id"));
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct refs_wait w = request_wait(q);
	char now[ID128_HEX];

	if (!repo || !id || refs_repo(q->service->store->refs, repo, &w, &rec) < 0)
		return false;
	return strcmp(id128_hex(&rec.id, now), id) == 0 &&
	       permit_mode(q->who, rec.root_mode, rec.root_uid, rec.root_gid, X_OK);
}

void runs_leave_out_hidden(struct request *q, json_t *start)
{
	json_t *pinned = json_object_get(start, "pinned");

	for (size_t i = json_array_size(pinned); !q->who->is_owner && i-- > 0;)
		if (!may_enter(q, json_array_get(pinned, i)))
			json_array_remove(pinned, i);
}

/* A run that is kept to be told in another order. */
struct kept {
	struct run_id id, outer; /* outer: empty: it was begun in none */
	bool has_value;
	struct run_value value;
	char *text; /* owned: what the value borrows */
};

struct listing {
	struct request *q;
	struct run_expr *where; /* owned; NULL: all */
	const char *sort; /* NULL: by id */
	bool is_descending;
	bool is_nested; /* runs in runs come behind those, and say how deep */
	uint64_t limit;
	bool is_in_place; /* only runs of @ids */
	struct index_run_ids ids; /* owned */
	struct kept *kept; /* owned */
	size_t count, cap;
};

static void listing_release(struct listing *l)
{
	run_expr_free(l->where);
	index_run_ids_release(&l->ids);
	for (size_t i = 0; i < l->count; i++)
		free(l->kept[i].text);
	free(l->kept);
}

static int cmp_ids(const void *a, const void *b)
{
	return memcmp(a, b, INDEX_RUN_ID);
}

static bool is_meant(const struct listing *l, const struct run_row *row)
{
	if (!runs_may_see(l->q, row))
		return false;
	if (l->is_in_place && (l->ids.count == 0 || !bsearch(row->id.s, l->ids.ids, l->ids.count,
							     INDEX_RUN_ID, cmp_ids)))
		return false;
	return !l->where || run_expr_match(l->where, row);
}

static int keep(struct listing *l, const struct run_row *row)
{
	struct kept k = { .id = row->id };

	memcpy(k.outer.s, row->parent.data, MIN(row->parent.len, (size_t)RUN_ID_LEN));

	if (l->count == l->cap) {
		size_t cap = MAX(2 * l->cap, (size_t)64);
		struct kept *kept = reallocarray(l->kept, cap, sizeof(*kept));

		if (!kept)
			return -ENOMEM;
		l->kept = kept;
		l->cap = cap;
	}
	k.has_value = l->sort && run_row_value(row, span_str(l->sort), &k.value);
	if (k.has_value && k.value.text.len > 0) {
		k.text = malloc(k.value.text.len);
		if (!k.text)
			return -ENOMEM;
		memcpy(k.text, k.value.text.data, k.value.text.len);
		k.value.text.data = (uint8_t *)k.text;
	}
	l->kept[l->count++] = k;
	/* Without an order of its own the last are wanted, and come first here. */
	return !l->sort && l->count >= l->limit;
}

static int take_row(const struct run_row *row, void *ctx)
{
	struct listing *l = ctx;
	int r = request_check(l->q);

	if (r < 0 || !is_meant(l, row))
		return r;
	if (l->sort || l->is_nested || l->limit < UINT64_MAX)
		return keep(l, row);
	return request_give(l->q, run_row_json(row));
}

static int cmp_id_of_kept(const void *id, const void *k)
{
	return strcmp(id, ((const struct kept *)k)->id.s);
}

static int cmp_kept(const void *a, const void *b, void *ctx)
{
	const struct listing *l = ctx;
	const struct kept *x = a, *y = b;
	int c;

	if (!l->sort)
		return strcmp(x->id.s, y->id.s);
	/* What has none is last, whichever way. */
	if (!x->has_value || !y->has_value)
		c = y->has_value - x->has_value;
	else
		c = run_value_cmp(&x->value, &y->value) * (l->is_descending ? -1 : 1);
	return c ?: strcmp(x->id.s, y->id.s);
}

static int tell_one(struct listing *l, const struct kept *k, unsigned depth)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	struct run_row row;
	json_t *j;

	if (catalog_row(l->q->service->store, &k->id, &bytes, &row) < 0)
		return 0;
	j = run_row_json(&row);
	if (j && depth > 0 && json_object_set_new(j, "depth", json_integer(depth)) < 0) {
		json_decref(j);
		j = NULL;
	}
	return request_give(l->q, j);
}

/* Which of them, by id, it was begun in; -1: none. */
static ssize_t outer_of(const struct listing *l, size_t i)
{
	const char *outer = l->kept[i].outer.s;
	const struct kept *k;

	if (!*outer)
		return -1;
	k = bsearch(outer, l->kept, l->count, sizeof(*l->kept), cmp_id_of_kept);
	return k ? k - l->kept : -1;
}

/* The same, unless what records say leads in a circle. */
static ssize_t outer_in_tree(const struct listing *l, size_t i)
{
	ssize_t at = outer_of(l, i);

	for (unsigned n = 0; at >= 0 && n < DEPTH_MAX; n++)
		at = outer_of(l, (size_t)at);
	return at >= 0 ? -1 : outer_of(l, i);
}

/* A run's place in the tree of those that are told: of its first inner run and the next one of the
 * same outer run; -1: none. */
struct nesting {
	ssize_t outer, first, next;
};

static int tell_tree(struct listing *l, const struct nesting *tree, size_t root)
{
	ssize_t at = (ssize_t)root;
	unsigned depth = 0;
	int r = tell_one(l, &l->kept[root], 0);

	while (r == 0) {
		if (tree[at].first >= 0) {
			at = tree[at].first;
			depth++;
		} else {
			while (depth > 0 && tree[at].next < 0) {
				at = tree[at].outer;
				depth--;
			}
			if (depth == 0)
				break;
			at = tree[at].next;
		}
		r = tell_one(l, &l->kept[at], depth);
	}
	return r;
}

static int tell_nested(struct listing *l)
{
	_cleanup_free_ struct nesting *tree = new0(struct nesting, l->count + 1);
	int r = 0;

	if (!tree)
		return -ENOMEM;
	for (size_t i = 0; i < l->count; i++)
		tree[i].first = -1;
	/* From the last on, so that each list begins with the first. */
	for (size_t i = l->count; i-- > 0;) {
		struct nesting *outer;

		tree[i].outer = outer_in_tree(l, i);
		outer = tree[i].outer >= 0 ? &tree[tree[i].outer] : NULL;
		tree[i].next = outer ? outer->first : -1;
		if (outer)
			outer->first = (ssize_t)i;
	}
	for (size_t i = 0; r == 0 && i < l->count; i++)
		if (tree[i].outer < 0)
			r = tell_tree(l, tree, i);
	return r;
}

static int tell_kept(struct listing *l)
{
	int r = 0;

	if (l->count > 0)
		qsort_r(l->kept, l->count, sizeof(*l->kept), cmp_kept, l);
	if (l->is_nested && !l->sort)
		return tell_nested(l);
	for (size_t i = 0; r == 0 && i < l->count && i < l->limit; i++)
		r = tell_one(l, &l->kept[i], 0);
	return r;
}

/* The runs that wrote to a path, if the request has one. */
static int find_place(struct listing *l)
{
	_cleanup_address_ struct address p = { 0 };
	_cleanup_buf_ struct buf text = { 0 };
	uint64_t names[PARTS_MAX];
	struct index_run_query query = { .tree = INDEX_RUN_WRITTEN,
					 .names = names,
					 .max = RUNS_MAX };
	struct span path;
	int r = request_bytes(l->q, "path", &text, &l->is_in_place);

	if (r < 0 || !l->is_in_place)
		return r;
	r = address_find(l->q, "path", &p);
	if (r < 0)
		return r;
	buf_clear(&text);
	buf_printf(&text, "%s/%s/", p.repo, p.rev);
	buf_put(&text, p.path.data, p.path.len);
	if (buf_failed(&text))
		return -ENOMEM;
	path = buf_span(&text);
	while (path.len > 0 && query.name_count < PARTS_MAX) {
		const uint8_t *slash;
		size_t begin;

		if (path.data[path.len - 1] == '/') {
			path.len--;
			continue;
		}
		slash = memrchr(path.data, '/', path.len);
		begin = slash ? (size_t)(slash - path.data) + 1 : 0;
		names[query.name_count++] =
			index_run_name(span_of(path.data + begin, path.len - begin));
		path.len = begin;
	}
	return index_runs_having(l->q->service->store->index, &query, &l->ids);
}

static int read_where(struct listing *l)
{
	const json_t *zone = json_object_get(l->q->fields, "zone");
	struct timespec t = now_wall();
	struct run_expr_now now = { .ns = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec,
				    .zone = (int32_t)json_integer_value(zone) };
	const char *text;
	int r = request_optional_string(l->q, "where", &text);

	return r < 0 || !text ? r : run_expr_parse(text, &now, &l->where);
}

/*
 * runs                    what ran, the last one last
 *
 *	where?: an expression (catalog/expr.h), zone?: seconds east of UTC, for times in it;
 *	sort?: a key,
 *	with a "-" in front from the highest on; limit?: how many lines, without sort the last ones;
 *	path?: only runs that wrote to it; nested?: without sort, what was begun in a run comes
 *	right behind that one
 *
 * Lines: a run's facts, with nested its "depth" in others unless that is 0; besides, as in all verbs of runs, {"learned": number} while runs are
 * learned of, and {"note": text}.
 */
int verb_runs(struct request *q)
{
	_cleanup_(listing_release) struct listing l = { .q = q };
	int r = read_where(&l);

	if (r == 0)
		r = request_optional_string(q, "sort", &l.sort);
	if (r == 0)
		r = request_number(q, "limit", UINT64_MAX, &l.limit);
	if (r == 0)
		r = request_bool(q, "nested", &l.is_nested);
	if (r == 0)
		r = runs_look(q);
	if (r == 0)
		r = find_place(&l);
	if (r < 0 || l.limit == 0)
		return r;
	if (l.sort && l.sort[0] == '-') {
		l.is_descending = true;
		l.sort++;
	}
	r = catalog_scan(q->service->store, !l.sort && l.limit < UINT64_MAX, take_row, &l);
	if (r >= 0)
		r = tell_kept(&l);
	return r < 0 ? request_fail(r, "runs cannot be listed") : 0;
}

/* A run's row and record; what of the record cannot be read is NULL, with a sentence in @a. */
static int load(struct request *q, const struct run_id *id, struct answer *a, json_t **ret_start,
		json_t **ret_end)
{
	struct deadline dl = request_deadline(q, REFS_TIMEOUT_MS);
	_cleanup_buf_ struct buf bytes = { 0 };
	struct run_row row;
	int r = catalog_row(q->service->store, id, &bytes, &row);

	if (r < 0)
		return request_fail(r, "the run %s is not known", id->s);
	if (!runs_may_see(q, &row))
		return log_fail(-EACCES, "the run %s is another user's", id->s);
	answer_json(a, "run", run_row_json(&row));
	if (row.flags & RUN_ROW_NO_TREES)
		answer_text(a, "trees", "what it read and wrote cannot be looked at");
	*ret_start = *ret_end = NULL;
	complaint_clear();
	r = archive_get(q->service->store, id, &dl, ret_start, ret_end);
	if (r == 0) {
		runs_leave_out_hidden(q, *ret_start);
		return 0;
	}
	answer_text(a, "problem", complaint()[0] ? complaint() : errno_text(r));
	complaint_clear();
	return 0;
}

/*
 * run-show		all of one run's record
 *
 *	run: an id, what it starts with, or a name
 *
 * Line: run: its facts; start, end: the record; trees?, problem?: what of it cannot be read
 */
int verb_run_show(struct request *q)
{
	_cleanup_answer_ struct answer a = answer_new();
	json_t *start = NULL, *end = NULL;
	struct run_id id;
	int r = runs_look(q);

	if (r == 0)
		r = request_run(q, "run", &id);
	if (r == 0)
		r = load(q, &id, &a, &start, &end);
	if (r < 0)
		return r;
	if (start)
		answer_json(&a, "start", start);
	if (end)
		answer_json(&a, "end", end);
	return request_answer(q, &a);
}
