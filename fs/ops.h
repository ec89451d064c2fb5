/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The kernel's operations, by what they are about; each file fills in its part of the table.
 */
#pragma once

#include "channel.h"

void ops_names(struct fuse_lowlevel_ops *ops);
void ops_attrs(struct fuse_lowlevel_ops *ops);
void ops_xattrs(struct fuse_lowlevel_ops *ops);
void ops_files(struct fuse_lowlevel_ops *ops);
void ops_dirs(struct fuse_lowlevel_ops *ops);
