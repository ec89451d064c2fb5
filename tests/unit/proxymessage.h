/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Messages of HTTP/1.1 as faultproxy.h has them in its hands: bytes from and to a connection, and a
 * head in which lines can be found and changed. Whatever is not as expected ends a connection, what
 * a test cannot go on without, the process.
 */
#pragma once

#include "base/buf.h"
#include "base/defs.h"

/* Its head up to the empty line, and its body; owned. */
struct proxy_message {
	struct buf head, body;
};

/* Ends the process unless it is so. */
void proxy_must(bool is_so, const char *what);

void proxy_message_release(struct proxy_message *m);
void proxy_message_copy(struct proxy_message *to, const struct proxy_message *from);

/* Bytes of a connection; false: it has ended. What is read is put behind what @to has: so many
 * bytes, or up to and with @end. */
int proxy_connect(int port);
bool proxy_send_bytes(int fd, const void *data, size_t len);
bool proxy_read_bytes(int fd, struct buf *to, size_t len);
bool proxy_read_until(int fd, struct buf *to, const char *end);

/* A header's line in a head, from its name to before its line end; NULL: none. */
char *proxy_find_header(const struct buf *head, const char *name, size_t *ret_len);
void proxy_drop_header(struct buf *head, const char *name);

/* "Name: value" in place of any of that name. */
void proxy_set_header(struct buf *head, const char *text);

/* What Content-Length says; 0 without one. */
uint64_t proxy_body_length(const struct buf *head);
void proxy_set_length(struct buf *head, uint64_t len);

int proxy_status(const struct proxy_message *reply);

/* The final reply, its body's length said in its head whatever way it came; @is_head: one to a
 * HEAD, which has no body. */
bool proxy_read_reply(int fd, bool is_head, struct proxy_message *ret);
