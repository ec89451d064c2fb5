/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Sets of ids (base/oidset.h).
 */
#include "base/oidset.h"

struct member {
	struct hnode node;
	struct oid id;
};

static void free_member(struct hnode *n, void *ctx)
{
	free(container_of(n, struct member, node));
}

void oidset_release(struct oidset *s)
{
	htab_walk(&s->ids, free_member, NULL);
	htab_release(&s->ids);
	*s = (struct oidset){ 0 };
}

bool oidset_has(const struct oidset *s, const struct oid *id)
{
	htab_for_each (n, &s->ids, oid_hash(id))
		if (oid_equal(&container_of(n, struct member, node)->id, id))
			return true;
	return false;
}

int oidset_add(struct oidset *s, const struct oid *id)
{
	struct member *m;

	if (oidset_has(s, id))
		return 0;
	m = new0(struct member, 1);
	if (!m)
		return -ENOMEM;
	m->id = *id;
	if (htab_insert(&s->ids, &m->node, oid_hash(id)) == 0)
		return 1;
	free(m);
	return -ENOMEM;
}
