/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pfs diff
 */
#include <stdio.h>

#include "client.h"
#include "commands.h"
#include "differences.h"

static int run(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "stat", no_argument, NULL, OPT_STAT }, LONG_JSON, LONG_STORE, LONG_HELP, LONG_END
	};
	_cleanup_target_ struct target a = { 0 }, b = { 0 };
	_cleanup_client_ struct client *c = NULL;
	struct differences_view v = { 0 };
	const char *store = NULL;
	json_t *q;
	char **args;
	int r;

	while ((r = cli_option(self, argc, argv, "h", longs)) >= 0) {
		if (r == OPT_STORE)
			store = optarg;
		else if (r == OPT_JSON)
			v.json = true;
		else if (r == OPT_STAT)
			v.stat = true;
	}
	cli_arguments(self, argc, argv, 2, 2, &args);
	if (target_find(store, args[0], &a) < 0 || target_find(store, args[1], &b) < 0 ||
	    target_check_same(&a, &b) < 0)
		return EXIT_FAILED;
	r = client_open(&a, CLIENT_READS, &c);
	if (r < 0)
		return EXIT_FAILED;
	q = request_new("diff");
	request_path(q, "a", &a);
	request_path(q, "b", &b);
	return differences_show(&v, c, q);
}

const struct command cmd_diff = {
	.name = "diff",
	.summary = "tell what differs between two trees",
	.help = "Usage: pfs diff [--stat] [--json] A B\n"
		"\n"
		"Tells what differs from A to B, each a branch with what is uncommitted in it, a\n"
		"commit, or a file or directory in one; a line each:\n"
		"\n"
		"  A  added          M  other content      P  other mode, owner or attributes\n"
		"  D  removed        T  other type         R  renamed, the same content\n"
		"\n"
		"A directory that only one side has stands for all below it. Times do not count.\n"
		"\n"
		"  --stat          bytes of each, and totals\n"
		"  --json          one JSON value instead of text\n"
		"  --store STORE   a store that is not mounted\n"
		"\n"
		"Examples:\n"
		"  pfs diff /pfs/data/first /pfs/data/main\n"
		"  cd /pfs/data/main && pfs diff --stat first main\n",
	.run = run,
};
