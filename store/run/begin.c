/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The beginning of a run (RUNS.md, section 1).
 *
 *	pinned --state/runs/.begun-ID has the start--> the store is asked to take it
 *		taken: renamed to state/runs/ID, running
 *		refused: removed
 *		not known: ending, as lost; its first step is to ask again (run_confirm())
 *
 * So there is no start in the store that has no directory here, whatever is killed: what a mount
 * finds under such a name is of the third kind.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/log.h"
#include "base/text.h"
#include "record/archive.h"
#include "record/fields.h"
#include "run/parts.h"

enum {
	RECORD_TIMEOUT_MS = 30 * 1000,
};

/* What of a request becomes the record's as it is. */
static const char *const told[] = { "argv",	  "cwd",    "env",    "out",
				    "name",	  "group",  "params", "environment",
				    "stdin",	  "stdout", "stderr", "user",
				    "keep_going", "rerun",  "update", "mount" };

/* Outputs that the request names: they must be there. None named: every branch is one. */
static int name_outputs(struct run *run, struct access *acc)
{
	json_t *out = json_object_get(run->start, "out"), *item;
	size_t i;

	for (i = 0; i < run->head_count; i++)
		run->heads[i]->is_wanted = !out;
	json_array_foreach (out, i, item) {
		const char *text = json_string_value(item);
		struct run_head found, *h;
		int r = text ? run_branch_parse(text, &found) : -EINVAL;

		if (r < 0)
			return log_fail(r, "--out takes REPO/BRANCH, not `%s`", text ? text : "");
		h = run_head_find(run, found.repo, found.branch);
		if (!h) {
			r = run_head_look_up(run, &found, acc);
			if (r == -ENOENT)
				return log_fail(r, "there is no branch %s to write to", text);
			if (r < 0)
				return log_errno(r, "the branch %s", text);
			h = run_head_add(run, &found);
		}
		if (!h)
			return -ENOMEM;
		if (!h->is_output)
			return log_fail(-EROFS,
					"the run %s, in which this one is begun, may not "
					"write to %s",
					run->parent->id.s, text);
		h->is_wanted = true;
	}
	for (i = 0; i < run->head_count; i++)
		run->heads[i]->is_output &= run->heads[i]->is_wanted;
	return 0;
}

static int note_pinned(struct run *run, const struct pinned *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct run_head h = {
			.repo_id = p[i].repo,
			.branch_id = p[i].branch,
			.pinned = p[i].commit,
			.committed = p[i].committed,
			.is_output = true,
		};

		memcpy(h.repo, p[i].repo_name, sizeof(h.repo));
		memcpy(h.branch, p[i].branch_name, sizeof(h.branch));
		if (!run_head_add(run, &h))
			return -ENOMEM;
	}
	return 0;
}

/* What former runs have made is there, if that can be. */
static int take_in(struct view *head, void *ctx)
{
	runs_take_in(head, ctx);
	return 0;
}

static int pin_all(struct run *run, struct access *acc)
{
	const struct pin_request req = { .message = "as a run found it" };
	_cleanup_free_ struct pinned *p = NULL;
	size_t n = 0;
	int r;

	heads_each(run->runs->opts.heads, take_in, run->runs);
	r = heads_pin(run->runs->opts.heads, &req, acc, &p, &n);
	return r < 0 ? r : note_pinned(run, p, n);
}

/* All that the outer run has is the inner one's as well. Its heads, with a reference each: how many
 * are in *@ret, which is to be freed. */
static int copy_heads(struct run *run, struct view ***ret, size_t *ret_count)
{
	struct run *parent = run->parent;
	WITH_LOCK(&parent->lock);

	*ret = calloc(parent->head_count + 1, sizeof(struct view *));
	for (size_t i = 0; *ret && i < parent->head_count; i++) {
		struct run_head h = *parent->heads[i];

		if (h.view && view_is_head(h.view))
			(*ret)[(*ret_count)++] = view_ref(h.view);
		h.view = NULL;
		h.is_late = false;
		if (!run_head_add(run, &h))
			return -ENOMEM;
	}
	return *ret ? 0 : -ENOMEM;
}

/* One inside another sees what that has, as of now. */
static int pin_parent(struct run *run, struct access *acc)
{
	const struct pin_request req = { .message = "as a run in a run found it" };
	_cleanup_free_ struct view **views = NULL;
	_cleanup_free_ struct pinned *p = NULL;
	size_t n = 0;
	int r = copy_heads(run, &views, &n);

	if (r == 0)
		r = heads_pin_these(views, n, &req, acc, &p);
	for (size_t i = 0; r == 0 && i < n; i++)
		run_head_find(run, p[i].repo_name, p[i].branch_name)->pinned = p[i].commit;
	for (size_t i = 0; i < n; i++)
		view_unref(views[i]);
	return r;
}

static int put_pinned(struct run *run)
{
	json_t *all = json_array();

	for (size_t i = 0; i < run->head_count; i++)
		if (json_array_append_new(all, run_pinned_json(run->heads[i])) < 0) {
			json_decref(all);
			return -ENOMEM;
		}
	return json_object_set_new(run->start, "pinned", all) < 0 ? -ENOMEM : 0;
}

bool run_is_rerun(const struct run *run)
{
	return json_object_get(run->start, "rerun");
}

static int set_rerun_group(json_t *start)
{
	_cleanup_free_ char *group = strf("rerun:%s", field_text(start, "rerun"));

	return group ? json_object_set_new(start, "group", json_string(group)) : -ENOMEM;
}

static int compose(struct run *run, const json_t *request, gid_t gid)
{
	const struct store *store = run->runs->opts.store;
	json_t *s = json_pack("{s:i, s:s, s:I, s:I}", "pfs-run", RUN_RECORD_VERSION, "machine",
			      store->machine, "uid", (json_int_t)run->uid, "gid", (json_int_t)gid);

	run->start = s;
	if (!s)
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_SIZE(told); i++) {
		json_t *v = json_object_get(request, told[i]);

		/* The record and the request go in different threads. */
		if (v && json_object_set_new(s, told[i], json_deep_copy(v)) < 0)
			return -ENOMEM;
	}
	if (run->parent && json_object_set_new(s, "parent", json_string(run->parent->id.s)) < 0)
		return -ENOMEM;
	return run_is_rerun(run) ? set_rerun_group(s) : 0;
}

/* The lists of packages are the run's file, and no part of its record. One that cannot be kept is
 * not worth the run. */
static void keep_packages(struct run *run, const json_t *lists)
{
	_cleanup_free_ char *text =
		json_is_object(lists) ? json_dumps(lists, JSON_INDENT(1)) : NULL;
	_cleanup_close_ int fd = -1;

	if (text && json_object_size(lists) > 0)
		fd = openat(run->dirfd, "environment.json", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd >= 0 && write_all(fd, text, strlen(text)) < 0)
		unlinkat(run->dirfd, "environment.json", 0);
}

/* What the record is begun with. */
struct beginning {
	struct run *run;
	const json_t *packages;
};

static void drop_dir(struct run *run)
{
	_cleanup_free_ char *name = strf(RUN_BEGUN_PREFIX "%s", run->id.s);

	seen_free(run->seen);
	run->seen = NULL;
	close(run->dirfd);
	run->dirfd = -1;
	if (name)
		remove_tree(run->runs->dirfd, name);
}

/* The id's directory; -EEXIST: another run here has that id. */
static int make_dir(struct run *run)
{
	_cleanup_free_ char *name = strf(RUN_BEGUN_PREFIX "%s", run->id.s);
	int at = run->runs->dirfd;

	if (!name)
		return -ENOMEM;
	if (mkdirat(at, name, 0700) < 0)
		return -errno;
	/* Looked for last, since it has been the other for a while. */
	if (faccessat(at, run->id.s, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
		unlinkat(at, name, AT_REMOVEDIR);
		return -EEXIST;
	}
	return run_open_dir(run, name);
}

/* The start is about to be stored under that id. */
static int use_id(const struct run_id *id, void *ctx)
{
	struct beginning *b = ctx;
	struct run *run = b->run;
	int r;

	if (run->dirfd >= 0)
		drop_dir(run);
	run->id = *id;
	r = make_dir(run);
	if (r < 0)
		return r;
	keep_packages(run, b->packages);
	r = run_file_write(run, "start", run->start);
	return r < 0 ? r : fsync_dir(run->runs->dirfd, ".");
}

int run_dir_stored(struct run *run)
{
	_cleanup_free_ char *name = strf(RUN_BEGUN_PREFIX "%s", run->id.s);
	int at = run->runs->dirfd;

	if (!name)
		return -ENOMEM;
	return renameat(at, name, at, run->id.s) < 0 ? -errno : 0;
}

static void add(struct run *run, enum run_state state)
{
	struct runs *rs = run->runs;
	WITH_LOCK(&rs->lock);

	run->state = state;
	list_append(&rs->list, &run_ref(run)->link);
	rs->changes++;
	pthread_cond_signal(&rs->changed);
}

/* It is not known whether the store has the start: taken to its end, as one that nobody is in. */
static void abandon(struct run *run)
{
	run->is_unsure = run->is_forgotten = true;
	/* What is not noted is noted later, or by the next mount. */
	run_note_end(run, NULL);
	add(run, RUN_ENDING);
}

static int store_start(struct run *run, const json_t *request, const struct access *acc)
{
	struct beginning b = { run, json_object_get(request, "packages") };
	/* Who goes away meanwhile does not leave it unknown what came of it. */
	struct deadline dl = deadline_in_ms(RECORD_TIMEOUT_MS);
	struct timespec now = now_wall();
	char text[TIME_TEXT];
	json_t *t = json_string(time_text(now.tv_sec, (uint32_t)now.tv_nsec, text));
	struct run_id id;
	bool may_be_there;
	int r;

	dl.at_ns = MIN(dl.at_ns, acc->deadline.at_ns);
	if (json_object_set_new(run->start, "started", t) < 0)
		return -ENOMEM;
	r = put_pinned(run);
	if (r < 0)
		return r;
	r = archive_begin(run->runs->opts.store, run->start, use_id, &b, &dl, &id);
	may_be_there = r == 0 || r == -EINPROGRESS;
	if (r == 0)
		r = run_dir_stored(run);
	if (r == 0)
		return 0;
	if (may_be_there) {
		abandon(run);
		return log_errno(r,
				 "run %s: it is not known whether its record was stored; it will "
				 "be ended as lost",
				 run->id.s);
	}
	if (run->dirfd >= 0)
		drop_dir(run);
	return log_errno(r, "the record of a run cannot be stored");
}

static int pin(struct run *run, const json_t *request, struct access *acc)
{
	const char *former = field_text(run->start, "update");
	int r;

	if (run->parent && run_is_rerun(run))
		return log_fail(-EBUSY, "nothing can be rerun in a run: run %s goes on",
				run->parent->id.s);
	if (run_is_rerun(run))
		return run_pin_again(run, field_text(run->start, "rerun"), acc);
	if (run->parent)
		return pin_parent(run, acc);
	r = pin_all(run, acc);
	if (r < 0 || !*former)
		return r;
	return run_undo(run, former, json_object_get(request, "take_back"), acc);
}

int run_begin(struct runs *rs, const json_t *request, uid_t uid, gid_t gid, struct run *parent,
	      struct access *acc, struct run **ret)
{
	_cleanup_(run_unrefp) struct run *run = run_alloc(rs);
	int r;

	if (!run)
		return -ENOMEM;
	if (rs->opts.store->read_only)
		return log_fail(-EROFS, "a run is recorded in the store, which is read-only here");
	run->uid = uid;
	run->parent = parent ? run_ref(parent) : NULL;
	r = compose(run, request, gid);
	if (r == 0)
		r = pin(run, request, acc);
	if (r == 0)
		r = name_outputs(run, acc);
	if (r == 0)
		r = store_start(run, request, acc);
	if (r < 0)
		return r;
	if (run_see_stdin(run, acc) < 0)
		log_warning("run %s: that it reads its stdin is not recorded", run->id.s);
	add(run, RUN_GOING_ON);
	*ret = TAKE_PTR(run);
	return 0;
}
