/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The files of /pfs/.pfs.
 *
 * `control`: each open of it is a conversation. One write is one request (JSON); reads then give
 * the answer as it comes, a line after the other, and 0 at its end; then there may be another
 * request. In a read-only mount an ioctl stands for the write (control_ask.h). Who may ask for what
 * is decided by who opened the file. Closing it ends the request, and a run that was begun in the
 * conversation and not ended is lost.
 *
 * Of all users but root and the mount's owner each has so many conversations at a time, and all of
 * them together leave some over: who has opened too many gets EMFILE, and locks out nobody else.
 * One that has a run counts among those alone, of which there may be more.
 *
 * `stats`: the mount's numbers as of the open.
 *
 * Threads: all functions from any thread. A request runs in a thread of its own.
 */
#pragma once

#include "call.h"

struct controls;

int controls_new(struct fs *fs, struct controls **ret);

/* Ends all requests and waits for that; none is taken any more. NULL is fine, and so is a second
 * time. */
void controls_stop(struct controls *s);
void controls_free(struct controls *s);
DEFINE_CLEANUP(struct controls *, controls_free)

/* Operations on the nodes of both files: as struct op's run(), but that nothing is ever missing. */
int control_open(struct call *c);
int control_read(struct call *c);
int control_write(struct call *c);
/* The same by ioctl, whose number the call has as its flags. */
int control_ask(struct call *c);
void control_release(struct fs *fs, uint64_t node, uint64_t handle);

/* The reader @unique was sent a signal. False: there is none. */
bool control_interrupt(struct controls *s, uint64_t unique);

/* For struct service: a run that is begun in a conversation, and ended there. */
int control_run_begun(struct run *run, const struct service_caller *who, void *ctx);
void control_run_ending(const struct service_caller *who, void *ctx);
void control_run_ended(const struct service_caller *who, void *ctx);

/* Conversations under way. */
unsigned controls_count(struct controls *s);
