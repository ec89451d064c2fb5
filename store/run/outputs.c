/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Outputs of a run that has ended: published, all or none of them, or kept on branches of its own
 * (RUNS.md, section 1).
 *
 * What each has come to is noted before the next step (end.c).
 */
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/text.h"
#include "record/fields.h"
#include "run/parts.h"
#include "run/publish.h"

int output_read(struct run *run, json_t *json, struct output *ret)
{
	*ret = (struct output){
		.run = run,
		.json = json,
		.p = {
			.store = run->runs->opts.store,
			.run = run->id.s,
			.repo_name = field_text(json, "repo"),
			.branch = field_text(json, "branch"),
			.author = field_text(run->start, "user"),
		},
	};
	if (field_id128(json, "repo_id", &ret->p.repo) < 0 ||
	    field_id128(json, "branch_id", &ret->p.identity) < 0)
		return -EBADMSG;
	if (field_oid(json, json_object_get(json, "committed") ? "committed" : "pinned",
		      &ret->p.committed) < 0)
		return -EBADMSG;
	return field_oid(json, "pinned", &ret->p.pinned)
		       ?: field_oid(json, "result", &ret->p.result);
}

static bool is_settled(const json_t *out)
{
	return !json_object_get(out, "result") || json_object_get(out, "published") ||
	       json_object_get(out, "kept");
}

void run_set_unpublished(struct run *run)
{
	json_object_set_new(run->note, "is_refused", json_true());
	if (run_has_status(run, "ok"))
		json_object_set_new(run->note, "status", json_string("unpublished"));
}

/* Before any branch moves: would one of them conflict? Then none does. */
static int check(struct run *run, struct access *acc)
{
	json_t *out;
	size_t i;

	if (json_object_get(run->note, "is_checked"))
		return 0;
	json_array_foreach (json_object_get(run->note, "outputs"), i, out) {
		struct output o;
		uint64_t conflicts = 0;
		int r = is_settled(out) ? 0 : output_read(run, out, &o);

		if (r == 0 && !is_settled(out))
			r = run_is_within(run) ? run_check_within(run, out, acc, &conflicts)
					       : publish_check(&o.p, &acc->deadline, &conflicts);
		if (r < 0 && r != -ENOENT)
			return r;
		if (conflicts > 0 || r == -ENOENT) {
			json_object_set_new(out, "conflicts", json_integer((json_int_t)conflicts));
			run_set_unpublished(run);
		}
	}
	json_object_set_new(run->note, "is_checked", json_true());
	return run_note_save(run);
}

static int note_doing(const struct oid *id, void *ctx)
{
	struct output *o = ctx;

	json_object_set_new(o->json, "doing", json_of_oid(id));
	return run_note_save(o->run);
}

/* How many of @all, up to @out, have a branch of the run's in that repo. */
static unsigned count_kept(const json_t *all, const json_t *out, bool *ret_found)
{
	const char *repo = field_text(out, "repo");
	unsigned n = 0;
	json_t *other;
	size_t i;

	json_array_foreach ((json_t *)all, i, other) {
		if (other == out)
			*ret_found = true;
		if (*ret_found)
			break;
		n += json_object_get(other, "result") &&
		     strcmp(field_text(other, "repo"), repo) == 0;
	}
	return n;
}

char *run_kept_name(struct run *run, const json_t *out)
{
	bool found = false;
	unsigned before = count_kept(json_object_get(run->note, "outputs"), out, &found);
	const char *kind = run_is_rerun(run) ? "rerun" : "run";
	char *name;

	if (!found)
		before += count_kept(json_object_get(run->note, "late"), out, &found);
	if (before == 0)
		return strf("%s-%s", kind, run->id.s);
	name = strf("%s-%s.%s", kind, run->id.s, field_text(out, "branch"));
	if (!name || object_name_is_valid(name))
		return name;
	free(name);
	return strf("%s-%s.%u", kind, run->id.s, before);
}

static int keep(struct output *o, struct access *acc)
{
	_cleanup_free_ char *name = run_kept_name(o->run, o->json), *kept = NULL;
	int r = name ? publish_keep(&o->p, name, NULL, &acc->deadline, &kept) : -ENOMEM;

	if (r < 0)
		return r;
	json_object_set_new(o->json, "kept", json_string(kept));
	return run_note_save(o->run);
}

/* It cannot be published. */
static int refuse(struct output *o, uint64_t conflicts, struct access *acc)
{
	json_object_set_new(o->json, "conflicts", json_integer((json_int_t)conflicts));
	run_set_unpublished(o->run);
	return keep(o, acc);
}

static int publish_within(struct output *o, struct access *acc)
{
	uint64_t conflicts = 0;
	int r = run_publish_within(o->run, o->json, acc, &conflicts);

	return r == -ESTALE || r == -ENOENT ? refuse(o, conflicts, acc) : r;
}

/* Onto the branch, after those before it. */
static int publish_in_turn(struct output *o, struct access *acc, struct oid *ret_tip,
			   uint64_t *ret_conflicts)
{
	struct runs *rs = o->run->runs;
	const struct id128 *branch = &o->p.identity;
	unsigned turn = hash_bytes(branch, sizeof(*branch)) % BRANCH_LOCKS;

	int r;

	WITH_LOCK(&rs->branches[turn]);

	r = publish_result(&o->p, &acc->deadline, ret_tip, ret_conflicts);
	if (r == 0)
		run_expect_taking(o->run, o->json);
	return r;
}

static int publish_output(struct output *o, struct access *acc)
{
	struct oid doing, tip;
	uint64_t conflicts = 0;
	int r = field_oid(o->json, "doing", &doing);

	if (r < 0)
		return r;
	o->p.doing = doing;
	o->p.about_to = note_doing;
	o->p.ctx = o;
	r = publish_in_turn(o, acc, &tip, &conflicts);
	if (r == -ESTALE || r == -ENOENT)
		return refuse(o, conflicts, acc);
	if (r < 0)
		return r;
	json_object_del(o->json, "doing");
	json_object_set_new(o->json, "published", json_of_oid(&tip));
	return run_note_save(o->run);
}

static bool wants_publication(const struct run *run)
{
	bool keep_going = json_is_true(json_object_get(run->start, "keep_going"));

	if (json_object_get(run->note, "is_refused") || run_is_rerun(run))
		return false;
	return run_has_status(run, "ok") || (keep_going && run_has_status(run, "failed"));
}

static bool has_unsettled(const struct run *run)
{
	json_t *out;
	size_t i;

	json_array_foreach (json_object_get(run->note, "outputs"), i, out)
		if (!is_settled(out))
			return true;
	return false;
}

static int output(struct run *run, json_t *out, bool publish, struct access *acc)
{
	struct output o;
	int r = output_read(run, out, &o);

	if (r == 0 && !publish)
		r = keep(&o, acc);
	else if (r == 0)
		r = run_is_within(run) ? publish_within(&o, acc) : publish_output(&o, acc);
	if (r < 0)
		return log_errno(r,
				 "run %s: what it has made of %s/%s is kept here, and will be "
				 "published when that can be",
				 run->id.s, o.p.repo_name, o.p.branch);
	return 0;
}

static int all_outputs(struct run *run, struct access *acc)
{
	bool publish;
	json_t *out;
	size_t i;
	int r;

	if (!has_unsettled(run))
		return 0;
	if (wants_publication(run) && run_is_within(run) && !run_may_publish_within(run))
		run_set_unpublished(run);
	r = wants_publication(run) ? check(run, acc) : 0;
	publish = wants_publication(run);
	json_array_foreach (json_object_get(run->note, "outputs"), i, out)
		if (r == 0 && !is_settled(out))
			r = output(run, out, publish, acc);
	return r;
}

static int outputs_within(struct run *run, struct access *acc)
{
	WITH_LOCK(&run->parent->end_lock);

	return all_outputs(run, acc);
}

int run_settle_outputs(struct run *run, struct access *acc)
{
	int r = run->parent ? outputs_within(run, acc) : all_outputs(run, acc);

	/* Of several outputs some may be published. */
	run_take_in(run, true);
	return r;
}
