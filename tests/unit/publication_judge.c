/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The judge of the world of publication.h, and the reader who checks what can be checked at any
 * time.
 *
 *  - every acknowledged commit is in the branch's history, and nothing is twice
 *  - a name leads to the one commit that was acknowledged under it
 *  - the branch only grows; its tip has each group of files of one commit whole, and all files
 *  - what is reached is there
 */
#include <stdio.h>

#include "base/htab.h"
#include "publication.h"

struct oid branch_tip(struct world *w)
{
	_cleanup_ref_ struct ref ref = { 0 };

	assert_ok(
		refs_get(w->reader.store->refs, &w->repo, REF_BRANCH, "main", &FRESH, &ref, NULL));
	return ref.target;
}

bool comes_before(struct world *w, const struct oid *a, const struct oid *b)
{
	int r = refs_is_ancestor(w->reader.store->refs, &w->repo, a, b, &FRESH);

	assert_true(r >= 0);
	return r;
}

/* All of each group is of one commit, and of none older than @seen, which is brought up to date. */
static void check_groups(struct world *w, struct vnode *root, unsigned seen[MACHINES])
{
	for (unsigned m = 0; m < w->history->machines; m++) {
		char path[64], text[TEXT_SIZE] = "", got[TEXT_SIZE];
		unsigned machine, op;

		for (unsigned i = 0; i < GROUP; i++) {
			int r;

			snprintf(path, sizeof(path), "m%u/%s", m, group_names[i]);
			r = read_text(&w->reader, root, path, got);
			if (r == -ENOENT && i == 0 && seen[m] == 0)
				goto next;
			assert_ok(r);
			if (i == 0)
				snprintf(text, sizeof(text), "%s", got);
			assert_string_equal(got, text);
		}
		assert_int_equal(sscanf(text, "%u.%u", &machine, &op), 2);
		assert_int_equal(machine, m);
		if (op + 1 < seen[m])
			fail_msg("the branch went back: machine %u from %u to %u", m, seen[m] - 1,
				 op);
		seen[m] = op + 1;
	next:;
	}
}

static void check_name(struct world *w, const struct operation *op)
{
	_cleanup_ref_ struct ref ref = { 0 };
	int r;

	if (!op->name[0])
		return;
	r = refs_get(w->reader.store->refs, &w->repo, REF_NAME, op->name, &FRESH, &ref, NULL);
	if (r < 0 || !oid_equal(&ref.target, &op->id))
		fail_msg("the name %s, which was acknowledged, is lost or another's: %d", op->name,
			 r);
}

/* The last of each machine's operations that are done, as of now; -1: none. */
static void last_done(struct world *w, int ret[MACHINES])
{
	for (unsigned m = 0; m < w->history->machines; m++) {
		const struct machine *x = &w->history->machine[m];

		ret[m] = (int)x->next - 1;
	}
}

/* What holds at any moment. */
void read_along(struct world *w)
{
	struct vnode *root;
	struct oid tip;
	int done[MACHINES];

	last_done(w, done);
	tip = branch_tip(w);
	if (oid_is_null(&tip))
		return;
	if (!comes_before(w, &w->tip, &tip))
		fail_msg("the branch does not lead on from where it was");
	w->tip = tip;
	for (unsigned m = 0; m < w->history->machines; m++) {
		const struct operation *op;

		if (done[m] < 0)
			continue;
		op = &w->history->machine[m].ops[done[m]];
		if (op->told != DONE)
			continue;
		if (op->is_on_branch && !comes_before(w, &op->id, &tip))
			fail_msg("machine %u: its operation %u was said to be on the branch", m,
				 done[m]);
		check_name(w, op);
	}
	root = stand_commit_root(&w->reader, &tip);
	check_groups(w, root, w->seen);
	vnode_unref(w->reader.vnodes, root);
}

/* A head that nobody changes goes along as well. */
void follow_along(struct world *w, unsigned seen[MACHINES])
{
	struct commit_result res;

	assert_ok(MIN(head_sync(w->reader.head, &w->reader.acc, &res), 0));
	check_groups(w, w->reader.root, seen);
}

/* In the end */

struct known {
	struct hnode node;
	struct known *next; /* to be looked at */
	struct oid id;
	char message[TEXT_SIZE];
};

struct walk {
	struct world *world;
	struct htab seen;
	struct known *todo;
	unsigned count;
};

static struct known *find(struct walk *x, const struct oid *id)
{
	htab_for_each (n, &x->seen, oid_hash(id))
		if (oid_equal(&container_of(n, struct known, node)->id, id))
			return container_of(n, struct known, node);
	return NULL;
}

static void walk_add(struct walk *x, const struct oid *id)
{
	struct known *k;

	if (oid_is_null(id) || find(x, id))
		return;
	k = new0(struct known, 1);
	k->id = *id;
	assert_ok(htab_insert(&x->seen, &k->node, oid_hash(id)));
	k->next = x->todo;
	x->todo = k;
	x->count++;
}

/* From what the store has, and nothing else. */
static void walk_all(struct walk *x)
{
	struct backend *b = x->world->network;

	while (x->todo) {
		struct known *k = x->todo;
		_cleanup_buf_ struct buf object = { 0 };
		_cleanup_commit_ struct commit c = { 0 };
		struct etag tag;

		x->todo = k->next;
		assert_ok(b->ops->get_all(b, commit_key(&x->world->repo, &k->id).s, COMMIT_MAX,
					  NULL, NULL, &object, &tag));
		assert_ok(commit_read(buf_span(&object), &k->id, &c));
		snprintf(k->message, sizeof(k->message), "%.*s", (int)c.message.len,
			 (const char *)c.message.data);
		for (uint8_t i = 0; i < c.parent_count; i++)
			walk_add(x, &c.parents[i]);
	}
}

static void known_free(struct hnode *n, void *ctx)
{
	free(container_of(n, struct known, node));
}

static void walk_release(struct walk *x)
{
	htab_walk(&x->seen, known_free, NULL);
	htab_release(&x->seen);
}

struct counting {
	unsigned of[MACHINES][OPS_MAX];
};

static void count_message(struct hnode *n, void *ctx)
{
	const struct known *k = container_of(n, struct known, node);
	struct counting *c = ctx;
	unsigned m, op;

	if (strlen(k->message) == 9 && sscanf(k->message, "%3u.%5u", &m, &op) == 2)
		c->of[m][op]++;
}

static void check_operation(struct world *w, struct walk *x, unsigned m, unsigned k, unsigned count)
{
	const struct operation *op = &w->history->machine[m].ops[k];

	assert_in_range(op->told, DONE, TAKEN);
	if (count > 1)
		fail_msg("machine %u: its operation %u is %u commits", m, k, count);
	if (op->told != DONE)
		return;
	if (!oid_is_null(&op->id) && !find(x, &op->id))
		fail_msg("machine %u: its operation %u was acknowledged, and is lost", m, k);
	if (op->is_new && count == 0)
		fail_msg("machine %u: its operation %u made a commit that is not there", m, k);
	check_name(w, op);
}

static int add_named(const char *name, void *ctx)
{
	struct walk *x = ctx;
	_cleanup_ref_ struct ref ref = { 0 };

	assert_ok(refs_get(x->world->reader.store->refs, &x->world->repo, REF_NAME, name, &FRESH,
			   &ref, NULL));
	walk_add(x, &ref.target);
	return 0;
}

static void check_files(struct world *w, struct vnode *root)
{
	for (unsigned m = 0; m < w->history->machines; m++)
		for (unsigned k = 0; k < w->history->ops; k++) {
			const struct operation *op = &w->history->machine[m].ops[k];
			char path[64], text[TEXT_SIZE], got[TEXT_SIZE];

			if (op->kind != OWN_FILES && op->kind != SAME_NAME)
				continue;
			snprintf(path, sizeof(path), "m%u/log.%u", m, k);
			text_of(m, k, text);
			if (read_text(&w->reader, root, path, got) < 0)
				fail_msg("%s is lost", path);
			assert_string_equal(got, text);
		}
}

void judge(struct world *w)
{
	struct walk x = { .world = w };
	struct counting c = { 0 };
	struct oid tip = branch_tip(w);
	struct vnode *root;

	walk_add(&x, &tip);
	walk_all(&x);
	htab_walk(&x.seen, count_message, &c);
	for (unsigned m = 0; m < w->history->machines; m++)
		for (unsigned k = 0; k < w->history->ops; k++)
			check_operation(w, &x, m, k, c.of[m][k]);
	assert_ok(refs_list(w->reader.store->refs, &w->repo, REF_NAME, &FRESH, add_named, &x));
	walk_all(&x);
	root = stand_commit_root(&w->reader, &tip);
	check_groups(w, root, w->seen);
	check_files(w, root);
	vnode_unref(w->reader.vnodes, root);
	walk_release(&x);
}
