/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pfs commit
 */
#include <stdio.h>

#include "client.h"
#include "commands.h"
#include "message.h"
#include "present.h"

static void note_standing(const json_t *line)
{
	const char *standing = field_text(line, "standing");

	if (strcmp(standing, "diverged") == 0)
		cli_note(
			"The commit is kept, but not on the branch: another machine has changed "
			"the same. See `pfs status`; `pfs merge --ours` or `--theirs` settles it.");
	else if (strcmp(standing, "pending") == 0)
		cli_note("The commit is kept; the branch could not be reached, and will be tried "
			 "again.");
}

static int run(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = { { "message", required_argument, NULL, 'm' },
					       { "name", required_argument, NULL, 'n' },
					       { "meta", required_argument, NULL, OPT_META },
					       { "author", required_argument, NULL, OPT_AUTHOR },
					       LONG_JSON,
					       LONG_STORE,
					       LONG_HELP,
					       LONG_END };
	_cleanup_target_ struct target t = { 0 };
	_cleanup_client_ struct client *c = NULL;
	_cleanup_message_ struct message m = { 0 };
	const char *store = NULL;
	bool json = false;
	json_t *q, *line = NULL;
	char **args;
	int r, n;

	while ((r = cli_option(self, argc, argv, "hm:n:", longs)) >= 0) {
		if (r == OPT_STORE)
			store = optarg;
		else if (r == OPT_JSON)
			json = true;
		else
			message_option(&m, self, r, optarg);
	}
	n = cli_arguments(self, argc, argv, 0, 1, &args);
	if (target_find(store, n ? args[0] : NULL, &t) < 0)
		return EXIT_FAILED;
	if (t.path.len == 0)
		return cli_usage(self, "of which repo?");
	r = client_open(&t, CLIENT_CHANGES, &c);
	if (r < 0)
		return EXIT_FAILED;
	q = request_new("commit");
	request_path(q, "path", &t);
	message_put(&m, q);
	r = client_ask_one(c, q, &line);
	if (r == 0 && json)
		print_json(line);
	else if (r == 0)
		puts(field_text(line, "id"));
	if (r == 0 && !field_bool(line, "is_new"))
		cli_note("Nothing has changed since that commit; no new one was made.");
	if (r == 0)
		note_standing(line);
	r = r == 0 ? exit_code_of(line) : EXIT_FAILED;
	json_decref(line);
	return r;
}

const struct command cmd_commit = {
	.name = "commit",
	.summary = "take a snapshot of a branch",
	.help = "Usage: pfs commit [-m TEXT] [-n NAME] [--meta KEY=VALUE]... [PATH]\n"
		"\n"
		"Commits what has changed in the branch that PATH is in (the current directory's\n"
		"by default), and prints the commit's id. When that is printed, the commit is\n"
		"safe in the store. If nothing has changed, no commit is made and the last one's\n"
		"id is printed. `mkdir /pfs/REPO/commits/NAME` does the same for the default\n"
		"branch.\n"
		"\n"
		"  -m, --message TEXT   what it is about\n"
		"  -n, --name NAME      a name for the commit: /pfs/REPO/NAME\n"
		"  --meta KEY=VALUE     something to keep with it, for other programs; as often\n"
		"                       as wanted\n"
		"  --author TEXT        who made it; user@machine by default\n"
		"  --json               one JSON value instead of the id\n"
		"  --store STORE        a store that is not mounted: its last commit can be named\n"
		"\n"
		"What other machines have committed meanwhile is merged with it, by path. Exits\n"
		"with 3 when the commit is kept but is not on the branch: they have changed the\n"
		"same (see `pfs merge`), or the branch cannot be reached.\n"
		"\n"
		"Example:\n"
		"  pfs commit -m 'without outliers' -n run-7 --meta seed=42 /pfs/data/main\n",
	.run = run,
};
