/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What every file may use: cleanup by scope, spans of bytes, and small arithmetic.
 *
 * Conventions that hold everywhere (HACKING.md has them all):
 *  - functions return 0 or -errno; a positive result is a documented count
 *  - ret_ parameters come last and are written on success only
 *  - "takes" means ownership passes, "borrows" means it does not
 */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define _cleanup_(f)	 __attribute__((cleanup(f)))
#define _printf_(fmt, a) __attribute__((format(printf, fmt, a)))
#define _unused_	 __attribute__((unused))

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define MIN(a, b)                   \
	({                          \
		typeof(a) _a = (a); \
		typeof(b) _b = (b); \
		_a < _b ? _a : _b;  \
	})
#define MAX(a, b)                   \
	({                          \
		typeof(a) _a = (a); \
		typeof(b) _b = (b); \
		_a > _b ? _a : _b;  \
	})

#define CLAMP(x, lo, hi)                  \
	({                                \
		typeof(x) _x = (x);       \
		typeof(x) _lo = (lo);     \
		typeof(x) _hi = (hi);     \
		_x = _x < _lo ? _lo : _x; \
		(_x > _hi) ? _hi : _x;    \
	})

#define ALIGN_UP(x, a)	   (((x) + ((typeof(x))(a)-1)) & ~((typeof(x))(a)-1))
#define ALIGN_DOWN(x, a)   ((x) & ~((typeof(x))(a)-1))
#define DIV_ROUND_UP(x, d) (((x) + (d)-1) / (d))

#define KiB (1024ull)
#define MiB (1024ull * KiB)
#define GiB (1024ull * MiB)

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* Moves a pointer (or a descriptor) out of a variable that a cleanup attribute guards. */
#define TAKE_PTR(p)                    \
	({                             \
		typeof(p) *_pp = &(p); \
		typeof(p) _v = *_pp;   \
		*_pp = NULL;           \
		_v;                    \
	})
#define TAKE_FD(fd)               \
	({                        \
		int *_fp = &(fd); \
		int _v = *_fp;    \
		*_fp = -1;        \
		_v;               \
	})

/* Defines the function that _cleanup_() wants for objects that @func frees. */
#define DEFINE_CLEANUP(type, func)                   \
	static inline _unused_ void func##p(type *p) \
	{                                            \
		if (*p)                              \
			func(*p);                    \
	}

#define new0(t, n) ((t *)calloc((n), sizeof(t)))

static inline void freep(void *p)
{
	free(*(void **)p);
}
#define _cleanup_free_ _cleanup_(freep)

/* Bytes that belong to somebody else. */
struct span {
	const uint8_t *data;
	size_t len;
};

static inline struct span span_of(const void *data, size_t len)
{
	return (struct span){ data, len };
}

static inline struct span span_str(const char *s)
{
	return (struct span){ (const uint8_t *)s, strlen(s) };
}

/* Orders as memcmp does, and a prefix before what it begins. */
static inline int span_cmp(struct span a, struct span b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int c = n ? memcmp(a.data, b.data, n) : 0;

	return c ? c : (a.len > b.len) - (a.len < b.len);
}

static inline bool span_equal(struct span a, struct span b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* Addition that stops at the top: counts in a hostile tree may sum to anything. */
static inline uint64_t add_sat(uint64_t a, uint64_t b)
{
	uint64_t s;

	return __builtin_add_overflow(a, b, &s) ? UINT64_MAX : s;
}
