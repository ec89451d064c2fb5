/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The messages of proxymessage.h.
 */
#include "proxymessage.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

void proxy_must(bool is_so, const char *what)
{
	if (!is_so) {
		fprintf(stderr, "faultproxy: %s: %m\n", what);
		abort();
	}
}

void proxy_message_release(struct proxy_message *m)
{
	buf_release(&m->head);
	buf_release(&m->body);
	*m = (struct proxy_message){ 0 };
}

void proxy_message_copy(struct proxy_message *to, const struct proxy_message *from)
{
	proxy_message_release(to);
	buf_put(&to->head, from->head.data, from->head.len);
	buf_put(&to->body, from->body.data, from->body.len);
}

bool proxy_send_bytes(int fd, const void *data, size_t len)
{
	for (size_t off = 0; off < len;) {
		ssize_t n = send(fd, (const char *)data + off, len - off, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		off += (size_t)n;
	}
	return true;
}

bool proxy_read_bytes(int fd, struct buf *to, size_t len)
{
	uint8_t *at = buf_extend(to, len);

	proxy_must(at || len == 0, "no memory");
	for (size_t got = 0; got < len;) {
		ssize_t n = read(fd, at + got, len - got);

		if (n <= 0)
			return false;
		got += (size_t)n;
	}
	return true;
}

bool proxy_read_until(int fd, struct buf *to, const char *end)
{
	size_t len = strlen(end);

	do
		if (!proxy_read_bytes(fd, to, 1))
			return false;
	while (to->len < len || memcmp(to->data + to->len - len, end, len) != 0);
	return true;
}

char *proxy_find_header(const struct buf *head, const char *name, size_t *ret_len)
{
	char *p = (char *)head->data, *end = p + head->len;
	size_t n = strlen(name);

	while (p < end) {
		char *eol = memmem(p, (size_t)(end - p), "\r\n", 2);

		if (!eol)
			break;
		if ((size_t)(eol - p) > n && strncasecmp(p, name, n) == 0 && p[n] == ':') {
			*ret_len = (size_t)(eol - p);
			return p;
		}
		p = eol + 2;
	}
	return NULL;
}

void proxy_drop_header(struct buf *head, const char *name)
{
	size_t len;
	char *p = proxy_find_header(head, name, &len);

	if (!p)
		return;
	len += 2;
	memmove(p, p + len, (size_t)((char *)head->data + head->len - p) - len);
	head->len -= len;
}

void proxy_set_header(struct buf *head, const char *text)
{
	char name[64];

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(text, ":"), text);
	proxy_drop_header(head, name);
	head->len -= 2; /* the empty line */
	buf_printf(head, "%s\r\n\r\n", text);
}

uint64_t proxy_body_length(const struct buf *head)
{
	size_t len;
	const char *p = proxy_find_header(head, "Content-Length", &len);

	return p ? strtoull(p + strlen("Content-Length:"), NULL, 10) : 0;
}

void proxy_set_length(struct buf *head, uint64_t len)
{
	char text[64];

	snprintf(text, sizeof(text), "Content-Length: %llu", (unsigned long long)len);
	proxy_set_header(head, text);
}

int proxy_status(const struct proxy_message *reply)
{
	return reply->head.len > 12 ? atoi((const char *)reply->head.data + 9) : 0;
}

int proxy_connect(int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				 .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static bool read_chunks(int fd, struct buf *to)
{
	for (;;) {
		_cleanup_buf_ struct buf line = { 0 };
		size_t n;

		if (!proxy_read_until(fd, &line, "\r\n"))
			return false;
		n = strtoul((const char *)line.data, NULL, 16);
		if (n > 0 && !proxy_read_bytes(fd, to, n))
			return false;
		buf_clear(&line);
		if (!proxy_read_until(fd, &line, "\r\n"))
			return false;
		if (n == 0)
			return true;
	}
}

bool proxy_read_reply(int fd, bool is_head, struct proxy_message *ret)
{
	size_t len;
	int status;

	do {
		buf_clear(&ret->head);
		if (!proxy_read_until(fd, &ret->head, "\r\n\r\n"))
			return false;
		status = proxy_status(ret);
	} while (status < 200);
	proxy_drop_header(&ret->head, "Connection");
	if (is_head || status == 204 || status == 304)
		return true;
	if (!proxy_find_header(&ret->head, "Transfer-Encoding", &len))
		return proxy_read_bytes(fd, &ret->body, proxy_body_length(&ret->head));
	if (!read_chunks(fd, &ret->body))
		return false;
	proxy_drop_header(&ret->head, "Transfer-Encoding");
	proxy_set_length(&ret->head, ret->body.len);
	return true;
}
