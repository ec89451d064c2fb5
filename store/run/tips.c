/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What places are now (run_tips_find()): commits of branches, looked up once each.
 */
#include "base/hash.h"
#include "base/htab.h"
#include "run/files.h"

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
	if (r == 0 && oid_is_null(&what.commit))
		r = -ENOENT;
	if (r == 0)
		r = refs_commit(refs, &id, &what.commit, &t->wait, &p->object);
	return r < 0 ? r : commit_read(buf_span(&p->object), &what.commit, &p->commit);
}

static int find(struct run_tips *t, const struct run_place *place, struct tip **ret)
{
	_cleanup_(tip_freep) struct tip *p = NULL;
	_cleanup_buf_ struct buf key = { 0 };
	uint64_t hash;
	int r;

	buf_put(&key, place->repo.data, place->repo.len);
	buf_put_u8(&key, '/');
	buf_put(&key, place->rev.data, place->rev.len);
	buf_put_u8(&key, 0);
	if (buf_failed(&key))
		return -ENOMEM;
	hash = hash_bytes(key.data, key.len);
	htab_for_each (n, &t->tips, hash) {
		*ret = container_of(n, struct tip, node);
		if (strcmp((*ret)->key, (const char *)key.data) == 0)
			return 0;
	}
	p = new0(struct tip, 1);
	if (!p)
		return -ENOMEM;
	p->key = (char *)TAKE_PTR(key.data);
	r = load(t, place, p);
	p->is_there = r == 0;
	if (r == 0 || r == -ENOENT)
		r = htab_insert(&t->tips, &p->node, hash);
	if (r == 0)
		*ret = TAKE_PTR(p);
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
