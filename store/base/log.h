/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One line for whoever runs the program: to stderr, with systemd's priority prefixes when it
 * listens. An error is logged once, by whoever handles it, in a sentence that names the thing;
 * secrets never are.
 *
 * The last complaint of a thread is kept as well, so that a command that runs inside the daemon
 * can give its caller the sentence and not just the errno.
 */
#pragma once

#include "base/defs.h"

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

/* What is above @max is dropped; the default is LOG_LEVEL_INFO. */
void log_set_level(enum log_level max);

/* Starts every line but those for systemd, which names us itself: "pfs: ...". Borrowed for ever. */
void log_set_name(const char *name);

/* With @quiet errors are only remembered for complaint(): for library calls that a command
 * reports itself. Per thread. Returns the former state. */
bool log_set_quiet(bool quiet);

void log_line(enum log_level level, const char *fmt, ...) _printf_(2, 3);

/* Logs "MESSAGE: errno_text(r)" as an error and returns @r, which is negative. */
int log_errno(int r, const char *fmt, ...) _printf_(2, 3);

/* The same without the errno: for a sentence that says it all. */
int log_fail(int r, const char *fmt, ...) _printf_(2, 3);

#define log_error(...)	 log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)	 log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)	 log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* What -errno means, in a few words: as strerror, but -EBADMSG is damage here. */
const char *errno_text(int r);

/* The sentence of this thread's last log_errno() or log_fail() since complaint_clear(); "" for
 * none. Valid until the thread's next. */
const char *complaint(void);
void complaint_clear(void);
