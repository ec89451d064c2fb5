/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From a request's text to its verb, and from its result to the answer's last line.
 */
#include "service/service.h"

#include "base/log.h"
#include "run/run.h"
#include "service/verbs.h"

static const struct verb {
	const char *name;
	int (*run)(struct request *q);
	/* Changes heads or branches, which a run sees as they were and publishes to when it has
	 * ended. */
	bool not_in_run;
} verbs[] = {
	{ "info", verb_info },
	{ "stats", verb_stats },
	{ "repos", verb_repos },
	{ "repo-create", verb_repo_create, true },
	{ "repo-remove", verb_repo_remove, true },
	{ "repo-config", verb_repo_config, true },
	{ "branches", verb_branches },
	{ "branch-create", verb_branch_create, true },
	{ "branch-remove", verb_branch_remove, true },
	{ "branch-rename", verb_branch_rename, true },
	{ "names", verb_names },
	{ "commit", verb_commit, true },
	{ "log", verb_log },
	{ "show", verb_show },
	{ "status", verb_status },
	{ "diff", verb_diff },
	{ "restore", verb_restore, true },
	{ "merge", verb_merge, true },
	{ "sync", verb_sync },
	{ "cache-warm", verb_cache_warm },
	{ "run-begin", verb_run_begin },
	{ "run-configs", verb_run_configs },
	{ "run-end", verb_run_end },
	{ "runs", verb_runs },
	{ "run-show", verb_run_show },
	{ "run-diff", verb_run_diff },
	{ "run-made", verb_run_made },
	{ "run-plan", verb_run_plan },
	{ "why", verb_why },
	{ "uses", verb_uses },
};

static int parse(struct request *q, const char *text, size_t len)
{
	json_error_t err;

	if (len > REQUEST_SIZE_MAX)
		return log_fail(-EMSGSIZE, "the request is too long");
	q->fields = json_loadb(text, len, JSON_REJECT_DUPLICATES, &err);
	if (!q->fields)
		return log_fail(-EINVAL, "the request is not JSON: %s", err.text);
	return json_is_object(q->fields) ? 0 : log_fail(-EINVAL, "the request is no JSON object");
}

static int run_verb(struct request *q)
{
	const char *name;
	int r = request_string(q, "verb", &name);

	if (r < 0)
		return r;
	/* What it is told, and what it changes so, no record of it has. */
	if (q->who->within)
		run_spoil(q->who->within);
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		const struct verb *v = &verbs[i];

		if (strcmp(v->name, name) != 0)
			continue;
		if (v->not_in_run && q->who->within)
			return log_fail(-EROFS, "inside a run nothing is committed, and no repo "
						"or branch is changed: what it writes is "
						"published when it has ended");
		return v->run(q);
	}
	return log_fail(-EOPNOTSUPP, "there is no verb `%s`", name);
}

static int answer_end(struct request *q, int r)
{
	_cleanup_answer_ struct answer a = answer_new();
	struct answer error;

	if (r == 0) {
		answer_bool(&a, "ok", true);
		return request_answer(q, &a);
	}
	error = answer_new();
	answer_number(&error, "errno", (uint64_t)-r);
	answer_text(&error, "name", strerrorname_np(-r) ?: "unknown");
	answer_text(&error, "message", complaint()[0] ? complaint() : errno_text(r));
	answer_object(&a, "error", &error);
	return request_answer(q, &a);
}

int service_run(const struct service *s, const struct service_caller *who, const char *request,
		size_t len, service_emit_fn emit, void *ctx)
{
	struct request q = { .service = s, .who = who, .emit = emit, .emit_ctx = ctx };
	bool was_quiet = log_set_quiet(true);
	int r;

	complaint_clear();
	access_init(&q.access, s->store->reader, true);
	q.access.deadline = DEADLINE_NEVER;
	q.access.deadline.cancelled = who->cancelled;
	r = parse(&q, request, len);
	if (r == 0)
		r = run_verb(&q);
	if (!q.stopped)
		answer_end(&q, r);
	access_release(&q.access);
	json_decref(q.fields);
	log_set_quiet(was_quiet);
	/* Who looks after the store is told as well, and not just who asked. */
	if (s->heads && (r == -EBADMSG || r == -EIO))
		log_error("%s", complaint());
	return q.stopped;
}
