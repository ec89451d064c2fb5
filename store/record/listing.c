/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Digests of listings (listing.h).
 */
#include "record/listing.h"

static void put_name(struct digest *d, uint8_t type, struct span name)
{
	digest_put(d, &type, 1);
	digest_put(d, name.data, name.len);
	digest_put(d, "", 1);
}

int listing_of_dir(struct node_source *source, const struct tree_root *dir, struct listing_id *ret)
{
	_cleanup_(digest_freep) struct digest *d = NULL;
	struct tree_cursor c;
	int r = digest_new(&d);

	if (r < 0)
		return r;
	tree_cursor_init(&c, TREE_DIR, source);
	r = tree_seek_ordinal(&c, dir, 0);
	while (r == 0 && !c.is_end) {
		struct dirent_rec e;

		node_dirent(tree_leaf(&c), tree_index(&c), &e);
		put_name(d, e.inode.type, e.name);
		r = tree_next(&c);
	}
	tree_cursor_release(&c);
	if (r == 0)
		digest_end(d, ret->b);
	return r;
}

static int put_dir(const char *name, void *ctx)
{
	put_name(ctx, FT_DIR, span_str(name));
	return 0;
}

int listing_of_repos(struct refs *refs, const struct refs_wait *w, struct listing_id *ret)
{
	_cleanup_(digest_freep) struct digest *d = NULL;
	int r = digest_new(&d);

	if (r == 0)
		r = refs_list_repos(refs, w, put_dir, d);
	if (r == 0)
		digest_end(d, ret->b);
	return r;
}

int listing_of_repo(struct refs *refs, const struct id128 *repo, const struct refs_wait *w,
		    struct listing_id *ret)
{
	_cleanup_(digest_freep) struct digest *d = NULL;
	int r = digest_new(&d);

	if (r == 0)
		r = refs_list(refs, repo, REF_BRANCH, w, put_dir, d);
	if (r == 0)
		r = refs_list(refs, repo, REF_NAME, w, put_dir, d);
	if (r == 0)
		digest_end(d, ret->b);
	return r;
}
