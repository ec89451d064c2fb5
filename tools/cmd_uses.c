/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pfs uses
 */
#include <inttypes.h>
#include <stdio.h>

#include "client.h"
#include "commands.h"
#include "present.h"
#include "runs.h"

enum {
	OUTPUTS_SHOWN = 20, /* of a run, for people */
};

struct uses {
	bool json, stale, has_first;
	struct json_list list;
	uint64_t count;
};

static void print_outputs(const json_t *line)
{
	const json_t *outputs = json_object_get(line, "outputs");
	uint64_t more = field_number(line, "outputs_more");
	json_t *o;
	size_t i;

	json_array_foreach (outputs, i, o) {
		if (i == OUTPUTS_SHOWN) {
			more += json_array_size(outputs) - i;
			break;
		}
		fputs("    made ", stdout);
		print_name(json_object_get(o, "path"), "");
		puts(field_bool(o, "there") ? "" : "  (is another now, or gone)");
	}
	if (more > 0)
		printf("    made %" PRIu64 " more\n", more);
}

static void print_reasons(const json_t *line)
{
	json_t *o;
	size_t i;

	json_array_foreach (json_object_get(line, "stale"), i, o) {
		fputs("    stale: ", stdout);
		print_name(json_object_get(o, "path"), "");
		if (*field_text(o, "run"))
			printf(" is stale itself, by run %s\n", field_text(o, "run"));
		else if (*field_text(o, "was") && !*field_text(o, "now"))
			puts(" is empty or gone now");
		else if (*field_text(o, "now") && !*field_text(o, "was"))
			puts(" is new");
		else
			puts(" has changed since");
	}
}

static int show(json_t *line, void *ctx)
{
	struct uses *u = ctx;

	if (run_aside(line))
		return 0;
	if (u->json) {
		json_list_add(&u->list, line);
	} else if (u->has_first) {
		u->count++;
		print_run_line(json_object_get(line, "run"), "");
		if (json_object_get(line, "problem"))
			printf("    %s\n", field_text(line, "problem"));
		print_reasons(line);
		print_outputs(line);
	} else if (field_bool(line, "uncommitted") && !u->stale) {
		cli_note(
			"pfs: it has uncommitted changes, which no run has read under its branch's name");
	}
	u->has_first = true;
	return 0;
}

enum {
	OPT_STALE = 1000
};

static int run(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = { { "stale", no_argument, NULL, OPT_STALE },
					       LONG_JSON,
					       LONG_STORE,
					       LONG_HELP,
					       LONG_END };
	_cleanup_target_ struct target t = { 0 };
	_cleanup_client_ struct client *c = NULL;
	struct uses u = { .list.indent = "" };
	const char *store = NULL;
	json_t *q;
	char **args;
	int r;

	while ((r = cli_option(self, argc, argv, "h", longs)) >= 0) {
		if (r == OPT_STORE)
			store = optarg;
		else if (r == OPT_JSON)
			u.json = true;
		else if (r == OPT_STALE)
			u.stale = true;
	}
	cli_arguments(self, argc, argv, 1, 1, &args);
	if (target_find(store, args[0], &t) < 0)
		return EXIT_FAILED;
	if (t.path.len == 0)
		return cli_usage(self, "of which file?");
	if (client_open(&t, CLIENT_READS, &c) < 0)
		return EXIT_FAILED;
	q = request_new("uses");
	request_path(q, "path", &t);
	json_object_set_new(q, "stale", json_boolean(u.stale));
	r = client_ask(c, q, show, &u);
	if (u.json && (r == 0 || u.list.count > 0)) {
		json_list_end(&u.list);
		putchar('\n');
	} else if (!u.json && r == 0 && u.count == 0) {
		puts(u.stale ? "Nothing that was made from it is stale."
			     : "No run is known to have read it.");
	}
	return cli_exit_code(r);
}

const struct command cmd_uses = {
	.name = "uses",
	.summary = "tell what was made from a file",
	.help = "Usage: pfs uses [--stale] [--json] PATH\n"
		"\n"
		"Tells which runs read a file or what is in a directory, in any version, and what\n"
		"they made; which runs read that, and so on, in any repo.\n"
		"\n"
		"  --stale         only what is on its branch now, and was made by a run that\n"
		"                  would see something else now, committed or not\n"
		"  --json          one JSON value instead of text\n"
		"  --store STORE   a store that is not mounted\n"
		"\n"
		"Example:\n"
		"  pfs uses --stale /pfs/data/main/corpus.txt\n",
	.run = run,
};
