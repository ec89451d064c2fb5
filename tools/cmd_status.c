/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pfs status
 */
#include <stdio.h>

#include "base/text.h"
#include "client.h"
#include "commands.h"
#include "present.h"

/* The answer's lines, kept: the head, what changed, the summary. */
struct status {
	json_t *head, *conflicts, *changes, *summary; /* owned */
};

static int take(json_t *line, void *ctx)
{
	struct status *s = ctx;

	if (!s->head)
		s->head = json_incref(line);
	else if (json_object_get(line, "summary"))
		s->summary = json_incref(json_object_get(line, "summary"));
	else if (json_object_get(line, "conflict"))
		json_array_append(s->conflicts, line);
	else
		json_array_append(s->changes, line);
	return 0;
}

static void print_head(const json_t *h)
{
	const char *base = field_text(h, "base"), *run = field_text(h, "run");

	printf("%s/%s", field_text(h, "repo"), field_text(h, "branch"));
	if (*run) {
		printf(" in the run %s, which found it %s%s\n", run,
		       *base ? "at " : "without a commit", base);
		return;
	}
	fputs(", ", stdout);
	if (*base)
		printf("at commit %s\n", base);
	else
		puts("without a commit yet");
	if (!field_bool(h, "is_mounted"))
		puts("Not mounted here: uncommitted changes, if any, are where it is.");
	if (field_bool(h, "is_committing"))
		puts("A commit is under way.");
	if (strcmp(field_text(h, "standing"), "diverged") == 0)
		printf("Diverged: that is not on the branch, which is at %s and has changed the "
		       "same.\n",
		       field_text(h, "tip"));
	else if (strcmp(field_text(h, "standing"), "pending") == 0)
		puts("That is not on the branch yet; it will be tried again.");
	else if (field_bool(h, "is_behind"))
		printf("The branch has moved on to %s; a commit will merge.\n",
		       field_text(h, "tip"));
}

static void print_status(const struct status *s)
{
	size_t n = json_array_size(s->changes);
	bool is_run = *field_text(s->head, "run");

	print_head(s->head);
	if (json_array_size(s->conflicts) > 0)
		puts("Changed on both sides (`pfs merge --ours` or `--theirs` settles it):");
	print_conflicts(s->conflicts);
	if (n > 0)
		puts(is_run ? "It has changed:" : "Uncommitted:");
	for (size_t i = 0; i < n; i++) {
		fputs("  ", stdout);
		print_difference(json_array_get(s->changes, i), false);
	}
	if (n == 0 && field_bool(s->head, "is_mounted"))
		puts(field_bool(s->head, "is_dirty")
			     ? "Nothing but times has changed, or nothing here."
		     : is_run ? "It has changed nothing."
			      : "Nothing is uncommitted.");
}

static int run(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = { LONG_JSON, LONG_STORE, LONG_HELP, LONG_END };
	_cleanup_target_ struct target t = { 0 };
	_cleanup_client_ struct client *c = NULL;
	struct status s = { 0 };
	const char *store = NULL;
	bool json = false;
	json_t *q;
	char **args;
	int r, n;

	while ((r = cli_option(self, argc, argv, "h", longs)) >= 0) {
		if (r == OPT_STORE)
			store = optarg;
		else if (r == OPT_JSON)
			json = true;
	}
	n = cli_arguments(self, argc, argv, 0, 1, &args);
	if (target_find(store, n ? args[0] : NULL, &t) < 0)
		return EXIT_FAILED;
	if (t.path.len == 0)
		return cli_usage(self, "of which repo?");
	r = client_open(&t, CLIENT_READS, &c);
	if (r < 0)
		return EXIT_FAILED;
	s.changes = json_array();
	s.conflicts = json_array();
	q = request_new("status");
	request_path(q, "path", &t);
	r = client_ask(c, q, take, &s);
	if (r == 0 && json) {
		json_object_set(s.head, "conflicts", s.conflicts);
		json_object_set(s.head, "changes", s.changes);
		print_json(s.head);
	} else if (r == 0) {
		print_status(&s);
	}
	if (r == 0 && field_number(s.summary, "hidden") > 0)
		cli_note("More has changed in directories that you may not read.");
	json_decref(s.head);
	json_decref(s.conflicts);
	json_decref(s.changes);
	json_decref(s.summary);
	return cli_exit_code(r);
}

const struct command cmd_status = {
	.name = "status",
	.summary = "tell what is uncommitted in a branch",
	.help = "Usage: pfs status [--json] [PATH]\n"
		"\n"
		"Tells which commit the branch that PATH is in (the current directory's by\n"
		"default) is at, and what below PATH has changed since, a line each:\n"
		"\n"
		"  A  added          M  other content      P  other mode, owner or attributes\n"
		"  D  removed        T  other type         R  renamed, the same content\n"
		"\n"
		"A directory that was added or removed stands for all below it. In a run it\n"
		"tells what that has changed so far.\n"
		"\n"
		"  --json          one JSON value instead of text\n"
		"  --store STORE   a store that is not mounted\n"
		"\n"
		"Example:\n"
		"  pfs status /pfs/data/main\n",
	.run = run,
};
