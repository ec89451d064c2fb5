/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Making, removing and changing repos.
 *
 * A repo is made branch first: its id is random, so nobody knows of the branch until the record is
 * there. It is removed branches first: once they are tombstones no commit can be published any
 * more, so what was found empty stays empty.
 */
#include <stdio.h>

#include "object/refs_parts.h"

/* Writes @next in the place of @now. */
static int swap_record(struct refs *r, const char *name, const struct finding *now,
		       struct repo_rec *next, const struct deadline *dl, struct finding **ret_now)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	struct key key = repo_key(name);
	struct writing w = { .kind = FINDING_REPO, .key = key.s, .over = now };
	int e;

	next->seq = now->is_absent ? 1 : now->repo.seq + 1;
	next->nonce = refs_nonce(r);
	next->time = refs_time();
	snprintf(next->writer, sizeof(next->writer), "%s", r->writer);
	e = repo_write(next, &bytes);
	if (e < 0)
		return e;
	w.bytes = buf_span(&bytes);
	e = refs_swap(r, &w, dl, ret_now);
	if (e == 0)
		facts_learn_listed(r->facts, FINDING_NAMES, REPO_PREFIX, name,
				   next->state == REF_LIVE);
	return e;
}

int refs_create_repo(struct refs *r, const char *name, const struct repo_rec *rec,
		     const struct deadline *dl)
{
	_cleanup_(finding_unrefp) struct finding *now = NULL;
	_cleanup_repo_rec_ struct repo_rec next = { 0 };
	static const struct oid unborn;
	bool is_known;
	int e;

	e = refs_check_change(r, name) ?: refs_check_change(r, rec->default_branch);
	if (e < 0)
		return e;
	e = repo_rec_copy(rec, &next);
	if (e < 0)
		return e;
	is_known = !id128_is_null(&rec->id);
	next.state = REF_LIVE;
	if (!is_known) {
		next.id = id128_random();
		next.created = refs_time();
	}

	e = facts_look(r->facts, FINDING_REPO, repo_key(name).s, dl, &now);
	if (e < 0)
		return e;
	if (finding_is_live(now))
		return -EEXIST;
	e = refs_create_branch(r, &next.id, next.default_branch, &unborn, dl);
	if (e == -EEXIST && is_known)
		e = 0;
	while (e == 0) {
		struct finding *other = NULL;

		e = swap_record(r, name, now, &next, dl, &other);
		if (e != -ESTALE)
			break;
		finding_unref(now);
		now = other;
		if (finding_is_live(now))
			return id128_equal(&now->repo.id, &next.id) ? 0 : -EEXIST;
		e = 0;
	}
	return e;
}

int refs_change_repo(struct refs *r, const char *name, int (*change)(struct repo_rec *, void *),
		     void *ctx, const struct deadline *dl)
{
	_cleanup_(finding_unrefp) struct finding *now = NULL;
	struct id128 id;
	int e;

	e = refs_check_change(r, name);
	if (e < 0)
		return e;
	e = facts_look(r->facts, FINDING_REPO, repo_key(name).s, dl, &now);
	if (e < 0)
		return e;
	if (!finding_is_live(now))
		return -ENOENT;
	id = now->repo.id;
	do {
		_cleanup_repo_rec_ struct repo_rec next = { 0 };
		struct finding *other = NULL;

		e = repo_rec_copy(&now->repo, &next);
		if (e == 0)
			e = change(&next, ctx);
		if (e < 0)
			return e;
		e = swap_record(r, name, now, &next, dl, &other);
		if (other) {
			finding_unref(now);
			now = other;
		}
	} while (e == -ESTALE && finding_is_live(now) && id128_equal(&now->repo.id, &id));
	return e == -ESTALE ? -ENOENT : e;
}

static int found_one(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	return 1;
}

static int found_live(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	return ref_size_is_live(size) ? 1 : 0;
}

/* -ENOTEMPTY while there is a commit, a pin or a name. */
static int check_empty(struct refs *r, const struct id128 *repo, const struct deadline *dl)
{
	struct backend *b = r->options.backend;
	int e;

	e = b->ops->list(b, commit_prefix(repo).s, NULL, found_one, NULL, dl);
	if (e == 0)
		e = b->ops->list(b, pin_prefix(repo).s, NULL, found_one, NULL, dl);
	if (e == 0)
		e = b->ops->list(b, name_prefix(repo).s, NULL, found_live, NULL, dl);
	return e > 0 ? -ENOTEMPTY : e;
}

/* The live branches of a repo. */
struct branches {
	struct buf names; /* each with a NUL behind */
	int error;
};

static int note_branch(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	struct branches *b = ctx;
	const char *name = strrchr(key, '/') + 1;

	if (ref_size_is_live(size) && object_name_is_valid(name))
		buf_put(&b->names, name, strlen(name) + 1);
	return buf_failed(&b->names) ? -ENOMEM : 0;
}

/* Turns an unborn branch into a tombstone (@revive: back into a live one). */
static int turn_branch(struct refs *r, const struct id128 *repo, const char *name, bool revive,
		       const struct deadline *dl)
{
	_cleanup_(finding_unrefp) struct finding *now = NULL, *other = NULL;
	struct key key = head_key(repo, name);
	struct ref next = {
		.kind = REF_BRANCH,
		.state = revive ? REF_LIVE : REF_TOMBSTONE,
	};
	int e;

	e = facts_look(r->facts, FINDING_REF, key.s, dl, &now);
	if (e < 0)
		return e;
	if (finding_is_live(now) == revive)
		return 0;
	if (!oid_is_null(&now->ref.target))
		return -ENOTEMPTY;
	next.branch = now->ref.branch;
	refs_stamp(r, now, &next);
	e = refs_swap_ref(r, key.s, now, &next, dl, &other);
	if (e == 0)
		refs_learn_listed(r, REF_BRANCH, repo, name, revive);
	if (e != -ESTALE)
		return e;
	return finding_is_live(other) == revive ? 0 : -ENOTEMPTY;
}

/* For all of them; stops at the first error. */
static int turn_branches(struct refs *r, const struct id128 *repo, const struct buf *names,
			 bool revive, const struct deadline *dl)
{
	const char *name = (const char *)names->data;
	const char *end = name + names->len;
	int e = 0;

	for (; e == 0 && name < end; name += strlen(name) + 1)
		e = turn_branch(r, repo, name, revive, dl);
	return e;
}

/* Branches first, then the record. A repo that stays keeps its branches. */
static int bury_repo(struct refs *r, const char *name, const struct finding *now,
		     struct repo_rec *next, const struct buf *branches, const struct deadline *dl)
{
	_cleanup_(finding_unrefp) struct finding *other = NULL;
	int e;

	e = turn_branches(r, &next->id, branches, false, dl);
	/* A commit may have come while there was a branch. */
	if (e == 0)
		e = check_empty(r, &next->id, dl);
	if (e == 0) {
		e = swap_record(r, name, now, next, dl, &other);
		if (e == -EINPROGRESS)
			return e; /* it may be gone */
	}
	if (e == -ESTALE)
		e = finding_is_live(other) && id128_equal(&other->repo.id, &next->id) ? -EBUSY
										      : -ENOENT;
	if (e < 0 && e != -ENOENT)
		turn_branches(r, &next->id, branches, true, dl);
	return e;
}

int refs_remove_repo(struct refs *r, const char *name, const struct deadline *dl)
{
	_cleanup_(finding_unrefp) struct finding *now = NULL;
	_cleanup_repo_rec_ struct repo_rec next = { 0 };
	struct backend *b = r->options.backend;
	struct branches branches = { 0 };
	int e;

	e = refs_check_change(r, name);
	if (e < 0)
		return e;
	e = facts_look(r->facts, FINDING_REPO, repo_key(name).s, dl, &now);
	if (e < 0)
		return e;
	if (!finding_is_live(now))
		return -ENOENT;
	e = repo_rec_copy(&now->repo, &next);
	if (e < 0)
		return e;
	next.state = REF_TOMBSTONE;

	e = check_empty(r, &next.id, dl);
	if (e == 0)
		e = b->ops->list(b, head_prefix(&next.id).s, NULL, note_branch, &branches, dl);
	if (e == 0)
		e = bury_repo(r, name, now, &next, &branches.names, dl);
	buf_release(&branches.names);
	return e;
}

struct search {
	struct refs *refs;
	const struct refs_wait *wait;
	const struct id128 *id;
	char name[OBJECT_NAME_MAX + 1];
};

static int is_repo(const char *name, void *ctx)
{
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct search *s = ctx;
	int e;

	e = refs_repo(s->refs, name, s->wait, &rec);
	/* One that cannot be read does not stand in the others' way. */
	if (e == -ENOENT || e == -EBADMSG || e == -ENOTSUP)
		return 0;
	if (e < 0)
		return e;
	if (!id128_equal(&rec.id, s->id))
		return 0;
	snprintf(s->name, sizeof(s->name), "%s", name);
	return 1;
}

int refs_check_not_default(struct refs *r, const struct id128 *repo, const char *branch,
			   const struct deadline *dl)
{
	_cleanup_(finding_unrefp) struct finding *now = NULL;
	struct refs_wait w = { .may_wait = true, .deadline = dl ? *dl : DEADLINE_NEVER };
	struct search s = { .refs = r, .wait = &w, .id = repo };
	int e;

	e = refs_list_repos(r, &w, is_repo, &s);
	if (e == 0) {
		/* Perhaps it is new. */
		w.fresh = true;
		e = refs_list_repos(r, &w, is_repo, &s);
	}
	if (e <= 0)
		return e < 0 ? e : -ENOENT;
	e = facts_look(r->facts, FINDING_REPO, repo_key(s.name).s, dl, &now);
	if (e < 0)
		return e;
	if (!finding_is_live(now))
		return -ENOENT;
	return strcmp(now->repo.default_branch, branch) == 0 ? -EBUSY : 0;
}
