/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A command's output on its way: it goes where it would have gone, unchanged, and both ends of it
 * are kept.
 *
 * What stands in for stdout and stderr is what they are: a pty for a terminal, a pipe for a pipe, a
 * pair for a socket. All else is the command's as it is; of a regular file it is read at the end
 * what came to be in it. Where both are one, both stay one.
 *
 * Threads: the main thread calls all of it; a stream has a thread of its own.
 */
#pragma once

#include <jansson.h>

#include "base/defs.h"

struct relay;

/* What gets something to stand in for it. */
enum relay_what {
	RELAY_STREAMS, /* terminals, pipes and sockets */
	RELAY_FILES, /* regular files as well, so that what is kept is the command's alone */
	RELAY_ALL, /* whatever it is */
};
/* For this process's stdout and stderr. 0 or -errno. Starts no thread yet. */
int relay_new(enum relay_what what, struct relay **ret);
/* The relay must not be running. */
void relay_free(struct relay *r);
DEFINE_CLEANUP(struct relay *, relay_free)
#define _cleanup_relay_ _cleanup_(relay_freep)

/* From now on all goes to @dir/stdout and @dir/stderr as well; of a regular file that the
 * command writes to itself, when it has ended. 0 or -errno. */
int relay_log_to(struct relay *r, const char *dir);

/*
 * In the child: its stdout and stderr. @has_namespace: of mounts, of its own. There the names of
 * our ptys mean the real terminal, for programs that look for their keyboard by the name of what
 * they write to; without, a terminal is the command's as it is. 0 or -errno.
 */
int relay_enter(struct relay *r, bool has_namespace);

/* In the parent, when the child has been made. 0 or -errno. */
int relay_start(struct relay *r);

/* The terminal's size is another one; the settings that the command has given its own are passed
 * on. */
void relay_resize(struct relay *r);
void relay_settings(struct relay *r);

/* The command has ended: a descriptor that can be read once all it has written is through;
 * then relay_stop() does not wait. */
int relay_drain(struct relay *r);
void relay_stop(struct relay *r);

/* After relay_stop(): goes on. 0 or -errno. */
int relay_again(struct relay *r);

/*
 * Somebody whom the command has left behind may still write: a process is made that goes on. Only
 * when it is stopped. 0 or -errno.
 */
int relay_leave(struct relay *r);

/* Do stdout and stderr go to the same? */
bool relay_are_one(void);

/* When it is stopped: has all that the command wrote been logged and passed on, and is nobody left
 * who may write? */
bool relay_has_all(const struct relay *r);

/* {"stdout": ..., "stderr": ...} as RUNS.md has "output", up to @max bytes of each end; only when
 * it is stopped. NULL without memory. */
json_t *relay_output(struct relay *r, size_t max);
