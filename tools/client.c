/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Asking (client.h). A signal that ends the program ends the request as well: the daemon sees the
 * control file closed, and a store that is opened here survives being left at any moment.
 */
#include "client.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/log.h"
#include "base/text.h"
#include "cli.h"
#include "control_ask.h"
#include "head/view.h"
#include "object/store.h"
#include "record/json_bytes.h"
#include "service/service.h"

enum {
	READ_SIZE = 128 << 10,
	LINE_MAX_SIZE = 64 << 20,
	ROOM_TIMEOUT_MS = 30 * 1000,
	ROOM_PAUSE_MAX_MS = 50,
};

struct client {
	int control; /* owned; -1: none */
	bool is_for_changes;
	bool is_kept; /* `control`, from request to request */
	bool is_read_only; /* the mount: its control file cannot be written to */
	char *mount, *control_path; /* owned */
	struct store *store; /* owned, with the vnodes; NULL: a mount is asked */
	struct vnode_table *vnodes;
};

/* An answer being read. */
struct answering {
	struct client *client;
	client_line_fn fn;
	void *ctx;
	bool has_ended;
	int result; /* the answer's */
};

static int open_store(const char *url, enum client_use use, struct client *c)
{
	struct store_options o = { .read_only = use == CLIENT_READS };
	int r = store_open(url, &o, &c->store);

	if (r == 0)
		r = vnode_table_new(view_vnodes(), &c->vnodes);
	return r;
}

/* Many at once, as of `make -j`, wait for one another. */
static int open_patiently(const char *path)
{
	struct deadline dl = deadline_in_ms(ROOM_TIMEOUT_MS);
	int fd;

	while ((fd = open(path, O_RDWR | O_CLOEXEC)) < 0 && errno == EMFILE &&
	       deadline_check(&dl) == 0) {
		int64_t ms = 1 + (int64_t)(random_u64() % ROOM_PAUSE_MAX_MS);

		nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000 }, NULL);
	}
	return fd;
}

static int open_control(struct client *c)
{
	if (c->control >= 0 && c->is_kept)
		return 0;
	if (c->control >= 0)
		close(c->control);
	c->control = open_patiently(c->control_path);
	c->is_read_only = c->control < 0 && errno == EROFS;
	if (c->is_read_only && c->is_for_changes) {
		cli_error("%s is mounted read-only", c->mount);
		return -EROFS;
	}
	if (c->is_read_only)
		c->control = open(c->control_path, O_RDONLY | O_CLOEXEC);
	if (c->control >= 0)
		return 0;
	if (errno == ENOTCONN || errno == ECONNABORTED)
		cli_error("%s: the daemon has ended; `pfs umount` the place and mount it again",
			  c->mount);
	else
		cli_error("%s cannot be opened: %s", c->control_path, strerror(errno));
	return -EIO;
}

int client_open(const struct target *t, enum client_use use, struct client **ret)
{
	_cleanup_client_ struct client *c = new0(struct client, 1);
	int r;

	if (!c)
		return -ENOMEM;
	c->control = -1;
	c->is_for_changes = use == CLIENT_CHANGES;
	if (t->mount) {
		c->mount = strdup(t->mount);
		c->control_path = strf("%s/.pfs/control", t->mount);
		r = c->mount && c->control_path ? 0 : -ENOMEM;
	} else {
		r = open_store(t->store, use, c);
	}
	if (r < 0)
		return r;
	*ret = TAKE_PTR(c);
	return 0;
}

void client_free(struct client *c)
{
	if (!c)
		return;
	if (c->control >= 0)
		close(c->control);
	free(c->mount);
	free(c->control_path);
	vnode_table_free(c->vnodes);
	store_free(c->store);
	free(c);
}

void client_converse(struct client *c)
{
	c->is_kept = true;
}

static int end(struct answering *a, json_t *error)
{
	json_t *number = json_object_get(error, "errno");
	_cleanup_buf_ struct buf text = { 0 };

	a->has_ended = true;
	if (!error)
		return 0;
	/* It names things, whose names need not be UTF-8. */
	if (json_to_bytes(json_object_get(error, "message"), &text) == 0 && text.len > 0)
		cli_error("%.*s", (int)text.len, (const char *)text.data);
	else
		cli_error("it failed");
	a->result = json_integer_value(number) > 0 ? -(int)json_integer_value(number) : -EIO;
	return 0;
}

static int take_line(const char *line, size_t len, void *ctx)
{
	struct answering *a = ctx;
	json_error_t err;
	json_t *j = json_loadb(line, len, 0, &err), *error;
	int r;

	if (!json_is_object(j)) {
		json_decref(j);
		cli_error("the answer is not to be understood: %s", err.text);
		return -EBADMSG;
	}
	error = json_object_get(j, "error");
	if (error || json_object_get(j, "ok"))
		r = end(a, error);
	else
		r = a->fn ? a->fn(j, a->ctx) : 0;
	json_decref(j);
	return r;
}

static int ask_store(struct client *c, const char *text, struct answering *a)
{
	struct service s = { .store = c->store, .vnodes = c->vnodes };
	struct service_caller who = { .uid = geteuid(), .gid = getegid(), .is_owner = true };

	return service_run(&s, &who, text, strlen(text), take_line, a);
}

/* Gives on what lines are whole, and keeps the rest. */
static int take_lines(struct buf *b, struct answering *a)
{
	size_t at = 0;
	int r = 0;

	while (r == 0 && at < b->len) {
		const uint8_t *nl = memchr(b->data + at, '\n', b->len - at);

		if (!nl)
			break;
		r = take_line((const char *)b->data + at, (size_t)(nl - b->data) - at, a);
		at = (size_t)(nl - b->data) + 1;
	}
	memmove(b->data, b->data + at, b->len - at);
	b->len -= at;
	return r;
}

static int send_request(struct client *c, const char *text)
{
	size_t len = strlen(text);

	if (!c->is_read_only)
		return write(c->control, text, len) < 0 ? -errno : 0;
	if (len > CONTROL_ASK_MAX)
		return -EMSGSIZE;
	return ioctl(c->control, CONTROL_ASK(len), text) < 0 ? -errno : 0;
}

static int ask_control(struct client *c, const char *text, struct answering *a)
{
	_cleanup_buf_ struct buf b = { 0 };
	int r = open_control(c);

	if (r < 0)
		return r;
	r = send_request(c, text);
	if (r < 0) {
		cli_error("%s: %s", c->control_path, strerror(-r));
		return -EIO;
	}
	while (r == 0) {
		uint8_t *to = buf_reserve(&b, READ_SIZE) == 0 ? b.data + b.len : NULL;
		ssize_t n = to ? read(c->control, to, READ_SIZE) : -1;

		if (n < 0 && to && errno == EINTR)
			continue;
		if (n < 0 || b.len > LINE_MAX_SIZE) {
			cli_error("%s: %s", c->control_path, to ? strerror(errno) : "no memory");
			return -EIO;
		}
		if (n == 0)
			break;
		b.len += (size_t)n;
		r = take_lines(&b, a);
	}
	return r;
}

int client_ask(struct client *c, json_t *request, client_line_fn fn, void *ctx)
{
	struct answering a = { .client = c, .fn = fn, .ctx = ctx };
	_cleanup_free_ char *text = json_dumps(request, JSON_COMPACT);
	int r;

	json_decref(request);
	if (!text) {
		cli_error("no memory");
		return -ENOMEM;
	}
	r = c->store ? ask_store(c, text, &a) : ask_control(c, text, &a);
	if (r != 0)
		return r;
	if (!a.has_ended) {
		cli_error("the answer has no end: did the daemon?");
		return -EIO;
	}
	return a.result;
}

static int take_one(json_t *line, void *ctx)
{
	json_t **ret = ctx;

	json_decref(*ret);
	*ret = json_incref(line);
	return 0;
}

int client_ask_one(struct client *c, json_t *request, json_t **ret)
{
	json_t *line = NULL;
	int r = client_ask(c, request, take_one, &line);

	if (r != 0)
		json_decref(line);
	else
		*ret = line;
	return r;
}

struct store *client_store(struct client *c)
{
	return c->store;
}

json_t *request_new(const char *verb)
{
	json_t *j = json_object();

	json_object_set_new(j, "verb", json_string(verb));
	return j;
}

void request_path(json_t *request, const char *field, const struct target *t)
{
	json_object_set_new(request, field, json_of_bytes(buf_span(&t->path)));
}
