/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A mount from its beginning to its end.
 *
 * At the end, what may wait for requests is ended before what answers them, and what is asked by
 * requests after that: runs that are being ended, conversations and the lane are stopped, the
 * workers end, then all is freed. A run that goes on until then is noted as lost.
 */
#include "mount.h"

#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "autocommit.h"
#include "background.h"
#include "base/fdio.h"
#include "base/log.h"
#include "base/text.h"
#include "base/thread.h"
#include "catalog/learner.h"
#include "channel.h"
#include "control.h"
#include "files.h"
#include "follow.h"
#include "guardian.h"
#include "keeper.h"
#include "lane.h"
#include "mapped.h"
#include "mountpoint.h"
#include "notify.h"
#include "ops.h"
#include "realm.h"
#include "rejoin.h"
#include "root.h"

enum {
	THREADS_MIN = 2,
	THREADS_MAX = 8,
	ARENAS_MAX = 4, /* of malloc: each keeps its own free memory, */
	LARGE = 2 << 20, /* up to so much; what is larger goes back at once */
	MAPPED_SHARE = 4, /* of the memory budget */
};

/* What the main thread waits for. */
struct events {
	int signals, ready, ended; /* descriptors */
};

struct mount {
	struct fs fs;
	struct events events;
	char *state_dir; /* owned */
	bool is_mounted;
	dev_t dev; /* what is mounted; 0: not known */
	pid_t guardian; /* below 1: none */
};

static void tell(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0)
		log_errno(-errno, "an event is lost");
}

static void on_ready(void *ctx)
{
	struct mount *m = ctx;

	tell(m->events.ready);
}

static void on_ended(void *ctx)
{
	struct mount *m = ctx;

	tell(m->events.ended);
}

static void on_interrupt(uint64_t unique, void *ctx)
{
	struct mount *m = ctx;

	if (!control_interrupt(m->fs.controls, unique))
		lane_interrupt(m->fs.lane, unique);
}

static int write_back(struct view *head, const struct deadline *dl, void *ctx)
{
	struct fs *fs = ctx;

	return files_write_back(fs->files, head, dl);
}

static void changed(uint64_t node, const char *name, void *ctx)
{
	struct fs *fs = ctx;

	if (*name)
		notify_expire(fs->notify, node, span_str(name));
	else
		notify_flush_file(fs->notify, node);
}

static int open_events(struct events *e)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	/* Threads inherit it: signals come to the descriptor only. */
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	e->signals = signalfd(-1, &set, SFD_CLOEXEC);
	e->ready = eventfd(0, EFD_CLOEXEC);
	e->ended = eventfd(0, EFD_CLOEXEC);
	return e->signals < 0 || e->ready < 0 || e->ended < 0 ? -errno : 0;
}

static void close_events(struct events *e)
{
	closep(&e->signals);
	closep(&e->ready);
	closep(&e->ended);
}

/* Staged data and cache may take half of what is free, if nothing else is said. */
static uint64_t disk_budget(const struct mount *m)
{
	struct statvfs st;

	if (m->fs.opts->disk_bytes)
		return m->fs.opts->disk_bytes;
	if (statvfs(m->state_dir, &st) < 0)
		return GiB;
	return MAX((uint64_t)st.f_bavail * st.f_frsize / 2, (uint64_t)GiB);
}

static int open_store(struct mount *m)
{
	const struct mount_options *o = m->fs.opts;
	struct store_options so = {
		.state_dir = m->state_dir,
		.read_only = o->read_only,
		.single_writer = o->single_writer,
		.memory_bytes = o->memory_bytes / 2,
		.refresh_ms = o->refresh_ms,
	};
	struct heads_options ho = {
		.write_back = write_back,
		.outdated = follow_outdated,
		.ctx = &m->fs,
	};
	int r;

	r = mkdir_parents(m->state_dir, 0700);
	if (r < 0)
		return log_errno(r, "the state directory %s cannot be made", m->state_dir);
	so.cache_bytes = ho.disk_bytes = disk_budget(m);
	r = store_open(o->store, &so, &m->fs.store);
	if (r < 0)
		return r;
	r = vnode_table_new(view_vnodes(), &m->fs.vnodes);
	if (r < 0)
		return r;
	ho.store = m->fs.store;
	ho.vnodes = m->fs.vnodes;
	return heads_open(&ho, &m->fs.heads);
}

static int open_parts(struct mount *m)
{
	struct fs *fs = &m->fs;
	int r;

	r = lane_new(fs, &fs->lane);
	if (r == 0)
		r = files_new(fs, &fs->files);
	if (r == 0)
		r = root_new(fs, &fs->root);
	if (r == 0)
		r = controls_new(fs, &fs->controls);
	if (r == 0)
		r = notify_new(fs, &fs->notify);
	fs->service = (struct service){
		.store = fs->store,
		.heads = fs->heads,
		.vnodes = fs->vnodes,
		.stats = stats_json,
		.changed = changed,
		.run_begun = control_run_begun,
		.run_ending = control_run_ending,
		.run_ended = control_run_ended,
		.ctx = fs,
	};
	return r == 0 ? realms_start(fs->root) : r;
}

/* What runs tell the kernel goes through the channel. */
static int open_runs(struct fs *fs)
{
	struct runs_options o = {
		.store = fs->store,
		.heads = fs->heads,
		.vnodes = fs->vnodes,
	};
	int r = learner_new(fs->store, &fs->learner);

	o.learner = fs->service.learner = fs->learner;
	if (r == 0 && !fs->store->read_only)
		r = runs_open(&o, &fs->runs);
	fs->service.runs = fs->runs;
	return r;
}

static int open_channel(struct mount *m)
{
	const struct mount_options *o = m->fs.opts;
	unsigned threads = MIN(cpu_count(), (unsigned)THREADS_MAX);
	struct fuse_lowlevel_ops ops = { 0 };
	struct channel_options co = {
		.ops = &ops,
		.userdata = &m->fs,
		.threads = o->threads ?: MAX(threads, (unsigned)THREADS_MIN),
		.placement = o->placement,
		.ready = on_ready,
		.interrupt = on_interrupt,
		.ended = on_ended,
		.ctx = m,
	};
	_cleanup_free_ char *options = NULL;

	ops_names(&ops);
	ops_attrs(&ops);
	ops_xattrs(&ops);
	ops_files(&ops);
	ops_dirs(&ops);
	if (geteuid() != 0) {
		options = mountpoint_libfuse_options(o, o->store);
		if (!options)
			return -ENOMEM;
	}
	return channel_new(&co, options, &m->fs.channel);
}

static int attach(struct mount *m)
{
	const struct mount_options *o = m->fs.opts;
	int r;

	if (geteuid() == 0) {
		r = mountpoint_mount(o, o->store);
		m->is_mounted = r >= 0;
		if (r >= 0)
			r = channel_attach(m->fs.channel, r);
	} else {
		r = channel_mount(m->fs.channel, o->mount_point);
		m->is_mounted = r == 0;
	}
	return r < 0 ? r : channel_serve(m->fs.channel);
}

enum event {
	EVENT_READY,
	EVENT_ENDED,
	EVENT_SIGNAL,
};

static enum event wait_for_event(const struct events *e)
{
	struct pollfd fds[] = {
		[EVENT_READY] = { .fd = e->ready, .events = POLLIN },
		[EVENT_ENDED] = { .fd = e->ended, .events = POLLIN },
		[EVENT_SIGNAL] = { .fd = e->signals, .events = POLLIN },
	};
	struct signalfd_siginfo info;
	uint64_t n;

	for (;;) {
		if (poll(fds, ARRAY_SIZE(fds), -1) < 0)
			continue;
		if (fds[EVENT_READY].revents && read(e->ready, &n, sizeof(n)) > 0)
			return EVENT_READY;
		if (fds[EVENT_ENDED].revents)
			return EVENT_ENDED;
		if (fds[EVENT_SIGNAL].revents && read(e->signals, &info, sizeof(info)) > 0)
			return EVENT_SIGNAL;
	}
}

static int begin(struct mount *m)
{
	int r;

	r = open_events(&m->events);
	if (r == 0)
		r = mapped_new(m->fs.opts->memory_bytes / MAPPED_SHARE, &m->fs.mapped);
	if (r == 0)
		r = open_store(m);
	if (r == 0)
		r = open_parts(m);
	if (r == 0)
		r = open_channel(m);
	if (r == 0)
		r = open_runs(&m->fs);
	if (r == 0)
		r = attach(m);
	if (r < 0)
		return r;
	if (wait_for_event(&m->events) != EVENT_READY)
		return log_fail(-EIO, "%s: the mount ended before it began",
				m->fs.opts->mount_point);
	m->dev = mountpoint_dev(m->fs.opts);
	mountpoint_tune(m->fs.opts);
	m->guardian = guardian_start(m->fs.opts->mount_point);
	r = keeper_new(&m->fs, &m->fs.keeper);
	if (r == 0)
		follow_start(&m->fs);
	if (r == 0 && !m->fs.store->read_only)
		r = rejoin_new(&m->fs, &m->fs.rejoin);
	if (r == 0 && !m->fs.store->read_only)
		r = autocommitter_new(&m->fs, &m->fs.autocommitter);
	return r;
}

static void end(struct mount *m, bool is_detached)
{
	struct fs *fs = &m->fs;

	if (m->is_mounted && !is_detached) {
		dev_t now = mountpoint_dev(fs->opts);

		/* Detached already, by somebody else, there may be another mount by now. */
		if (!m->dev || !now || now == m->dev)
			mountpoint_detach(fs->opts);
		files_write_back(fs->files, NULL, NULL);
	}
	if (fs->keeper)
		follow_stop(fs);
	keeper_free(fs->keeper);
	autocommitter_free(fs->autocommitter);
	rejoin_free(fs->rejoin);
	runs_stop(fs->runs);
	controls_stop(fs->controls);
	lane_stop(fs->lane);
	realms_stop(fs->root);
	notify_stop(fs->notify);
	if (fs->channel)
		channel_stop(fs->channel);
	files_close_all(fs->files);
	controls_free(fs->controls);
	root_free(fs->root);
	runs_free(fs->runs);
	learner_free(fs->learner);
	files_free(fs->files);
	lane_free(fs->lane);
	channel_free(fs->channel);
	notify_free(fs->notify);
	if (fs->vnodes)
		vnode_unpin_all(fs->vnodes);
	heads_free(fs->heads);
	vnode_table_free(fs->vnodes);
	store_free(fs->store);
	mapped_free(fs->mapped);
	close_events(&m->events);
	guardian_stop(m->guardian);
	free(m->state_dir);
}

/* In the process that serves. */
static int serve(const struct mount_options *o, int ready_fd)
{
	struct mount m = { .fs.opts = o,
			   .events = { -1, -1, -1 },
			   .state_dir = mount_state_dir(o) };
	_cleanup_free_ char *log_path = m.state_dir ? strf("%s/log", m.state_dir) : NULL;
	enum event e = EVENT_SIGNAL;
	int r;

	mallopt(M_ARENA_MAX, ARENAS_MAX);
	mallopt(M_MMAP_THRESHOLD, LARGE);
	mallopt(M_TRIM_THRESHOLD, LARGE);
	if (!log_path)
		return log_fail(-ENOENT, "no state directory: neither HOME nor -o state=DIR is "
					 "given");
	r = begin(&m);
	if (ready_fd >= 0)
		background_ready(ready_fd, r, log_path);
	if (r == 0) {
		background_notify("READY=1");
		e = wait_for_event(&m.events);
		background_notify("STOPPING=1");
	}
	end(&m, e == EVENT_ENDED);
	return r;
}

int pfs_mount_run(const struct mount_options *o)
{
	int fd = -1, r;

	r = mountpoint_check(o);
	if (r < 0)
		return r;
	if (o->foreground)
		return serve(o, fd);
	r = background_start(&fd);
	if (r != 0)
		return MIN(r, 0);
	_exit(serve(o, fd) < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

const char *mount_libfuse_version(void)
{
	return fuse_pkgversion();
}
