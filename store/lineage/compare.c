/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What differs between two runs (lineage/compare.h).
 *
 * Directories that differ wait on a stack, so that the walk does not recurse.
 */
#include "lineage/compare.h"

#include "base/text.h"
#include "object/reader.h"
#include "record/json_bytes.h"
#include "record/record.h"
#include "tree/diff.h"

static int emit(const struct run_comparison *c, const char *what, const char *key, const json_t *a,
		const json_t *b)
{
	json_t *line = json_pack("{s:s, s:s}", "what", what, "key", key);

	if ((a && json_object_set(line, "a", (json_t *)a) < 0) ||
	    (b && json_object_set(line, "b", (json_t *)b) < 0)) {
		json_decref(line);
		return -ENOMEM;
	}
	return line ? c->emit(line, c->ctx) : -ENOMEM;
}

/* Two objects, key by key, which are said with @prefix in front. */
static int compare_objects(const struct run_comparison *c, const char *what, const char *prefix,
			   const json_t *a, const json_t *b)
{
	const char *key;
	json_t *value;
	int r = 0;

	for (int side = 0; side < 2; side++) {
		json_object_foreach ((json_t *)(side == 0 ? a : b), key, value) {
			const json_t *other = json_object_get(side == 0 ? b : a, key);
			_cleanup_free_ char *name = strf("%s%s", prefix, key);

			if (side == 1 ? other != NULL : other && json_equal(value, other))
				continue;
			r = !name	? -ENOMEM
			    : side == 0 ? emit(c, what, name, value, other)
					: emit(c, what, name, NULL, value);
			if (r != 0)
				return r;
		}
	}
	return 0;
}

/* "REPO/BRANCH" -> commit. */
static json_t *pinned_of(const json_t *start)
{
	json_t *all = json_object(), *p;
	size_t i;

	json_array_foreach (json_object_get(start, "pinned"), i, p) {
		const char *repo = json_string_value(json_object_get(p, "repo"));
		const char *branch = json_string_value(json_object_get(p, "branch"));
		_cleanup_free_ char *key = strf("%s/%s", repo ?: "?", branch ?: "?");

		if (key)
			json_object_set(all, key, json_object_get(p, "commit"));
	}
	return all;
}

static int compare_environments(const struct run_comparison *c, const json_t *a, const json_t *b)
{
	int r;

	r = compare_objects(c, "environment", "packages.", json_object_get(a, "packages"),
			    json_object_get(b, "packages"));
	if (r == 0)
		r = compare_objects(c, "environment", "executable.",
				    json_object_get(a, "executable"),
				    json_object_get(b, "executable"));
	if (r == 0)
		r = compare_objects(c, "environment", "interpreter.",
				    json_object_get(a, "interpreter"),
				    json_object_get(b, "interpreter"));
	return r;
}

int run_compare_records(const struct run_comparison *c, const json_t *start_a, const json_t *end_a,
			const json_t *start_b, const json_t *end_b)
{
	json_t *params[2] = { run_params(start_a, end_a), run_params(start_b, end_b) };
	json_t *metrics[2] = { run_metrics(end_a), run_metrics(end_b) };
	json_t *pinned[2] = { pinned_of(start_a), pinned_of(start_b) };
	static const char *const whats[] = { "argv", "cwd", "user", "machine", "pfs" };
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(whats); i++) {
		const json_t *a = json_object_get(start_a, whats[i]);
		const json_t *b = json_object_get(start_b, whats[i]);

		if ((a || b) && !(a && b && json_equal((json_t *)a, (json_t *)b)))
			r = emit(c, i < 2 ? "command" : "environment", whats[i], a, b);
	}
	if (r == 0)
		r = compare_objects(c, "param", "", params[0], params[1]);
	if (r == 0)
		r = compare_objects(c, "metric", "", metrics[0], metrics[1]);
	if (r == 0)
		r = compare_objects(c, "pinned", "", pinned[0], pinned[1]);
	if (r == 0)
		r = compare_objects(c, "environment", "env.", json_object_get(start_a, "env"),
				    json_object_get(start_b, "env"));
	if (r == 0)
		r = compare_environments(c, json_object_get(start_a, "environment"),
					 json_object_get(start_b, "environment"));
	for (int i = 0; i < 2; i++) {
		json_decref(params[i]);
		json_decref(metrics[i]);
		json_decref(pinned[i]);
	}
	return r;
}

/* Directories that differ. */
struct pair {
	struct tree_root side[2];
	char *prefix; /* owned: empty, or ends with a slash */
};

struct comparing {
	const struct run_comparison *c;
	struct pair *pairs; /* owned, a stack */
	size_t count, cap;
	int side; /* of what only one has */
};

static void comparing_release(struct comparing *g)
{
	while (g->count > 0)
		free(g->pairs[--g->count].prefix);
	free(g->pairs);
}

static int push(struct comparing *g, const struct tree_root *a, const struct tree_root *b,
		const char *prefix, struct span name)
{
	struct pair p = { .side = { *a, *b } };

	if (g->count == g->cap) {
		size_t cap = MAX(2 * g->cap, (size_t)16);
		struct pair *pairs = reallocarray(g->pairs, cap, sizeof(*pairs));

		if (!pairs)
			return -ENOMEM;
		g->pairs = pairs;
		g->cap = cap;
	}
	p.prefix = name.len > 0 ? strf("%s%.*s/", prefix, (int)name.len, (const char *)name.data)
				: strdup(prefix);
	if (!p.prefix)
		return -ENOMEM;
	g->pairs[g->count++] = p;
	return 0;
}

static json_t *id_json(const struct inode *i)
{
	char hex[OID_HEX];
	bool has_bytes = (i->type == FT_REG || i->type == FT_LNK) && i->content.size > 0;

	return json_string(has_bytes ? oid_hex(&i->content.id, hex) : "");
}

static int tell(const struct run_comparison *c, struct span path, json_t *a, json_t *b)
{
	json_t *line = json_pack("{s:s, s:o}", "what", "input", "path", json_of_bytes(path));
	int r = 0;

	if (a && json_object_set_new(line, "a", a) < 0)
		r = -ENOMEM;
	if (b && json_object_set_new(line, "b", b) < 0)
		r = -ENOMEM;
	if (r == 0)
		return c->emit(line, c->ctx);
	json_decref(line);
	return r;
}

static int take_single(struct span path, const struct run_file *f, void *ctx)
{
	struct comparing *g = ctx;
	char hex[OID_HEX];
	json_t *id = json_string(oid_is_null(&f->id) ? "" : oid_hex(&f->id, hex));

	return tell(g->c, path, g->side == 0 ? id : NULL, g->side == 1 ? id : NULL);
}

/* What only one side has, or both as different types. */
static int tell_single(struct comparing *g, int side, const struct dirent_rec *e,
		       const char *prefix)
{
	_cleanup_free_ char *path =
		strf("%s%.*s%s", prefix, (int)e->name.len, (const char *)e->name.data,
		     e->inode.type == FT_DIR ? "/" : "");
	json_t *id;

	if (!path)
		return -ENOMEM;
	g->side = side;
	if (e->inode.type == FT_DIR)
		return run_files_each(&g->c->rd, &e->inode.dir, path, take_single, g);
	id = id_json(&e->inode);
	return tell(g->c, span_str(path), side == 0 ? id : NULL, side == 1 ? id : NULL);
}

static int tell_entry(struct comparing *g, const struct dirent_rec *a, const struct dirent_rec *b,
		      const char *prefix)
{
	_cleanup_free_ char *path = NULL;
	int r = 0;

	if (a && b && a->inode.type == FT_DIR && b->inode.type == FT_DIR)
		return push(g, &a->inode.dir, &b->inode.dir, prefix, a->name);
	if (!a || !b || a->inode.type == FT_DIR || b->inode.type == FT_DIR) {
		if (a)
			r = tell_single(g, 0, a, prefix);
		return r == 0 && b ? tell_single(g, 1, b, prefix) : r;
	}
	/* Read with other times or owners, the same bytes: no difference. */
	if (a->inode.type == b->inode.type && a->inode.mode == b->inode.mode &&
	    (a->inode.type == FT_REG || a->inode.type == FT_LNK) &&
	    a->inode.content.size == b->inode.content.size &&
	    (a->inode.content.size == 0 || oid_equal(&a->inode.content.id, &b->inode.content.id)))
		return 0;
	path = strf("%s%.*s", prefix, (int)a->name.len, (const char *)a->name.data);
	return !path ? -ENOMEM : tell(g->c, span_str(path), id_json(&a->inode), id_json(&b->inode));
}

static int compare_pair(struct comparing *g, const struct pair *p)
{
	struct reader_source src = reader_source(g->c->rd.store->reader, g->c->rd.access);
	_cleanup_(tree_diff_freep) struct tree_diff *d = NULL;
	struct tree_place at[2];
	int r = tree_diff_new(TREE_DIR, &src.base, &p->side[0], &p->side[1], &d);

	while (r == 0 && (r = tree_diff_next(d, &at[0], &at[1])) > 0) {
		struct dirent_rec e[2];

		for (int i = 0; i < 2; i++)
			if (at[i].leaf)
				node_dirent(at[i].leaf, at[i].i, &e[i]);
		r = tell_entry(g, at[0].leaf ? &e[0] : NULL, at[1].leaf ? &e[1] : NULL, p->prefix);
	}
	return r;
}

int run_compare_inputs(const struct run_comparison *c, const struct run_row *a,
		       const struct run_row *b)
{
	_cleanup_(comparing_release) struct comparing g = { .c = c };
	const struct run_row *rows[] = { a, b };
	struct tree_root tops[2] = { 0 };
	int r = 0;

	for (int i = 0; r == 0 && i < 2; i++) {
		r = run_files_top(&c->rd, rows[i], INDEX_RUN_READ, &tops[i]);
		r = r == -ENOENT ? 0 : r;
	}
	if (r == 0)
		r = push(&g, &tops[0], &tops[1], "", (struct span){ 0 });
	while (r == 0 && g.count > 0) {
		struct pair p = g.pairs[--g.count];

		r = deadline_check(&c->rd.access->deadline);
		if (r == 0)
			r = compare_pair(&g, &p);
		free(p.prefix);
	}
	return r;
}
