/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pfs repo
 */
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/text.h"
#include "client.h"
#include "commands.h"
#include "present.h"

struct repo_args {
	const struct command *self;
	const char *store, *branch, *chunk;
	bool json;
	char **args; /* behind the sub-command */
	int count;
};

static json_t *fields_of_new(const struct repo_args *a)
{
	json_t *q = request_new("repo-create");
	mode_t mask = umask(0);
	char mode[8];

	umask(mask);
	snprintf(mode, sizeof(mode), "%04o", 0777u & ~mask);
	json_object_set_new(q, "mode", json_string(mode));
	if (a->branch)
		json_object_set_new(q, "default_branch", json_string(a->branch));
	return q;
}

/* A size for people, as bytes for the request. */
static int set_chunk(json_t *q, const char *text)
{
	uint64_t bytes;

	if (parse_size(text, &bytes) < 0 || bytes > INT64_MAX) {
		cli_error("`%s` is not a size; 64K or 1M would be", text);
		return -EINVAL;
	}
	json_object_set_new(q, "chunk", json_integer((json_int_t)bytes));
	return 0;
}

static void print_repo(const json_t *line)
{
	const json_t *chunk = json_object_get(line, "chunk");
	char when[LOCAL_TIME], size[24];
	const char *key;
	json_t *value;

	printf("%s\n", field_text(line, "repo"));
	printf("  id              %s\n", field_text(line, "id"));
	printf("  created         %s\n", local_time(field_text(line, "created"), when));
	printf("  default branch  %s\n", field_text(line, "default_branch"));
	printf("  owner           %" PRIu64 ":%" PRIu64 "\n", field_number(line, "uid"),
	       field_number(line, "gid"));
	printf("  mode            %s\n", field_text(line, "mode"));
	printf("  average chunk   %s\n",
	       format_size(field_number(chunk, "avg"), size, sizeof(size)));
	json_object_foreach ((json_t *)json_object_get(line, "settings"), key, value)
		printf("  %-15s %s\n", key, json_string_value(value));
}

struct listing {
	bool json;
	struct json_list list;
};

static int list_one(json_t *line, void *ctx)
{
	struct listing *l = ctx;

	if (l->json)
		json_list_add(&l->list, line);
	else
		printf("%s\n", field_text(line, "repo"));
	return 0;
}

static int repo_list(const struct repo_args *a, const struct target *t)
{
	_cleanup_client_ struct client *c = NULL;
	struct listing l = { .json = a->json, .list.indent = "" };
	int r = client_open(t, CLIENT_READS, &c);

	if (r == 0)
		r = client_ask(c, request_new("repos"), list_one, &l);
	if (a->json && (r == 0 || l.list.count > 0)) {
		json_list_end(&l.list);
		putchar('\n');
	}
	return cli_exit_code(r);
}

/* Asks, and shows the one repo that the answer tells of. */
static int ask_one(const struct repo_args *a, const struct target *t, enum client_use use,
		   json_t *q, bool is_quiet)
{
	_cleanup_client_ struct client *c = NULL;
	json_t *line = NULL;
	int r = client_open(t, use, &c);

	if (r < 0) {
		json_decref(q);
		return EXIT_FAILED;
	}
	r = client_ask_one(c, q, &line);
	if (r == 0 && line && a->json)
		print_json(line);
	else if (r == 0 && line && !is_quiet)
		print_repo(line);
	json_decref(line);
	return cli_exit_code(r);
}

/* The repo an argument means, in @t. */
static char *find_repo(const struct repo_args *a, const char *arg, struct target *t)
{
	_cleanup_free_ char *repo = NULL, *rev = NULL;

	if (target_find(a->store, arg, t) < 0)
		return NULL;
	repo = target_repo(t);
	rev = target_rev(t);
	if (repo && *repo && !rev)
		return TAKE_PTR(repo);
	cli_error("`%s` is not a repo", arg);
	return NULL;
}

static int repo_create(const struct repo_args *a)
{
	_cleanup_target_ struct target t = { 0 };
	const char *slash, *name = a->args[0];
	json_t *q;

	/* "/pfs/R" and "R" mean the same, but the mount is known by the former's parent alone. */
	slash = strrchr(name, '/');
	if (slash && slash != name && !a->store) {
		_cleanup_free_ char *dir = strndup(name, (size_t)(slash - name));

		if (!dir || target_find(NULL, dir, &t) < 0)
			return EXIT_FAILED;
		if (t.path.len > 0) {
			cli_error("`%s` is not where repos are", dir);
			return EXIT_FAILED;
		}
		name = slash + 1;
	} else if (target_find(a->store, NULL, &t) < 0) {
		return EXIT_FAILED;
	}
	q = fields_of_new(a);
	json_object_set_new(q, "repo", json_string(name));
	if (a->chunk && set_chunk(q, a->chunk) < 0) {
		json_decref(q);
		return EXIT_USAGE;
	}
	return ask_one(a, &t, CLIENT_CHANGES, q, true);
}

static int repo_simple(const struct repo_args *a, const char *verb, enum client_use use)
{
	_cleanup_target_ struct target t = { 0 };
	_cleanup_free_ char *repo = find_repo(a, a->args[0], &t);
	json_t *q;

	if (!repo)
		return EXIT_FAILED;
	q = request_new(verb);
	json_object_set_new(q, "repo", json_string(repo));
	return ask_one(a, &t, use, q, false);
}

/* KEY=VALUE: chunk, default-branch and mode are the repo's own, others settings. */
static int add_setting(json_t *q, json_t *set, const char *arg)
{
	const char *eq = strchr(arg, '=');
	_cleanup_free_ char *key = eq ? strndup(arg, (size_t)(eq - arg)) : NULL;

	if (!key || !*key) {
		cli_error("`%s` is not KEY=VALUE", arg);
		return -EINVAL;
	}
	if (strcmp(key, "chunk") == 0)
		return set_chunk(q, eq + 1);
	if (strcmp(key, "default-branch") == 0)
		return json_object_set_new(q, "default_branch", json_string(eq + 1));
	if (strcmp(key, "mode") == 0)
		return json_object_set_new(q, "mode", json_string(eq + 1));
	if (json_object_set_new(set, key, eq[1] ? json_string(eq + 1) : json_null()) == 0)
		return 0;
	cli_error("`%s` is not UTF-8", arg);
	return -EINVAL;
}

static int repo_set(const struct repo_args *a)
{
	_cleanup_target_ struct target t = { 0 };
	_cleanup_free_ char *repo = find_repo(a, a->args[0], &t);
	json_t *q, *set;
	int r = 0;

	if (!repo)
		return EXIT_FAILED;
	q = request_new("repo-config");
	set = json_object();
	json_object_set_new(q, "repo", json_string(repo));
	for (int i = 1; r == 0 && i < a->count; i++)
		r = add_setting(q, set, a->args[i]);
	json_object_set_new(q, "set", set);
	if (r < 0) {
		json_decref(q);
		return EXIT_USAGE;
	}
	return ask_one(a, &t, CLIENT_CHANGES, q, false);
}

static int run_sub(const struct repo_args *a, const char *sub)
{
	_cleanup_target_ struct target t = { 0 };
	int n = a->count;

	if (strcmp(sub, "list") == 0 && n == 0)
		return target_find(a->store, NULL, &t) < 0 ? EXIT_FAILED : repo_list(a, &t);
	if (strcmp(sub, "create") == 0 && n == 1)
		return repo_create(a);
	if (strcmp(sub, "remove") == 0 && n == 1)
		return repo_simple(a, "repo-remove", CLIENT_CHANGES);
	if (strcmp(sub, "show") == 0 && n == 1)
		return repo_simple(a, "repos", CLIENT_READS);
	if (strcmp(sub, "set") == 0 && n >= 2)
		return repo_set(a);
	return cli_usage(a->self, "not so: `repo %s` with %d argument%s", sub, n,
			 n == 1 ? "" : "s");
}

static int run(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = { LONG_STORE,
					       LONG_JSON,
					       { "branch", required_argument, NULL, OPT_BRANCH },
					       { "chunk", required_argument, NULL, OPT_CHUNK },
					       LONG_HELP,
					       LONG_END };
	struct repo_args a = { .self = self };
	char **args;
	int r, n;

	while ((r = cli_option(self, argc, argv, "h", longs)) >= 0) {
		if (r == OPT_STORE)
			a.store = optarg;
		else if (r == OPT_JSON)
			a.json = true;
		else if (r == OPT_BRANCH)
			a.branch = optarg;
		else if (r == OPT_CHUNK)
			a.chunk = optarg;
	}
	n = cli_arguments(self, argc, argv, 0, INT32_MAX, &args);
	a.args = args + (n > 0);
	a.count = n - (n > 0);
	return run_sub(&a, n > 0 ? args[0] : "list");
}

const struct command cmd_repo = {
	.name = "repo",
	.summary = "list, make, remove and set up repos",
	.help = "Usage: pfs repo [list]\n"
		"       pfs repo create [--chunk SIZE] [--branch NAME] REPO\n"
		"       pfs repo show REPO\n"
		"       pfs repo set REPO KEY=VALUE...\n"
		"       pfs repo remove REPO\n"
		"\n"
		"In a mount, `mkdir /pfs/REPO` and `rmdir /pfs/REPO` make and remove one as well.\n"
		"Only a repo without commits can be removed.\n"
		"\n"
		"  --chunk SIZE    average size of the pieces that large files are stored in: a\n"
		"                  power of two; 512K by default, 64K suits text that is edited\n"
		"  --branch NAME   the default branch's name; `main` by default\n"
		"  --json          one JSON value instead of text\n"
		"  --store STORE   a store that is not mounted\n"
		"\n"
		"`set` knows the keys chunk, default-branch and mode, and autocommit: when mounts\n"
		"commit by themselves, `off`, `idle=30s` after the last change and close, or\n"
		"`every=10m`. Others are kept for programs that look for them; KEY= removes one.\n"
		"\n"
		"Examples:\n"
		"  pfs repo create --chunk 64K sources\n"
		"  pfs repo set sources autocommit=idle=30s\n",
	.run = run,
};
