/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pfs stats
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/text.h"
#include "client.h"
#include "commands.h"
#include "present.h"

static void print_bytes(const char *what, uint64_t n)
{
	char size[24];

	printf("  %-24s %s\n", what, format_size(n, size, sizeof(size)));
}

static void print_count(const char *what, uint64_t n)
{
	printf("  %-24s %" PRIu64 "\n", what, n);
}

static void print_rate(const char *what, uint64_t hits, uint64_t misses)
{
	if (hits + misses > 0)
		printf("  %-24s %.1f %% of %" PRIu64 "\n", what,
		       100.0 * (double)hits / (double)(hits + misses), hits + misses);
}

static void print_ratio(const char *what, uint64_t a, uint64_t b)
{
	if (b > 0)
		printf("  %-24s %.2f\n", what, (double)a / (double)b);
}

static void print_store(const json_t *s)
{
	puts(field_bool(s, "is_estimate") ? "Store (sizes estimated from a sample)" : "Store");
	print_count("repos", field_number(s, "repos"));
	print_count("commits", field_number(s, "commits"));
	print_bytes("in all commits", field_number(s, "commit_bytes"));
	print_bytes("different", field_number(s, "unique_bytes"));
	print_bytes("stored", field_number(s, "stored_bytes"));
	print_ratio("shared (times)", field_number(s, "commit_bytes"),
		    field_number(s, "unique_bytes"));
	print_ratio("compressed (times)", field_number(s, "unique_bytes"),
		    field_number(s, "stored_bytes"));
	if (field_number(s, "damaged") > 0)
		print_count("damaged, not counted", field_number(s, "damaged"));
}

static void print_reader(const json_t *line)
{
	const json_t *r = json_object_get(line, "reader");

	printf("  %-24s %s\n", "conditions of writes", field_text(line, "conditions"));
	puts("Reading");
	print_rate("chunks in memory", field_number(r, "chunk_hits"),
		   field_number(r, "chunk_misses"));
	print_rate("tree nodes in memory", field_number(r, "node_hits"),
		   field_number(r, "node_misses"));
	print_bytes("fetched", field_number(r, "fetched_bytes"));
	print_bytes("memory", field_number(r, "chunk_memory") + field_number(r, "node_memory"));
	print_bytes("cached on disk", field_number(line, "cached_bytes"));
	if (field_number(r, "bad") > 0)
		print_count("damaged objects seen", field_number(r, "bad"));
}

/* What has been asked of the store; kinds there were none of are left out. */
static void print_requests(const json_t *b)
{
	const char *kind;
	json_t *op;

	puts("Requests to the store");
	json_object_foreach (json_object_get(b, "requests"), kind, op) {
		uint64_t calls = field_number(op, "calls"), errors = field_number(op, "errors");

		if (calls == 0)
			continue;
		printf("  %-24s %" PRIu64 ", %.1f ms each", kind, calls,
		       (double)field_number(op, "time_us") / 1000 / (double)calls);
		if (errors > 0)
			printf(", %" PRIu64 " failed", errors);
		putchar('\n');
	}
	print_bytes("read", field_number(b, "read_bytes"));
	print_bytes("written", field_number(b, "written_bytes"));
}

static void print_heads(const json_t *h)
{
	puts("Uncommitted");
	print_count("branches in use", field_number(h, "heads"));
	print_count("with changes", field_number(h, "dirty"));
	print_bytes("staged", field_number(h, "staged_bytes"));
	print_bytes("room for staging", field_number(h, "staged_limit"));
}

static void print_runs(const json_t *x)
{
	char when[LOCAL_TIME];

	puts("Runs");
	print_count("known", field_number(x, "known"));
	print_count("without an end", field_number(x, "without_end"));
	if (json_object_get(x, "going_on")) {
		print_count("going on here", field_number(x, "going_on"));
		print_count("ended, view still in use", field_number(x, "ended"));
	}
	printf("  %-24s %s\n", "looked for",
	       *field_text(x, "looked") ? local_time(field_text(x, "looked"), when) : "never");
}

/* What the daemon adds and has not been shown; of requests, those there were. */
static void print_mount(const json_t *mount)
{
	const char *key;
	json_t *value;

	puts("Mount");
	print_bytes("read", field_number(mount, "read_bytes"));
	print_bytes("written", field_number(mount, "written_bytes"));
	print_count("files in memory", field_number(mount, "nodes"));
	print_count("open files", field_number(mount, "open_files"));
	print_bytes("memory of the daemon", field_number(mount, "resident_bytes"));
	print_count("requests that waited", field_number(mount, "slow_requests"));
	print_count("waiting now", field_number(mount, "waiting_requests"));
	json_object_foreach (json_object_get(mount, "requests"), key, value)
		if (json_integer_value(value) > 0)
			printf("  %-24s %" PRIu64 "\n", key, (uint64_t)json_integer_value(value));
}

static int run(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = { LONG_JSON, LONG_STORE, LONG_HELP, LONG_END };
	_cleanup_target_ struct target t = { 0 };
	_cleanup_client_ struct client *c = NULL;
	const char *store = NULL;
	bool json = false;
	json_t *q, *line = NULL;
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
	r = client_open(&t, CLIENT_READS, &c);
	if (r < 0)
		return EXIT_FAILED;
	q = request_new("stats");
	json_object_set_new(q, "store", json_true());
	r = client_ask_one(c, q, &line);
	if (r == 0 && json) {
		print_json(line);
	} else if (r == 0) {
		print_store(json_object_get(line, "store"));
		print_reader(line);
		print_requests(json_object_get(line, "backend"));
		if (json_object_get(line, "heads"))
			print_heads(json_object_get(line, "heads"));
		print_runs(json_object_get(line, "runs"));
		if (json_object_get(line, "mount"))
			print_mount(json_object_get(line, "mount"));
	}
	json_decref(line);
	return cli_exit_code(r);
}

const struct command cmd_stats = {
	.name = "stats",
	.summary = "numbers of a mount and its store",
	.help = "Usage: pfs stats [--json] [DIR]\n"
		"\n"
		"Tells what the mount at DIR does: operations, hit rates, memory, what is staged\n"
		"and cached; and how much the store holds, how much of it is shared, and how well\n"
		"it compresses. For monitoring, /pfs/.pfs/stats has the mount's numbers in\n"
		"Prometheus' format.\n"
		"\n"
		"  --json          one JSON value instead of text\n"
		"  --store STORE   a store that is not mounted\n"
		"\n"
		"Example:\n"
		"  pfs stats /pfs\n",
	.run = run,
};
