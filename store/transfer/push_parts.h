/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Inside transfer/push.h: what is to be done, found out (push_plan.c) and done (push.c for commits,
 * push_refs.c for repos, branches and names).
 */
#pragma once

#include "base/oidset.h"
#include "object/refs.h"
#include "transfer/push.h"
#include "transfer/report.h"

enum {
	PUSH_CREW = 8, /* threads that wait for a bucket */
};

/* A branch or a name of the repo. */
struct push_ref {
	char name[OBJECT_NAME_MAX + 1];
	enum ref_kind kind;
	bool is_here, is_there;
	struct oid here, there; /* null: an unborn branch */
	enum push_state state;
};

struct push_refs {
	struct push_ref *items; /* owned */
	size_t count, cap;
};

struct push_commit {
	struct oid id;
	uint64_t generation;
};

struct push {
	const struct push_request *req; /* borrowed */
	struct report report;
	struct push_result result;
	struct repo_rec repo; /* as it is here; owned */
	bool is_new; /* the other store has no such repo */
	struct push_refs refs;
	struct oidset there; /* commits the other store has */
	struct push_commit *commits; /* those it lacks, parents first; owned */
	size_t commit_count, commit_cap;
};

/* For waits: as long as it takes, unless the user has had enough. */
static inline struct deadline push_deadline(const struct push *p)
{
	return (struct deadline){ .at_ns = INT64_MAX, .cancelled = p->report.o->cancelled };
}

static inline struct refs_wait push_wait(const struct push *p, bool fresh)
{
	return (struct refs_wait){ .may_wait = true, .fresh = fresh, .deadline = push_deadline(p) };
}

static inline unsigned push_crew(const struct store *s)
{
	return s->backend->is_local ? 1 : PUSH_CREW;
}

/* Finds out all of it. 0 or an error of transfer/push.h, logged. */
int push_plan(struct push *p);

/* The repo is there, with its default branch. */
int push_make_repo(struct push *p);

/* Names, then branches; ref.state is what became of each. */
int push_publish(struct push *p);

/* Tells the caller of a ref. */
void push_tell(struct push *p, const struct push_ref *x);
