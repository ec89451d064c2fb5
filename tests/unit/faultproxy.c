/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The proxy of faultproxy.h.
 */
#include "faultproxy.h"

#include <arpa/inet.h>
#include <limits.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/thread.h"

enum {
	LAST_BODY_MAX = 64 << 10
};

struct connection {
	struct list all;
	struct proxy *proxy;
	pthread_t thread;
	int fd;
};

static const char OK_EMPTY[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/* --- connections --- */

/* Waits until the other side has what was sent, so that a reset takes none of it back. */
static void drain(int fd)
{
	int left = 1;

	while (ioctl(fd, SIOCOUTQ, &left) == 0 && left > 0 &&
	       poll(&(struct pollfd){ .fd = fd, .events = POLLRDHUP }, 1, 1) == 0)
		;
}

/* Ends it with a reset, and keeps the number, which who made it will close. */
static void reset(int fd)
{
	drain(fd);
	connect(fd, &(struct sockaddr){ .sa_family = AF_UNSPEC }, sizeof(struct sockaddr));
}

static void wait_for_end(int fd)
{
	poll(&(struct pollfd){ .fd = fd, .events = POLLRDHUP }, 1, -1);
}

/* --- the server --- */

/* Has the server do it. */
static bool forward(struct proxy *p, const struct proxy_message *q, struct proxy_message *ret)
{
	_cleanup_buf_ struct buf head = { 0 };
	bool is_head = strncmp((const char *)q->head.data, "HEAD ", 5) == 0, is_done;
	int fd;

	if (!p->server_port) {
		buf_put(&ret->head, OK_EMPTY, strlen(OK_EMPTY));
		return true;
	}
	fd = proxy_connect(p->server_port);
	if (fd < 0)
		return false;
	buf_put(&head, q->head.data, q->head.len);
	proxy_set_header(&head, "Connection: close");
	is_done = proxy_send_bytes(fd, head.data, head.len) &&
		  proxy_send_bytes(fd, q->body.data, q->body.len) &&
		  proxy_read_reply(fd, is_head, ret);
	close(fd);
	return is_done;
}

/* --- rules --- */

static bool matches(const char *method, const char *path, const char *line)
{
	size_t n = method ? strlen(method) : 0;

	return (!method || (strncmp(line, method, n) == 0 && line[n] == ' ')) &&
	       (!path || strstr(line, path));
}

/* The rule for a request; false: none. */
static bool find_rule(struct proxy *p, const char *line, struct proxy_rule *ret)
{
	WITH_LOCK(&p->lock);
	buf_printf(&p->log, "%s\n", line);
	for (size_t i = 0; i < p->rule_count; i++) {
		struct proxy_rule *r = &p->rules[i];

		if (!matches(r->method, r->path, line) || (r->times && r->hit == r->times) ||
		    r->seen++ < r->skip)
			continue;
		r->hit++;
		*ret = *r;
		return true;
	}
	return false;
}

static void meet(const struct proxy_rule *r)
{
	if (r->meanwhile)
		r->meanwhile(r->ctx);
}

static void end_at_fault(const struct proxy_rule *r, int fd)
{
	switch (r->fault) {
	case PROXY_RESET:
		reset(fd);
		break;
	case PROXY_HALF_CLOSE:
		shutdown(fd, SHUT_WR);
		wait_for_end(fd);
		break;
	case PROXY_STALL:
		wait_for_end(fd);
		break;
	default:
		break;
	}
}

static bool is_of_connection(const struct proxy_rule *r)
{
	return r->fault >= PROXY_RESET && r->fault <= PROXY_DRIP;
}

/* Reads what is left of a request whose line is read. False: the fault struck, or the end came. */
static bool read_request(int fd, const struct proxy_rule *r, struct proxy_message *q)
{
	bool is_cut = r && is_of_connection(r) && r->at <= AT_REQUEST_LAST_BYTE;
	enum proxy_at at = is_cut ? r->at : AT_END;
	size_t len;

	if (at > AT_REQUEST_LINE) {
		if (at == AT_REQUEST_HEADERS && !proxy_read_bytes(fd, &q->head, 40))
			return false;
		if (at > AT_REQUEST_HEADERS && !proxy_read_until(fd, &q->head, "\r\n\r\n"))
			return false;
		len = at > AT_REQUEST_HEADERS ? proxy_body_length(&q->head) : 0;
		if (at == AT_REQUEST_BODY)
			len /= 2;
		else if (at == AT_REQUEST_LAST_BYTE && len > 0)
			len--;
		if (at != AT_REQUEST_HEAD_END && len > 0 && !proxy_read_bytes(fd, &q->body, len))
			return false;
	}
	if (is_cut) {
		meet(r);
		end_at_fault(r, fd);
	}
	return !is_cut;
}

static void edit(struct buf *body, const char *from, const char *to)
{
	_cleanup_buf_ struct buf out = { 0 };
	const uint8_t *at = body->len ? memmem(body->data, body->len, from, strlen(from)) : NULL;
	size_t before;

	proxy_must(at != NULL, "the body has not what is to be edited");
	before = (size_t)(at - body->data);
	buf_put(&out, body->data, before);
	buf_put(&out, to, strlen(to));
	at += strlen(from);
	buf_put(&out, at, body->len - before - strlen(from));
	buf_take(&out, body);
}

/* A text as a reply; one that is HTTP and does not say its length gets it. */
static void answer(const char *text, struct proxy_message *ret)
{
	const char *end = strncmp(text, "HTTP/", 5) == 0 ? strstr(text, "\r\n\r\n") : NULL;
	size_t len, head_len = end ? (size_t)(end - text) + 4 : strlen(text);

	proxy_message_release(ret);
	buf_put(&ret->head, text, head_len);
	buf_put(&ret->body, text + head_len, strlen(text + head_len));
	if (end && !proxy_find_header(&ret->head, "Content-Length", &len) &&
	    proxy_status(ret) != 304)
		proxy_set_length(&ret->head, ret->body.len);
}

static void change_reply(struct proxy *p, const struct proxy_rule *r, struct proxy_message *m)
{
	switch (r->fault) {
	case PROXY_ANSWER:
	case PROXY_ANSWER_AFTER:
		answer(r->text, m);
		break;
	case PROXY_LENGTH:
		proxy_set_length(&m->head, proxy_body_length(&m->head) + (uint64_t)r->n);
		break;
	case PROXY_HEADER:
		proxy_set_header(&m->head, r->text);
		break;
	case PROXY_EDIT:
		edit(&m->body, r->from, r->text);
		proxy_set_length(&m->head, m->body.len);
		break;
	case PROXY_FLIP:
		proxy_must((size_t)r->n < m->body.len, "the body has not the byte to be flipped");
		m->body.data[r->n] ^= 0x55;
		break;
	case PROXY_KEEP: {
		WITH_LOCK(&p->lock);
		proxy_message_copy(&p->kept, m);
		break;
	}
	case PROXY_REPLAY: {
		WITH_LOCK(&p->lock);
		proxy_message_copy(m, &p->kept);
		break;
	}
	default:
		break;
	}
}

/* Bytes of a reply that go out before the fault. */
static size_t cut_of(enum proxy_at at, const struct proxy_message *m)
{
	size_t line = (size_t)((const uint8_t *)memmem(m->head.data, m->head.len, "\r\n", 2) -
			       m->head.data);

	switch (at) {
	case AT_STATUS:
		return 5;
	case AT_HEADERS:
		return line + (m->head.len - line) / 2;
	case AT_HEAD_END:
		return m->head.len - 2;
	case AT_BODY:
		return m->head.len + m->body.len / 2;
	case AT_LAST_BYTE:
		return m->head.len + m->body.len - 1;
	case AT_END:
		return m->head.len + m->body.len;
	default:
		return 0;
	}
}

/* False: the connection is at its end. */
static bool send_reply(int fd, const struct proxy_rule *r, const struct proxy_message *m)
{
	_cleanup_buf_ struct buf all = { 0 };
	size_t cut;

	buf_put(&all, m->head.data, m->head.len);
	buf_put(&all, m->body.data, m->body.len);
	if (!r || !is_of_connection(r))
		/* What it says beyond its length would be the next reply's. */
		return proxy_send_bytes(fd, all.data, all.len) &&
		       proxy_body_length(&m->head) == m->body.len &&
		       strncmp((const char *)all.data, "HTTP/", 5) == 0;
	cut = cut_of(r->at, m);
	if (!proxy_send_bytes(fd, all.data, cut))
		return false;
	for (; r->fault == PROXY_DRIP && cut < all.len; cut++) {
		usleep((useconds_t)r->n * 1000);
		if (!proxy_send_bytes(fd, all.data + cut, 1))
			return false;
	}
	end_at_fault(r, fd);
	return r->fault == PROXY_DRIP;
}

static void hold(struct proxy *p, const struct proxy_message *q)
{
	WITH_LOCK(&p->lock);
	proxy_must(p->held_count < PROXY_HELD, "too much is held");
	p->held[p->held_count] = (struct proxy_message){ 0 };
	proxy_message_copy(&p->held[p->held_count++], q);
}

/* One request and its reply. False: the connection is at its end. */
static bool serve_one(struct proxy *p, int fd, struct proxy_message *q, struct proxy_message *m)
{
	struct proxy_rule rule, *r;
	char line[2048];

	if (!proxy_read_until(fd, &q->head, "\r\n"))
		return false;
	snprintf(line, sizeof(line), "%.*s", (int)q->head.len - 2, (const char *)q->head.data);
	r = find_rule(p, line, &rule) ? &rule : NULL;
	if (!read_request(fd, r, q))
		return false;
	{
		WITH_LOCK(&p->lock);
		buf_clear(&p->last);
		buf_put(&p->last, q->head.data, q->head.len);
		buf_put(&p->last, q->body.data, MIN(q->body.len, (size_t)LAST_BODY_MAX));
	}
	if (r && r->fault == PROXY_HOLD) {
		hold(p, q);
		meet(r);
		reset(fd);
		return false;
	}
	if ((!r || r->fault != PROXY_ANSWER) && !forward(p, q, m)) {
		reset(fd);
		return false;
	}
	if (r) {
		meet(r);
		change_reply(p, r, m);
	}
	/* The length that HEAD is told is another's. */
	if (strncmp(line, "HEAD ", 5) == 0 && (!r || !is_of_connection(r)))
		return proxy_send_bytes(fd, m->head.data, m->head.len);
	return send_reply(fd, r, m);
}

static void *serve(void *arg)
{
	struct connection *c = arg;
	bool goes_on = true;

	while (goes_on) {
		_cleanup_(proxy_message_release) struct proxy_message q = { 0 }, m = { 0 };

		goes_on = serve_one(c->proxy, c->fd, &q, &m);
	}
	/* cut() closes it. */
	shutdown(c->fd, SHUT_RDWR);
	WITH_LOCK(&c->proxy->lock);
	c->proxy->open_count--;
	return NULL;
}

static void seat(struct proxy *p, int fd)
{
	struct connection *c;

	WITH_LOCK(&p->lock);
	p->connection_count++;
	if (p->hang_ups > 0 || !p->is_accepting) {
		p->hang_ups -= p->hang_ups > 0;
		close(fd);
		return;
	}
	c = new0(struct connection, 1);
	proxy_must(c != NULL, "no memory");
	c->proxy = p;
	c->fd = fd;
	list_append(&p->connections, &c->all);
	p->open_count++;
	proxy_must(thread_start(&c->thread, "proxy", serve, c) == 0, "no thread");
}

static void *accept_all(void *arg)
{
	struct proxy *p = arg;
	int fd;

	while ((fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		seat(p, fd);
	return NULL;
}

/* --- its life --- */

static int bind_to(int *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				 .sin_port = htons((uint16_t)*port) };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;

	proxy_must(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof(yes)) == 0 &&
			   bind(fd, (struct sockaddr *)&a, len) == 0 &&
			   getsockname(fd, (struct sockaddr *)&a, &len) == 0,
		   "no port");
	*port = ntohs(a.sin_port);
	return fd;
}

static void begin_listening(struct proxy *p)
{
	p->listener = bind_to(&p->port);
	proxy_must(listen(p->listener, 128) == 0, "no listener");
	p->is_accepting = true;
	proxy_must(thread_start(&p->acceptor, "accept", accept_all, p) == 0, "no thread");
}

/* Ends the acceptor and all connections. */
static void cut(struct proxy *p)
{
	struct list all;

	list_init(&all);
	{
		WITH_LOCK(&p->lock);
		p->is_accepting = false;
	}
	if (p->listener >= 0) {
		shutdown(p->listener, SHUT_RDWR);
		pthread_join(p->acceptor, NULL);
		close(p->listener);
		p->listener = -1;
	}
	{
		WITH_LOCK(&p->lock);
		list_for_each_safe (c, &p->connections, struct connection, all) {
			shutdown(c->fd, SHUT_RDWR);
			list_remove(&c->all);
			list_append(&all, &c->all);
		}
	}
	list_for_each_safe (c, &all, struct connection, all) {
		pthread_join(c->thread, NULL);
		close(c->fd);
		free(c);
	}
}

void proxy_start(struct proxy *p, const char *server)
{
	const char *port = server ? strrchr(server, ':') : NULL;

	*p = (struct proxy){ .server_port = port ? atoi(port + 1) : 0, .listener = -1 };
	proxy_must(!server || p->server_port > 0, "a server without a port");
	pthread_mutex_init(&p->lock, NULL);
	list_init(&p->connections);
	p->reserve = bind_to(&p->port);
	snprintf(p->url, sizeof(p->url), "http://127.0.0.1:%d", p->port);
	begin_listening(p);
}

void proxy_stop(struct proxy *p)
{
	cut(p);
	close(p->reserve);
	for (size_t i = 0; i < p->held_count; i++)
		proxy_message_release(&p->held[i]);
	proxy_message_release(&p->kept);
	buf_release(&p->log);
	buf_release(&p->last);
	pthread_mutex_destroy(&p->lock);
}

void proxy_refuse(struct proxy *p, bool refuse)
{
	if (refuse)
		cut(p);
	else if (p->listener < 0)
		begin_listening(p);
}

void proxy_hang_up(struct proxy *p, unsigned n)
{
	WITH_LOCK(&p->lock);
	p->hang_ups = n;
}

void proxy_add(struct proxy *p, struct proxy_rule rule)
{
	WITH_LOCK(&p->lock);
	proxy_must(p->rule_count < PROXY_RULES, "too many rules");
	p->rules[p->rule_count++] = rule;
}

void proxy_clear(struct proxy *p)
{
	WITH_LOCK(&p->lock);
	p->rule_count = 0;
}

unsigned proxy_count(struct proxy *p, const char *method, const char *path)
{
	_cleanup_free_ char *log = NULL;
	unsigned n = 0;
	char *save;

	{
		WITH_LOCK(&p->lock);
		log = strndup(p->log.data ? (const char *)p->log.data : "", p->log.len);
	}
	for (char *line = strtok_r(log, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		n += matches(method, path, line);
	return n;
}

unsigned proxy_connections(struct proxy *p)
{
	WITH_LOCK(&p->lock);
	return p->open_count;
}

unsigned proxy_hits(struct proxy *p)
{
	unsigned n = 0;

	WITH_LOCK(&p->lock);
	for (size_t i = 0; i < p->rule_count; i++)
		n += p->rules[i].hit;
	return n;
}

bool proxy_last_has(struct proxy *p, const char *text)
{
	WITH_LOCK(&p->lock);
	return p->last.len > 0 && memmem(p->last.data, p->last.len, text, strlen(text));
}

int proxy_deliver(struct proxy *p)
{
	struct proxy_message held[PROXY_HELD];
	size_t count;
	int status = 0;

	{
		WITH_LOCK(&p->lock);
		count = p->held_count;
		memcpy(held, p->held, count * sizeof(held[0]));
		p->held_count = 0;
	}
	for (size_t i = 0; i < count; i++) {
		_cleanup_(proxy_message_release) struct proxy_message m = { 0 };

		proxy_must(forward(p, &held[i], &m), "the server is gone");
		status = proxy_status(&m);
		proxy_message_release(&held[i]);
	}
	return status;
}
