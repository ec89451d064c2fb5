/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How a mount is to be: what mount(8) and the command were told with -o.
 */
#pragma once

#include "base/defs.h"

struct mount_options {
	char *store; /* owned; a URL, made absolute */
	char *mount_point; /* owned; absolute */
	char *state_dir; /* owned; NULL: one of the user's for this store and place */
	uint64_t memory_bytes;
	uint64_t disk_bytes; /* staged data and cache; 0: half of what is free */
	uint64_t max_nodes; /* files the kernel may know at a time */
	unsigned refresh_ms;
	unsigned autocommit_speed; /* how fast its clock goes; other than 1 in tests alone */
	unsigned threads; /* that take requests; 0: by the number of processors */
	bool read_only;
	bool single_writer;
	bool foreground;
	bool placement; /* fs/place.h */
	bool allow_other; /* other users may enter: always for root */
	bool allow_dev, allow_suid, no_exec;
	bool allow_nonempty;
};

void mount_options_init(struct mount_options *o);
void mount_options_release(struct mount_options *o);
#define _cleanup_mount_options_ _cleanup_(mount_options_release)

/* Where from and where to: made absolute, so that a place is the same however it is written. 0,
 * -ENOMEM, -errno of the current directory, logged. */
int mount_options_set_places(struct mount_options *o, const char *store, const char *mount_point);

/*
 * Reads "a,b=c,...". What only the kernel or fstab's readers care about is accepted and ignored. 0,
 * or -EINVAL: a sentence that names the option is logged.
 */
int mount_options_parse(struct mount_options *o, const char *text);

/* The state directory that is meant: @o's own, or the default one. malloc'ed; NULL without memory
 * or a home. */
char *mount_state_dir(const struct mount_options *o);
