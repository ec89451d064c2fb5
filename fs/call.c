/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Calls: starting them, and their answers.
 */
#include "call.h"

#include <assert.h>
#include <sys/mman.h>

#include "base/log.h"
#include "lane.h"
#include "mapped.h"
#include "object/reader.h"

enum {
	SAY_EVERY_MS = 10 * 1000
};

static _Thread_local struct scratch workers_scratch;

void scratch_release(struct scratch *s)
{
	if (s->data)
		munmap(s->data, s->len);
	*s = (struct scratch){ 0 };
}

uint8_t *call_memory(struct call *c, size_t len)
{
	struct scratch *s = c->scratch;
	void *p;

	if (s->len >= len)
		return s->data;
	len = ALIGN_UP(len, (size_t)(64 * KiB));
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	scratch_release(s);
	*s = (struct scratch){ p, len };
	return p;
}

struct call call_of(fuse_req_t req, const struct op *op)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	const struct raw_request *raw = channel_raw();

	return (struct call){
		.fs = fuse_req_userdata(req),
		.op = op,
		.req = req,
		.scratch = &workers_scratch,
		.unique = raw->unique,
		.patience = op->patience,
		.by = { .uid = ctx->uid, .gid = ctx->gid, .umask = ctx->umask },
		.pid = ctx->pid,
		.kill_priv = raw->kill_priv,
		.kill_sgid = raw->kill_sgid,
		.is_tmpfile = raw->is_tmpfile,
	};
}

/* Of one file once in a while: who reads it does so again and again. */
static bool is_said(struct fs *fs, uint64_t node)
{
	int64_t now = now_ns();
	bool is_same = atomic_exchange(&fs->damaged_node, node) == node;

	if (is_same && now < fs->damage_said + SAY_EVERY_MS * 1000000ll)
		return true;
	fs->damage_said = now;
	return false;
}

/* What was found damaged has been logged once, by its id; here is where it was missed. */
static void say_damage(struct call *c)
{
	struct fs *fs = c->fs;
	struct vnode *n = vnode_by_id(fs->vnodes, c->node);
	_cleanup_free_ char *path = n ? view_path(n) : NULL;

	if (path && !is_said(fs, c->node))
		log_error("%s: %s", path, complaint());
	if (n)
		vnode_unref(fs->vnodes, n);
}

int call_run(struct call *c, struct access *acc)
{
	int r;

	complaint_clear();
	r = c->op->run(c, acc);
	if (r == -EBADMSG && complaint()[0])
		say_damage(c);
	if (r < 0 && r != -EAGAIN)
		call_fail(c, r);
	return r;
}

/* The lane has too much to remember already: the worker waits itself, and so does the kernel with
 * what comes next. */
static void run_here(struct call *c)
{
	struct access acc;

	access_init(&acc, c->fs->store->reader, true);
	acc.deadline = lane_deadline(c->patience);
	if (call_run(c, &acc) == -EAGAIN)
		call_fail(c, -EIO);
	access_release(&acc);
}

void call_start(struct call *c)
{
	struct access acc;
	int r = -EAGAIN;

	counter_add(&c->fs->stats.ops[c->op->id], 1);
	mapped_stir(c->fs->mapped);
	if (!c->op->is_slow) {
		access_init(&acc, c->fs->store->reader, false);
		r = call_run(c, &acc);
		access_release(&acc);
	}
	if (r != -EAGAIN)
		return;
	counter_add(&c->fs->stats.slow, 1);
	r = lane_submit(c->fs->lane, c);
	if (r == -ENOBUFS)
		run_here(c);
	else if (r < 0)
		call_fail(c, r);
}

/* True: the answer is ours to give, once. */
static bool own(struct call *c)
{
	assert(!c->is_answered);
	c->is_answered = true;
	return !c->job || lane_own_answer(c->job);
}

static int kernel_errno(int error)
{
	switch (-error) {
	case ECANCELED:
		return EINTR;
	case ETIME:
	case EBADMSG:
	case EINPROGRESS:
	case EAGAIN:
	case ENOSYS: /* would be taken as a word about all requests of the kind */
		return EIO;
	default:
		return error < 0 && error > -512 ? -error : EIO;
	}
}

void call_fail(struct call *c, int error)
{
	int err = kernel_errno(error);

	if (!own(c))
		return;
	/* Names and attributes that are not there are no failure. */
	if (err != ENOENT && err != ENODATA)
		counter_add(&c->fs->stats.errors[c->op->id], 1);
	fuse_reply_err(c->req, err);
}

int call_ok(struct call *c)
{
	return own(c) ? fuse_reply_err(c->req, 0) : -ENOENT;
}

int call_reply_entry(struct call *c, const struct fuse_entry_param *e)
{
	return own(c) ? fuse_reply_entry(c->req, e) : -ENOENT;
}

int call_reply_create(struct call *c, const struct fuse_entry_param *e,
		      const struct fuse_file_info *fi)
{
	return own(c) ? fuse_reply_create(c->req, e, fi) : -ENOENT;
}

int call_reply_attr(struct call *c, const struct stat *st, double timeout)
{
	return own(c) ? fuse_reply_attr(c->req, st, timeout) : -ENOENT;
}

int call_reply_open(struct call *c, const struct fuse_file_info *fi)
{
	return own(c) ? fuse_reply_open(c->req, fi) : -ENOENT;
}

int call_reply_bytes(struct call *c, const void *data, size_t len)
{
	return own(c) ? fuse_reply_buf(c->req, data, len) : -ENOENT;
}

int call_reply_written(struct call *c, size_t len)
{
	return own(c) ? fuse_reply_write(c->req, len) : -ENOENT;
}

int call_reply_size(struct call *c, size_t len)
{
	return own(c) ? fuse_reply_xattr(c->req, len) : -ENOENT;
}

int call_reply_link(struct call *c, const char *target)
{
	return own(c) ? fuse_reply_readlink(c->req, target) : -ENOENT;
}

int call_reply_offset(struct call *c, off_t off)
{
	return own(c) ? fuse_reply_lseek(c->req, off) : -ENOENT;
}

int call_reply_ioctl(struct call *c, int result)
{
	return own(c) ? fuse_reply_ioctl(c->req, result, NULL, 0) : -ENOENT;
}

int call_reply_statfs(struct call *c, const struct statvfs *st)
{
	return own(c) ? fuse_reply_statfs(c->req, st) : -ENOENT;
}

void call_none(fuse_req_t req)
{
	fuse_reply_none(req);
}
