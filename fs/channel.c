/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The fuse_session, and what goes around it.
 *
 * Threads: the loop's call request(); answers are sent from any thread. Features are set while INIT
 * is handled, before anything else arrives.
 */
#include "channel.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "kernel_abi.h"
#include "loop.h"
#include "place.h"

enum {
	BACKGROUND_MAX = 1024, /* with few, stuck read-aheads would stop local reads */
	READAHEAD_MAX = 1 << 20,
	NOTIFY_PARTS = 3,
	REQUEST_MAX = CHANNEL_WRITE_MAX + 64 * 1024, /* with header and rounding */
};

struct channel {
	struct channel_options o;
	struct fuse_lowlevel_ops ops;
	struct fuse_session *se; /* owned */
	struct loop *_Atomic loop; /* owned; its threads run before it is set */
	int fd; /* of se */
	bool is_libfuse_mount;
	uint32_t offered, offered2; /* in INIT; set before its reply */
	struct channel_features features;
};

static _Thread_local struct raw_request raw_now;
static _Thread_local struct channel *channel_now; /* whose INIT is being handled */

const struct raw_request *channel_raw(void)
{
	return &raw_now;
}

/* In libfuse's words, what is wanted if it is to be had. */
static void on_init(void *userdata, struct fuse_conn_info *conn)
{
	static const unsigned wanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC |
				       FUSE_CAP_DONT_MASK | FUSE_CAP_IOCTL_DIR |
				       FUSE_CAP_READDIRPLUS | FUSE_CAP_ASYNC_DIO |
				       FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_POSIX_ACL |
				       FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_EXPLICIT_INVAL_DATA;

	conn->want = wanted & conn->capable;
	conn->max_write = CHANNEL_WRITE_MAX;
	conn->max_readahead = READAHEAD_MAX;
	conn->max_background = BACKGROUND_MAX;
	conn->congestion_threshold = BACKGROUND_MAX;
	conn->time_gran = 1;
}

/* What libfuse does not know, or forgets. */
static void patch_init(const struct channel *s, struct fuse_init_out *out)
{
	out->flags |=
		s->offered & (FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT);
}

static ssize_t send_init_reply(struct channel *s, struct iovec *parts)
{
	struct fuse_init_out out;
	struct iovec patched[2] = { parts[0], { &out, sizeof(out) } };
	ssize_t n;

	memcpy(&out, parts[1].iov_base, sizeof(out));
	patch_init(s, &out);
	s->features = (struct channel_features){
		.minor = MIN(out.minor, s->features.minor),
		.expire_only = s->offered2 & ABI_INIT2_EXPIRE_ONLY,
		.prune = s->features.minor >= ABI_PRUNE_SINCE,
		.close_writes = s->features.minor >= ABI_CLOSE_WRITES_SINCE,
		.killpriv = out.flags & FUSE_HANDLE_KILLPRIV_V2,
	};
	n = loop_send(s->fd, patched, ARRAY_SIZE(patched));
	if (n > 0)
		s->o.ready(s->o.ctx);
	return n;
}

static ssize_t on_writev(int fd, struct iovec *parts, int count, void *userdata)
{
	struct channel *s = channel_now;

	if (s && count == 2 && parts[1].iov_len == sizeof(struct fuse_init_out))
		return send_init_reply(s, parts);
	return loop_send(fd, parts, count);
}

static ssize_t on_read(int fd, void *buf, size_t len, void *userdata)
{
	return read(fd, buf, len);
}

static const struct fuse_custom_io io = {
	.writev = on_writev,
	.read = on_read,
};

/* The body of a request, or NULL when it is too short to be one. */
static void *body(void *request, size_t len, size_t want)
{
	return len >= sizeof(struct fuse_in_header) + want
		       ? (uint8_t *)request + sizeof(struct fuse_in_header)
		       : NULL;
}

/* libfuse expects the short form: the flags behind it are kept beside. Returns the new length. */
static size_t shorten_setxattr(struct fuse_in_header *h, size_t len)
{
	struct fuse_setxattr_in *in = body(h, len, sizeof(*in));
	uint8_t *end = (uint8_t *)in + FUSE_COMPAT_SETXATTR_IN_SIZE;
	size_t surplus = sizeof(*in) - FUSE_COMPAT_SETXATTR_IN_SIZE;

	if (!in)
		return len;
	raw_now.kill_sgid = in->setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID;
	memmove(end, end + surplus, len - sizeof(*h) - sizeof(*in));
	h->len -= (uint32_t)surplus;
	return len - surplus;
}

static void see_init(struct channel *s, void *request, size_t len)
{
	const struct fuse_init_in *in = body(request, len, offsetof(struct fuse_init_in, flags2));

	if (!in)
		return;
	channel_now = s;
	s->features.minor = in->minor;
	s->offered = in->flags;
	if (in->flags & FUSE_INIT_EXT && body(request, len, sizeof(*in)))
		s->offered2 = in->flags2;
}

/* Keeps what libfuse would drop. Returns the length to go on with. */
static size_t see(struct channel *s, struct fuse_in_header *h, size_t len)
{
	const struct fuse_create_in *create;
	const struct fuse_setattr_in *attr;
	const struct fuse_write_in *write;
	const struct fuse_open_in *open;

	raw_now = (struct raw_request){ .unique = h->unique };
	switch (h->opcode) {
	case FUSE_INIT:
		see_init(s, h, len);
		break;
	case FUSE_TMPFILE:
		h->opcode = FUSE_CREATE;
		raw_now.is_tmpfile = true;
		__attribute__((fallthrough));
	case FUSE_CREATE:
		create = body(h, len, sizeof(*create));
		raw_now.kill_priv = create && create->open_flags & FUSE_OPEN_KILL_SUIDGID;
		break;
	case FUSE_OPEN:
		open = body(h, len, sizeof(*open));
		raw_now.kill_priv = open && open->open_flags & FUSE_OPEN_KILL_SUIDGID;
		break;
	case FUSE_SETATTR:
		attr = body(h, len, sizeof(*attr));
		raw_now.kill_priv = attr && attr->valid & FATTR_KILL_SUIDGID;
		break;
	case FUSE_WRITE:
		write = body(h, len, sizeof(*write));
		raw_now.kill_priv = write && write->write_flags & FUSE_WRITE_KILL_SUIDGID;
		break;
	case FUSE_SETXATTR:
		if (s->offered & FUSE_SETXATTR_EXT)
			len = shorten_setxattr(h, len);
		break;
	default:
		break;
	}
	return len;
}

static void request(void *bytes, size_t len, void *ctx)
{
	struct channel *s = ctx;
	struct fuse_in_header *h = bytes;
	struct fuse_buf buf = { .mem = bytes };
	const struct fuse_interrupt_in *in;

	if (len < sizeof(*h))
		return;
	if (h->opcode == FUSE_INTERRUPT) {
		in = body(h, len, sizeof(*in));
		if (in)
			s->o.interrupt(in->unique, s->o.ctx);
		return;
	}
	buf.size = see(s, h, len);
	fuse_session_process_buf(s->se, &buf);
	channel_now = NULL;
}

static void ended(void *ctx)
{
	struct channel *s = ctx;

	s->o.ended(s->o.ctx);
}

static void on_log(enum fuse_log_level level, const char *fmt, va_list ap)
{
	char text[512];
	size_t len;

	vsnprintf(text, sizeof(text), fmt, ap);
	len = strlen(text);
	if (len > 0 && text[len - 1] == '\n')
		text[len - 1] = '\0';
	log_line(level <= FUSE_LOG_ERR ? LOG_LEVEL_ERROR : LOG_LEVEL_DEBUG, "%s", text);
}

int channel_new(const struct channel_options *o, const char *mount_options, struct channel **ret)
{
	char name[] = "pfs", dash_o[] = "-o", *args[] = { name, dash_o, (char *)mount_options };
	struct fuse_args fa = FUSE_ARGS_INIT(mount_options ? 3 : 1, args);
	_cleanup_(channel_freep) struct channel *s = new0(struct channel, 1);

	if (!s)
		return -ENOMEM;
	s->o = *o;
	s->ops = *o->ops;
	s->ops.init = on_init;
	s->fd = -1;
	fuse_set_log_func(on_log);
	s->se = fuse_session_new(&fa, &s->ops, sizeof(s->ops), o->userdata);
	fuse_opt_free_args(&fa);
	if (!s->se)
		return -EINVAL;
	*ret = TAKE_PTR(s);
	return 0;
}

void channel_stop(struct channel *s)
{
	loop_free(atomic_exchange(&s->loop, NULL));
}

void channel_free(struct channel *s)
{
	if (!s)
		return;
	channel_stop(s);
	if (s->is_libfuse_mount)
		fuse_session_unmount(s->se);
	if (s->se)
		fuse_session_destroy(s->se);
	free(s);
}

int channel_attach(struct channel *s, int fd)
{
	int r = fuse_session_custom_io(s->se, &io, fd);

	if (r != 0)
		return r < 0 ? r : -r;
	s->fd = fd;
	return 0;
}

int channel_mount(struct channel *s, const char *mount_point)
{
	if (fuse_session_mount(s->se, mount_point) < 0)
		return -EIO;
	s->is_libfuse_mount = true;
	return channel_attach(s, fuse_session_fd(s->se));
}

int channel_serve(struct channel *s)
{
	struct loop_options o = {
		.fd = s->fd,
		.threads = s->o.threads,
		.request_max = REQUEST_MAX,
		.placement = s->o.placement,
		.request = request,
		.ended = ended,
		.ctx = s,
	};
	struct loop *loop;
	int r = loop_new(&o, &loop);

	if (r == 0)
		s->loop = loop;
	return r;
}

const struct channel_features *channel_features(const struct channel *s)
{
	return &s->features;
}

int channel_notify(struct channel *s, int code, const struct span *parts, unsigned count)
{
	struct fuse_out_header out = { .len = sizeof(out), .error = code };
	struct iovec iov[1 + NOTIFY_PARTS] = { { &out, sizeof(out) } };

	if (count > NOTIFY_PARTS)
		return -EINVAL;
	for (unsigned i = 0; i < count; i++) {
		iov[1 + i] = (struct iovec){ (void *)parts[i].data, parts[i].len };
		out.len += (uint32_t)parts[i].len;
	}
	return loop_send(s->fd, iov, (int)count + 1) < 0 ? -errno : 0;
}

uint64_t channel_raises(const struct channel *s)
{
	struct loop *loop = s->loop;

	return loop ? placement_raises(loop_placement(loop)) : 0;
}
