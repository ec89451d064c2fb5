/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What is known of repos, branches, names and commits. Changes are in refs_swap.c (one object),
 * refs_repo.c, refs_branch.c, refs_name.c and refs_move.c, paths' second parts in refs_resolve.c.
 */
#include "object/refs_parts.h"

static bool is_own(const struct id128 *nonce, void *ctx)
{
	return refs_is_own(ctx, nonce);
}

static void changed(void *ctx)
{
	watch_wake(ctx);
}

int refs_new(const struct refs_options *o, struct refs **ret)
{
	_cleanup_(refs_freep) struct refs *r = new0(struct refs, 1);
	struct facts_options facts = {
		.backend = o->backend,
		.index = o->index,
		.refresh_ms = o->refresh_ms,
		.is_own = is_own,
		.changed = changed,
		.ctx = r,
	};
	int e;

	if (!r)
		return -ENOMEM;
	r->options = *o;
	pthread_mutex_init(&r->lock, NULL);
	watch_init(&r->watch);
	r->writer = strndup(o->writer ? o->writer : "", sizeof(((struct ref *)0)->writer) - 1);
	if (!r->writer)
		return -ENOMEM;
	e = facts_new(&facts, &r->facts);
	if (e < 0)
		return e;
	*ret = TAKE_PTR(r);
	return 0;
}

void refs_free(struct refs *r)
{
	if (!r)
		return;
	watch_stop(&r->watch);
	facts_free(r->facts);
	watch_release(&r->watch);
	pthread_mutex_destroy(&r->lock);
	free(r->writer);
	free(r);
}

struct id128 refs_nonce(struct refs *r)
{
	struct id128 nonce = id128_random();

	WITH_LOCK(&r->lock);
	r->own[r->own_next++ % OWN_NONCES] = nonce;
	return nonce;
}

bool refs_is_own(struct refs *r, const struct id128 *nonce)
{
	WITH_LOCK(&r->lock);
	for (unsigned i = 0; i < OWN_NONCES; i++)
		if (id128_equal(&r->own[i], nonce))
			return true;
	return false;
}

struct inode_time refs_time(void)
{
	return inode_time_of(now_wall());
}

struct key refs_key(enum ref_kind kind, const struct id128 *repo, const char *name)
{
	return kind == REF_BRANCH ? head_key(repo, name) : name_key(repo, name);
}

struct key refs_prefix(enum ref_kind kind, const struct id128 *repo)
{
	return kind == REF_BRANCH ? head_prefix(repo) : name_prefix(repo);
}

int refs_check_change(const struct refs *r, const char *name)
{
	if (r->options.read_only)
		return -EROFS;
	return object_name_is_valid(name) ? 0 : -EINVAL;
}

void refs_learn_listed(struct refs *r, enum ref_kind kind, const struct id128 *repo,
		       const char *name, bool is_there)
{
	facts_learn_listed(r->facts, FINDING_NAMES, refs_prefix(kind, repo).s, name, is_there);
}

int refs_is_taken(struct refs *r, enum ref_kind kind, const struct id128 *repo, const char *name,
		  const struct deadline *dl)
{
	_cleanup_(finding_unrefp) struct finding *f = NULL;
	int e;

	e = facts_look(r->facts, FINDING_REF, refs_key(kind, repo, name).s, dl, &f);
	return e < 0 ? e : finding_is_live(f);
}

int refs_was_taken(struct refs *r, enum ref_kind kind, const struct id128 *repo, const char *name,
		   const struct deadline *dl)
{
	struct refs_wait w = { .may_wait = true, .deadline = dl ? *dl : DEADLINE_NEVER };
	_cleanup_(finding_unrefp) struct finding *f = NULL;
	int e;

	e = facts_get(r->facts, FINDING_REF, refs_key(kind, repo, name).s, &w, &f);
	if (e < 0)
		return e;
	return finding_is_live(f) ? refs_is_taken(r, kind, repo, name, dl) : 0;
}

int refs_repo(struct refs *r, const char *name, const struct refs_wait *w, struct repo_rec *ret)
{
	_cleanup_(finding_unrefp) struct finding *f = NULL;
	int e;

	if (!object_name_is_valid(name))
		return -ENOENT;
	e = facts_get(r->facts, FINDING_REPO, repo_key(name).s, w, &f);
	if (e < 0)
		return e;
	return finding_is_live(f) ? repo_rec_copy(&f->repo, ret) : -ENOENT;
}

int refs_get(struct refs *r, const struct id128 *repo, enum ref_kind kind, const char *name,
	     const struct refs_wait *w, struct ref *ret, struct etag *ret_tag)
{
	_cleanup_(finding_unrefp) struct finding *f = NULL;
	int e;

	if (!object_name_is_valid(name))
		return -ENOENT;
	e = facts_get(r->facts, FINDING_REF, refs_key(kind, repo, name).s, w, &f);
	if (e < 0)
		return e;
	if (!finding_is_live(f))
		return -ENOENT;
	e = ref_copy(&f->ref, ret);
	if (e == 0 && ret_tag)
		*ret_tag = f->tag;
	return e;
}

static int list_names(struct refs *r, const char *prefix, const struct refs_wait *w,
		      refs_name_fn fn, void *ctx)
{
	_cleanup_(finding_unrefp) struct finding *f = NULL;
	const char *name;
	int e;

	e = facts_get(r->facts, FINDING_NAMES, prefix, w, &f);
	if (e < 0)
		return e;
	name = (const char *)f->names.text.data;
	for (size_t i = 0; i < f->names.count; i++, name += strlen(name) + 1) {
		e = fn(name, ctx);
		if (e != 0)
			return e;
	}
	return 0;
}

void refs_get_ready(struct refs *r)
{
	facts_refresh(r->facts, FINDING_NAMES, REPO_PREFIX, r->options.refresh_ms);
}

int refs_list_repos(struct refs *r, const struct refs_wait *w, refs_name_fn fn, void *ctx)
{
	return list_names(r, REPO_PREFIX, w, fn, ctx);
}

int refs_list(struct refs *r, const struct id128 *repo, enum ref_kind kind,
	      const struct refs_wait *w, refs_name_fn fn, void *ctx)
{
	return list_names(r, refs_prefix(kind, repo).s, w, fn, ctx);
}

static int list_ids(struct refs *r, const char *prefix, const struct refs_wait *w, refs_name_fn fn,
		    void *ctx)
{
	_cleanup_(finding_unrefp) struct finding *f = NULL;
	int e;

	e = facts_get(r->facts, FINDING_COMMITS, prefix, w, &f);
	if (e < 0)
		return e;
	for (size_t i = 0; i < f->commits.count; i++) {
		char hex[OID_HEX];

		e = fn(oid_hex(&f->commits.ids[i], hex), ctx);
		if (e != 0)
			return e;
	}
	return 0;
}

int refs_list_commits(struct refs *r, const struct id128 *repo, const struct refs_wait *w,
		      refs_name_fn fn, void *ctx)
{
	return list_ids(r, commit_prefix(repo).s, w, fn, ctx);
}

int refs_list_pins(struct refs *r, const struct id128 *repo, const struct refs_wait *w,
		   refs_name_fn fn, void *ctx)
{
	return list_ids(r, pin_prefix(repo).s, w, fn, ctx);
}

int refs_commit(struct refs *r, const struct id128 *repo, const struct oid *id,
		const struct refs_wait *w, struct buf *ret)
{
	_cleanup_(finding_unrefp) struct finding *f = NULL;
	int e;

	e = facts_get(r->facts, FINDING_COMMIT, commit_key(repo, id).s, w, &f);
	if (e < 0)
		return e;
	if (f->is_absent)
		return -ENOENT;
	buf_clear(ret);
	buf_put(ret, f->object.data, f->object.len);
	return buf_failed(ret) ? -ENOMEM : 0;
}

void loaded_release(struct loaded *l)
{
	commit_release(&l->commit);
	buf_release(&l->object);
}

int refs_load_commit(struct refs *r, const struct id128 *repo, const struct oid *id,
		     const struct refs_wait *w, struct loaded *ret)
{
	_cleanup_loaded_ struct loaded l = { .id = *id };
	int e = refs_commit(r, repo, id, w, &l.object);

	if (e == 0)
		e = commit_read(buf_span(&l.object), id, &l.commit);
	if (e < 0)
		return e;
	*ret = l;
	l = (struct loaded){ 0 };
	return 0;
}

/* In the listing @prefix of all commits or pins, and in those of the digits that somebody asked
 * for. */
static void list_id(struct refs *r, struct key prefix, const struct oid *id, bool is)
{
	size_t digits = strlen(prefix.s);
	char hex[OID_HEX];

	oid_hex(id, hex);
	facts_learn_listed(r->facts, FINDING_COMMITS, prefix.s, hex, is);
	for (size_t n = 0; n < OID_HEX - 1; n++) {
		prefix.s[digits + n] = hex[n];
		prefix.s[digits + n + 1] = '\0';
		facts_learn_listed(r->facts, FINDING_COMMITS, prefix.s, hex, is);
	}
}

void refs_note_commit(struct refs *r, const struct id128 *repo, const struct oid *id,
		      struct span object)
{
	_cleanup_(finding_unrefp) struct finding *f = NULL;
	_cleanup_commit_ struct commit c = { 0 };
	struct key key = commit_key(repo, id);
	struct etag none = { "-" };

	if (finding_of_object(FINDING_COMMIT, key.s, object, &none, &f) == 0)
		facts_learn(r->facts, key.s, f, object);
	if (commit_read(object, id, &c) == 0)
		list_id(r, commit_is_pin(&c) ? pin_prefix(repo) : commit_prefix(repo), id, true);
}

void refs_forget_commit(struct refs *r, const struct id128 *repo, const struct oid *id)
{
	list_id(r, commit_prefix(repo), id, false);
	list_id(r, pin_prefix(repo), id, false);
}
