/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Listings of /pfs and of repos that a run has seen. They are not pinned, and its record has them
 * as they are at its end: one to which they were not all the time what they are then is not
 * repeated.
 */
#include <stdio.h>

#include "object/refs.h"
#include "record/listing.h"
#include "run/parts.h"

enum {
	LISTED_MAX = 1000,
};

struct listed {
	char repo[OBJECT_NAME_MAX + 1]; /* "": /pfs */
	struct listing_id id;
};

static int digest_now(struct run *run, const char *repo, struct access *acc, struct listing_id *ret)
{
	struct refs_wait w = { .may_wait = acc->may_wait, .deadline = acc->deadline };
	struct refs *refs = run->runs->opts.store->refs;
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	int r;

	if (!*repo)
		return listing_of_repos(refs, &w, ret);
	r = refs_repo(refs, repo, &w, &rec);
	return r < 0 ? r : listing_of_repo(refs, &rec.id, &w, ret);
}

static bool is_equal(const struct listing_id *a, const struct listing_id *b)
{
	return memcmp(a->b, b->b, DIGEST_SIZE) == 0;
}

/* Under run->lock. */
static void note(struct run *run, const char *repo, const struct listing_id *id)
{
	struct listed *all = NULL;
	size_t i = 0;

	while (i < run->listed_count && strcmp(run->listed[i].repo, repo) != 0)
		i++;
	if (i < run->listed_count && is_equal(&run->listed[i].id, id))
		return;
	if (i == run->listed_count && i < LISTED_MAX)
		all = reallocarray(run->listed, i + 1, sizeof(*all));
	if (!all) {
		run_spoil(run);
		return;
	}
	run->listed = all;
	all[i].id = *id;
	snprintf(all[i].repo, sizeof(all[i].repo), "%s", repo);
	run->listed_count++;
}

int run_saw_listing(struct run *run, const char *repo, struct access *acc)
{
	struct listing_id id;
	int r = digest_now(run, repo, acc, &id);

	if (r < 0)
		return r;
	WITH_LOCK(&run->lock);

	note(run, repo, &id);
	return 0;
}

/* The next one that was seen; false: there is none. */
static bool next_seen(struct run *run, size_t i, struct listed *ret)
{
	WITH_LOCK(&run->lock);

	if (i < run->listed_count)
		*ret = run->listed[i];
	return i < run->listed_count;
}

void run_check_listings(struct run *run, struct access *acc)
{
	struct listing_id now;
	struct listed was;

	for (size_t i = 0; next_seen(run, i, &was); i++)
		if (digest_now(run, was.repo, acc, &now) < 0 || !is_equal(&now, &was.id))
			run_spoil(run);
}
