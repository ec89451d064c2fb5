/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pfs merge
 */
#include <stdio.h>

#include "client.h"
#include "commands.h"
#include "present.h"

enum {
	OPT_OURS = 512,
	OPT_THEIRS,
	OPT_INTO,
};

/* The answer's lines: conflicts, kept, and the last. */
struct merged {
	json_t *conflicts, *last; /* owned */
};

static int take(json_t *line, void *ctx)
{
	struct merged *m = ctx;

	if (json_object_get(line, "conflict"))
		json_array_append(m->conflicts, line);
	else
		m->last = json_incref(line);
	return 0;
}

static void print_merged(const struct merged *m)
{
	size_t n = json_array_size(m->conflicts);
	bool is_pending = strcmp(field_text(m->last, "standing"), "pending") == 0;

	if (n > 0)
		printf("%s/%s cannot be merged: both sides have changed\n",
		       field_text(m->last, "repo"), field_text(m->last, "branch"));
	print_conflicts(m->conflicts);
	if (n > 0)
		cli_note("Nothing has been changed. With --ours or --theirs one side is taken "
			 "where both have changed the same.");
	else if (is_pending)
		cli_note("The branch could not be reached; it will be tried again.");
	else
		puts(field_text(m->last, "tip"));
}

static int merge(const struct command *self, const struct target *into, const char *from,
		 const char *prefer, bool json)
{
	_cleanup_client_ struct client *c = NULL;
	struct merged m = { 0 };
	int r = client_open(into, CLIENT_CHANGES, &c), code;
	json_t *q;

	if (r < 0)
		return EXIT_FAILED;
	if (into->path.len == 0)
		return cli_usage(self, "into which branch?");
	m.conflicts = json_array();
	q = request_new("merge");
	request_path(q, "path", into);
	if (from)
		json_object_set_new(q, "from", json_string(from));
	if (prefer)
		json_object_set_new(q, "prefer", json_string(prefer));
	r = client_ask(c, q, take, &m);
	if (r == 0 && json) {
		json_object_set(m.last, "names", m.conflicts);
		print_json(m.last);
	} else if (r == 0) {
		print_merged(&m);
	}
	code = r < 0 ? EXIT_FAILED : exit_code_of(m.last);
	if (r == 0 && json_array_size(m.conflicts) > 0)
		code = EXIT_DIVERGED;
	json_decref(m.conflicts);
	json_decref(m.last);
	return code;
}

static int run(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = { { "ours", no_argument, NULL, OPT_OURS },
					       { "theirs", no_argument, NULL, OPT_THEIRS },
					       { "into", required_argument, NULL, OPT_INTO },
					       LONG_JSON,
					       LONG_STORE,
					       LONG_HELP,
					       LONG_END };
	const char *store = NULL, *into = NULL, *prefer = NULL;
	_cleanup_target_ struct target t = { 0 };
	bool json = false;
	char **args;
	int r, n;

	while ((r = cli_option(self, argc, argv, "h", longs)) >= 0) {
		if (r == OPT_STORE)
			store = optarg;
		else if (r == OPT_JSON)
			json = true;
		else if (r == OPT_INTO)
			into = optarg;
		else if (prefer)
			return cli_usage(self, "--ours or --theirs, once");
		else
			prefer = r == OPT_OURS ? "ours" : "theirs";
	}
	n = cli_arguments(self, argc, argv, 0, 1, &args);
	if (target_find(store, into, &t) < 0)
		return EXIT_FAILED;
	return merge(self, &t, n ? args[0] : NULL, prefer, json);
}

const struct command cmd_merge = {
	.name = "merge",
	.summary = "bring another branch's changes in, or settle a conflict",
	.help = "Usage: pfs merge [--ours|--theirs] [--into PATH] [BRANCH]\n"
		"\n"
		"Brings what BRANCH (or any commit, by name or id) has changed into the branch\n"
		"that PATH is in (the current directory's by default), by path, and prints the\n"
		"commit that the branch is at then. Without BRANCH it settles what has diverged:\n"
		"commits of this mount that are not on the branch, since another machine has\n"
		"changed the same.\n"
		"\n"
		"What both sides have changed is listed, and nothing is done:\n"
		"\n"
		"  both-changed   both-added   we-deleted   they-deleted   types-differ\n"
		"  attributes-differ (of a directory)\n"
		"\n"
		"  --ours          take BRANCH's side there; without BRANCH, this mount's\n"
		"  --theirs        take the side of what the branch has\n"
		"  --into PATH     another branch than the current directory's\n"
		"  --json          one JSON value instead of text\n"
		"  --store STORE   a store that is not mounted\n"
		"\n"
		"Nothing is lost: both sides stay in the history. Uncommitted changes stay as\n"
		"they are. Exits with 3 when both sides have changed the same, or the branch\n"
		"cannot be reached.\n"
		"\n"
		"Examples:\n"
		"  pfs merge try-2 --into /pfs/data/main\n"
		"  cd /pfs/data/main && pfs merge --ours\n",
	.run = run,
};
