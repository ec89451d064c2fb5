/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Inside transfer/tar.h: what reading and writing share. These files alone know libarchive.
 *
 * libarchive takes names for text of the thread's locale. In "C" what it reads stays as it is: it
 * tries UTF-8 and falls back to the bytes. What it writes must be known to be UTF-8, or else every
 * name beyond ASCII would be marked as binary, which GNU tar complains about.
 */
#pragma once

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>

#include "transfer/tar.h"

enum {
	BLOCK = 512,
	RECORD = 10240,
	STREAM_BUFFER = 256 << 10,
};

/* The stream, and the locale of the thread while it is used. */
struct tar_stream {
	struct archive *a; /* borrowed */
	int fd; /* borrowed */
	const atomic_bool *cancelled; /* borrowed */
	int error; /* of the descriptor */
	uint64_t bytes; /* that have passed */
	locale_t own, former;
};

/* @a NULL: without memory it was not made. 0 or -ENOMEM. */
int tar_stream_init(struct tar_stream *s, struct archive *a, const char *locale, int fd,
		    const atomic_bool *cancelled);
void tar_stream_release(struct tar_stream *s);

/* The descriptor's error, or that the user has had enough. */
int tar_stream_check(struct tar_stream *s);

/* What a call of libarchive's failed for, logged; @otherwise unless it was the descriptor. */
int tar_stream_error(struct tar_stream *s, int otherwise);

/*
 * A time before 1970 is a negative decimal number in the stream; libarchive puts the fraction
 * behind the seconds as it stands. @away: -1 for what it has read, 1 for what it is to write.
 */
struct inode_time tar_time_mirrored(struct inode_time t, int64_t away);
