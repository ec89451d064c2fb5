/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What two runs have made, held against each other (lineage/compare.h).
 *
 * Each file that one of them has written is looked for in what the other one has.
 */
#include "base/text.h"
#include "lineage/compare.h"
#include "object/reader.h"
#include "record/fields.h"
#include "record/json_bytes.h"
#include "record/record.h"
#include "record/throwaway.h"
#include "record/tree_read.h"
#include "record/trees.h"

struct comparing {
	const struct run_comparison *c;
	struct tree_root trees[2];
	bool has[2];
	int side; /* that is walked */
	struct throwaways throwaways;
};

static json_t *json_side(const struct inode *i)
{
	bool has_bytes = i->type == FT_REG || i->type == FT_LNK;
	json_t *o = json_object();

	if (run_tree_is_absent(i)) {
		json_object_set_new(o, "removed", json_true());
	} else if (has_bytes) {
		json_object_set_new(o, "size", json_integer((json_int_t)i->content.size));
		json_object_set_new(
			o, "id", i->content.size > 0 ? json_of_oid(&i->content.id) : json_null());
	}
	json_object_set_new(o, "mode", json_integer(i->mode));
	return o;
}

static bool is_same(const struct inode *a, const struct inode *b)
{
	if (a->type != b->type || a->mode != b->mode)
		return false;
	if (a->type != FT_REG && a->type != FT_LNK)
		return a->dev.major == b->dev.major && a->dev.minor == b->dev.minor;
	return a->content.size == b->content.size &&
	       (a->content.size == 0 || oid_equal(&a->content.id, &b->content.id));
}

/* Takes @a and @b, either may be NULL. */
static int emit(const struct run_comparison *c, json_t *line, json_t *a, json_t *b, bool same)
{
	int r = json_object_set_new(line, "same", json_boolean(same));

	if (a)
		r |= json_object_set_new(line, "a", a);
	if (b)
		r |= json_object_set_new(line, "b", b);
	if (r == 0)
		return c->emit(line, c->ctx);
	json_decref(line);
	return -ENOMEM;
}

static int take(struct span path, const struct inode *ino, void *ctx)
{
	struct comparing *g = ctx;
	_cleanup_(node_unrefp) struct node *leaf = NULL;
	struct inode other;
	json_t *mine, *its;
	int r = throwaways_have(&g->throwaways, path, &g->c->rd.access->deadline);

	if (r != 0)
		return r < 0 ? r : RUN_TREE_SKIP;
	if (ino->type == FT_DIR)
		return 0;
	r = g->has[!g->side] ? run_tree_find(&g->trees[!g->side], RUN_TREE_WRITTEN, path,
					     g->c->rd.access, &leaf, &other)
			     : -ENOENT;
	if (r < 0 && r != -ENOENT)
		return r;
	/* What both have was told from the first's side. */
	if (r == 0 && g->side == 1)
		return 0;
	mine = json_side(ino);
	its = r == 0 ? json_side(&other) : NULL;
	return emit(g->c, json_pack("{s:s, s:o}", "what", "output", "path", json_of_bytes(path)),
		    g->side == 0 ? mine : its, g->side == 0 ? its : mine,
		    r == 0 && is_same(ino, &other));
}

int run_compare_outputs(const struct run_comparison *c, const json_t *end_a, const json_t *end_b)
{
	struct comparing g = { .c = c, .throwaways.refs = c->rd.store->refs };
	const json_t *ends[] = { end_a, end_b };
	int r = 0;

	for (int i = 0; i < 2; i++)
		g.has[i] = run_tree_read(json_object_get(ends[i], "tree"), &g.trees[i]) == 0;
	for (g.side = 0; r == 0 && g.side < 2; g.side++)
		if (g.has[g.side])
			r = run_tree_walk(&g.trees[g.side], RUN_TREE_WRITTEN, c->rd.access, take,
					  &g);
	throwaways_release(&g.throwaways);
	return r;
}

/* ---- what they said ---- */

static int compare_values(const struct run_comparison *c, const char *what, const json_t *a,
			  const json_t *b)
{
	const char *key;
	json_t *value;
	int r = 0;

	for (int side = 0; side < 2; side++) {
		json_object_foreach ((json_t *)(side == 0 ? a : b), key, value) {
			json_t *other = json_object_get(side == 0 ? b : a, key);

			if (r != 0 || (side == 1 && other))
				continue;
			json_incref(value);
			json_incref(other);
			r = emit(c, json_pack("{s:s, s:s}", "what", what, "key", key),
				 side == 0 ? value : other, side == 0 ? other : value,
				 other && json_equal(value, other));
		}
	}
	return r;
}

/* How it ended: {"exit": 1} or {"signal": 9}. */
static json_t *ending(const json_t *end)
{
	static const char *const keys[] = { "exit", "signal" };
	json_t *o = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (json_object_get(end, keys[i]))
			json_object_set(o, keys[i], json_object_get(end, keys[i]));
	return o;
}

/* A stream of a record; NULL: it is not known what went there alone. */
static json_t *stream_of(const json_t *end, const char *name)
{
	json_t *all = json_object_get(end, "output"),
	       *is_one = json_object_get(json_object_get(all, "stdout"), "same");

	return is_one ? NULL : json_object_get(all, name);
}

/* Whole where it is short, or was kept whole; else its length and both ends. */
static int compare_stream(const struct run_comparison *c, const char *name, const json_t *end_a,
			  const json_t *end_b)
{
	const json_t *ends[] = { end_a, end_b };
	json_t *said[2] = { stream_of(end_a, name), stream_of(end_b, name) };
	struct inode whole[2];
	struct node *leaves[2] = { NULL, NULL };
	bool same;
	int known = 0;

	if (!said[0] || !said[1])
		return 0;
	for (int i = 0; i < 2; i++) {
		struct tree_root tree;

		if (run_tree_read(json_object_get(ends[i], "tree"), &tree) == 0 &&
		    run_tree_find(&tree, RUN_TREE_EXTRA, span_str(name), c->rd.access, &leaves[i],
				  &whole[i]) == 0)
			known++;
	}
	same = known == 2 ? is_same(&whole[0], &whole[1]) : json_equal(said[0], said[1]);
	for (int i = 0; i < 2; i++)
		node_unref(leaves[i]);
	return emit(c, json_pack("{s:s}", "what", name),
		    json_incref(json_object_get(said[0], "bytes")),
		    json_incref(json_object_get(said[1], "bytes")), same);
}

int run_compare_ends(const struct run_comparison *c, const json_t *end_a, const json_t *end_b)
{
	json_t *a = ending(end_a), *b = ending(end_b);
	int r = compare_values(c, "ended", a, b);

	json_decref(a);
	json_decref(b);
	if (r == 0)
		r = compare_stream(c, "stdout", end_a, end_b);
	if (r == 0)
		r = compare_stream(c, "stderr", end_a, end_b);
	a = run_metrics(end_a);
	b = run_metrics(end_b);
	if (r == 0)
		r = compare_values(c, "metric", a, b);
	json_decref(a);
	json_decref(b);
	return r;
}
