/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The bar of a transfer.
 */
#include "progress.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "cli.h"

enum {
	BAR_WIDTH = 24,
	COLUMNS_DEFAULT = 80,
};

static atomic_bool was_stopped;

static void stop(int signal)
{
	was_stopped = true;
}

static unsigned columns(void)
{
	struct winsize w;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0)
		return w.ws_col;
	return COLUMNS_DEFAULT;
}

static void draw_bar(char *to, double share)
{
	int full = (int)(share * BAR_WIDTH);

	*to++ = '[';
	for (int i = 0; i < BAR_WIDTH; i++)
		*to++ = i < full ? '#' : ' ';
	memcpy(to, "] ", sizeof("] "));
}

static void show(const struct transfer_progress *t, void *ctx)
{
	struct progress *p = ctx;
	double seconds = (double)(now_ns() - p->started_ns) / 1e9;
	char bar[BAR_WIDTH + 4] = "", done[24], rate[24], line[256];

	if (!p->is_shown)
		return;
	if (t->bytes_total > 0)
		draw_bar(bar, MIN((double)t->bytes / (double)t->bytes_total, 1.0));
	snprintf(line, sizeof(line), "%s%s %" PRIu64 " %s, %s, %s/s", bar, p->verb, t->files,
		 p->unit, format_size(t->bytes, done, sizeof(done)),
		 format_size(seconds > 0 ? (uint64_t)((double)t->bytes / seconds) : 0, rate,
			     sizeof(rate)));
	fprintf(stderr, "\r%.*s\033[K", (int)columns() - 1, line);
	p->has_drawn = true;
}

static void note_skipped(const char *path, int error, void *ctx)
{
	struct progress *p = ctx;

	progress_end(p);
	cli_error("%s: %s", path, errno_text(error < 0 ? error : -error));
	p->skipped++;
}

void progress_begin(struct progress *p, const char *verb, bool is_quiet,
		    struct transfer_options *ret)
{
	struct sigaction sa = { .sa_handler = stop, .sa_flags = (int)SA_RESETHAND };

	*p = (struct progress){ .verb = verb, .unit = "files" };
	p->is_shown = !is_quiet && isatty(STDERR_FILENO);
	p->started_ns = now_ns();
	ret->cancelled = &was_stopped;
	ret->progress = show;
	ret->skipped = note_skipped;
	ret->ctx = p;
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
}

void progress_stop_at_once(void)
{
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
}

void progress_end(struct progress *p)
{
	if (atomic_exchange(&p->has_drawn, false))
		fputs("\r\033[K", stderr);
}
