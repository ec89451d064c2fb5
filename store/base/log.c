/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Logging: a line is one write(2), so lines of several threads do not mix.
 */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	LINE_MAX_LEN = 4096
};

static atomic_int max_level = LOG_LEVEL_INFO;
static const char *_Atomic program = "pfs";
static _Thread_local char last[LINE_MAX_LEN];
static _Thread_local bool is_quiet;

void log_set_level(enum log_level max)
{
	max_level = max;
}

void log_set_name(const char *name)
{
	program = name;
}

bool log_set_quiet(bool quiet)
{
	bool former = is_quiet;

	is_quiet = quiet;
	return former;
}

/* The variable is inherited also by those whose stderr leads elsewhere, from a terminal that is a
 * service say. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

static void emit(enum log_level level, const char *text)
{
	static const char *const priority[] = { "<3>", "<4>", "<6>", "<7>" };
	char line[LINE_MAX_LEN + 64];
	int n;

	if ((int)level > max_level || is_quiet)
		return;
	if (stderr_is_journal())
		n = snprintf(line, sizeof(line), "%s%s\n", priority[level], text);
	else
		n = snprintf(line, sizeof(line), "%s: %s%s\n", program,
			     level == LOG_LEVEL_WARNING ? "warning: " : "", text);
	if (n > 0 && write(STDERR_FILENO, line, MIN((size_t)n, sizeof(line) - 1)) < 0)
		return; /* nowhere left to say so */
}

void log_line(enum log_level level, const char *fmt, ...)
{
	char text[LINE_MAX_LEN];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	emit(level, text);
}

const char *errno_text(int r)
{
	return r == -EBADMSG ? "it is damaged" : strerrordesc_np(-r) ?: "unknown error";
}

int log_errno(int r, const char *fmt, ...)
{
	char text[LINE_MAX_LEN];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(last, sizeof(last), "%.3900s: %s", text, errno_text(r));
	emit(LOG_LEVEL_ERROR, last);
	return r;
}

int log_fail(int r, const char *fmt, ...)
{
	char text[sizeof(last)];
	va_list ap;

	/* The last complaint may be among what is said. */
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	memcpy(last, text, strlen(text) + 1);
	emit(LOG_LEVEL_ERROR, last);
	return r;
}

const char *complaint(void)
{
	return last;
}

void complaint_clear(void)
{
	last[0] = '\0';
}
