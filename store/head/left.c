/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What other mounts have removed and is still uncommitted here: it stays where it was, or, where
 * something else has its name by now, beside that. Of branches that is in branches.c; here are
 * whole repos, which are gone with all their branches, and what a listing is to show.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "head/overlay.h"

enum {
	SUFFIX_LEN = 14, /* ".left-XXXXXXXX" */
};

void left_name(const char *name, const struct id128 *id, char ret[OBJECT_NAME_MAX + 1])
{
	char hex[ID128_HEX];

	id128_hex(id, hex);
	snprintf(ret, OBJECT_NAME_MAX + 1, "%.*s.left-%.8s", OBJECT_NAME_MAX - SUFFIX_LEN, name,
		 hex);
}

bool head_has_uncommitted(struct head *h)
{
	WITH_LOCK(&h->view.lock);

	return !h->is_removed && is_uncommitted(h);
}

/* What has the name of the head's repo? 1: another, or nothing (*@ret_is_free), 0: that repo. */
static int is_repo_gone(struct head *h, const struct refs_wait *w, bool *ret_is_free)
{
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	int r = refs_repo(h->view.store->refs, h->view.repo_name, w, &rec);

	*ret_is_free = r == -ENOENT;
	if (r < 0)
		return r == -ENOENT ? 1 : r;
	return !id128_equal(&rec.id, &h->view.repo);
}

/* What is still to be known of a repo whose record may be another's. Who may see what is below is
 * said by the branch's root. */
static void former_repo(struct head *h, struct repo_rec *ret)
{
	WITH_LOCK(&h->heads->lock);

	*ret = (struct repo_rec){
		.state = REF_LIVE,
		.id = h->view.repo,
		.chunk = CHUNK_PARAMS_DEFAULT,
		.root_mode = 0755,
		.root_uid = geteuid(),
		.root_gid = getegid(),
	};
	snprintf(ret->default_branch, sizeof(ret->default_branch), "%s", h->branch_name);
}

int heads_repo(struct heads *hs, const char *name, const struct refs_wait *w, struct repo_rec *ret)
{
	int r = refs_repo(hs->store->refs, name, w, ret);

	if (r != -ENOENT)
		return r;
	for (struct head *h = next_head(hs, NULL); h; h = next_head(hs, h)) {
		char left[OBJECT_NAME_MAX + 1];
		bool is_free;

		left_name(h->view.repo_name, &h->view.repo, left);
		if (strcmp(name, h->view.repo_name) != 0 && strcmp(name, left) != 0)
			continue;
		if (!head_has_uncommitted(h))
			continue;
		r = is_repo_gone(h, w, &is_free);
		if (r < 0)
			return r;
		if (r == 0)
			continue;
		former_repo(h, ret);
		return 0;
	}
	return -ENOENT;
}

static void copy_branch_name(struct head *h, char ret[OBJECT_NAME_MAX + 1])
{
	WITH_LOCK(&h->heads->lock);

	snprintf(ret, OBJECT_NAME_MAX + 1, "%s", h->branch_name);
}

int heads_list_left(struct heads *hs, const struct id128 *repo, const struct refs_wait *wait,
		    refs_name_fn fn, void *ctx)
{
	/* A repo is listed by its name unless that turns out soon to be another's. */
	const struct deadline soon = deadline_in_ms(REFS_PATIENCE_MS);
	struct refs_wait w = *wait;
	int r = 0;

	w.deadline.at_ns = MIN(w.deadline.at_ns, soon.at_ns);

	for (struct head *h = next_head(hs, NULL); r == 0 && h; h = next_head(hs, h)) {
		char name[OBJECT_NAME_MAX + 1];
		bool is_free;
		int gone = 0;

		if ((repo && !id128_equal(&h->view.repo, repo)) || !head_has_uncommitted(h))
			continue;
		if (!repo)
			gone = is_repo_gone(h, &w, &is_free);
		if (gone == -EAGAIN)
			return gone;
		if (repo)
			copy_branch_name(h, name);
		else if (gone == 1 && !is_free)
			left_name(h->view.repo_name, &h->view.repo, name);
		else
			snprintf(name, sizeof(name), "%s", h->view.repo_name);
		r = fn(name, ctx);
	}
	return r;
}
