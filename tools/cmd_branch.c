/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pfs branch
 */
#include <stdio.h>

#include "client.h"
#include "commands.h"
#include "present.h"

struct branch_args {
	const struct command *self;
	const char *store;
	bool json;
	struct json_list list;
	json_t *lines; /* for people: until it is known how wide they are; owned */
};

static int list_one(json_t *line, void *ctx)
{
	struct branch_args *a = ctx;

	if (!a->json)
		return json_array_append(a->lines, line) < 0 ? -ENOMEM : 0;
	json_list_add(&a->list, line);
	return 0;
}

static void print_branches(const json_t *lines)
{
	char when[LOCAL_TIME];
	json_t *line;
	int width = 24;
	size_t i;

	json_array_foreach (lines, i, line)
		width = MAX(width, (int)strlen(field_text(line, "branch")));
	json_array_foreach (lines, i, line) {
		const char *id = field_text(line, "short_id");

		printf("%c %-*s  %-12s  %s\n", field_bool(line, "is_default") ? '*' : ' ', width,
		       field_text(line, "branch"), *id ? id : "-",
		       local_time(field_text(line, "moved"), when));
	}
}

static int branch_list(struct branch_args *a, const char *arg)
{
	_cleanup_target_ struct target t = { 0 };
	_cleanup_client_ struct client *c = NULL;
	_cleanup_free_ char *repo = NULL;
	json_t *q;
	int r = target_find(a->store, arg, &t);

	if (r < 0)
		return EXIT_FAILED;
	repo = target_repo(&t);
	if (!repo || !*repo)
		return cli_usage(a->self, "of which repo?");
	r = client_open(&t, CLIENT_READS, &c);
	if (r < 0)
		return EXIT_FAILED;
	q = request_new("branches");
	json_object_set_new(q, "repo", json_string(repo));
	a->list.indent = "";
	a->lines = json_array();
	r = client_ask(c, q, list_one, a);
	if (a->json && (r == 0 || a->list.count > 0)) {
		json_list_end(&a->list);
		putchar('\n');
	}
	print_branches(a->lines);
	json_decref(a->lines);
	return cli_exit_code(r);
}

/* Asks for a change of the branch @t, with one more field. */
static int change(struct branch_args *a, const struct target *t, const char *verb,
		  const char *branch_field, const char *field, const char *value)
{
	_cleanup_client_ struct client *c = NULL;
	_cleanup_free_ char *repo = target_repo(t), *rev = target_rev(t);
	json_t *q, *line = NULL;
	int r;

	if (!repo || !*repo || !rev)
		return cli_usage(a->self, "`%s` is not REPO/BRANCH", (const char *)t->path.data);
	r = client_open(t, CLIENT_CHANGES, &c);
	if (r < 0)
		return EXIT_FAILED;
	q = request_new(verb);
	json_object_set_new(q, "repo", json_string(repo));
	json_object_set_new(q, branch_field, json_string(rev));
	if (value)
		json_object_set_new(q, field, json_string(value));
	r = client_ask_one(c, q, &line);
	if (r == 0 && line && a->json)
		print_json(line);
	json_decref(line);
	return cli_exit_code(r);
}

/* What a second argument calls: "REV", or "REPO/REV" of the same repo. malloc'ed; NULL: said. */
static char *rev_of(struct branch_args *a, const struct target *t, const char *arg)
{
	_cleanup_target_ struct target other = { 0 };
	_cleanup_free_ char *repo = NULL, *other_repo = NULL;

	if (!strchr(arg, '/'))
		return strdup(arg);
	if (target_find_new(a->store, arg, &other) < 0)
		return NULL;
	repo = target_repo(t);
	other_repo = target_repo(&other);
	if (repo && other_repo && strcmp(repo, other_repo) == 0)
		return target_rev(&other) ?: strdup("");
	cli_error("`%s` is not in the same repo", arg);
	return NULL;
}

static int branch_create(struct branch_args *a, const char *branch, const char *from)
{
	_cleanup_target_ struct target t = { 0 };
	_cleanup_free_ char *rev = NULL;

	if (target_find_new(a->store, branch, &t) < 0)
		return EXIT_FAILED;
	if (from) {
		rev = rev_of(a, &t, from);
		if (!rev)
			return EXIT_FAILED;
	}
	return change(a, &t, "branch-create", "branch", "from", rev);
}

static int branch_remove(struct branch_args *a, const char *branch)
{
	_cleanup_target_ struct target t = { 0 };

	if (target_find(a->store, branch, &t) < 0)
		return EXIT_FAILED;
	return change(a, &t, "branch-remove", "branch", NULL, NULL);
}

static int branch_rename(struct branch_args *a, const char *from, const char *to)
{
	_cleanup_target_ struct target t = { 0 };
	_cleanup_free_ char *rev = NULL;

	if (target_find(a->store, from, &t) < 0)
		return EXIT_FAILED;
	rev = rev_of(a, &t, to);
	return rev ? change(a, &t, "branch-rename", "from", "to", rev) : EXIT_FAILED;
}

static bool is_sub_command(const char *word)
{
	static const char *const words[] = { "list", "create", "remove", "rename" };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (strcmp(words[i], word) == 0)
			return true;
	return false;
}

/* Is the one argument a repo, whose branches are to be listed, and not a branch to be made? 1, 0 or
 * -errno, said. */
static int is_repo(struct branch_args *a, const char *arg)
{
	_cleanup_target_ struct target t = { 0 };
	_cleanup_free_ char *rev = NULL;
	int r = target_find(a->store, arg, &t);

	if (r < 0)
		return r;
	rev = target_rev(&t);
	return !rev;
}

static int run(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = { LONG_STORE, LONG_JSON, LONG_HELP, LONG_END };
	struct branch_args a = { .self = self };
	const char *sub;
	char **args;
	int r, n;

	while ((r = cli_option(self, argc, argv, "h", longs)) >= 0) {
		if (r == OPT_STORE)
			a.store = optarg;
		else if (r == OPT_JSON)
			a.json = true;
	}
	n = cli_arguments(self, argc, argv, 0, 3, &args);
	sub = n > 0 ? args[0] : "list";
	if (strcmp(sub, "list") == 0 && n <= 2)
		return branch_list(&a, n == 2 ? args[1] : NULL);
	if (strcmp(sub, "create") == 0 && n >= 2)
		return branch_create(&a, args[1], n == 3 ? args[2] : NULL);
	if (strcmp(sub, "remove") == 0 && n == 2)
		return branch_remove(&a, args[1]);
	if (strcmp(sub, "rename") == 0 && n == 3)
		return branch_rename(&a, args[1], args[2]);
	if (is_sub_command(sub))
		return cli_usage(self, "not so: `branch %s` with %d argument%s", sub, n - 1,
				 n == 2 ? "" : "s");
	r = n == 1 ? is_repo(&a, sub) : 0;
	if (r < 0)
		return EXIT_FAILED;
	if (r > 0)
		return branch_list(&a, sub);
	if (n <= 2)
		return branch_create(&a, sub, n == 2 ? args[1] : NULL);
	return cli_usage(self, "one argument too many: `%s`", args[2]);
}

const struct command cmd_branch = {
	.name = "branch",
	.summary = "list, make, rename and remove branches",
	.help = "Usage: pfs branch [list] [REPO]\n"
		"       pfs branch [create] REPO/BRANCH [FROM]\n"
		"       pfs branch rename REPO/BRANCH NAME\n"
		"       pfs branch remove REPO/BRANCH\n"
		"\n"
		"A branch starts at FROM, a branch or commit of the repo, or at the default\n"
		"branch's last commit. In a mount, `mkdir`, `mv` and `rmdir` in /pfs/REPO do the\n"
		"same. Commits stay when a branch goes. The default branch can be neither removed\n"
		"nor renamed, and one with uncommitted changes not be removed.\n"
		"\n"
		"  --json          one JSON value instead of text\n"
		"  --store STORE   a store that is not mounted\n"
		"\n"
		"Inside a repo's directory, BRANCH alone will do for REPO/BRANCH.\n"
		"\n"
		"Examples:\n"
		"  pfs branch data\n"
		"  pfs branch data/try-2 first\n",
	.run = run,
};
