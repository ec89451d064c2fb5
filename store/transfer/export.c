/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Exports: finding what is to be written (transfer/transfer.h).
 */
#include "transfer/export.h"

#include "base/log.h"

static int find(struct export *x, const char *path)
{
	int r = place_find(&x->place, path);

	if (r == 0 && !x->place.exists)
		r = -ENOENT;
	if (r == 0)
		r = place_inode(&x->place, &x->leaf, &x->inode);
	return r < 0 ? log_errno(r, "%s", path) : 0;
}

static void foretell(struct export *x)
{
	const struct tree_sum *sum = &x->inode.dir.sum;
	bool is_dir = x->inode.type == FT_DIR;

	x->report.files_total = is_dir ? sum->files : 1;
	x->report.bytes_total = is_dir			  ? sum->bytes
				: x->inode.type == FT_REG ? x->inode.content.size
							  : 0;
}

int transfer_export(struct store *s, const struct export_request *req,
		    const struct transfer_options *o)
{
	struct export x = { .store = s, .req = req, .report = { .o = o } };
	int r = place_init(&x.place, s, req->commit, o->cancelled);

	if (r < 0)
		log_errno(r, "the commit");
	if (r == 0)
		r = find(&x, req->path ? req->path : "");
	if (r == 0) {
		foretell(&x);
		r = strcmp(req->dest, "-") == 0 ? export_tar(&x) : export_local(&x);
		report_tell(&x.report, true);
	}
	if (r == 0 && x.report.skipped > 0)
		r = -EREMOTEIO;
	node_unref(x.leaf);
	place_release(&x.place);
	return r;
}
