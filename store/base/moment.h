/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Points in time as people write them.
 *
 *	2026-01-15			its first instant
 *	2026-01-15T14:00[:05[.25]]	also with a space for the T; local time, or with Z or +01:00
 *	90s, 30m, 1h, 2d, 3w, 1y	so long ago
 *	2 days ago, 1 month		the same in words, also with `.` or `_` for the spaces
 *	now, today, yesterday		its first instant; 24 hours ago
 */
#pragma once

#include <stdint.h>
#include <time.h>

/* 0; -EINVAL: it is none of those, or a day that no calendar has. */
int moment_parse(const char *text, struct timespec now, struct timespec *ret);

/* The same as all that it stands for, a day, a minute or a second: from its first instant up to
 * the first behind it. Others are the instant itself. Local time is that of @zone, seconds east of
 * UTC. */
int moment_range_parse(const char *text, struct timespec now, int zone, struct timespec *ret_from,
		       struct timespec *ret_to);

/* "90s", "10m", "1h", "2d" as seconds. 0 or -EINVAL. */
int duration_parse(const char *text, int64_t *ret_sec);
