/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a run's processes have written after its end (RUNS.md, section 1): put on a branch of the
 * run's when nobody can come back to its view. Then its private heads go.
 */
#include "base/log.h"
#include "base/text.h"
#include "record/fields.h"
#include "run/parts.h"
#include "run/publish.h"

/* What is noted of the branch, in one of the note's lists; NULL: nothing. */
static json_t *noted_of(const struct run *run, const char *list, const struct run_head *h)
{
	json_t *out;
	size_t i;

	json_array_foreach (json_object_get(run->note, list), i, out)
		if (strcmp(field_text(out, "repo"), h->repo) == 0 &&
		    strcmp(field_text(out, "branch"), h->branch) == 0)
			return out;
	return NULL;
}

/* The place of a branch among the late ones: noted first, so that its name is the same next time.
 */
static int note_late(struct run *run, const struct run_head *h, const struct oid *result,
		     json_t **ret)
{
	json_t *late = json_object_get(run->note, "late");

	*ret = noted_of(run, "late", h);
	if (*ret)
		return 0;
	if (!late && json_object_set_new(run->note, "late", late = json_array()) < 0)
		return -ENOMEM;
	*ret = json_pack("{s:s, s:s, s:o}", "repo", h->repo, "branch", h->branch, "result",
			 json_of_oid(result));
	if (json_array_append_new(late, *ret) < 0)
		return -ENOMEM;
	return run_note_save(run);
}

/* What was changed in a branch since the end is put where its result lies, if that was kept, or
 * where it would have been. */
static int settle_late(struct run *run, struct run_head *h, struct access *acc)
{
	const struct commit_meta meta = { .key = span_str("pfs.run"),
					  .value = span_str(run->id.s) };
	const struct pin_request req = { .message = "written after a run's end",
					 .meta = &meta,
					 .meta_count = 1 };
	struct publishing p = { .store = run->runs->opts.store,
				.run = run->id.s,
				.repo = h->repo_id,
				.repo_name = h->repo,
				.pinned = h->pinned };
	json_t *out = noted_of(run, "outputs", h);
	const char *kept = field_text(out, "kept");
	_cleanup_free_ char *name = NULL, *on = NULL;
	struct oid result = h->pinned;
	bool is_new;
	int r = 0;

	if (out && json_object_get(out, "result"))
		r = field_oid(out, "result", &result);
	if (r == 0)
		r = head_pin(h->view, &req, acc, &p.result, &is_new);
	/* The repo is gone, and nothing was committed to it. */
	if (r == -ESTALE)
		return 0;
	if (r < 0 || oid_equal(&p.result, &result))
		return r;
	if (!out || !json_object_get(out, "result"))
		r = note_late(run, h, &p.result, &out);
	if (r < 0)
		return r;
	name = *kept ? strdup(kept) : run_kept_name(run, out);
	r = name ? publish_keep(&p, name, *kept ? &result : NULL, &acc->deadline, &on) : -ENOMEM;
	if (r == 0)
		log_info("run %s: what was written after its end is at %s/%s", run->id.s, h->repo,
			 on);
	return r;
}

int run_settle_gone(struct run *run, struct access *acc)
{
	_cleanup_free_ struct run_head **heads = NULL;
	ssize_t n = run_heads(run, &heads);
	int r = MIN((int)n, 0);

	for (ssize_t i = 0; r == 0 && i < n; i++)
		if (heads[i]->view && view_is_head(heads[i]->view))
			r = settle_late(run, heads[i], acc);
	for (ssize_t i = 0; r == 0 && i < n; i++) {
		if (!heads[i]->view || !view_is_head(heads[i]->view))
			continue;
		r = head_discard(heads[i]->view);
		if (r == 0) {
			view_unref(heads[i]->view);
			heads[i]->view = NULL;
		}
	}
	return r;
}
