/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The place where the mount goes: checked, taken, let go of.
 */
#pragma once

#include <sys/types.h>

#include "options.h"

/* Detaches a mount there whose daemon has died, then: 0; -ENOENT, -ENOTDIR, -EBUSY (something is
 * mounted there), -ENOTEMPTY, -errno. Sentences are logged. */
int mountpoint_check(const struct mount_options *o);

/* For root: opens /dev/fuse and mounts it there. The descriptor (the caller's) or -errno, logged.
 */
int mountpoint_mount(const struct mount_options *o, const char *source);

/* For others: libfuse's options. malloc'ed; NULL without memory. */
char *mountpoint_libfuse_options(const struct mount_options *o, const char *source);

/* Takes it from the tree; what is open in it stays. 0 or -errno. */
int mountpoint_detach(const struct mount_options *o);

/* The device of what is mounted there, or of what is there else; 0 where it cannot be told. */
dev_t mountpoint_dev(const struct mount_options *o);

/* Has the kernel read ahead by as much as a request holds. Nothing is lost where it cannot be. */
void mountpoint_tune(const struct mount_options *o);
