/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pfs restore
 */
#include <inttypes.h>
#include <stdio.h>

#include "client.h"
#include "commands.h"
#include "present.h"

static void print_result(const json_t *line)
{
	static const char *const words[] = { "added", "removed", "replaced", "mode" };
	bool is_first = true;

	fputs(field_text(line, "repo"), stdout);
	printf("/%s/", field_text(line, "branch"));
	print_name(json_object_get(line, "path"), "");
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		uint64_t n = field_number(line, words[i]);

		if (n == 0)
			continue;
		printf("%s%" PRIu64 " %s", is_first ? ": " : ", ", n,
		       i == 3 ? "with mode or owner set back" : words[i]);
		is_first = false;
	}
	puts(is_first ? " is like that already" : "");
}

static int run(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = { LONG_JSON, LONG_HELP, LONG_END };
	_cleanup_target_ struct target from = { 0 }, to = { 0 };
	_cleanup_client_ struct client *c = NULL;
	bool json = false;
	json_t *q, *line = NULL;
	char **args;
	int r, n;

	while ((r = cli_option(self, argc, argv, "h", longs)) >= 0)
		if (r == OPT_JSON)
			json = true;
	n = cli_arguments(self, argc, argv, 1, 2, &args);
	if (target_find(NULL, args[0], &from) < 0)
		return EXIT_FAILED;
	if (n == 2 && (target_find(NULL, args[1], &to) < 0 || target_check_same(&from, &to) < 0))
		return EXIT_FAILED;
	if (!from.mount) {
		cli_error("only what is mounted can be changed");
		return EXIT_FAILED;
	}
	r = client_open(&from, CLIENT_CHANGES, &c);
	if (r < 0)
		return EXIT_FAILED;
	q = request_new("restore");
	request_path(q, "from", &from);
	if (n == 2)
		request_path(q, "to", &to);
	r = client_ask_one(c, q, &line);
	if (r == 0 && json)
		print_json(line);
	else if (r == 0)
		print_result(line);
	json_decref(line);
	return cli_exit_code(r);
}

const struct command cmd_restore = {
	.name = "restore",
	.summary = "bring a file or tree of a commit back",
	.help = "Usage: pfs restore [--json] COMMIT-PATH [HEAD-PATH]\n"
		"\n"
		"Makes HEAD-PATH, a file or directory in a branch, what the commit has at\n"
		"COMMIT-PATH: what is missing comes back, what is too much goes, what differs is\n"
		"replaced. Without HEAD-PATH it is the same path in the default branch. Content\n"
		"is shared, not copied. The result is uncommitted, as any other change.\n"
		"\n"
		"  --json   one JSON value instead of text\n"
		"\n"
		"Examples:\n"
		"  pfs restore /pfs/data/first/results.csv\n"
		"  pfs restore /pfs/data/first /pfs/data/try-2\n",
	.run = run,
};
