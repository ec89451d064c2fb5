/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One request of the kernel on its way to its one answer.
 *
 * A handler of libfuse's puts the arguments into a call and starts it. The operation runs in the
 * worker, against local data only; if something is missing (-EAGAIN, before any effect), the call
 * is copied with all it borrows, and the same operation runs again on the slow lane.
 *
 *	started --runs--> answered
 *	   '--EAGAIN--> on the lane --runs--> answered
 *	                    '--interrupted--> answered with EINTR
 *
 * Whoever answers a call on the lane owns it by one exchange first, so there is exactly one answer.
 * An operation returns 0 once it has answered, or an error, which is then the answer.
 */
#pragma once

#include "channel.h"
#include "fs.h"

/* How long a call may wait, and what ends it. */
enum patience {
	PATIENCE_META, /* 10 s */
	PATIENCE_DATA, /* 30 s */
	PATIENCE_LONG, /* as long as it takes; only its caller's death ends it */
};

struct call;

struct op {
	enum fs_op id;
	int (*run)(struct call *c, struct access *acc);
	enum patience patience;
	bool must_end; /* it has an effect, or uses a handle: not answered before it has ended */
	bool is_slow; /* it waits for a disk or worse: never in a worker */
};

/* Memory for answers, one a thread. */
struct scratch {
	uint8_t *data; /* owned */
	size_t len;
};
void scratch_release(struct scratch *s);

struct lane_job;

/* Names and data are borrowed from the request in a worker, from the job on the lane. A NUL follows
 * each name. */
struct call {
	struct fs *fs;
	const struct op *op;
	fuse_req_t req;
	struct lane_job *job; /* NULL: in a worker */
	struct scratch *scratch; /* borrowed */
	uint64_t unique;
	enum patience patience;
	struct caller by;
	pid_t pid;
	bool kill_priv, kill_sgid, is_tmpfile;
	bool is_answered;

	/* Arguments, as the operation has them. */
	int flags;
	mode_t mode;
	uint64_t node, node2;
	uint64_t fh, fh2;
	uint64_t off, off2, len;
	struct span name, name2, data;
	dev_t rdev;
	struct setattr attrs;
};

/* A call of @op with who asks; the rest is zero. */
struct call call_of(fuse_req_t req, const struct op *op);

void call_start(struct call *c);

/* Runs the operation with @acc and answers if it has failed; -EAGAIN is left to the caller. */
int call_run(struct call *c, struct access *acc);

/* Answers with an error of ours: the one place where these become the kernel's. */
void call_fail(struct call *c, int error);

/*
 * Answers. 0, or -errno when it did not arrive: nobody waits for it any more. Then what the answer
 * gave (a file opened, a node known) is the caller's to take back.
 */
int call_ok(struct call *c);
int call_reply_entry(struct call *c, const struct fuse_entry_param *e);
int call_reply_create(struct call *c, const struct fuse_entry_param *e,
		      const struct fuse_file_info *fi);
int call_reply_attr(struct call *c, const struct stat *st, double timeout);
int call_reply_open(struct call *c, const struct fuse_file_info *fi);
int call_reply_bytes(struct call *c, const void *data, size_t len);
int call_reply_written(struct call *c, size_t len);
int call_reply_size(struct call *c, size_t len);
int call_reply_link(struct call *c, const char *target);
int call_reply_offset(struct call *c, off_t off);
int call_reply_ioctl(struct call *c, int result);
int call_reply_statfs(struct call *c, const struct statvfs *st);

/* Memory for an answer of up to @len bytes, until the call ends; NULL: none. */
uint8_t *call_memory(struct call *c, size_t len);

/* For a request without an answer. */
void call_none(fuse_req_t req);

/* The vnode of @node, let go of by scope. */
struct held {
	struct fs *fs;
	struct vnode *vnode; /* a reference */
};

static inline void held_release(struct held *n)
{
	if (n->vnode)
		vnode_unref(n->fs->vnodes, n->vnode);
}
#define _cleanup_held_ _cleanup_(held_release)

static inline struct held call_vnode(struct call *c, uint64_t id)
{
	return (struct held){ c->fs, vnode_by_id(c->fs->vnodes, id) };
}
