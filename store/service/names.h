/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Lists of names, copied, so that each can be looked at with nothing held; and which names a commit
 * has.
 */
#pragma once

#include "service/request.h"

struct names {
	char **items; /* owned */
	size_t count, cap;
};
void names_release(struct names *n);
#define _cleanup_names_ _cleanup_(names_release)

int names_add(const char *name, struct names *n);

/* As listed now: 0 or an error of refs.h. */
int names_of_repos(struct request *q, struct names *ret);
int names_of_refs(struct request *q, const struct id128 *repo, enum ref_kind kind,
		  struct names *ret);
int names_of_commits(struct request *q, const struct id128 *repo, struct names *ret);

/* A record that cannot be read, with the error @r, does not keep a list from telling of the others:
 * 0 then, and what the list is to fail with in the end, with a complaint that names the first such,
 * is put into @first. Any other error is returned. */
int names_pass_over(const char *name, int r, int *first);

/* -EINVAL with the sentence that says what a name may be. */
int names_refuse(const char *name);

/* A commit that has a name. */
struct named_commit {
	struct oid id;
	char *name; /* borrowed from the list it was made of */
};
struct name_map {
	struct names names;
	struct named_commit *items; /* owned; by id, then name */
	size_t count;
};
int name_map_load(struct request *q, const struct id128 *repo, struct name_map *ret);
void name_map_release(struct name_map *m);
#define _cleanup_name_map_ _cleanup_(name_map_release)

/* The first with that id; those that follow with it have it as well. NULL: none. */
const struct named_commit *name_map_find(const struct name_map *m, const struct oid *id);
