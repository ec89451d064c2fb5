/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pfs cache
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "base/text.h"
#include "client.h"
#include "commands.h"
#include "mounts.h"
#include "present.h"
#include "progress.h"
#include "record/json_bytes.h"

struct cache_args {
	const struct command *self;
	bool json, quiet;
	struct transfer_options options;
	struct progress progress;
	json_t *last; /* the answer's last line; owned */
};

static int take_progress(json_t *line, void *ctx)
{
	struct cache_args *a = ctx;
	struct transfer_progress p = {
		.files = field_number(line, "files"),
		.bytes = field_number(line, "bytes"),
		.files_total = field_number(line, "files_total"),
		.bytes_total = field_number(line, "bytes_total"),
	};

	json_decref(a->last);
	a->last = json_incref(line);
	a->options.progress(&p, a->options.ctx);
	return 0;
}

static void print_warmed(const json_t *line)
{
	char all[24], fetched[24], used[24], budget[24];
	uint64_t hidden = field_number(line, "hidden");

	printf("%" PRIu64
	       " files, %s; %s were fetched, the rest was there. The cache has %s of %s.\n",
	       field_number(line, "files"),
	       format_size(field_number(line, "bytes"), all, sizeof(all)),
	       format_size(field_number(line, "fetched_bytes"), fetched, sizeof(fetched)),
	       format_size(field_number(line, "cached_bytes"), used, sizeof(used)),
	       format_size(field_number(line, "cache_budget"), budget, sizeof(budget)));
	if (hidden > 0)
		cli_note("%" PRIu64 " files were left out: you may not read them.", hidden);
}

/* All must be in one mount. */
static int find_targets(char **args, int n, struct target *first, json_t *paths)
{
	int r = 0;

	for (int i = 0; r == 0 && i < n; i++) {
		_cleanup_target_ struct target t = { 0 };

		r = target_find(NULL, args[i], &t);
		if (r == 0 && !t.mount) {
			cli_error("`%s` is not in a pfs mount", args[i]);
			r = -ENOENT;
		}
		if (r == 0 && i > 0)
			r = target_check_same(first, &t);
		if (r == 0)
			json_array_append_new(paths, json_of_bytes(buf_span(&t.path)));
		if (r == 0 && i == 0) {
			*first = t;
			t = (struct target){ 0 };
		}
	}
	return r;
}

static int warm(struct cache_args *a, char **args, int n)
{
	_cleanup_client_ struct client *c = NULL;
	_cleanup_target_ struct target t = { 0 };
	json_t *paths = json_array(), *q;
	int r = find_targets(args, n, &t, paths);

	if (r == 0)
		r = client_open(&t, CLIENT_READS, &c);
	if (r < 0) {
		json_decref(paths);
		return EXIT_FAILED;
	}
	q = request_new("cache-warm");
	json_object_set_new(q, "paths", paths);
	progress_begin(&a->progress, "cached", a->quiet, &a->options);
	progress_stop_at_once();
	r = client_ask(c, q, take_progress, a);
	progress_end(&a->progress);
	if (r == 0 && a->json)
		print_json(a->last);
	else if (r == 0)
		print_warmed(a->last);
	json_decref(a->last);
	return cli_exit_code(r);
}

static json_t *share_of(uint64_t hits, uint64_t all)
{
	return all > 0 ? json_real((double)hits / (double)all) : json_null();
}

/* What a mount's daemon says of its cache. */
static int ask_status(const char *mount, json_t **ret)
{
	_cleanup_client_ struct client *c = NULL;
	_cleanup_target_ struct target t = { .mount = strdup(mount) };
	json_t *stats = NULL, *info = NULL;
	const json_t *reader;
	uint64_t memory, missed, disk;
	int r = t.mount ? client_open(&t, CLIENT_READS, &c) : -ENOMEM;

	if (r == 0)
		r = client_ask_one(c, request_new("info"), &info);
	if (r == 0)
		r = client_ask_one(c, request_new("stats"), &stats);
	if (r == 0) {
		reader = json_object_get(stats, "reader");
		memory = field_number(reader, "chunk_hits") + field_number(reader, "node_hits");
		missed = field_number(reader, "chunk_misses") + field_number(reader, "node_misses");
		disk = MIN(field_number(reader, "disk_hits"), missed);
		*ret = json_pack(
			"{ss ss sI sI sI so so sI}", "store", field_text(info, "url"), "mount",
			mount, "used_bytes", (json_int_t)field_number(stats, "cached_bytes"),
			"budget_bytes", (json_int_t)field_number(stats, "cache_budget"), "reads",
			(json_int_t)(memory + missed), "memory_hit_rate",
			share_of(memory, memory + missed), "disk_hit_rate", share_of(disk, missed),
			"fetched_bytes", (json_int_t)field_number(reader, "fetched_bytes"));
		r = *ret ? 0 : -ENOMEM;
	}
	json_decref(info);
	json_decref(stats);
	return r;
}

static void print_share(const char *what, const json_t *share)
{
	if (json_is_real(share))
		printf("  %-18s%.1f %%\n", what, 100 * json_real_value(share));
}

static void print_status(const json_t *s)
{
	char used[24], budget[24], fetched[24];

	printf("%s\n", field_text(s, "store"));
	printf("  %-18s%s\n", "mounted at", field_text(s, "mount"));
	if (field_number(s, "budget_bytes") == 0)
		puts("  no disk cache: staged data has all of the disk budget");
	else
		printf("  %-18s%s of %s\n", "on disk",
		       format_size(field_number(s, "used_bytes"), used, sizeof(used)),
		       format_size(field_number(s, "budget_bytes"), budget, sizeof(budget)));
	print_share("hits in memory", json_object_get(s, "memory_hit_rate"));
	print_share("else on disk", json_object_get(s, "disk_hit_rate"));
	printf("  %-18s%s\n", "fetched",
	       format_size(field_number(s, "fetched_bytes"), fetched, sizeof(fetched)));
}

/* Every mount of ours that can be entered whole, each once. */
static int status_of_all(json_t *all)
{
	_cleanup_mounts_ struct mounts m = { 0 };
	int r = mounts_load(&m), first = 0;

	if (r < 0)
		cli_error("it cannot be told what is mounted: %s", errno_text(r));
	for (size_t i = 0; r == 0 && i < m.count; i++) {
		const struct mounted *x = &m.items[i];
		json_t *s = NULL;
		int e = 0;

		if (mounted_is_pfs(x) && mounts_whole(&m, x) == x)
			e = ask_status(x->point, &s);
		if (s)
			json_array_append_new(all, s);
		first = first ?: e;
	}
	return r ?: first;
}

static int status(struct cache_args *a, char **args, int n)
{
	_cleanup_target_ struct target t = { 0 };
	json_t *all = json_array(), *s = NULL;
	int r;

	if (n == 0) {
		r = status_of_all(all);
	} else {
		r = target_find(NULL, args[0], &t);
		if (r == 0 && !t.mount) {
			cli_error("`%s` is not in a pfs mount", args[0]);
			r = -ENOENT;
		}
		if (r == 0)
			r = ask_status(t.mount, &s);
		if (r == 0)
			json_array_append_new(all, s);
	}
	if (a->json)
		print_json(all);
	for (size_t i = 0; !a->json && i < json_array_size(all); i++)
		print_status(json_array_get(all, i));
	if (r == 0 && json_array_size(all) == 0)
		cli_note("Nothing is mounted.");
	json_decref(all);
	return r < 0 ? EXIT_FAILED : EXIT_DONE;
}

static int run(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "quiet", no_argument, NULL, 'q' }, LONG_JSON, LONG_HELP, LONG_END
	};
	struct cache_args a = { .self = self };
	char **args;
	int r, n;

	while ((r = cli_option(self, argc, argv, "hq", longs)) >= 0) {
		if (r == OPT_JSON)
			a.json = true;
		else if (r == 'q')
			a.quiet = true;
	}
	n = cli_arguments(self, argc, argv, 1, INT32_MAX, &args);
	if (strcmp(args[0], "warm") == 0)
		return n > 1 ? warm(&a, args + 1, n - 1) : cli_usage(self, "which paths?");
	if (strcmp(args[0], "status") == 0)
		return n <= 2 ? status(&a, args + 1, n - 1)
			      : cli_usage(self, "one argument too many: `%s`", args[2]);
	return cli_usage(self, "`%s` is neither warm nor status", args[0]);
}

const struct command cmd_cache = {
	.name = "cache",
	.summary = "fill the disk cache, or tell of it",
	.help = "Usage: pfs cache warm [-q] [--json] PATH...\n"
		"       pfs cache status [--json] [DIR]\n"
		"\n"
		"warm brings the content of files, and of all below directories, in a mount to\n"
		"its disk cache, so that they read fast later, or while the store cannot be\n"
		"reached. Of a branch it is what was committed last. What does not fit into the\n"
		"cache is refused; what is there is not fetched again.\n"
		"\n"
		"status tells how much each mount's cache has and may have, and how often it was\n"
		"of use.\n"
		"\n"
		"  -q, --quiet   no bar\n"
		"  --json        one JSON value instead of text\n"
		"\n"
		"Example:\n"
		"  pfs cache warm /pfs/corpus/2026-11\n",
	.run = run,
};
