/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pfs push and pfs pull: the same, but for the direction.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "base/text.h"
#include "bypass.h"
#include "catalog/push_runs.h"
#include "commands.h"
#include "conf.h"
#include "object/refs.h"
#include "present.h"
#include "progress.h"
#include "transfer/push.h"
#include "transfer/report.h"

enum {
	ID_SHOWN = 12,
};

#define STORE_MEMORY (32 * MiB) /* of each of the two; what the packer holds comes to it */

/* What is to be moved: a repo, or a branch of it. */
struct item {
	char *repo, *branch; /* owned; branch NULL: all of it */
};

struct push_args {
	const struct command *self;
	const char *store, *as;
	bool is_pull, all, dry, json, quiet;
	struct item *items; /* owned */
	size_t count;
	struct transfer_options options;
	struct progress progress;
	struct store *from, *to; /* borrowed */
	const char *repo; /* the one that is being told of, as it is called there */
	json_t *branches, *names; /* its outcomes */
	unsigned diverged, clashes;
	uint64_t changes;
	struct run_push_result runs; /* of all repos so far */
};

static int add_item(struct push_args *a, const char *repo, const char *branch)
{
	struct item *items = reallocarray(a->items, a->count + 1, sizeof(*items));

	if (!items)
		return -ENOMEM;
	a->items = items;
	items[a->count] = (struct item){ strdup(repo), branch ? strdup(branch) : NULL };
	return items[a->count++].repo ? 0 : -ENOMEM;
}

static int add_target(struct push_args *a, const struct target *t)
{
	_cleanup_free_ char *repo = target_repo(t), *branch = NULL;

	if (!repo)
		return -ENOMEM;
	if (!*repo)
		return 0; /* a whole store */
	branch = target_rev(t);
	return add_item(a, repo, branch);
}

/* "REPO[/BRANCH]" as it stands, or a path into a mount, which says the store as well. */
static int add_arg(struct push_args *a, const char *arg, struct target *t)
{
	_cleanup_target_ struct target path = { 0 };
	_cleanup_free_ char *repo = NULL;
	const char *slash = strchr(arg, '/');
	int r;

	if (arg[0] != '/' && arg[0] != '.') {
		repo = strndup(arg, strcspn(arg, "/"));
		if (slash && (slash[1] == '\0' || strchr(slash + 1, '/'))) {
			cli_error("`%s` is not REPO or REPO/BRANCH", arg);
			return -EINVAL;
		}
		return repo ? add_item(a, repo, slash ? slash + 1 : NULL) : -ENOMEM;
	}
	r = target_find(a->store, arg, &path);
	if (r < 0)
		return r;
	if (t->mount)
		r = target_check_same(t, &path);
	else if (!t->store)
		t->mount = strdup(path.mount);
	return r < 0 ? r : add_target(a, &path);
}

static int collect_repo(const char *name, void *ctx)
{
	return add_item(ctx, name, NULL);
}

static int add_all(struct push_args *a)
{
	struct refs_wait w = {
		.may_wait = true,
		.fresh = true,
		.deadline = { .at_ns = INT64_MAX, .cancelled = a->options.cancelled },
	};
	int r = refs_list_repos(a->from->refs, &w, collect_repo, a);

	return r < 0 ? log_errno(r, "%s: the repos cannot be listed", a->from->backend->url) : 0;
}

static const char *state_text(enum push_state s)
{
	static const char *const texts[] = {
		[PUSH_CREATED] = "created", [PUSH_MOVED] = "moved",	  [PUSH_SAME] = "same",
		[PUSH_AHEAD] = "ahead",	    [PUSH_DIVERGED] = "diverged", [PUSH_CLASHES] = "clash",
	};

	return texts[s];
}

static json_t *id_json(const struct oid *id)
{
	char hex[OID_HEX];

	return oid_is_null(id) ? json_null() : json_string(oid_hex(id, hex));
}

static void complain(const struct push_args *a, const struct push_outcome *o)
{
	char here[OID_HEX];

	oid_hex(&o->from, here);
	if (o->state == PUSH_DIVERGED)
		cli_error(
			"%s/%s has diverged: commits are on it in %s that %s does not have. It was "
			"left; the commits are there, the last of them being %s",
			a->repo, o->name, a->to->backend->url, a->from->backend->url, here);
	else
		cli_error("%s: `%s` is something else in %s, and was left; here it is %s", a->repo,
			  o->name, a->to->backend->url, here);
}

static void print_outcome(const struct push_args *a, const struct push_outcome *o)
{
	char x[OID_HEX], y[OID_HEX];

	oid_hex(&o->to, x)[ID_SHOWN] = '\0';
	oid_hex(&o->from, y)[ID_SHOWN] = '\0';
	switch (o->state) {
	case PUSH_CREATED:
		printf("%s/%s  new %s, %s\n", a->repo, o->name,
		       o->kind == PUSH_BRANCH ? "branch" : "name",
		       oid_is_null(&o->from) ? "empty" : y);
		break;
	case PUSH_MOVED:
		printf("%s/%s  %s to %s\n", a->repo, o->name, oid_is_null(&o->to) ? "nothing" : x,
		       y);
		break;
	case PUSH_AHEAD:
		printf("%s/%s  is further there: %s\n", a->repo, o->name, x);
		break;
	default:
		break;
	}
}

static void take_outcome(const struct push_outcome *o, void *ctx)
{
	struct push_args *a = ctx;
	json_t *line;

	progress_end(&a->progress);
	a->diverged += o->state == PUSH_DIVERGED;
	a->clashes += o->state == PUSH_CLASHES;
	a->changes += o->state == PUSH_CREATED || o->state == PUSH_MOVED;
	if (o->state == PUSH_DIVERGED || o->state == PUSH_CLASHES)
		complain(a, o);
	if (!a->json) {
		print_outcome(a, o);
		return;
	}
	line = json_pack("{ss ss so so}", "name", o->name, "state", state_text(o->state), "from",
			 id_json(&o->from), "to", id_json(&o->to));
	json_array_append_new(o->kind == PUSH_BRANCH ? a->branches : a->names, line);
}

static void add_result(struct push_args *a, const struct item *x, const struct push_result *res,
		       uint64_t runs, json_t *repos)
{
	json_array_append_new(repos,
			      json_pack("{ss ss sI sI sI sI sI sO sO sI}", "repo", x->repo, "as",
					res->repo, "commits", (json_int_t)res->commits, "objects",
					(json_int_t)res->objects, "bytes", (json_int_t)res->bytes,
					"stored_bytes", (json_int_t)res->stored_bytes, "packs",
					(json_int_t)res->packs, "branches", a->branches, "names",
					a->names, "runs", (json_int_t)runs));
}

static int push_its_runs(const struct push_along *x, void *ctx)
{
	struct push_args *a = ctx;
	const struct run_push p = {
		.from = a->from,
		.to = a->to,
		.repo = x->repo,
		.branch = x->req->branch,
		.is_dry = a->dry,
		.report = x->report,
		.stored = x->result,
	};

	return run_push(&p, &a->runs);
}

/* With all repos also what belongs to none: runs that changed nothing. */
static int push_other_runs(struct push_args *a, struct push_result *total)
{
	struct report report = { .o = &a->options };
	const struct run_push p = {
		.from = a->from,
		.to = a->to,
		.is_dry = a->dry,
		.report = &report,
		.stored = total,
	};

	return run_push(&p, &a->runs);
}

static int push_item(struct push_args *a, const struct item *x, struct push_result *total,
		     json_t *repos)
{
	struct push_result res = { 0 };
	struct push_request q = {
		.from = a->from,
		.to = a->to,
		.repo = x->repo,
		.branch = x->branch,
		.as = a->as,
		.is_dry = a->dry,
		.outcome = take_outcome,
		/* With all, those of no repo are counted with them. */
		.along = a->all && a->dry ? NULL : push_its_runs,
		.ctx = a,
	};
	uint64_t runs = a->runs.runs;
	int r;

	a->repo = x->repo;
	a->branches = json_array();
	a->names = json_array();
	r = transfer_push(&q, &a->options, &res);
	if (r == 0) {
		total->commits += res.commits;
		total->objects += res.objects;
		total->bytes += res.bytes;
		total->stored_bytes += res.stored_bytes;
		add_result(a, x, &res, a->runs.runs - runs, repos);
	}
	json_decref(a->branches);
	json_decref(a->names);
	return r;
}

static void print_total(const struct push_args *a, const struct push_result *t)
{
	char raw[24], stored[24];

	if (a->dry) {
		printf("%" PRIu64 " commit%s would be moved, and %" PRIu64 " run%s\n", t->commits,
		       t->commits == 1 ? "" : "s", a->runs.runs, a->runs.runs == 1 ? "" : "s");
		return;
	}
	if (a->runs.runs > 0)
		printf("%" PRIu64 " run%s\n", a->runs.runs, a->runs.runs == 1 ? "" : "s");
	if (t->commits == 0 && a->changes == 0 && a->runs.runs == 0)
		puts("Nothing is missing there.");
	else if (t->commits > 0 || a->changes > 0)
		printf("%" PRIu64 " commit%s, %" PRIu64 " objects of %s, stored as %s\n",
		       t->commits, t->commits == 1 ? "" : "s", t->objects,
		       format_size(t->bytes, raw, sizeof(raw)),
		       format_size(t->stored_bytes, stored, sizeof(stored)));
}

static int push_all(struct push_args *a)
{
	struct push_result total = { 0 };
	json_t *repos = json_array(), *all;
	int r = 0;

	progress_begin(&a->progress, a->is_pull ? "pulled" : "pushed", a->quiet, &a->options);
	a->progress.unit = "objects";
	a->all |= a->count == 0;
	if (a->all)
		r = add_all(a);
	if (a->as && a->count != 1)
		r = log_fail(-EINVAL, "--as is for one repo at a time");
	for (size_t i = 0; r == 0 && i < a->count; i++)
		r = push_item(a, &a->items[i], &total, repos);
	if (r == 0 && a->all)
		r = push_other_runs(a, &total);
	progress_end(&a->progress);
	all = json_pack("{ss ss sb so}", "from", a->from->backend->url, "to", a->to->backend->url,
			"is_dry_run", a->dry, "repos", repos);
	if (r == 0 && a->json)
		print_json(all);
	else if (r == 0)
		print_total(a, &total);
	json_decref(all);
	if (r == -ECANCELED)
		cli_error("stopped; what has been moved so far need not be moved again");
	if (r < 0)
		return EXIT_FAILED;
	return a->clashes ? EXIT_FAILED : a->diverged ? EXIT_DIVERGED : EXIT_DONE;
}

static int open_store(const char *url, bool read_only, struct store **ret)
{
	struct store_options o = { .read_only = read_only, .memory_bytes = STORE_MEMORY };

	return store_open(url, &o, ret);
}

/* @local: the store here, which the mount, --store or the configuration says; @other: the one that
 * was named. */
static int open_and_push(struct push_args *a, const struct target *local, const char *other)
{
	_cleanup_(store_freep) struct store *from = NULL, *to = NULL;
	_cleanup_store_conf_ struct store_conf there = { 0 };
	_cleanup_free_ char *here = NULL;
	int r = store_conf_find(other, false, &there);

	if (r == 0)
		r = bypass_url(local, &here);
	if (r == 0)
		r = open_store(a->is_pull ? there.url : here, true, &from);
	if (r == 0)
		r = open_store(a->is_pull ? here : there.url, a->dry, &to);
	if (r < 0)
		return EXIT_FAILED;
	a->from = from;
	a->to = to;
	return push_all(a);
}

static int push(struct push_args *a, char **args, int n)
{
	_cleanup_target_ struct target local = { 0 };
	int r = 0;

	for (int i = 1; r == 0 && i < n; i++)
		r = add_arg(a, args[i], &local);
	if (r == 0 && !local.mount) {
		r = target_find(a->store, NULL, &local);
		if (r == 0 && n == 1 && !a->all)
			r = add_target(a, &local);
	}
	return r < 0 ? EXIT_FAILED : open_and_push(a, &local, args[0]);
}

static int run(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = { { "all", no_argument, NULL, OPT_ALL },
					       { "as", required_argument, NULL, OPT_AS },
					       { "dry-run", no_argument, NULL, 'n' },
					       { "quiet", no_argument, NULL, 'q' },
					       LONG_JSON,
					       LONG_STORE,
					       LONG_HELP,
					       LONG_END };
	struct push_args a = { .self = self, .is_pull = self == &cmd_pull };
	char **args;
	int r, n;

	while ((r = cli_option(self, argc, argv, "hnq", longs)) >= 0) {
		if (r == OPT_STORE)
			a.store = optarg;
		else if (r == OPT_AS)
			a.as = optarg;
		else if (r == OPT_ALL)
			a.all = true;
		else if (r == OPT_JSON)
			a.json = true;
		else if (r == 'n')
			a.dry = true;
		else if (r == 'q')
			a.quiet = true;
	}
	n = cli_arguments(self, argc, argv, 1, INT32_MAX, &args);
	if (a.all && n > 1)
		return cli_usage(self, "--all, or repos, but not both");
	r = push(&a, args, n);
	for (size_t i = 0; i < a.count; i++) {
		free(a.items[i].repo);
		free(a.items[i].branch);
	}
	free(a.items);
	return r;
}

#define OPTIONS_HELP                                                                         \
	"  --all           every repo, wherever this is called\n"                            \
	"  --as NAME       what the repo is to be called, where it is new\n"                 \
	"  -n, --dry-run   only say what would be done\n"                                    \
	"  -q, --quiet     no bar\n"                                                         \
	"  --json          one JSON value instead of lines\n"                                \
	"  --store STORE   the store here, if it is not the one of the current directory\n"  \
	"\n"                                                                                 \
	"Exits with 3 when a branch has diverged. It may be stopped at any time: what was\n" \
	"moved is not moved again.\n"

const struct command cmd_push = {
	.name = "push",
	.summary = "bring another store what it lacks",
	.help = "Usage: pfs push [OPTION]... STORE [REPO[/BRANCH]]...\n"
		"\n"
		"Brings STORE, a directory, a bucket or a name from a configuration file, what it\n"
		"lacks of the repos of the store here: content, commits, names and branches, all\n"
		"under the ids they have. A branch only moves forward; where both sides have\n"
		"commits of their own it is left, and said to have diverged. With REPO/BRANCH\n"
		"that branch and the names of its commits go. Without either it is what the\n"
		"current directory is in, and outside of any repo all of them. Runs that made\n"
		"what goes are taken along, with --all those as well that changed nothing.\n"
		"\n" OPTIONS_HELP "\n"
		"Examples:\n"
		"  pfs push --all backup\n"
		"  pfs push 's3://data/lab?endpoint=http://minio:9000' corpus/main\n",
	.run = run,
};

const struct command cmd_pull = {
	.name = "pull",
	.summary = "get from another store what is lacking here",
	.help = "Usage: pfs pull [OPTION]... STORE [REPO[/BRANCH]]...\n"
		"\n"
		"Gets from STORE what the store here lacks; `pfs push` the other way round. A\n"
		"mount shows it as soon as it looks again.\n"
		"\n" OPTIONS_HELP "\n"
		"Example:\n"
		"  pfs pull --store /srv/pfs backup corpus\n",
	.run = run,
};
