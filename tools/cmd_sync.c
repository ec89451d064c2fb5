/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pfs sync
 */
#include <stdio.h>

#include "client.h"
#include "commands.h"
#include "present.h"

struct syncing {
	bool json;
	struct json_list list;
	int exit_code;
};

static int take(json_t *line, void *ctx)
{
	struct syncing *s = ctx;
	const char *base = field_text(line, "base");

	s->exit_code = MAX(s->exit_code, exit_code_of(line));
	if (s->json) {
		json_list_add(&s->list, line);
		return 0;
	}
	printf("%s/%s  %.12s  %s%s\n", field_text(line, "repo"), field_text(line, "branch"),
	       *base ? base : "-", field_text(line, "standing"),
	       field_bool(line, "is_dirty") ? ", with uncommitted changes" : "");
	return 0;
}

static int run(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = { LONG_JSON, LONG_HELP, LONG_END };
	_cleanup_target_ struct target t = { 0 };
	_cleanup_client_ struct client *c = NULL;
	struct syncing s = { .list.indent = "" };
	char **args;
	json_t *q;
	int r, n;

	while ((r = cli_option(self, argc, argv, "h", longs)) >= 0)
		s.json |= r == OPT_JSON;
	n = cli_arguments(self, argc, argv, 0, 1, &args);
	if (target_find(NULL, n ? args[0] : NULL, &t) < 0 || client_open(&t, CLIENT_READS, &c) < 0)
		return EXIT_FAILED;
	q = request_new("sync");
	if (t.path.len > 0)
		request_path(q, "path", &t);
	r = client_ask(c, q, take, &s);
	if (s.json && (r == 0 || s.list.count > 0)) {
		json_list_end(&s.list);
		putchar('\n');
	}
	return r < 0 ? EXIT_FAILED : s.exit_code;
}

const struct command cmd_sync = {
	.name = "sync",
	.summary = "see now what other machines have committed",
	.help = "Usage: pfs sync [--json] [PATH]\n"
		"\n"
		"Looks at once for what others have committed to the branch that PATH is in (the\n"
		"current directory's by default; all that are in use here, if that is no branch),\n"
		"and follows it, as a mount does by itself every two seconds. A branch with\n"
		"uncommitted changes stays at its commit. Commits of this mount that could not be\n"
		"brought onto their branch are tried again.\n"
		"\n"
		"  --json   one JSON value instead of text\n"
		"\n"
		"Exits with 3 when a commit of this mount is not on its branch.\n"
		"\n"
		"Example:\n"
		"  pfs sync /pfs/data/main\n",
	.run = run,
};
