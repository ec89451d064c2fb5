/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Imports: finding where one goes, and making a commit of it (transfer/transfer.h).
 */
#include "transfer/import.h"

#include "base/log.h"
#include "index/index.h"
#include "merge/join.h"
#include "write/publish.h"

enum {
	ATTEMPTS = 3, /* the collector may have moved meanwhile */
	INDEX_TIMEOUT_MS = 60 * 1000,
};

static struct refs_wait patient(const struct import *im, bool fresh)
{
	return (struct refs_wait){
		.may_wait = true,
		.fresh = fresh,
		.deadline = { .at_ns = INT64_MAX, .cancelled = im->report.o->cancelled },
	};
}

/* Is the name free? */
static int check_name(struct import *im)
{
	const struct import_request *req = im->req;
	struct refs_wait w = patient(im, false);
	_cleanup_ref_ struct ref there = { 0 };
	struct etag tag;
	int r;

	if (!req->name)
		return 0;
	if (!object_name_is_valid(req->name))
		return log_fail(-EINVAL, "`%s` cannot be a commit's name", req->name);
	r = refs_get(im->store->refs, &im->repo.id, REF_NAME, req->name, &w, &there, &tag);
	if (r == -ENOENT)
		r = refs_get(im->store->refs, &im->repo.id, REF_BRANCH, req->name, &w, &there,
			     &tag);
	if (r == 0)
		return log_fail(-EEXIST, "%s has `%s` already", req->repo, req->name);
	return r == -ENOENT ? 0 : r;
}

static int find_place(struct import *im)
{
	const struct import_request *req = im->req;
	struct refs_wait w = patient(im, true);
	_cleanup_buf_ struct buf object = { 0 };
	_cleanup_ref_ struct ref tip = { 0 };
	struct etag tag;
	int r;

	r = refs_repo(im->store->refs, req->repo, &w, &im->repo);
	if (r < 0)
		return log_errno(r, "%s", req->repo);
	r = refs_get(im->store->refs, &im->repo.id, REF_BRANCH, req->branch, &w, &tip, &tag);
	if (r < 0)
		return log_errno(r, "%s/%s", req->repo, req->branch);
	im->base = tip.target;
	im->branch = tip.branch;
	if (oid_is_null(&im->base)) {
		place_init_unborn(&im->place, im->store, &im->repo, im->report.o->cancelled);
	} else {
		r = refs_commit(im->store->refs, &im->repo.id, &im->base, &w, &object);
		if (r == 0)
			r = place_init(&im->place, im->store, buf_span(&object),
				       im->report.o->cancelled);
	}
	if (r == 0)
		r = place_find(&im->place, req->path ? req->path : "");
	return r < 0 ? log_errno(r, "%s/%s/%s", req->repo, req->branch, req->path) : 0;
}

int import_begin(struct import *im, uint64_t bytes)
{
	struct session_options o = {
		.store = im->store,
		.chunk = im->repo.chunk,
		.is_large = bytes > PACK_TARGET,
		.cancelled = im->report.o->cancelled,
		.stored = im->stored,
	};

	return session_new(&o, &im->session);
}

int import_lose(struct import *im, const struct dirent_rec *there)
{
	if (there->has_link)
		return linkmap_lose(&im->links, &there->link);
	if (there->inode.type != FT_DIR)
		return 0;
	return linkmap_lose_below(&im->links, &im->place.source.base, &there->inode.dir);
}

static bool is_same_tree(const struct import *im, const struct snapshot *s)
{
	return !oid_is_null(&im->base) && inode_equal(&im->place.root, &s->root) &&
	       oid_equal(&im->place.commit.links.id, &s->links.id);
}

/* 0, or -EBUSY: both have changed the same. */
static int join(struct import *im, const struct oid *id)
{
	const struct import_request *req = im->req;
	struct joining j = {
		.store = im->store,
		.repo = im->repo.id,
		.repo_name = req->repo,
		.branch = req->branch,
		.identity = &im->branch,
		.commit = *id,
		.base = &im->base,
		.author = req->author,
		.deadline = { .at_ns = INT64_MAX, .cancelled = im->report.o->cancelled },
	};
	struct joined x;
	int r = join_branch(&j, &x);

	if (r == -ENOENT)
		return log_fail(r,
				"%s/%s was removed meanwhile; what was imported is kept as a "
				"commit, but not on a branch",
				req->repo, req->branch);
	if (r != -ESTALE)
		return r;
	return log_fail(-EBUSY,
			"%s/%s: others have changed %llu of the same names meanwhile; what was "
			"imported is kept as a commit, but not on the branch",
			req->repo, req->branch, (unsigned long long)x.conflicts);
}

static int publish_snapshot(struct import *im, const struct snapshot *snap, struct oid *ret_id,
			    bool *ret_is_new)
{
	const struct import_request *req = im->req;
	struct deadline dl = { .at_ns = INT64_MAX, .cancelled = im->report.o->cancelled };
	_cleanup_buf_ struct buf object = { 0 };
	struct publication p = {
		.store = im->store,
		.repo = im->repo.id,
		.branch = req->branch,
		.parents = &im->base,
		.parent_count = !oid_is_null(&im->base),
		.generation = im->place.commit.generation + 1,
		.author = req->author,
		.message = req->message,
		.meta = req->meta,
		.meta_count = req->meta_count,
		.deadline = dl,
	};
	struct oid id = im->base;
	bool is_new = !is_same_tree(im, snap);
	int r = 0;

	if (is_new)
		r = publish(&p, im->session, snap, &id, &object);
	if (r == 0 && req->name)
		r = refs_create_name(im->store->refs, &p.repo, req->name, &id, &dl);
	if (r == 0 && is_new)
		r = join(im, &id);
	if (r < 0 && r != -EBUSY)
		return r;
	*ret_id = id;
	*ret_is_new = is_new;
	return r;
}

/* What a machine does for the next time; it may fail. */
static void tell_index(struct import *im)
{
	struct deadline dl = deadline_in_ms(INDEX_TIMEOUT_MS);

	packer_tell_index(session_packer(im->session));
	index_publish(im->store->index, im->store->backend, false, &dl);
}

static int attempt(struct import *im, struct oid *ret_id, bool *ret_is_new)
{
	struct snapshot snap;
	int r;

	r = find_place(im);
	if (r == 0)
		r = check_name(im);
	if (r == 0)
		r = strcmp(im->req->src, "-") == 0 ? import_tar(im) : import_local(im);
	if (r == 0)
		r = session_finish(im->session, &im->place.commit.links, &snap);
	if (r == 0)
		r = publish_snapshot(im, &snap, ret_id, ret_is_new);
	if (r == 0 || r == -EBUSY)
		tell_index(im);
	return r;
}

static void import_release(struct import *im)
{
	session_free(im->session);
	place_release(&im->place);
	linkmap_release(&im->links);
	repo_rec_release(&im->repo);
}

int transfer_import(struct store *s, const struct import_request *req,
		    const struct transfer_options *o, struct oid *ret_id, bool *ret_is_new)
{
	bool is_stream = strcmp(req->src, "-") == 0;
	int r = -ERESTART;

	if (s->read_only)
		return log_fail(-EROFS, "%s: opened for reading only", s->backend->url);
	for (unsigned i = 0; r == -ERESTART && i < ATTEMPTS; i++) {
		struct import im = { .store = s, .req = req, .report = { .o = o } };

		r = attempt(&im, ret_id, ret_is_new);
		report_tell(&im.report, true);
		if (r == 0 && im.report.skipped > 0)
			r = -EREMOTEIO;
		import_release(&im);
		/* A stream is read once. */
		if (is_stream)
			break;
	}
	return r == -ERESTART ? log_fail(-EAGAIN,
					 "%s: the garbage collector was in the way; try "
					 "again",
					 s->backend->url)
			      : r;
}
