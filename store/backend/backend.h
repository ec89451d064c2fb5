/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where objects live: an object is an immutable run of bytes under a key.
 *
 * A backend is a directory, memory, a bucket, or a layer over another backend that adds one thing
 * (faults for tests, counts) and passes the rest through. Keys match [A-Za-z0-9/._-]{1,512}, have
 * no empty, "." or ".." part and none of over 255 bytes, and their first part is not "tmp", which a
 * directory needs for itself; any other is -EINVAL.
 *
 * All calls may block; all are safe from any thread; each takes the caller's deadline (borrowed;
 * NULL: none) and ends with -ETIME when it has passed and -ECANCELED when the caller gave up.
 */
#pragma once

#include "base/buf.h"
#include "base/deadline.h"
#include "base/defs.h"

/* What an object is now, as far as compare-and-swap goes: opaque, not empty. */
struct etag {
	char s[68];
};

struct backend;

/* A put in pieces: the first member of each kind's own. */
struct backend_put {
	struct backend *backend; /* borrowed */
};

/* One key of a listing, and the tag of what is there where that costs nothing (else NULL); borrowed
 * until the callback returns. A result other than 0 ends the listing early and is returned. The
 * backend may be called from it. */
typedef int (*backend_list_fn)(const char *key, uint64_t size, const struct etag *tag, void *ctx);

struct backend_ops {
	/*
	 * Reads bytes [@off, @off + @len) of @key into @buf and says in @ret_len how many there
	 * were: fewer than @len only at the object's end.
	 *
	 * Returns 0, -ENOENT no such object, -EIO the store answered nonsense, -EACCES, -ETIME,
	 * -ECANCELED.
	 */
	int (*get)(struct backend *b, const char *key, uint64_t off, size_t len, void *buf,
		   const struct deadline *dl, size_t *ret_len);

	/*
	 * Reads the whole of @key, at most @max bytes, with its tag. 0, -EFBIG, or as get().
	 * With @known (unless NULL): -EALREADY when the tag still is that one, and nothing is read.
	 */
	int (*get_all)(struct backend *b, const char *key, size_t max, const struct etag *known,
		       const struct deadline *dl, struct buf *ret, struct etag *ret_tag);

	/* 0 and the size, or as get(). */
	int (*head)(struct backend *b, const char *key, const struct deadline *dl,
		    uint64_t *ret_size);

	/*
	 * Stores @key as @data, durably, whether or not it is there: for names used once. The
	 * object is never seen in part. 0, -ENOSPC, -EROFS, or as get().
	 */
	int (*put)(struct backend *b, const char *key, struct span data, const struct deadline *dl);

	/*
	 * The same in pieces: nothing is seen under @key before put_end() has returned 0. put_end,
	 * whatever it returns, and put_abort free the put; after a failed put_write only put_abort
	 * is left.
	 */
	int (*put_begin)(struct backend *b, const char *key, struct backend_put **ret);
	int (*put_write)(struct backend_put *p, struct span data, const struct deadline *dl);
	int (*put_end)(struct backend_put *p, const struct deadline *dl);
	void (*put_abort)(struct backend_put *p);

	/*
	 * Stores @key as @data, durably, if its tag still is @tag (NULL: if there is no such
	 * object).
	 *
	 * Returns 0 and the new tag in @ret_tag; -ESTALE when the condition did not hold;
	 * -EINPROGRESS when the outcome is not known (a lost reply): read back before anything
	 * else. Never retried below this call.
	 */
	int (*swap)(struct backend *b, const char *key, const struct etag *tag, struct span data,
		    const struct deadline *dl, struct etag *ret_tag);

	/*
	 * Calls @fn for every key that starts with @prefix, ascending, from the first above
	 * @after (NULL: all). What is written meanwhile may show or not; absence proves nothing.
	 * 0, @fn's result when that is not 0, -EINVAL (no key starts so), or as get(): of a part
	 * that cannot be read after all others were told.
	 */
	int (*list)(struct backend *b, const char *prefix, const char *after, backend_list_fn fn,
		    void *ctx, const struct deadline *dl);

	/* Removes @key. 0 also if there was none. Never used on what can be swapped. */
	int (*remove)(struct backend *b, const char *key, const struct deadline *dl);

	/* Is there anything where the objects lie that no listing shows, because it is nobody's
	 * object? 1, 0, or an error. NULL: a listing shows all there is. */
	int (*has_others)(struct backend *b);

	/*
	 * A word for what is right in the directory @dir ("a/b/"): it is another one when a key or
	 * a directory has come or gone there since, by whomever; 0: that cannot be told, as when
	 * something just has. -ENOENT: nothing is there. NULL or -EOPNOTSUPP: only a listing tells.
	 */
	int (*stamp)(struct backend *b, const char *dir, uint64_t *ret);

	/* Bytes free where the objects lie, or UINT64_MAX where that means nothing. Never waits. */
	uint64_t (*space)(struct backend *b);

	void (*free)(struct backend *b);
};

struct backend {
	const struct backend_ops *ops;
	char *url; /* how a user names it; owned; without credentials */
	bool is_local; /* on this machine: deadlines and caches matter less */
	bool is_served; /* conditions are as good as some server keeps them: backend/probe.h */
};

/* What the stack is opened with. */
struct backend_options {
	bool create; /* make the directory or bucket's place if it is not there */
	bool single_writer; /* conditions are not to be had, or a network filesystem is wanted */
	bool read_only;
};

/*
 * Opens what @url names: "file:///dir", "/dir", "dir"; "mem:" (tests). 0, -EINVAL (the URL),
 * -ENOENT (no such place), -EROFS, -EACCES, -EOPNOTSUPP (a network filesystem without
 * single_writer), -errno; the sentence is logged.
 */
int backend_open(const char *url, const struct backend_options *opts, struct backend **ret);
void backend_free(struct backend *b);
DEFINE_CLEANUP(struct backend *, backend_free)

/* For tests and layers: each kind's own constructor. */
int file_backend_open(const char *path, const struct backend_options *opts, struct backend **ret);
int memory_backend_new(struct backend **ret);

bool backend_key_is_valid(const char *key);

/* Could a valid key start so? "" and "a/" are prefixes. */
bool backend_prefix_is_valid(const char *prefix);
