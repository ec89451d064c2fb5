/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A binary heap of pointers: whatever comes before all others is taken first. It owns only its
 * array; what is in it is the caller's, and its place in the order must not change meanwhile.
 *
 * Not thread-safe.
 */
#pragma once

#include "base/defs.h"

struct heap {
	/* Does @a come before @b? Of two that are equal in this either may be taken first. */
	bool (*is_before)(const void *a, const void *b);
	void **items;
	size_t count, cap;
};

/* 0 or -ENOMEM. */
int heap_push(struct heap *h, void *item);

/* The first one; NULL: there is none. */
void *heap_pop(struct heap *h);

/* Frees the array, not the elements. */
void heap_release(struct heap *h);
