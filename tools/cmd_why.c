/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pfs why
 */
#include <inttypes.h>
#include <stdio.h>

#include "client.h"
#include "commands.h"
#include "present.h"
#include "runs.h"

enum {
	INPUTS_SHOWN = 20, /* of a run, for people */
	NODE_NAME = 4096,
};

struct why {
	bool json, dot, has_first, is_directory;
	struct json_list list;
};

static void print_first(struct why *w, const json_t *line)
{
	const json_t *commit = json_object_get(line, "commit");
	const char *how = field_text(line, "how");

	w->is_directory = field_bool(line, "directory");
	print_name(json_object_get(line, "path"), "");
	putchar('\n');
	if (field_bool(line, "uncommitted"))
		puts("  has uncommitted changes, which no commit and no run has; of the last commit's:");
	if (commit) {
		fputs("  changed by ", stdout);
		print_commit_line(commit);
	}
	if (strcmp(how, "place") == 0)
		printf("  made by run %s\n", field_text(line, "run"));
	else if (strcmp(how, "content") == 0)
		printf("  the same content as what run %s made\n", field_text(line, "run"));
	else if (strcmp(how, "none") == 0)
		puts("  no run is known to have made it");
}

static void print_inputs(const json_t *line)
{
	const json_t *inputs = json_object_get(line, "inputs");
	uint64_t more = field_number(line, "inputs_more");
	json_t *input;
	size_t i;

	json_array_foreach (inputs, i, input) {
		if (i == INPUTS_SHOWN) {
			more += json_array_size(inputs) - i;
			break;
		}
		fputs("    read ", stdout);
		print_name(json_object_get(input, "path"), "");
		if (strcmp(field_text(input, "how"), "place") == 0)
			printf("  <- %s", field_text(input, "run"));
		else if (*field_text(input, "run"))
			printf("  <- copy of %s's", field_text(input, "run"));
		putchar('\n');
	}
	if (more > 0)
		printf("    read %" PRIu64 " more\n", more);
}

static void print_made(const json_t *line)
{
	json_t *path;
	size_t i;

	printf("    made %" PRIu64 " file%s\n", field_number(line, "files"),
	       field_number(line, "files") == 1 ? "" : "s");
	json_array_foreach (json_object_get(line, "paths"), i, path) {
		fputs("      ", stdout);
		print_name(path, "");
		putchar('\n');
	}
}

static void print_others(uint64_t count)
{
	if (count > 0)
		printf("\n%" PRIu64 " file%s that no run is known to have made\n", count,
		       count == 1 ? "" : "s");
}

static void print_made_by(const json_t *line)
{
	const json_t *row = json_object_get(line, "run");
	_cleanup_free_ char *params = run_pairs_text(json_object_get(row, "params"));
	_cleanup_free_ char *metrics = run_pairs_text(json_object_get(row, "metrics"));

	putchar('\n');
	print_run_line(row, "");
	if (params && *params) {
		fputs("    with ", stdout);
		print_run_text(params);
		putchar('\n');
	}
	if (metrics && *metrics) {
		fputs("    gave ", stdout);
		print_run_text(metrics);
		putchar('\n');
	}
	if (json_object_get(line, "problem"))
		printf("    %s\n", field_text(line, "problem"));
	if (json_object_get(line, "files"))
		print_made(line);
	print_inputs(line);
}

static void print_escaped(const char *s)
{
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			putchar('\\');
		putchar((unsigned char)*s < ' ' ? '?' : *s);
	}
}

/* A name in a graph: quoted, as DOT has it. */
static void print_quoted(const json_t *j)
{
	putchar('"');
	print_escaped(json_is_string(j) ? json_string_value(j) : field_text(j, "hex"));
	putchar('"');
}

static void print_edge(const json_t *from, const json_t *to)
{
	fputs("  ", stdout);
	print_quoted(from);
	fputs(" -> ", stdout);
	print_quoted(to);
	puts(";");
}

static void print_dot(struct why *w, const json_t *line)
{
	const json_t *run = json_object_get(line, "run"), *id = json_object_get(run, "id");
	json_t *x;
	size_t i;

	if (!w->has_first) {
		puts("digraph why {\n  rankdir=LR;\n  node [shape=note];");
		if (json_is_string(run))
			print_edge(run, json_object_get(line, "path"));
		return;
	}
	if (!id)
		return;
	printf("  \"%s\" [shape=box, label=\"%s\\n", json_string_value(id), json_string_value(id));
	print_escaped(field_text(run, "command"));
	puts("\"];");
	json_array_foreach (json_object_get(line, "inputs"), i, x) {
		print_edge(json_object_get(x, "path"), id);
		if (json_object_get(x, "run"))
			print_edge(json_object_get(x, "run"), json_object_get(x, "path"));
	}
	json_array_foreach (json_object_get(line, "paths"), i, x)
		print_edge(id, x);
}

static int show(json_t *line, void *ctx)
{
	struct why *w = ctx;

	if (run_aside(line))
		return 0;
	if (w->json)
		json_list_add(&w->list, line);
	else if (w->dot)
		print_dot(w, line);
	else if (!w->has_first)
		print_first(w, line);
	else if (json_object_get(line, "others"))
		print_others(field_number(line, "others"));
	else
		print_made_by(line);
	w->has_first = true;
	return 0;
}

enum {
	OPT_DOT = 1000
};

static int run(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "dot", no_argument, NULL, OPT_DOT }, LONG_JSON, LONG_STORE, LONG_HELP, LONG_END
	};
	_cleanup_target_ struct target t = { 0 };
	_cleanup_client_ struct client *c = NULL;
	struct why w = { .list.indent = "" };
	const char *store = NULL;
	json_t *q;
	char **args;
	int r;

	while ((r = cli_option(self, argc, argv, "h", longs)) >= 0) {
		if (r == OPT_STORE)
			store = optarg;
		else if (r == OPT_JSON)
			w.json = true;
		else if (r == OPT_DOT)
			w.dot = true;
	}
	cli_arguments(self, argc, argv, 1, 1, &args);
	if (w.json && w.dot)
		return cli_usage(self, "--json or --dot, not both");
	if (target_find(store, args[0], &t) < 0)
		return EXIT_FAILED;
	if (t.path.len == 0)
		return cli_usage(self, "of which file?");
	if (client_open(&t, CLIENT_READS, &c) < 0)
		return EXIT_FAILED;
	q = request_new("why");
	request_path(q, "path", &t);
	r = client_ask(c, q, show, &w);
	if (w.json && (r == 0 || w.list.count > 0)) {
		json_list_end(&w.list);
		putchar('\n');
	} else if (w.dot && w.has_first) {
		puts("}");
	}
	return cli_exit_code(r);
}

const struct command cmd_why = {
	.name = "why",
	.summary = "tell where a file comes from: runs, parameters, inputs",
	.help = "Usage: pfs why [--json|--dot] PATH\n"
		"\n"
		"Tells which commit last changed a file, which run made it, with which parameters\n"
		"and from which files, where those come from, and so on down to what no run has\n"
		"made. A file that was copied or moved is known by its content. Of a directory:\n"
		"which runs made files in it.\n"
		"\n"
		"  --json          one JSON value instead of text\n"
		"  --dot           a graph for dot(1)\n"
		"  --store STORE   a store that is not mounted\n"
		"\n"
		"Examples:\n"
		"  pfs why /pfs/data/main/features.mtx\n"
		"  pfs why --dot /pfs/results/main/table.csv | dot -Tsvg >table.svg\n",
	.run = run,
};
