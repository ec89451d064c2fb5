/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What reading and writing tar streams share (transfer/tar_stream.h).
 */
#include "transfer/tar_stream.h"

#include "base/log.h"

int tar_stream_init(struct tar_stream *s, struct archive *a, const char *locale, int fd,
		    const atomic_bool *cancelled)
{
	s->a = a;
	s->fd = fd;
	s->cancelled = cancelled;
	if (!a)
		return -ENOMEM;
	s->own = newlocale(LC_CTYPE_MASK, locale, (locale_t)0);
	if (s->own)
		s->former = uselocale(s->own);
	return 0;
}

void tar_stream_release(struct tar_stream *s)
{
	if (s->own) {
		uselocale(s->former);
		freelocale(s->own);
	}
}

int tar_stream_check(struct tar_stream *s)
{
	if (s->cancelled && *s->cancelled)
		s->error = -ECANCELED;
	return s->error;
}

/* What a call of libarchive's failed for. */
int tar_stream_error(struct tar_stream *s, int otherwise)
{
	const char *text = archive_error_string(s->a);

	if (s->error == -ECANCELED)
		return s->error;
	if (s->error < 0)
		return log_errno(s->error, "the tar stream");
	if (archive_errno(s->a) == ENOMEM)
		return log_errno(-ENOMEM, "the tar stream");
	return log_fail(otherwise, "the tar stream: %s", text ? text : "damaged");
}

struct inode_time tar_time_mirrored(struct inode_time t, int64_t away)
{
	if (t.sec >= 0 || t.nsec == 0)
		return t;
	return (struct inode_time){ t.sec + away, 1000000000 - t.nsec };
}
