/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A layer for tests of many machines: does to the calls of another backend, by chance, what a bad
 * network does, and what happens to a machine while it calls. What is under way too long lies in a
 * mailbox, which outlives the process that sent it; somebody else delivers it.
 *
 * Threads: all functions from any thread; a mailbox from any process.
 */
#pragma once

#include "backend/backend.h"
#include "format/key.h"

enum {
	PACKET_MAX = 16 << 10, /* bytes; what is longer never comes late */
	PACKETS_MAX = 256,
};

enum packet_op {
	PACKET_SWAP,
	PACKET_PUT,
	PACKET_REMOVE,
};

/* A change under way. */
struct packet {
	atomic_int state; /* 0: none; 1: being filled or delivered; 2: to be delivered */
	enum packet_op op;
	char key[KEY_MAX + 1];
	bool has_tag; /* of a swap */
	struct etag tag;
	int64_t due_ns; /* not before; INT64_MAX: when all is over */
	uint32_t len;
	uint8_t data[PACKET_MAX];
};

struct mailbox {
	struct packet packets[PACKETS_MAX];
	atomic_uint delivered, landed; /* of these, those that changed something */
};

/* How often out of 1000 calls. */
struct weather {
	unsigned fail; /* nothing happens, and the call says that it cannot tell */
	unsigned lose_reply; /* it happens, and the call says so too */
	unsigned late; /* as fail, and it happens later */
	unsigned twice; /* it happens now and once more later */
	unsigned delay; /* a few milliseconds */
	unsigned outage; /* from now on nothing gets through for a while */
	unsigned kill; /* the process ends, half of the time before it happens and half after */
};

/* Takes @inner; @box is borrowed. Begins with good weather. */
int weather_backend_new(struct backend *inner, struct mailbox *box, uint64_t seed,
			struct backend **ret);
void weather_set(struct backend *b, const struct weather *w);

/* Delivers to @inner what is due; @all: what is not, too. */
void mailbox_deliver(struct mailbox *box, struct backend *inner, bool all);
