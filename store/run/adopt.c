/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Taking up a run that a former process has left in the state directory: what it was begun with,
 * its branches, their private heads, and how far its end has come.
 *
 * Done for all of them before any is taken further: what an outer run had taken in is told from
 * where its heads are (within.c).
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/log.h"
#include "base/text.h"
#include "record/fields.h"
#include "run/parts.h"

static bool is_changed(struct view *head)
{
	struct head_activity a;

	head_activity(head, &a);
	return a.is_dirty;
}

/* Two were opened at once, and only one was used. */
static int adopt_second(struct run_head *h, struct view *head)
{
	struct view *unused = head;

	if (!is_changed(h->view)) {
		unused = h->view;
		h->view = view_ref(head);
	} else {
		view_ref(unused);
	}
	head_discard(unused);
	view_unref(unused);
	return 0;
}

/* Nothing tells of the branch: what was written to it can be kept all the same. */
static struct run_head *add_unknown(struct run *run, struct run_head *h, struct view *head)
{
	h->repo_id = *head_repo(head);
	h->pinned = h->committed = head_committed(head);
	h->is_late = true;
	return run_head_add(run, h);
}

/* A private head of a former process, by its label "ID R/B". */
static int adopt_head(struct view *head, struct span label, void *ctx)
{
	struct run *run = ctx;
	struct run_head *there, h;
	char text[RUN_LABEL_MAX + 1];

	if (label.len >= sizeof(text) || label.len <= RUN_ID_LEN + 1 ||
	    memcmp(label.data, run->id.s, RUN_ID_LEN) != 0)
		return 0;
	memcpy(text, label.data, label.len);
	text[label.len] = '\0';
	if (run_branch_parse(text + RUN_ID_LEN + 1, &h) < 0)
		return 0;
	there = run_head_find(run, h.repo, h.branch) ?: add_unknown(run, &h, head);
	if (!there)
		return -ENOMEM;
	if (there->view)
		return adopt_second(there, head);
	there->view = view_ref(head);
	return 0;
}

static int adopt_branches(struct run *run)
{
	json_t *pinned = json_object_get(run->start, "pinned"), *p;
	size_t i;
	int r;

	json_array_foreach (pinned, i, p) {
		struct run_head h;

		r = run_pinned_read(p, &h);
		if (r < 0)
			return r;
		if (!run_head_add(run, &h))
			return -ENOMEM;
	}
	r = run_late_read(run);
	return r < 0 ? r : heads_each_private(run->runs->opts.heads, adopt_head, run);
}

static int read_start(struct run *run)
{
	_cleanup_buf_ struct buf text = { 0 };
	int r = read_file(run->dirfd, "start", RUN_RECORD_MAX, &text);

	return r < 0 ? r : run_start_read(&run->id, buf_span(&text), &run->start);
}

static int read_note(struct run *run)
{
	int r = run_file_read(run, "note", &run->note);

	run->is_noted = r == 0;
	return r == -ENOENT ? run_note_end(run, NULL) : r;
}

static int adopt(struct run *run, const char *name)
{
	int r = run_open_dir(run, name);

	if (r == 0)
		r = read_start(run);
	if (r == 0)
		r = adopt_branches(run);
	if (r == 0)
		r = read_note(run);
	if (r == 0 && run_is_within(run))
		r = run_recall_within(run);
	return r;
}

/* Killed before anything of it could be in the store. */
static bool is_nothing(struct runs *rs, const char *name)
{
	_cleanup_free_ char *start = strf("%s/start", name);

	return start && faccessat(rs->dirfd, start, F_OK, 0) < 0 && errno == ENOENT;
}

int run_adopt(struct runs *rs, const char *name, struct run **ret)
{
	const size_t prefix = strlen(RUN_BEGUN_PREFIX);
	bool is_unsure = strncmp(name, RUN_BEGUN_PREFIX, prefix) == 0;
	const char *id = name + (is_unsure ? prefix : 0);
	struct run *run;
	int r;

	if (is_unsure && is_nothing(rs, name)) {
		remove_tree(rs->dirfd, name);
		return 1;
	}
	run = run_alloc(rs);
	if (!run)
		return -ENOMEM;
	run->is_unsure = is_unsure;
	r = run_id_parse(id, &run->id);
	if (r == 0)
		r = adopt(run, name);
	if (r == 0) {
		*ret = run;
		return 0;
	}
	run_unref(run);
	return log_errno(r,
			 "run %s, which was going on when the last mount ended, cannot be taken "
			 "to its end; what is known of it stays in the state directory",
			 id);
}
