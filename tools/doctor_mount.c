/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A mount: its daemon, its state, its heads.
 */
#include <stdio.h>
#include <sys/statvfs.h>

#include "base/log.h"
#include "base/text.h"
#include "client.h"
#include "doctor.h"
#include "mounts.h"
#include "present.h"

/* Heads that wait for somebody to settle them. */
struct heads_seen {
	struct doctor *doctor;
	char **branches; /* owned: "R/B" */
	size_t count;
	unsigned dirty, behind;
};

static int take_branch(json_t *line, void *ctx)
{
	struct heads_seen *h = ctx;
	char **more = reallocarray(h->branches, h->count + 1, sizeof(*more));

	if (!more)
		return -ENOMEM;
	h->branches = more;
	more[h->count] = strf("%s/%s", field_text(line, "repo"), field_text(line, "branch"));
	return more[h->count] ? (h->count++, 0) : -ENOMEM;
}

static int take_repo(json_t *line, void *ctx)
{
	json_t *names = ctx;

	return json_array_append(names, json_object_get(line, "repo")) < 0 ? -ENOMEM : 0;
}

static int take_status(json_t *line, void *ctx)
{
	struct heads_seen *h = ctx;
	const char *repo = field_text(line, "repo"), *branch = field_text(line, "branch");

	h->dirty += field_bool(line, "is_dirty");
	h->behind += field_bool(line, "is_behind");
	if (strcmp(field_text(line, "standing"), "diverged") == 0)
		finding(h->doctor, VERDICT_WARN, "heads",
			"%s/%s has diverged: somebody else has changed the same; `pfs status` says "
			"what, and `pfs merge --ours` or `--theirs` settles it",
			repo, branch);
	else if (strcmp(field_text(line, "standing"), "pending") == 0)
		finding(h->doctor, VERDICT_WARN, "heads",
			"%s/%s has a commit that is not on the branch yet; it is tried again", repo,
			branch);
	return 1; /* what has changed is not wanted */
}

static int open_mount(const char *point, struct client **ret)
{
	_cleanup_target_ struct target t = { .mount = strdup(point) };

	return t.mount ? client_open(&t, CLIENT_READS, ret) : -ENOMEM;
}

static int ask_mount(struct doctor *d, const char *point)
{
	_cleanup_client_ struct client *c = NULL;
	json_t *info = NULL;
	int r = open_mount(point, &c);

	if (r == 0)
		r = client_ask_one(c, request_new("info"), &info);
	if (r < 0) {
		finding_of_error(d, VERDICT_FAIL, "mount", r, NULL);
		return r;
	}
	finding(d, VERDICT_OK, "mount", "%s is served by process %llu%s", point,
		(unsigned long long)field_number(info, "pid"),
		field_bool(info, "is_read_only") ? ", read-only" : "");
	if (*field_text(info, "state_dir"))
		doctor_state(d, field_text(info, "state_dir"), true);
	json_decref(info);
	return 0;
}

static int ask_status(struct client *c, const char *branch, struct heads_seen *h)
{
	json_t *q = request_new("status");

	json_object_set_new(q, "path", json_string(branch));
	return client_ask(c, q, take_status, h);
}

void doctor_heads(struct doctor *d, const char *point)
{
	_cleanup_client_ struct client *c = NULL;
	struct heads_seen h = { .doctor = d };
	json_t *repos = json_array();
	int r = open_mount(point, &c);

	if (r == 0)
		r = client_ask(c, request_new("repos"), take_repo, repos);

	for (size_t i = 0; r == 0 && i < json_array_size(repos); i++) {
		json_t *q = request_new("branches");

		json_object_set(q, "repo", json_array_get(repos, i));
		r = client_ask(c, q, take_branch, &h);
	}
	for (size_t i = 0; i < h.count; i++) {
		if (r >= 0)
			r = ask_status(c, h.branches[i], &h);
		free(h.branches[i]);
	}
	free(h.branches);
	json_decref(repos);
	if (r < 0)
		finding_of_error(d, VERDICT_WARN, "heads", r, NULL);
	else
		finding(d, VERDICT_OK, "heads",
			"%zu branches, %u with uncommitted changes, %u behind", h.count, h.dirty,
			h.behind);
}

int doctor_mount(struct doctor *d, const char *point, char **ret_store)
{
	_cleanup_mounts_ struct mounts m = { 0 };
	const struct mounted *x;
	struct statvfs st;
	int r = mounts_load(&m);

	x = r == 0 ? mounts_at(&m, point) : NULL;
	if (!x || !mounted_is_pfs(x)) {
		finding(d, VERDICT_FAIL, "mount", "no pfs is mounted at %s", point);
		return -ENOENT;
	}
	*ret_store = strdup(x->source);
	if (statvfs(point, &st) < 0) {
		finding(d, VERDICT_FAIL, "mount", "%s: %s", point,
			errno == ENOTCONN || errno == ECONNABORTED
				? "the daemon has ended; mount it again, which takes what it left away"
				: strerror(errno));
		return -ENOTCONN;
	}
	return ask_mount(d, point);
}
