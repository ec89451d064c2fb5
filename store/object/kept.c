/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Findings as the index's objects: listings have keys of their own.
 */
#include "object/kept.h"

#include "base/text.h"

#define LIST_KEPT_MAX (16 * MiB)

static char *index_name(enum finding_kind kind, const char *key)
{
	return finding_is_list(kind) ? strf("list/%s", key) : strdup(key);
}

struct finding *kept_load(struct index *index, enum finding_kind kind, const char *key)
{
	_cleanup_free_ char *name = index_name(kind, key);
	_cleanup_buf_ struct buf b = { 0 };
	struct finding *f;
	struct etag tag;
	int r;

	if (!name || index_object_get(index, name, &b, &tag) < 0)
		return NULL;
	if (finding_is_list(kind))
		r = finding_list_read(kind, buf_span(&b), &f);
	else
		r = finding_of_object(kind, key, buf_span(&b), &tag, &f);
	return r < 0 ? NULL : f;
}

void kept_put(struct index *index, const char *key, const struct finding *f, struct span object)
{
	enum finding_kind kind = (enum finding_kind)f->kind;
	_cleanup_free_ char *name = index_name(kind, key);
	_cleanup_buf_ struct buf b = { 0 };
	bool is_list = finding_is_list(kind);

	if (f->is_absent ||
	    (is_list && (finding_cost(f) > LIST_KEPT_MAX || finding_list_write(f, &b) < 0)))
		kept_forget(index, kind, key);
	else if (name)
		index_object_put(index, name, is_list ? buf_span(&b) : object, &f->tag);
}

void kept_forget(struct index *index, enum finding_kind kind, const char *key)
{
	_cleanup_free_ char *name = index_name(kind, key);

	if (name)
		index_object_forget(index, name);
}
