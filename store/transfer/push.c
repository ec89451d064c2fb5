/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Pushes: the order of things, and commits in batches (transfer/push.h).
 *
 * The commits of a batch share packs, so that a long history of small commits needs few. When the
 * packs are durable the commits' objects are written, parents first; each is what it is here but
 * for its hints. Which commits the other store has is so at any moment closed under "comes from".
 */
#include "transfer/push.h"

#include "base/log.h"
#include "format/key.h"
#include "index/index.h"
#include "transfer/push_copy.h"
#include "transfer/push_parts.h"

enum {
	ATTEMPTS = 3, /* the collector may have moved meanwhile */
	BATCH_COMMITS = 512,
	PUT_TIMEOUT_MS = 60 * 1000,
	INDEX_TIMEOUT_MS = 60 * 1000,
};

#define BATCH_BYTES (1 * GiB)

struct moving_commit {
	struct buf object; /* as it is here */
	struct commit commit; /* borrows it; its locs become the other store's */
};

struct batch_of_commits {
	struct push *push; /* borrowed */
	struct copier copier;
	struct moving_commit *items[BATCH_COMMITS]; /* owned */
	size_t count;
};

static void commit_free(struct moving_commit *m)
{
	commit_release(&m->commit);
	buf_release(&m->object);
	free(m);
}

static void release(struct batch_of_commits *b)
{
	copier_release(&b->copier);
	for (size_t i = 0; i < b->count; i++)
		commit_free(b->items[i]);
	free(b);
}

static int load(struct push *p, const struct oid *id, struct moving_commit **ret)
{
	struct refs_wait w = push_wait(p, false);
	struct moving_commit *m = new0(struct moving_commit, 1);
	int r = m ? refs_commit(p->req->from->refs, &p->repo.id, id, &w, &m->object) : -ENOMEM;

	if (r == 0)
		r = commit_read(buf_span(&m->object), id, &m->commit);
	if (r < 0 && m)
		commit_free(m);
	if (r < 0)
		return r == -ENOENT ? -EIO : r;
	*ret = m;
	return 0;
}

/* Everything below a commit, but for what its first parent has. */
static int move_one(struct batch_of_commits *b, const struct oid *id)
{
	struct moving_commit *m, *parent = NULL;
	int r = load(b->push, id, &m);

	if (r == 0) {
		b->items[b->count++] = m;
		if (m->commit.parent_count > 0)
			r = load(b->push, &m->commit.parents[0], &parent);
	}
	if (r == 0)
		r = copier_commit(&b->copier, &m->commit, parent ? &parent->commit : NULL);
	if (parent)
		commit_free(parent);
	return r;
}

static int put_commit(struct batch_of_commits *b, struct moving_commit *m, const struct oid *id)
{
	struct push *p = b->push;
	struct store *to = p->req->to;
	struct deadline dl = deadline_in_ms(PUT_TIMEOUT_MS);
	_cleanup_buf_ struct buf object = { 0 };
	struct key key = (commit_is_pin(&m->commit) ? pin_key : commit_key)(&p->repo.id, id);
	struct oid now;
	int r = copier_resolve(&b->copier, &m->commit);

	dl.cancelled = p->report.o->cancelled;
	if (r == 0)
		r = commit_write(&m->commit, &object, &now);
	if (r == 0 && !oid_equal(&now, id))
		r = -EBADMSG;
	if (r == 0)
		r = to->backend->ops->put(to->backend, key.s, buf_span(&object), &dl);
	if (r < 0)
		return r == -ECANCELED
			       ? r
			       : log_errno(r, "%s: a commit cannot be stored", to->backend->url);
	refs_note_commit(to->refs, &p->repo.id, id, buf_span(&object));
	return 0;
}

void push_add_stats(struct push_result *r, struct packer *packer)
{
	struct packer_stats s;

	packer_stats(packer, &s);
	r->objects += s.chunks + s.nodes;
	r->bytes += s.raw_bytes;
	r->stored_bytes += s.stored_bytes;
	r->packs += s.packs;
}

/* Is it time for the commits gone through so far to be written? */
static bool is_full(const struct batch_of_commits *b)
{
	struct packer_stats s;

	packer_stats(b->copier.packer, &s);
	return b->count == BATCH_COMMITS || s.raw_bytes >= BATCH_BYTES;
}

static int fill(struct batch_of_commits *b, size_t first)
{
	struct push *p = b->push;
	size_t i = first;
	char hex[OID_HEX];
	int r = 0;

	for (; r == 0 && i < p->commit_count && !is_full(b); i++)
		r = move_one(b, &p->commits[i].id);
	if (r == 0)
		r = copier_finish(&b->copier);
	if (r < 0 && r != -ECANCELED)
		log_errno(r, "%s: the commit %s, or one of the %zu before it, cannot be moved",
			  p->req->from->backend->url, oid_hex(&p->commits[i - 1].id, hex),
			  b->count > 0 ? b->count - 1 : 0);
	return r;
}

/* Commits from @first on: 0, and how many have been moved. */
static int move_batch(struct push *p, size_t first, size_t *ret_count)
{
	struct batch_of_commits *b = new0(struct batch_of_commits, 1);
	int r;

	if (!b)
		return -ENOMEM;
	b->push = p;
	r = copier_init(&b->copier, p->req->from, p->req->to, &p->report);
	if (r == 0)
		r = fill(b, first);
	for (size_t i = 0; r == 0 && i < b->count; i++)
		r = put_commit(b, b->items[i], &p->commits[first + i].id);
	if (r == 0)
		r = packer_recheck(b->copier.packer);
	if (r == 0) {
		packer_tell_index(b->copier.packer);
		push_add_stats(&p->result, b->copier.packer);
		*ret_count = b->count;
	}
	release(b);
	return r;
}

static int move_commits(struct push *p)
{
	struct store *to = p->req->to;
	struct deadline dl = push_deadline(p);
	size_t done = 0;
	int r = 0;

	if (p->commit_count == 0)
		return 0;
	/* Also what an earlier push, or another machine's, has left there. */
	r = index_refresh(to->index, to->backend, true, &dl);
	if (r < 0)
		return r == -ECANCELED ? r
				       : log_errno(r, "%s: what is there cannot be listed",
						   to->backend->url);
	for (unsigned tries = 0; r == 0 && done < p->commit_count;) {
		size_t n = 0;

		r = move_batch(p, done, &n);
		done += n;
		if (r == -ERESTART && ++tries < ATTEMPTS)
			r = 0;
	}
	dl = deadline_in_ms(INDEX_TIMEOUT_MS);
	if (r == 0)
		index_publish(to->index, to->backend, false, &dl);
	return r == -ERESTART
		       ? log_fail(-EAGAIN, "%s: the garbage collector was in the way; try again",
				  to->backend->url)
		       : r;
}

static int push(struct push *p)
{
	int r = push_plan(p);

	p->result.commits = p->commit_count;
	if (r == 0 && !p->req->is_dry)
		r = push_make_repo(p);
	if (r == 0 && !p->req->is_dry)
		r = move_commits(p);
	if (r == 0 && p->req->along)
		r = p->req->along(
			&(struct push_along){ p->req, &p->repo.id, &p->report, &p->result },
			p->req->ctx);
	if (r == 0 && !p->req->is_dry)
		r = push_publish(p);
	for (size_t i = 0; r == 0 && i < p->refs.count; i++)
		if (p->refs.items[i].is_here)
			push_tell(p, &p->refs.items[i]);
	report_tell(&p->report, true);
	return r;
}

int transfer_push(const struct push_request *req, const struct transfer_options *o,
		  struct push_result *ret)
{
	struct push p = { .req = req, .report = { .o = o } };
	int r;

	if (req->to->read_only && !req->is_dry)
		return log_fail(-EROFS, "%s: opened for reading only", req->to->backend->url);
	r = push(&p);
	if (r == 0)
		*ret = p.result;
	repo_rec_release(&p.repo);
	oidset_release(&p.there);
	free(p.refs.items);
	free(p.commits);
	return r;
}
