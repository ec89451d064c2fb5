/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Mounting a store: the one entry to the daemon.
 */
#pragma once

#include "options.h"

/*
 * Opens the store, mounts it, and serves until it is unmounted or a signal (SIGTERM, SIGINT,
 * SIGHUP) ends it; then what is open stays behind without a filesystem, everything is synced, and
 * the function returns. The process must have no other threads.
 *
 * Unless o->foreground, this happens in a child; the function returns when that serves.
 *
 * 0 or -errno; sentences are logged.
 */
int pfs_mount_run(const struct mount_options *o);

/* The version of libfuse that is in use. */
const char *mount_libfuse_version(void);
