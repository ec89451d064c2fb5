/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What can be asked of a store and its heads, in JSON: one implementation for the daemon, which is
 * asked through its control file, and for the command, which asks itself when nothing is mounted.
 *
 * A request is one JSON object: {"verb": "log", "path": "R/main", ...}. An answer is a series of
 * JSON values, one a line; the last is {"ok": true}, or {"error": {"errno": 17, "name": "EEXIST",
 * "message": "a sentence"}}. Verbs and their fields are documented at each in service/.
 *
 * Paths are "REPO[/REV[/PATH]]": REV a branch, a commit's name, id or prefix, or "commits/REV".
 *
 * Threads: any; a request runs in its caller's thread, as long as it takes.
 */
#pragma once

#include <jansson.h>
#include <sys/types.h>

#include "base/deadline.h"
#include "base/defs.h"

struct heads;
struct learner;
struct run;
struct runs;
struct store;
struct vnode_table;

struct service_caller;

struct service {
	struct store *store; /* borrowed, as all here */
	struct heads *heads; /* NULL: nothing is mounted, heads are seen as their commits */
	struct vnode_table *vnodes;
	/* Numbers of the mount, added to the answer of "stats"; NULL: none. */
	void (*stats)(json_t *into, void *ctx);
	/* A name in a head means something else now, or nothing, and the kernel has not done it
	 * itself: for its caches. With the name "" the attributes of the vnode itself are others.
	 * NULL: nobody needs to know. */
	void (*changed)(uint64_t parent_vnode, const char *name, void *ctx);
	struct runs *runs; /* NULL: no run can be begun here, and what is below is not called */
	struct learner *learner; /* knows when somebody asks for runs; NULL: nothing is mounted */
	/* @who has begun a run, and has it as who->run from now on: 0 or -errno. */
	int (*run_begun)(struct run *run, const struct service_caller *who, void *ctx);
	/* Its command has ended: nothing more is noted. */
	void (*run_ending)(const struct service_caller *who, void *ctx);
	/* Its end was told: @who has it no more. */
	void (*run_ended)(const struct service_caller *who, void *ctx);
	void *ctx;
};

/* Who asks; what only an owner may do is checked against it. */
struct service_caller {
	uid_t uid;
	gid_t gid;
	const gid_t *groups; /* supplementary, as far as known; borrowed */
	size_t group_count;
	bool is_owner; /* root, or the user the service runs as */
	const atomic_bool *cancelled; /* NULL: cannot be */
	/* The service ends: for what is carried on with when the caller has gone. NULL: never. */
	const atomic_bool *ending;
	struct run *within; /* in whose view he asks; NULL: in none; borrowed, as below */
	struct run *run; /* that he has begun and not ended; NULL: none */
};

/* Gets each line of the answer (without newline); other than 0 ends the request. */
typedef int (*service_emit_fn)(const char *line, size_t len, void *ctx);

/* Runs a request to its end; the error line is part of the answer, so this returns 0 or what @emit
 * returned. */
int service_run(const struct service *s, const struct service_caller *who, const char *request,
		size_t len, service_emit_fn emit, void *ctx);
