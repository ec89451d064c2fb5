/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Publication (write/publish.h).
 */
#include "write/publish.h"

#include "base/log.h"
#include "format/key.h"

enum {
	CALL_TIMEOUT_MS = 30000,
	META_KEY_MAX = 255,
};

#define META_BRANCH "pfs.branch"

static bool key_is_valid(struct span key)
{
	if (key.len == 0 || key.len > META_KEY_MAX)
		return false;
	for (size_t i = 0; i < key.len; i++)
		if (key.data[i] < 0x20 || key.data[i] == 0x7f || key.data[i] == '=')
			return false;
	return true;
}

static int cmp_meta(const void *a, const void *b)
{
	const struct commit_meta *x = a, *y = b;

	return span_cmp(x->key, y->key);
}

int commit_meta_sort(const struct commit_meta *in, size_t n, struct commit_meta **ret)
{
	_cleanup_free_ struct commit_meta *m = new0(struct commit_meta, MAX(n, (size_t)1));
	size_t total = 0;

	if (!m)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		m[i] = in[i];
		total += in[i].key.len + in[i].value.len;
		if (!key_is_valid(in[i].key))
			return log_fail(-EINVAL, "metadata: `%.*s` cannot be a key",
					(int)in[i].key.len, (const char *)in[i].key.data);
	}
	if (total > COMMIT_META_MAX || n > UINT16_MAX)
		return log_fail(-EINVAL, "metadata: more than a commit can carry");
	qsort(m, n, sizeof(*m), cmp_meta);
	for (size_t i = 1; i < n; i++)
		if (span_equal(m[i - 1].key, m[i].key))
			return log_fail(-EINVAL, "metadata: `%.*s` is given twice",
					(int)m[i].key.len, (const char *)m[i].key.data);
	*ret = TAKE_PTR(m);
	return 0;
}

static int all_meta(const struct publication *p, struct commit_meta **ret, uint16_t *ret_count)
{
	size_t n = p->meta_count + (p->branch != NULL);
	_cleanup_free_ struct commit_meta *all = new0(struct commit_meta, n + 1);
	int r;

	if (!all)
		return -ENOMEM;
	for (size_t i = 0; i < p->meta_count; i++)
		all[i] = p->meta[i];
	if (p->branch)
		all[p->meta_count] =
			(struct commit_meta){ span_str(META_BRANCH), span_str(p->branch) };
	r = commit_meta_sort(all, n, ret);
	if (r == 0)
		*ret_count = (uint16_t)n;
	return r;
}

static int write_object(const struct publication *p, const struct snapshot *snap, struct buf *ret,
			struct oid *ret_id, struct key *ret_key)
{
	_cleanup_free_ struct commit_meta *meta = NULL;
	struct commit c = {
		.repo = p->repo,
		.generation = p->generation,
		.root = snap->root,
		.links = snap->links,
		.time = inode_time_of(now_wall()),
		.nonce = id128_random(),
		.author = span_str(p->author ? p->author : p->store->writer),
		.machine = span_str(p->store->machine),
		.message = span_str(p->message ? p->message : ""),
	};
	int r = all_meta(p, &meta, &c.meta_count);

	if (r < 0)
		return r;
	c.meta = meta;
	c.parent_count = (uint8_t)p->parent_count;
	if (p->parent_count > 0)
		memcpy(c.parents, p->parents, p->parent_count * sizeof(*p->parents));
	r = commit_write(&c, ret, ret_id);
	if (r == -EINVAL)
		return log_fail(r, "the message, author or metadata is longer than a commit can "
				   "carry");
	*ret_key = (commit_is_pin(&c) ? pin_key : commit_key)(&p->repo, ret_id);
	return r;
}

/* No call waits longer than its own time, or than the caller's. */
static struct deadline call_deadline(const struct publication *p)
{
	struct deadline dl = deadline_in_ms(CALL_TIMEOUT_MS);

	dl.at_ns = MIN(dl.at_ns, p->deadline.at_ns);
	return dl;
}

static int put_object(const struct publication *p, const char *key, struct span object)
{
	struct backend *b = p->store->backend;
	struct deadline dl = call_deadline(p);
	int r = b->ops->put(b, key, object, &dl);

	return r < 0 ? log_errno(r, "%s: the commit cannot be stored", b->url) : 0;
}

int publish(const struct publication *p, struct session *s, const struct snapshot *snap,
	    struct oid *ret_id, struct buf *ret_object)
{
	_cleanup_buf_ struct buf object = { 0 };
	struct key key;
	struct oid id;
	int r;

	r = write_object(p, snap, &object, &id, &key);
	if (r == 0)
		r = put_object(p, key.s, buf_span(&object));
	if (r == 0)
		r = packer_recheck(session_packer(s));
	if (r < 0)
		return r;
	refs_note_commit(p->store->refs, &p->repo, &id, buf_span(&object));
	*ret_id = id;
	return buf_take(&object, ret_object);
}
