/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pfs show
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/text.h"
#include "client.h"
#include "commands.h"
#include "differences.h"
#include "present.h"

static void print_entry(const json_t *line)
{
	const json_t *e = json_object_get(line, "entry"), *xattrs = json_object_get(e, "xattrs");
	const char *type = field_text(e, "type"), *id = field_text(e, "id"), *key;
	char when[LOCAL_TIME], size[24];
	json_t *value;

	printf("%-9s", type);
	print_name(json_object_get(line, "path"), "");
	putchar('\n');
	if (json_object_get(e, "target")) {
		fputs("Target:  ", stdout);
		print_name(json_object_get(e, "target"), "");
		putchar('\n');
	}
	if (strcmp(type, "file") == 0)
		printf("Size:    %" PRIu64 " (%s)\n", field_number(e, "size"),
		       format_size(field_number(e, "size"), size, sizeof(size)));
	if (json_object_get(e, "major"))
		printf("Device:  %" PRIu64 ":%" PRIu64 "\n", field_number(e, "major"),
		       field_number(e, "minor"));
	printf("Mode:    %s, owner %" PRIu64 ":%" PRIu64 ", %" PRIu64 " link%s\n",
	       field_text(e, "mode"), field_number(e, "uid"), field_number(e, "gid"),
	       field_number(e, "links"), field_number(e, "links") == 1 ? "" : "s");
	printf("Changed: %s\n", local_time(field_text(e, "mtime"), when));
	if (*id)
		printf("Content: %s\n", id);
	json_object_foreach ((json_t *)xattrs, key, value) {
		json_t *name = json_string(key);

		fputs("Xattr:   ", stdout);
		print_name(name, "=");
		json_decref(name);
		print_name(value, "");
		putchar('\n');
	}
}

/* A commit, and what it changed. */
static int show_commit(struct client *c, const struct target *t, const json_t *line, bool json)
{
	const json_t *commit = json_object_get(line, "commit");
	const json_t *parent = json_array_get(json_object_get(commit, "parents"), 0);
	struct differences_view v = { .json = json, .stat = true, .commit = commit };
	_cleanup_free_ char *repo = target_repo(t);
	json_t *q, *a;

	if (!json) {
		print_commit(commit);
		putchar('\n');
	}
	q = request_new("diff");
	a = parent ? json_sprintf("%s/%s", repo ?: "", json_string_value(parent)) : json_null();
	json_object_set_new(q, "a", a);
	json_object_set_new(q, "b", json_sprintf("%s/%s", repo ?: "", field_text(commit, "id")));
	return differences_show(&v, c, q);
}

static int run(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = { LONG_JSON, LONG_STORE, LONG_HELP, LONG_END };
	_cleanup_target_ struct target t = { 0 };
	_cleanup_client_ struct client *c = NULL;
	const char *store = NULL;
	bool json = false;
	json_t *q, *path, *line = NULL;
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
	q = request_new("show");
	request_path(q, "path", &t);
	r = client_ask_one(c, q, &line);
	if (r != 0)
		return cli_exit_code(r);
	path = json_object_get(line, "path");
	if (json_is_string(path) && json_string_length(path) == 0 &&
	    json_is_object(json_object_get(line, "commit")))
		r = show_commit(c, &t, line, json);
	else if (json)
		print_json(line);
	else
		print_entry(line);
	json_decref(line);
	return r;
}

const struct command cmd_show = {
	.name = "show",
	.summary = "tell of a commit, or of a file in one",
	.help = "Usage: pfs show [--json] [PATH]\n"
		"\n"
		"Of a commit, or a branch's last one: its facts, and what it changed. Of a file\n"
		"or directory in one: its attributes.\n"
		"\n"
		"  --json          one JSON value instead of text\n"
		"  --store STORE   a store that is not mounted\n"
		"\n"
		"Example:\n"
		"  pfs show /pfs/data/first\n",
	.run = run,
};
