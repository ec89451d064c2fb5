/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A store, opened: owns the stack of backend, index, cache, reader and refs.
 */
#pragma once

#include "backend/backend.h"
#include "base/thread.h"
#include "format/storeformat.h"
#include "object/access.h"

struct cache;
struct index;
struct reader;
struct refs;

struct store_options {
	/* Where this process keeps its caches, made if need be; several may share it, but for the
	 * disk cache, which is the first one's, and what heads keep there. NULL: a directory of the
	 * user's for this store ($XDG_CACHE_HOME/pfs or ~/.cache/pfs, for root /var/cache/pfs). */
	const char *state_dir;
	bool read_only;
	bool single_writer;
	uint64_t memory_bytes; /* for nodes and chunks; 0: 64 MiB */
	uint64_t cache_bytes; /* on disk; 0: none */
	unsigned refresh_ms; /* 0: 2000 */
	unsigned threads; /* workers for hashing and compression; 0: one a processor */
	/* Puts a layer over the backend, as one that injects faults; takes @inner. NULL: none. */
	struct backend *(*layer)(struct backend *inner);
};

/* Who keeps the conditions that refs rely on (object/trust.h). */
enum trust {
	TRUST_LOCAL, /* this machine */
	TRUST_READ_ONLY, /* a server that nobody has asked, since nothing is written */
	TRUST_UNPROVED, /* a server, which is asked before the first change */
	TRUST_PROVED, /* a server that was probed */
	TRUST_SINGLE_WRITER, /* who writes alone */
};

struct store {
	struct backend *backend; /* owned, as all below */
	struct backend *counted; /* borrowed: the layer of it that counts (backend/count.h) */
	struct backend
		*breaker; /* borrowed: of one behind a network (backend/breaker.h); or NULL */
	struct format_rec format;
	struct index *index;
	struct cache *cache; /* NULL: none */
	struct reader *reader;
	struct refs *refs;
	struct pool *pool; /* for hashing and compression */
	struct pool *uploads; /* for what waits for the backend */
	int state_fd;
	char *temporary; /* owned: a state directory that goes with the store; NULL: it stays */
	bool read_only;
	atomic_uint trust; /* enum trust */
	char writer[256]; /* user@host */
	char machine[256];
};

/*
 * Makes a store where there is none; a server is probed first. 0; -EEXIST (there is one, nothing
 * was changed); -ENOTEMPTY (a place with other things in it); -EOPNOTSUPP (a server that is not fit
 * for it, or not for several writers); or the backend's errors. Sentences are logged.
 */
int store_init(const char *url, bool single_writer);

/*
 * Opens one. -ENOENT / -ENOTDIR (none there), -EBADMSG (damaged, or not one), -ENOTSUP (made by a
 * newer version), -EROFS (a feature that forbids writing, and not read_only), and the backend's.
 * Sentences are logged. A store that does not answer opens all the same where @state_dir knows it.
 */
int store_open(const char *url, const struct store_options *o, struct store **ret);
void store_free(struct store *s);
DEFINE_CLEANUP(struct store *, store_free)
