/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * ACLs of tar entries. A stream has them as text (SCHILY.acl), or in the kernel's representation
 * among the extended attributes (SCHILY.xattr), or both; libarchive parses the text.
 */
#pragma once

#include <archive.h>
#include <archive_entry.h>

#include "base/buf.h"

/*
 * The entry's text ACL of @type (ARCHIVE_ENTRY_ACL_TYPE_ACCESS or _DEFAULT) as the kernel has it;
 * nothing: it has none. Users and groups that are named without a number are those of this machine.
 * 0; -EINVAL: none that can be had, as when somebody is not known here; -ENOMEM.
 */
int tar_acl_read(struct archive_entry *e, int type, struct buf *ret);

/* Gives the entry the ACL @acl; the mode's group bits become those of the owning group. Of what is
 * no ACL nothing is written. */
void tar_acl_write(struct archive_entry *e, int type, struct span acl);
