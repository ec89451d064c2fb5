/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pfs runs
 */
#include <inttypes.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "client.h"
#include "commands.h"
#include "present.h"
#include "runs.h"

enum {
	COLUMNS_MAX = 64,
	ROWS_MEASURED = 1000, /* as many rows decide how wide the columns are */
	WIDTH_MAX = 40,
	LAST_MIN = 20, /* of the last column, however narrow the terminal is */
};

/* Rows are kept until it is known how wide they are. */
struct table {
	bool json, csv;
	struct json_list list;
	char *columns[COLUMNS_MAX]; /* borrowed from the argument */
	size_t count;
	json_t *rows; /* owned: those that wait */
	bool has_begun;
	int width[COLUMNS_MAX];
	int terminal; /* its columns, in which the last one is cut short; 0: there is none */
};

static json_t *cell_of(const json_t *row, const char *column)
{
	json_t *v = json_object_get(row, column), *out;

	if (strncmp(column, "params.", 7) == 0)
		return json_object_get(json_object_get(row, "params"), column + 7);
	if (strncmp(column, "metrics.", 8) == 0)
		return json_object_get(json_object_get(row, "metrics"), column + 8);
	out = json_array_get(json_object_get(row, "outputs"), 0);
	if (strcmp(column, "repo") == 0 || strcmp(column, "branch") == 0)
		return json_object_get(out, column);
	if (v && strcmp(column, "params") != 0 && strcmp(column, "metrics") != 0)
		return v;
	v = json_object_get(json_object_get(row, "params"), column);
	return v ?: json_object_get(json_object_get(row, "metrics"), column);
}

/* What a column shows of a row; malloc'ed. */
static char *cell(const json_t *row, const char *column, bool is_for_people)
{
	char when[LOCAL_TIME];
	const json_t *v;

	if (strcmp(column, "params") == 0 || strcmp(column, "metrics") == 0) {
		v = json_object_get(row, column);
		return is_for_people && json_object_size(v) == 0 ? strdup("-") : run_pairs_text(v);
	}
	v = cell_of(row, column);
	/* What was begun in a run stands below it. */
	if (is_for_people && strcmp(column, "id") == 0)
		return strf("%*s%s", 2 * (int)field_number(row, "depth"), "",
			    field_text(row, "id"));
	if (is_for_people && (strcmp(column, "started") == 0 || strcmp(column, "ended") == 0))
		return strdup(json_is_string(v) ? local_time(json_string_value(v), when) : "-");
	if (is_for_people && strcmp(column, "seconds") == 0 && json_is_number(v))
		return strf("%.1f", json_number_value(v));
	return v ? run_value_text(v) : strdup(is_for_people ? "-" : "");
}

static void print_csv(const char *s)
{
	if (!strpbrk(s, ",\"\r\n")) {
		fputs(s, stdout);
		return;
	}
	putchar('"');
	for (; *s; s++) {
		if (*s == '"')
			putchar('"');
		putchar(*s);
	}
	putchar('"');
}

static bool is_character(char c)
{
	return (c & 0xc0) != 0x80; /* not one's further bytes in UTF-8 */
}

static int characters(const char *s)
{
	int n = 0;

	for (; *s; s++)
		n += is_character(*s);
	return n;
}

/* Leaves @max characters, the last three of which then tell of more. */
static void cut(char *s, int max)
{
	char *end = s;

	if (characters(s) <= max)
		return;
	for (int n = 0; n < max - 3 || !is_character(*end); end++)
		n += is_character(end[1]);
	memcpy(end, "...", sizeof("..."));
}

static void print_csv_row(const struct table *t, const json_t *row)
{
	for (size_t i = 0; i < t->count; i++) {
		_cleanup_free_ char *s = row ? cell(row, t->columns[i], false) : NULL;

		if (i > 0)
			putchar(',');
		print_csv(row ? s ?: "" : t->columns[i]);
	}
	fputs("\r\n", stdout);
}

static void print_row(const struct table *t, const json_t *row)
{
	int at = 0;

	if (t->csv) {
		print_csv_row(t, row);
		return;
	}
	for (size_t i = 0; i < t->count; i++) {
		_cleanup_free_ char *s =
			row ? cell(row, t->columns[i], true) : strdup(t->columns[i]);
		const bool is_last = i + 1 == t->count;

		if (s && is_last && t->terminal > 0)
			cut(s, MAX(t->terminal - at, (int)LAST_MIN));
		print_run_text(s ?: "");
		for (int n = characters(s ?: ""); !is_last && n < t->width[i] + 2; n++)
			putchar(' ');
		at += MAX(characters(s ?: ""), t->width[i]) + 2;
	}
	putchar('\n');
}

static void begin(struct table *t)
{
	struct winsize w;
	json_t *row;
	size_t k;

	if (t->has_begun)
		return;
	t->has_begun = true;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0)
		t->terminal = w.ws_col;
	for (size_t i = 0; i < t->count; i++)
		t->width[i] = characters(t->columns[i]);
	json_array_foreach (t->rows, k, row) {
		for (size_t i = 0; i < t->count; i++) {
			_cleanup_free_ char *s = cell(row, t->columns[i], true);

			t->width[i] = MAX(t->width[i], characters(s ?: ""));
			t->width[i] = MIN(t->width[i], (int)WIDTH_MAX);
		}
	}
	print_row(t, NULL);
	json_array_foreach (t->rows, k, row)
		print_row(t, row);
	json_array_clear(t->rows);
}

static int show_row(json_t *line, void *ctx)
{
	struct table *t = ctx;

	if (run_aside(line))
		return 0;
	if (t->json) {
		json_list_add(&t->list, line);
		return 0;
	}
	if (t->has_begun || t->csv) {
		begin(t);
		print_row(t, line);
		return 0;
	}
	if (json_array_append(t->rows, line) < 0)
		return -ENOMEM;
	if (json_array_size(t->rows) == ROWS_MEASURED)
		begin(t);
	return 0;
}

/* 0, or an exit code, said. */
static int choose_columns(const struct command *self, struct table *t, char *columns)
{
	for (char *s; (s = strsep(&columns, ","));) {
		if (t->count == COLUMNS_MAX)
			return cli_usage(self, "more than %d columns", COLUMNS_MAX);
		if (!*s)
			return cli_usage(self, "a column without a name");
		t->columns[t->count++] = s;
	}
	return 0;
}

static int list(struct client *c, json_t *q, struct table *t)
{
	int r;

	t->rows = json_array();
	t->list.indent = "";
	r = client_ask(c, q, show_row, t);
	if (t->json && (r == 0 || t->list.count > 0)) {
		json_list_end(&t->list);
		putchar('\n');
	} else if (!t->json && (r == 0 || t->has_begun)) {
		begin(t);
	}
	json_decref(t->rows);
	return cli_exit_code(r);
}

struct asked {
	bool json;
	struct json_list list;
	json_t *first; /* owned */
	uint64_t count;
};

static int take_shown(json_t *line, void *ctx)
{
	struct asked *a = ctx;

	if (run_aside(line))
		return 0;
	if (a->json)
		print_json(line);
	else
		print_run_record(line);
	return 0;
}

static int take_differing(json_t *line, void *ctx)
{
	struct asked *a = ctx;

	if (run_aside(line))
		return 0;
	if (a->json)
		json_list_add(&a->list, line);
	else if (!json_object_get(line, "what"))
		print_run_sides(line);
	else
		print_run_difference(line);
	return 0;
}

static int show(struct client *c, const char *run, bool json)
{
	struct asked a = { .json = json };
	json_t *q = request_new("run-show");

	json_object_set_new(q, "run", json_string(run));
	return cli_exit_code(client_ask(c, q, take_shown, &a));
}

static int differ(struct client *c, const char *one, const char *two, bool json)
{
	struct asked a = { .json = json, .list.indent = "" };
	json_t *q = request_new("run-diff");
	int r;

	json_object_set_new(q, "a", json_string(one));
	json_object_set_new(q, "b", json_string(two));
	r = client_ask(c, q, take_differing, &a);
	if (json && (r == 0 || a.list.count > 0)) {
		json_list_end(&a.list);
		putchar('\n');
	}
	return cli_exit_code(r);
}

static void set_zone(json_t *q)
{
	time_t now = time(NULL);
	struct tm tm;

	localtime_r(&now, &tm);
	json_object_set_new(q, "zone", json_integer(tm.tm_gmtoff));
}

enum {
	OPT_WHERE = 1000,
	OPT_SORT,
	OPT_COLUMNS,
	OPT_CSV,
};

static int run(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = { { "where", required_argument, NULL, OPT_WHERE },
					       { "sort", required_argument, NULL, OPT_SORT },
					       { "columns", required_argument, NULL, OPT_COLUMNS },
					       { "limit", required_argument, NULL, 'n' },
					       { "csv", no_argument, NULL, OPT_CSV },
					       LONG_JSON,
					       LONG_STORE,
					       LONG_HELP,
					       LONG_END };
	_cleanup_free_ char *columns = NULL;
	const char *store = NULL, *where = NULL, *sort = NULL;
	_cleanup_target_ struct target t = { 0 };
	_cleanup_client_ struct client *c = NULL;
	bool is_show, is_diff;
	struct table table = { 0 };
	uint64_t limit = UINT64_MAX;
	char **args;
	json_t *q;
	int r, n;

	while ((r = cli_option(self, argc, argv, "hn:", longs)) >= 0) {
		if (r == OPT_STORE) {
			store = optarg;
		} else if (r == OPT_JSON) {
			table.json = true;
		} else if (r == OPT_CSV) {
			table.csv = true;
		} else if (r == OPT_WHERE) {
			where = optarg;
		} else if (r == OPT_SORT) {
			sort = optarg;
		} else if (r == OPT_COLUMNS) {
			free(columns);
			columns = strdup(optarg);
		} else if (r == 'n' && (parse_u64(optarg, &limit) < 0 || limit > INT64_MAX)) {
			return cli_usage(self, "`%s` is not a number", optarg);
		}
	}
	n = cli_arguments(self, argc, argv, 0, 3, &args);
	is_show = n == 2 && strcmp(args[0], "show") == 0;
	is_diff = n == 3 && strcmp(args[0], "diff") == 0;
	if (n > 1 && !is_show && !is_diff)
		return cli_usage(self, "`show RUN`, `diff A B`, or one path");
	if (table.json && table.csv)
		return cli_usage(self, "--json or --csv, not both");
	if (target_find(store, n == 1 ? args[0] : NULL, &t) < 0 ||
	    client_open(&t, CLIENT_READS, &c) < 0)
		return EXIT_FAILED;
	if (is_show)
		return show(c, args[1], table.json);
	if (is_diff)
		return differ(c, args[1], args[2], table.json);
	/* For people an id says when it was. */
	if (!columns)
		columns = strdup(table.csv ? "id,name,status,started,seconds,params,metrics,command"
					   : "id,name,status,seconds,params,metrics,command");
	r = choose_columns(self, &table, columns);
	if (r != 0)
		return r;
	q = request_new("runs");
	if (where)
		json_object_set_new(q, "where", json_string(where));
	if (sort)
		json_object_set_new(q, "sort", json_string(sort));
	if (limit <= INT64_MAX)
		json_object_set_new(q, "limit", json_integer((json_int_t)limit));
	if (n == 1 && t.path.len > 0)
		request_path(q, "path", &t);
	if (!sort && !table.json && !table.csv)
		json_object_set_new(q, "nested", json_true());
	set_zone(q);
	return list(c, q, &table);
}

const struct command cmd_runs = {
	.name = "runs",
	.summary = "tell which runs there were, with which parameters",
	.help = "Usage: pfs runs [OPTION]... [PATH]\n"
		"       pfs runs [--json] show RUN\n"
		"       pfs runs [--json] diff A B\n"
		"\n"
		"Lists what `pfs run` has run on any machine, by when it started, the last one\n"
		"last, and what was run in a run below that one; with PATH, what wrote to it.\n"
		"`show` tells all of one, `diff` how two differ: parameters, commits,\n"
		"environment, and what they read. RUN is an id, the beginning of one, or a name\n"
		"(its last run).\n"
		"\n"
		"EXPR compares keys with = != < <= > >= and ~ (has that text in it; with * and ?\n"
		"is like it), joined by and, or, not and parentheses. Keys: id name status\n"
		"started ended seconds exit repo branch user machine group parent command; all\n"
		"others are parameters and metrics (params.KEY and metrics.KEY where it matters).\n"
		"A run without the key does not match. Times are like 2026-01-15,\n"
		"2026-01-15T14:30, or 2d, 3h for ages.\n"
		"\n"
		"  --where EXPR     only runs that match\n"
		"  --sort KEY       by what they have under a key; -KEY: the highest first\n"
		"  --columns LIST   what to show, with commas between: keys as in EXPR, params,\n"
		"                   metrics\n"
		"  -n, --limit N    so many at most: the last, or with --sort the first ones\n"
		"  --json, --csv    for programs\n"
		"  --store STORE    a store that is not mounted\n"
		"\n"
		"Examples:\n"
		"  pfs runs --where 'lr > 0.01 and status = ok and started > 2d' --sort -acc\n"
		"  pfs runs --csv --columns id,lr,acc >runs.csv\n"
		"  pfs runs diff 20260115-143052-7f3a best\n",
	.run = run,
};
