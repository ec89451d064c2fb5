/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Permissions of callers.
 */
#include "service/permit.h"

#include "base/log.h"
#include "head/acl.h"

static bool is_in_group(const struct service_caller *who, gid_t gid)
{
	if (who->gid == gid)
		return true;
	for (size_t i = 0; i < who->group_count; i++)
		if (who->groups[i] == gid)
			return true;
	return false;
}

bool permit_mode(const struct service_caller *who, mode_t mode, uid_t uid, gid_t gid, int want)
{
	mode_t bits = mode;

	if (who->is_owner)
		return true;
	if (who->uid == uid)
		bits >>= 6;
	else if (is_in_group(who, gid))
		bits >>= 3;
	return ((int)bits & want) == want;
}

int permit_repo(struct request *q, const char *name, const struct repo_rec *rec, int want)
{
	if (permit_mode(q->who, rec->root_mode, rec->root_uid, rec->root_gid, want))
		return 0;
	return log_fail(-EACCES, "%s: the repo's permissions do not let you %s it", name,
			want & W_OK ? "change" : "read");
}

int permit_repo_owner(struct request *q, const char *name, const struct repo_rec *rec)
{
	if (q->who->is_owner || q->who->uid == rec->root_uid)
		return 0;
	return log_fail(-EPERM, "%s: only the repo's owner may do that", name);
}

int permit_dir(struct request *q, struct vnode *dir, const struct stat *st, int want)
{
	_cleanup_buf_ struct buf acl = { 0 };
	int r;

	if (q->who->is_owner)
		return 0;
	if (!permit_mode(q->who, st->st_mode, st->st_uid, st->st_gid, want))
		return -EACCES;
	if (q->who->uid == st->st_uid)
		return 0;
	r = view_getxattr(dir, span_str(ACL_ACCESS_XATTR), &q->access, &acl);
	if (r == -ENODATA)
		return 0;
	return r < 0 ? r : -EACCES;
}
