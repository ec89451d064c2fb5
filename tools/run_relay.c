/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Relaying output (run_relay.h).
 *
 *	new --child made--> running --drained--> stopped --somebody writes on--> left to a process
 *	                       '-- all writers gone, or the reader: ended
 *
 * Invariants
 *  - nothing is read before what was read last is written: a slow reader slows the command
 *  - who reads no more is told on: its end is closed, and the command gets SIGPIPE or EPIPE
 */
#include "run_relay.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/text.h"
#include "base/thread.h"
#include "capture.h"
#include "run_pty.h"

enum {
	STREAMS = 2, /* stdout, stderr */
	PIECE = 64 << 10, /* bytes read at a time */
};

enum stream_kind {
	STREAM_NONE, /* closed, or the other one */
	STREAM_DIRECT, /* the command's as it is */
	STREAM_FILE, /* the same, and it is read at the end */
	STREAM_PTY,
	STREAM_PIPE,
	STREAM_SOCKET,
};

struct stream {
	struct relay *relay; /* borrowed */
	enum stream_kind kind;
	int to; /* 1 or 2 */
	int from, child; /* owned; -1: none */
	int log; /* owned; -1: none */
	pthread_t thread;
	bool is_running; /* the thread */
	atomic_bool has_ended; /* nobody will write any more, or read */
	uint64_t began; /* of a file: where the command's part starts */
	struct termios settings; /* of a pty, as last seen */
	bool is_cut; /* what was written could not be passed on; the thread's while it runs */
	struct capture capture; /* the thread's while it runs */
};

struct relay {
	struct stream streams[STREAMS];
	bool is_one; /* stderr goes where stdout does */
	int drain, drained; /* eventfds, owned */
	atomic_int threads;
	pthread_mutex_t lock; /* settings of terminals, and the end of a stream's `from` */
};

static bool is_relayed(const struct stream *s)
{
	return s->kind >= STREAM_PTY;
}

/* ---- what stands in ---- */

static int open_pair(struct stream *s)
{
	int fds[2], type = SOCK_STREAM, size = 0;
	socklen_t len = sizeof(type);

	if (s->kind == STREAM_SOCKET) {
		getsockopt(s->to, SOL_SOCKET, SO_TYPE, &type, &len);
		if (type != SOCK_STREAM) {
			s->kind = STREAM_DIRECT;
			return 0;
		}
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
			return -errno;
		shutdown(fds[0], SHUT_WR);
	} else {
		if (pipe2(fds, O_CLOEXEC) < 0)
			return -errno;
		/* As much may be under way as without us, at most twice. */
		size = fcntl(s->to, F_GETPIPE_SZ);
		if (size > 0)
			fcntl(fds[1], F_SETPIPE_SZ, size);
	}
	s->from = fds[0];
	s->child = fds[1];
	return 0;
}

static void begin_file(struct stream *s, const struct stat *st)
{
	off_t at = lseek(s->to, 0, SEEK_CUR);
	int flags = fcntl(s->to, F_GETFL);

	s->kind = STREAM_FILE;
	s->began = (uint64_t)(flags >= 0 && flags & O_APPEND ? st->st_size : MAX(at, (off_t)0));
}

static int open_stream(struct stream *s, enum relay_what what)
{
	struct stat st;

	if (fstat(s->to, &st) < 0) {
		s->kind = STREAM_NONE;
		return 0;
	}
	if (isatty(s->to))
		s->kind = STREAM_PTY;
	else if (S_ISFIFO(st.st_mode) || (what >= RELAY_FILES && S_ISREG(st.st_mode)) ||
		 (what == RELAY_ALL && !S_ISSOCK(st.st_mode)))
		s->kind = STREAM_PIPE;
	else if (S_ISSOCK(st.st_mode))
		s->kind = STREAM_SOCKET;
	else if (S_ISREG(st.st_mode))
		begin_file(s, &st);
	else
		s->kind = STREAM_DIRECT;
	if (!is_relayed(s))
		return 0;
	if (s->kind == STREAM_PTY)
		return pty_open(s->to, &s->from, &s->child, &s->settings);
	return open_pair(s);
}

bool relay_are_one(void)
{
	struct stat a, b;

	return fstat(STDOUT_FILENO, &a) == 0 && fstat(STDERR_FILENO, &b) == 0 &&
	       a.st_dev == b.st_dev && a.st_ino == b.st_ino && a.st_rdev == b.st_rdev;
}

int relay_new(enum relay_what what, struct relay **ret)
{
	_cleanup_relay_ struct relay *r = new0(struct relay, 1);
	int result = 0;

	if (!r)
		return -ENOMEM;
	for (int i = 0; i < STREAMS; i++)
		r->streams[i] = (struct stream){
			.relay = r,
			.to = STDOUT_FILENO + i,
			.from = -1,
			.child = -1,
			.log = -1,
		};
	pthread_mutex_init(&r->lock, NULL);
	r->drain = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r->drained = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->drain < 0 || r->drained < 0)
		return -errno;
	r->is_one = relay_are_one();
	for (int i = 0; result == 0 && i < (r->is_one ? 1 : STREAMS); i++)
		result = open_stream(&r->streams[i], what);
	if (result < 0)
		return result;
	*ret = TAKE_PTR(r);
	return 0;
}

void relay_free(struct relay *r)
{
	if (!r)
		return;
	for (int i = 0; i < STREAMS; i++) {
		closep(&r->streams[i].from);
		closep(&r->streams[i].child);
		closep(&r->streams[i].log);
	}
	closep(&r->drain);
	closep(&r->drained);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

int relay_log_to(struct relay *r, const char *dir)
{
	static const char *const names[] = { "stdout", "stderr" };

	for (int i = 0; i < STREAMS; i++) {
		struct stream *s = &r->streams[i];
		_cleanup_free_ char *path = strf("%s/%s", dir, names[i]);

		if (!path)
			return -ENOMEM;
		if (s->kind == STREAM_NONE)
			continue;
		s->log = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
		if (s->log < 0)
			return -errno;
	}
	return 0;
}

int relay_enter(struct relay *r, bool has_namespace)
{
	for (int i = 0; i < STREAMS; i++) {
		struct stream *s = &r->streams[i];

		if (s->kind == STREAM_PTY && !(has_namespace && pty_hide(s->child, s->to))) {
			close(s->child);
			s->child = -1;
		}
	}
	for (int i = 0; i < STREAMS; i++) {
		const struct stream *s = &r->streams[r->is_one ? 0 : i];

		if (s->child >= 0 && dup2(s->child, STDOUT_FILENO + i) < 0)
			return -errno;
	}
	return 0;
}

/* ---- a stream's thread ---- */

static int write_some(int fd, const uint8_t *data, size_t len)
{
	while (len > 0) {
		struct pollfd p = { .fd = fd, .events = POLLOUT };
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EAGAIN)
			n = poll(&p, 1, -1) < 0 ? -1 : 0;
		if (n < 0 && errno != EINTR)
			return -errno;
		data += MAX(n, (ssize_t)0);
		len -= (size_t)MAX(n, (ssize_t)0);
	}
	return 0;
}

/* Into a pipe that others write to as well a line goes whole, as it would have. */
static int write_lines(int fd, const uint8_t *data, size_t len)
{
	int r = 0;

	while (r == 0 && len > 0) {
		size_t n = MIN(len, (size_t)PIPE_BUF);
		const uint8_t *nl = n < len ? memrchr(data, '\n', n) : NULL;

		if (nl)
			n = (size_t)(nl - data) + 1;
		r = write_some(fd, data, n);
		data += n;
		len -= n;
	}
	return r;
}

static void drop_log(struct stream *s)
{
	closep(&s->log);
	s->log = -1;
}

/* How much, of up to @max; 0 when nobody writes any more, or reads. */
static size_t pass(struct stream *s, uint8_t *piece, size_t max)
{
	ssize_t n;
	int r;

	do
		n = read(s->from, piece, MIN(max, (size_t)PIECE));
	while (n < 0 && errno == EINTR);
	/* A pty all of whose writers are gone says EIO. */
	if (n <= 0)
		return 0;
	if (s->kind == STREAM_PTY)
		relay_settings(s->relay);
	capture_add(&s->capture, piece, (size_t)n);
	/* A log that cannot be written is no reason to stop the command. */
	if (s->log >= 0 && write_some(s->log, piece, (size_t)n) < 0)
		drop_log(s);
	r = s->kind == STREAM_PIPE ? write_lines(s->to, piece, (size_t)n)
				   : write_some(s->to, piece, (size_t)n);
	s->is_cut = r < 0;
	return r < 0 ? 0 : (size_t)n;
}

/* What has been written already; of a terminal that is not told to the byte. */
static size_t waiting(const struct stream *s)
{
	int n = 0;

	ioctl(s->from, FIONREAD, &n);
	return (size_t)n + (s->kind == STREAM_PTY ? PIECE : 0);
}

/* Until there will be nothing more; or the command has ended, and what it had written by then is
 * through: somebody whom it has left behind may write faster than is read. */
static void pass_all(struct stream *s, uint8_t *piece)
{
	size_t left = SIZE_MAX, n;

	for (;;) {
		struct pollfd p[] = {
			{ .fd = s->from, .events = POLLIN },
			{ .fd = s->relay->drain, .events = POLLIN },
			{ .fd = s->to },
		};

		if (poll(p, ARRAY_SIZE(p), -1) < 0)
			continue;
		s->is_cut = p[2].revents & (POLLERR | POLLHUP);
		if (s->is_cut)
			break;
		if (p[1].revents && left == SIZE_MAX)
			left = waiting(s);
		/* When nobody is left to write there is an end to it. */
		if (p[1].revents && !(p[0].revents & POLLHUP) && (!p[0].revents || left == 0))
			return;
		if (!p[0].revents)
			continue;
		n = pass(s, piece, left ?: PIECE);
		if (n == 0)
			break;
		if (p[1].revents)
			left -= MIN(left, n);
	}
	/* Whoever writes on is told so. */
	WITH_LOCK(&s->relay->lock);

	close(s->from);
	s->from = -1;
	s->has_ended = true;
}

static void *relay_stream(void *arg)
{
	struct stream *s = arg;
	struct relay *r = s->relay;
	uint8_t *piece = malloc(PIECE);

	if (piece)
		pass_all(s, piece);
	free(piece);
	if (atomic_fetch_sub(&r->threads, 1) == 1)
		eventfd_write(r->drained, 1);
	return NULL;
}

static int start_threads(struct relay *r)
{
	int result = 0;

	/* One more, so that a stream that ends at once does not stand for all. */
	r->threads = 1;
	for (int i = 0; result == 0 && i < STREAMS; i++) {
		struct stream *s = &r->streams[i];

		if (!is_relayed(s) || s->has_ended)
			continue;
		r->threads++;
		result = thread_start(&s->thread, "relay", relay_stream, s);
		s->is_running = result == 0;
		if (result < 0)
			r->threads--;
	}
	if (atomic_fetch_sub(&r->threads, 1) == 1)
		eventfd_write(r->drained, 1);
	return result;
}

int relay_start(struct relay *r)
{
	for (int i = 0; i < STREAMS; i++) {
		closep(&r->streams[i].child);
		r->streams[i].child = -1;
	}
	return start_threads(r);
}

int relay_drain(struct relay *r)
{
	eventfd_write(r->drain, 1);
	return r->drained;
}

void relay_stop(struct relay *r)
{
	eventfd_write(r->drain, 1);
	for (int i = 0; i < STREAMS; i++) {
		if (r->streams[i].is_running)
			pthread_join(r->streams[i].thread, NULL);
		r->streams[i].is_running = false;
	}
}

int relay_again(struct relay *r)
{
	eventfd_t n;

	eventfd_read(r->drain, &n);
	eventfd_read(r->drained, &n);
	return start_threads(r);
}

/* ---- a process that goes on ---- */

static int compare_fds(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* Whoever waits for the end of some other file must not wait for us. */
static void close_others(struct relay *r)
{
	int keep[2 + 3 * STREAMS] = { r->drain, r->drained }, count = 2, next = 0;

	for (int i = 0; i < STREAMS; i++) {
		const struct stream *s = &r->streams[i];

		if (!is_relayed(s) || s->has_ended)
			continue;
		keep[count++] = s->to;
		keep[count++] = s->from;
		if (s->log >= 0)
			keep[count++] = s->log;
	}
	qsort(keep, (size_t)count, sizeof(keep[0]), compare_fds);
	for (int i = 0; i < count; i++) {
		if (keep[i] > next)
			close_range((unsigned)next, (unsigned)keep[i] - 1, 0);
		next = keep[i] + 1;
	}
	close_range((unsigned)next, ~0U, 0);
}

static void go_on(struct relay *r)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	close_others(r);
	if (chdir("/") == 0 && relay_again(r) == 0)
		for (int i = 0; i < STREAMS; i++)
			if (r->streams[i].is_running)
				pthread_join(r->streams[i].thread, NULL);
	_exit(0);
}

static bool is_open(const struct relay *r)
{
	for (int i = 0; i < STREAMS; i++)
		if (is_relayed(&r->streams[i]) && !r->streams[i].has_ended)
			return true;
	return false;
}

int relay_leave(struct relay *r)
{
	pid_t pid;

	if (!is_open(r))
		return 0;
	pid = fork();
	if (pid == 0)
		go_on(r);
	return pid < 0 ? -errno : 0;
}

/* ---- terminals ---- */

void relay_resize(struct relay *r)
{
	WITH_LOCK(&r->lock);

	for (int i = 0; i < STREAMS; i++) {
		const struct stream *s = &r->streams[i];

		if (s->kind == STREAM_PTY && !s->has_ended)
			pty_resize(s->from, s->to);
	}
}

void relay_settings(struct relay *r)
{
	WITH_LOCK(&r->lock);

	for (int i = 0; i < STREAMS; i++) {
		struct stream *s = &r->streams[i];

		if (s->kind == STREAM_PTY && !s->has_ended)
			pty_pass_settings(s->from, s->to, &s->settings);
	}
}

/* ---- what was kept ---- */

/* What the command itself wrote to a file. */
static void read_file_part(struct stream *s)
{
	_cleanup_free_ char *path = strf("/proc/self/fd/%d", s->to);
	_cleanup_close_ int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY) : -1;
	_cleanup_free_ uint8_t *piece = malloc(PIECE);
	off_t end = lseek(s->to, 0, SEEK_CUR);
	uint64_t at = s->began;
	ssize_t n;

	if (fd < 0 || !piece || end < 0)
		return;
	while (at < (uint64_t)end) {
		uint64_t left = (uint64_t)end - at;

		/* The middle is wanted in the log alone. */
		if (s->log < 0 && s->capture.bytes == CAPTURE_MAX && left > CAPTURE_MAX) {
			capture_skip(&s->capture, left - CAPTURE_MAX);
			at += left - CAPTURE_MAX;
			left = CAPTURE_MAX;
		}
		n = pread_upto(fd, piece, (size_t)MIN(left, (uint64_t)PIECE), at);
		if (n <= 0)
			return;
		capture_add(&s->capture, piece, (size_t)n);
		if (s->log >= 0 && write_all(s->log, piece, (size_t)n) < 0)
			drop_log(s);
		at += (uint64_t)n;
	}
}

bool relay_has_all(const struct relay *r)
{
	for (int i = 0; i < STREAMS; i++) {
		const struct stream *s = &r->streams[i];

		if (is_relayed(s) && (!s->has_ended || s->is_cut || s->log < 0))
			return false;
		if (s->kind == STREAM_FILE)
			return false;
	}
	return true;
}

json_t *relay_output(struct relay *r, size_t max)
{
	static const char *const names[] = { "stdout", "stderr" };
	json_t *j = json_object();

	for (int i = 0; i < STREAMS; i++) {
		struct stream *s = &r->streams[i];
		json_t *one;

		if (s->kind == STREAM_FILE && s->capture.bytes == 0)
			read_file_part(s);
		if (!is_relayed(s) && s->kind != STREAM_FILE)
			continue;
		one = capture_json(&s->capture, max);
		if (i == 0 && r->is_one)
			json_object_set_new(one, "same", json_true());
		if (json_object_set_new(j, names[i], one) < 0) {
			json_decref(j);
			return NULL;
		}
	}
	return j;
}
