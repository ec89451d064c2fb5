/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the store said when it was looked at: an object that changes, a commit, or which names there
 * are. Immutable and shared; for the files of refs.h alone.
 */
#pragma once

#include <stdatomic.h>

#include "backend/backend.h"
#include "format/repo.h"

enum finding_kind {
	FINDING_REPO, /* repos/REPO */
	FINDING_REF, /* heads/ID/BRANCH, names/ID/NAME */
	FINDING_COMMIT, /* commits/ID/ID */
	FINDING_NAMES, /* live repos, branches or names: of repos/, heads/ID/, names/ID/ */
	FINDING_COMMITS, /* of commits/ID/ or pins/ID/, or that and some digits */
};

struct finding {
	atomic_uint refs;
	uint8_t kind; /* enum finding_kind */
	bool is_absent; /* an object that is not there */
	bool is_own; /* of this process's making */
	struct etag tag; /* of an object that is there */
	union {
		struct repo_rec repo;
		struct ref ref;
		struct buf object; /* a commit's */
		struct {
			struct buf text; /* names, each with a NUL behind, ascending */
			size_t count;
		} names;
		struct {
			struct oid *ids; /* owned; ascending */
			size_t count, cap;
		} commits;
	};
};

struct finding *finding_ref(struct finding *f);
void finding_unref(struct finding *f);
DEFINE_CLEANUP(struct finding *, finding_unref)

/* That there is no such object. */
int finding_of_absence(enum finding_kind kind, struct finding **ret);

/* Reads the object @key. 0, -EBADMSG, -ENOTSUP (newer), -ENOMEM. */
int finding_of_object(enum finding_kind kind, const char *key, struct span object,
		      const struct etag *tag, struct finding **ret);

/* Lists what is below @prefix. 0 or the backend's errors. */
int finding_of_list(enum finding_kind kind, struct backend *b, const char *prefix,
		    const struct deadline *dl, struct finding **ret);

/*
 * A listing proves nothing by what it lacks. What @former has and @list has not is asked for
 * itself, and put back if it is there. 0; -EIO, much is missing, and some of it is there: @list is
 * of no use; or the backend's errors.
 */
int finding_check_list(struct backend *b, const char *prefix, const struct finding *former,
		       const struct deadline *dl, struct finding **list);

/* A listing as the index keeps it, and back. */
int finding_list_write(const struct finding *f, struct buf *ret);
int finding_list_read(enum finding_kind kind, struct span raw, struct finding **ret);

/* A copy of a listing with @name in it, or not. */
int finding_with(const struct finding *list, const char *name, bool is_there, struct finding **ret);

bool finding_lists_are_equal(const struct finding *a, const struct finding *b);

/* An object that is there and is no tombstone. */
bool finding_is_live(const struct finding *f);

/* Of a ref or a repo's record that is there. */
const struct id128 *finding_nonce(const struct finding *f);

/* Where @id is or would be among a listing's commits. */
size_t finding_commit_place(const struct finding *list, const struct oid *id);

/* Memory that it takes, about. */
size_t finding_cost(const struct finding *f);

static inline bool finding_is_list(enum finding_kind kind)
{
	return kind == FINDING_NAMES || kind == FINDING_COMMITS;
}
