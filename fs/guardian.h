/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A child that ends the connection with the kernel when the daemon dies.
 *
 * The kernel ends it by itself when the last descriptor of it is closed. But a daemon that is
 * killed while a thread of it waits inside the kernel for a page that the daemon itself was to read
 * (a notification does) can neither close its descriptors nor answer: that thread, and all who use
 * the mount, would wait for one another for ever, past every signal.
 *
 * Threads: the thread that starts it is the one whose end it acts on; it must be the daemon's main
 * thread.
 */
#pragma once

#include <sys/types.h>

#include "base/defs.h"

/* For the mount at @mount_point, which serves. The child's process id, or -errno: then nobody
 * guards. */
pid_t guardian_start(const char *mount_point);

/* The daemon ends by itself. @guardian below 1: there is none. */
void guardian_stop(pid_t guardian);
