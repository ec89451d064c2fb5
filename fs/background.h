/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Being a daemon: leaving the terminal, and saying when one is ready.
 */
#pragma once

#include "base/defs.h"

/* Forks. In the child: 0, and *@ret_fd is where background_ready() says so. In the parent: 1 when
 * the child is ready, or the child's -errno; what was wrong the child has logged. Before any thread
 * is started. When the parent dies before that, the child gets SIGTERM. */
int background_start(int *ret_fd);

/* The child is ready (@result 0) or has failed. When ready, its output goes to @log_path from then
 * on. @fd is closed. */
void background_ready(int fd, int result, const char *log_path);

/* Begins the log anew when it has become long; the former one stays as "LOG.old". One thread. */
void background_keep_log(void);

/* Tells the service manager, if there is one: "READY=1" and the like (sd_notify(3)). */
void background_notify(const char *state);
