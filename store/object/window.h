/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Aligned stretches of packs as they lie in the store: what is read for one small frame has its
 * neighbours in it, which are likely to be wanted next. A few are kept; who misses the same one
 * waits for whoever is reading it. Nothing here is verified.
 *
 * Threads: all functions from any thread; no lock is held across the backend.
 */
#pragma once

#include "backend/backend.h"
#include "base/random.h"

enum {
	WINDOW_SIZE = 256 << 10,
	WINDOWS_TOGETHER = 4, /* that one request reads at most; a power of two */
};

struct windows;

/* A stretch: a reference. */
struct window {
	const uint8_t *bytes;
	uint32_t len; /* less than WINDOW_SIZE at the pack's end only */
	/* private from here */
	struct windows *owner;
};

/* Who is told of what is read; called with no lock held. */
struct load_watch {
	void (*fetched)(uint64_t bytes, void *ctx); /* by each request */
	/* Bytes of a pack from @off on, read for windows; @bytes are taken. NULL: nobody. */
	void (*arrived)(const struct id128 *pack, uint64_t off, uint8_t *bytes, size_t len,
			void *ctx);
	void *ctx;
};

/* @backend is borrowed; @budget in bytes; @watch is copied. */
int windows_new(struct backend *backend, uint64_t budget, const struct load_watch *watch,
		struct windows **ret);
void windows_free(struct windows *w);
DEFINE_CLEANUP(struct windows *, windows_free)

/* Which neighbours come with a window that must be read, in the same request; those that are here
 * stay as they are. */
enum window_reach {
	REACH_NEXT, /* the next ones, when the one before is here: somebody goes through the pack */
	/* Those around it, when another of the pack is here: nodes refer to others that are near,
	 * and mostly lie before them. */
	REACH_AROUND,
};

/* The @number-th window of @pack. With @at_once only one that is here: else -EAGAIN. -ENOENT: no
 * such pack; or the backend's errors. */
int windows_get(struct windows *w, const struct id128 *pack, uint64_t number,
		enum window_reach reach, bool at_once, const struct deadline *dl,
		struct window **ret);
void window_unref(struct window *w);
DEFINE_CLEANUP(struct window *, window_unref)

/* What it holds was not as it should be: it is read anew for the next who wants it. */
void window_distrust(struct window *w);
