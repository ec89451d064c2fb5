/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reports of a transfer (transfer/report.h).
 */
#include "transfer/report.h"

#include "base/log.h"

enum {
	TELL_EVERY_MS = 200,
};

void report_tell(struct report *r, bool last)
{
	struct transfer_progress p;
	int64_t now;

	if (!r->o->progress)
		return;
	now = now_ns();
	if (!last && now - r->told_ns < TELL_EVERY_MS * 1000000ll)
		return;
	r->told_ns = now;
	p = (struct transfer_progress){
		.files = r->files,
		.bytes = r->bytes,
		.files_total = r->files_total,
		.bytes_total = r->bytes_total,
	};
	r->o->progress(&p, r->o->ctx);
}

int report_skip(struct report *r, const char *path, int error)
{
	/* What would befall all the others too. */
	if (error == -ENOMEM || error == -ECANCELED || error == -ENOSPC || error == -EDQUOT ||
	    error == -EROFS)
		return error == -ECANCELED ? error : log_errno(error, "%s", path);
	if (!r->o->skipped)
		return log_errno(error, "%s", path);
	r->skipped++;
	r->o->skipped(path, error, r->o->ctx);
	return 0;
}
