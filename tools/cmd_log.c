/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pfs log
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/text.h"
#include "client.h"
#include "commands.h"
#include "present.h"

struct showing {
	bool json, oneline;
	struct json_list list;
	uint64_t count;
};

static int show(json_t *line, void *ctx)
{
	struct showing *s = ctx;

	if (s->json) {
		json_list_add(&s->list, line);
	} else if (s->oneline) {
		print_commit_line(line);
	} else {
		if (s->count++)
			putchar('\n');
		print_commit(line);
	}
	return 0;
}

static int run(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = { { "limit", required_argument, NULL, 'n' },
					       { "oneline", no_argument, NULL, OPT_ONELINE },
					       LONG_JSON,
					       LONG_STORE,
					       LONG_HELP,
					       LONG_END };
	_cleanup_target_ struct target t = { 0 };
	_cleanup_client_ struct client *c = NULL;
	struct showing s = { .list.indent = "" };
	const char *store = NULL;
	uint64_t limit = UINT64_MAX;
	json_t *q;
	char **args;
	int r, n;

	while ((r = cli_option(self, argc, argv, "hn:", longs)) >= 0) {
		if (r == OPT_STORE)
			store = optarg;
		else if (r == OPT_JSON)
			s.json = true;
		else if (r == OPT_ONELINE)
			s.oneline = true;
		else if (r == 'n' && (parse_u64(optarg, &limit) < 0 || limit > INT64_MAX))
			return cli_usage(self, "`%s` is not a number", optarg);
	}
	n = cli_arguments(self, argc, argv, 0, 1, &args);
	if (target_find(store, n ? args[0] : NULL, &t) < 0)
		return EXIT_FAILED;
	if (t.path.len == 0)
		return cli_usage(self, "of which repo?");
	r = client_open(&t, CLIENT_READS, &c);
	if (r < 0)
		return EXIT_FAILED;
	q = request_new("log");
	request_path(q, "path", &t);
	if (limit <= INT64_MAX)
		json_object_set_new(q, "limit", json_integer((json_int_t)limit));
	r = client_ask(c, q, show, &s);
	if (s.json && (r == 0 || s.list.count > 0)) {
		json_list_end(&s.list);
		putchar('\n');
	}
	return cli_exit_code(r);
}

const struct command cmd_log = {
	.name = "log",
	.summary = "tell of the commits of a branch, or of a file",
	.help = "Usage: pfs log [-n NUMBER] [--oneline] [--json] [PATH]\n"
		"\n"
		"Tells of the commits of a branch, the last first, or of those before a commit.\n"
		"Of a file or directory in one, only the commits in which it changed; a merge\n"
		"that has it from one side leads to that side alone, and renames are not\n"
		"followed. REPO/main@{1h} is a branch as it was at a time.\n"
		"\n"
		"  -n, --limit NUMBER   so many at most\n"
		"  --oneline            a line for each\n"
		"  --json               one JSON value instead of text\n"
		"  --store STORE        a store that is not mounted\n"
		"\n"
		"Example:\n"
		"  pfs log --oneline /pfs/data/main/results.csv\n"
		"  pfs log '/pfs/data/main@{yesterday}'\n",
	.run = run,
};
