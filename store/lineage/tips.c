/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What places are now (run_tips_find()): commits of branches, looked up once each.
 */
#include "base/hash.h"
#include "base/htab.h"
#include "base/text.h"
#include "catalog/files.h"

struct tip {
	struct hnode node;
	char *key; /* owned: "REPO/BRANCH" */
	struct buf object;
	struct commit commit; /* of @object */
	bool is_there;
};

struct run_tips {
	struct run_reading rd;
	struct refs_wait wait;
	struct htab tips; /* owned, with its elements */
};

int run_tips_new(const struct run_reading *rd, const struct refs_wait *wait, struct run_tips **ret)
{
	struct run_tips *t = new0(struct run_tips, 1);

	if (!t)
		return -ENOMEM;
	t->rd = *rd;
	t->wait = *wait;
	*ret = t;
	return 0;
}

static void tip_free(struct tip *p)
{
	commit_release(&p->commit);
	buf_release(&p->object);
	free(p->key);
	free(p);
}
DEFINE_CLEANUP(struct tip *, tip_free)

static void free_node(struct hnode *n, void *ctx)
{
	tip_free(container_of(n, struct tip, node));
}

void run_tips_free(struct run_tips *t)
{
	if (!t)
		return;
	htab_walk(&t->tips, free_node, NULL);
	htab_release(&t->tips);
	free(t);
}

static int copy_name(struct span s, char ret[OBJECT_NAME_MAX + 1])
{
	if (s.len == 0 || s.len > OBJECT_NAME_MAX || memchr(s.data, '\0', s.len))
		return -ENOENT;
	memcpy(ret, s.data, s.len);
	ret[s.len] = '\0';
	return 0;
}

/* -ENOENT: the null commit. */
static int load_commit(struct run_tips *t, const struct id128 *repo, const struct oid *id,
		       struct tip *p)
{
	int r = oid_is_null(id) ? -ENOENT
				: refs_commit(t->rd.store->refs, repo, id, &t->wait, &p->object);

	return r < 0 ? r : commit_read(buf_span(&p->object), id, &p->commit);
}

static int load(struct run_tips *t, const struct run_place *place, struct tip *p)
{
	char repo[OBJECT_NAME_MAX + 1], rev[OBJECT_NAME_MAX + 1];
	struct refs *refs = t->rd.store->refs;
	struct repo_rec rec = { 0 };
	struct resolved what;
	struct id128 id;
	int r = copy_name(place->repo, repo);

	if (r == 0)
		r = copy_name(place->rev, rev);
	if (r == 0)
		r = refs_repo(refs, repo, &t->wait, &rec);
	if (r < 0)
		return r;
	id = rec.id;
	repo_rec_release(&rec);
	r = refs_resolve(refs, &id, rev, &t->wait, &what);
	return r < 0 ? r : load_commit(t, &id, &what.commit, p);
}

/* "REPO/BRANCH"; NULL: no memory. The caller's. */
static char *key_of(const struct run_place *place)
{
	return strf("%.*s/%.*s", (int)place->repo.len, (const char *)place->repo.data,
		    (int)place->rev.len, (const char *)place->rev.data);
}

static struct tip *known(struct run_tips *t, const char *key, uint64_t hash)
{
	htab_for_each (n, &t->tips, hash) {
		struct tip *p = container_of(n, struct tip, node);

		if (strcmp(p->key, key) == 0)
			return p;
	}
	return NULL;
}

/* @r: what loading it has come to. */
static int add(struct run_tips *t, struct tip *p, uint64_t hash, int r)
{
	p->is_there = r == 0;
	return r == 0 || r == -ENOENT ? htab_insert(&t->tips, &p->node, hash) : r;
}

static int find(struct run_tips *t, const struct run_place *place, struct tip **ret)
{
	_cleanup_(tip_freep) struct tip *p = new0(struct tip, 1);
	uint64_t hash;
	int r;

	if (!p || !(p->key = key_of(place)))
		return -ENOMEM;
	hash = hash_bytes(p->key, strlen(p->key));
	*ret = known(t, p->key, hash);
	if (*ret)
		return 0;
	r = add(t, p, hash, load(t, place, p));
	if (r == 0)
		*ret = TAKE_PTR(p);
	return r;
}

int run_tips_pin(struct run_tips *t, const char *repo, const char *branch,
		 const struct id128 *repo_id, const struct oid *commit)
{
	struct run_place place = { .repo = span_str(repo), .rev = span_str(branch) };
	_cleanup_(tip_freep) struct tip *p = new0(struct tip, 1);
	uint64_t hash;
	int r;

	if (!p || !(p->key = key_of(&place)))
		return -ENOMEM;
	hash = hash_bytes(p->key, strlen(p->key));
	r = add(t, p, hash, load_commit(t, repo_id, commit, p));
	if (r == 0)
		TAKE_PTR(p);
	return r;
}

int run_tips_find(struct run_tips *t, const struct run_place *place, struct run_file *ret)
{
	struct tip *p = NULL;
	int r = find(t, place, &p);

	if (r == 0 && !p->is_there)
		r = -ENOENT;
	return r < 0 ? r : run_file_in_commit(&t->rd, &p->commit, place->path, ret);
}
