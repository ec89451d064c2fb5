/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pfs doctor
 */
#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"
#include "base/text.h"
#include "commands.h"
#include "conf.h"
#include "doctor.h"
#include "mounts.h"
#include "options.h"
#include "present.h"

enum {
	SENTENCE = 2000,
};

static const char *const verdicts[] = {
	[VERDICT_OK] = "ok",
	[VERDICT_WARN] = "warn",
	[VERDICT_FAIL] = "fail",
};

void finding(struct doctor *d, enum verdict v, const char *what, const char *fmt, ...)
{
	char text[SENTENCE];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	d->warnings += v == VERDICT_WARN;
	d->failures += v == VERDICT_FAIL;
	if (d->json) {
		json_array_append_new(d->findings, json_pack("{ss ss ss*}", "verdict", verdicts[v],
							     "what", what, "text", text));
		return;
	}
	printf("%-5s%s: %s\n", verdicts[v], what, text);
	fflush(stdout); /* what comes next may take its time */
}

void finding_of_error(struct doctor *d, enum verdict v, const char *what, int r, const char *advice)
{
	const char *said = cli_take_error();

	if (!said[0])
		said = complaint()[0] ? complaint() : errno_text(r);
	finding(d, v, what, "%s%s%s", said, advice ? "; " : "", advice ?: "");
	complaint_clear();
}

/* Where a mount of the store would keep its state, if the configuration says where it goes. */
static void check_future_state(struct doctor *d, const struct store_conf *c)
{
	_cleanup_mount_options_ struct mount_options o = { 0 };
	_cleanup_free_ char *state = NULL;

	mount_options_init(&o);
	if ((c->options && mount_options_parse(&o, c->options) < 0) ||
	    mount_options_set_places(&o, c->url, c->mount) < 0) {
		finding_of_error(d, VERDICT_FAIL, "options", -EINVAL, "see pfs-mount(8)");
		return;
	}
	state = mount_state_dir(&o);
	if (state)
		doctor_state(d, state, false);
}

/* @point: a mount of it that is alive; NULL: none. */
static void check_store(struct doctor *d, const char *url, const char *point, bool read_only)
{
	if (strncmp(url, "s3://", strlen("s3://")) == 0 && !doctor_server(d, url))
		return;
	if (point)
		doctor_heads(d, point);
	doctor_store(d, url, read_only);
}

/* Is it mounted where the configuration says? */
static bool is_mounted(const char *point)
{
	_cleanup_mounts_ struct mounts m = { 0 };
	const struct mounted *x = mounts_load(&m) == 0 ? mounts_at(&m, point) : NULL;

	return x && mounted_is_pfs(x);
}

static void check_named(struct doctor *d, const char *name, bool read_only)
{
	_cleanup_store_conf_ struct store_conf c = { 0 };
	_cleanup_free_ char *source = NULL;
	const char *alive = NULL;
	int r = store_conf_find(name, false, &c);

	if (r < 0) {
		finding_of_error(d, VERDICT_FAIL, "configuration", r, NULL);
		return;
	}
	if (c.mount && is_mounted(c.mount))
		alive = doctor_mount(d, c.mount, &source) == 0 ? c.mount : NULL;
	else if (c.mount)
		check_future_state(d, &c);
	check_store(d, c.url, alive, read_only);
}

/* The mount point an argument is, or is in: malloc'ed; NULL: it is none. A dead one is found too,
 * and no file in it looked at. */
static char *point_of(const char *arg)
{
	_cleanup_mounts_ struct mounts m = { 0 };
	_cleanup_free_ char *real = realpath(arg, NULL), *full = NULL;
	const struct mounted *x;
	size_t n;

	if (!real && errno != ENOTCONN)
		return NULL;
	if (mounts_load(&m) < 0)
		return NULL;
	full = real ? NULL : arg[0] == '/' ? strdup(arg) : NULL;
	n = full ? strlen(full) : 0;
	while (n > 1 && full[n - 1] == '/')
		full[--n] = '\0';
	x = real ? mounts_of(&m, real) : full ? mounts_at(&m, full) : NULL;
	if (!x && real)
		x = mounts_at(&m, real);
	if (!x || !mounted_is_pfs(x))
		return NULL;
	x = mounts_whole(&m, x) ?: x;
	return strdup(x->point);
}

/* Nothing is named: the mount one is in, or the only one there is. */
static char *point_meant(void)
{
	_cleanup_mounts_ struct mounts m = { 0 };
	const struct mounted *only = NULL;
	const char *env = getenv("PFS_STORE");
	char *here = point_of(".");

	if (here || (env && *env) || mounts_load(&m) < 0)
		return here;
	for (size_t i = 0; i < m.count; i++) {
		if (!mounted_is_pfs(&m.items[i]) || strcmp(m.items[i].root, "/") != 0)
			continue;
		if (only && only->dev != m.items[i].dev)
			return NULL;
		only = &m.items[i];
	}
	return only ? strdup(only->point) : NULL;
}

static void examine(struct doctor *d, const char *arg, bool read_only)
{
	_cleanup_free_ char *point = arg ? point_of(arg) : point_meant(), *source = NULL;
	int r;

	doctor_machine(d);
	if (!point) {
		check_named(d, arg, read_only);
		return;
	}
	r = doctor_mount(d, point, &source);
	if (source)
		check_store(d, source, r == 0 ? point : NULL, read_only);
}

static int run(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "read-only", no_argument, NULL, 'r' }, LONG_JSON, LONG_HELP, LONG_END
	};
	struct doctor d = { .findings = json_array() };
	bool read_only = false;
	char **args;
	int r, n;

	while ((r = cli_option(self, argc, argv, "hr", longs)) >= 0) {
		if (r == OPT_JSON)
			d.json = true;
		else if (r == 'r')
			read_only = true;
	}
	n = cli_arguments(self, argc, argv, 0, 1, &args);
	/* What the library would say is told as findings. */
	log_set_quiet(true);
	cli_keep_errors();
	complaint_clear();
	examine(&d, n ? args[0] : NULL, read_only);
	if (d.json)
		print_json(d.findings);
	else
		printf("%u that fail%s, %u to be warned of\n", d.failures,
		       d.failures == 1 ? "s" : "", d.warnings);
	json_decref(d.findings);
	return d.failures ? EXIT_FAILED : EXIT_DONE;
}

const struct command cmd_doctor = {
	.name = "doctor",
	.summary = "tell what is wrong here",
	.help = "Usage: pfs doctor [-r] [--json] [STORE | DIR]\n"
		"\n"
		"Looks at all that a mount depends on: FUSE, the state directory and its disk,\n"
		"the daemon, keys, the way to the server, its certificate and clock, rights,\n"
		"whether it keeps conditions, how fast it is, the store itself. One line for\n"
		"each, `ok`, `warn` or `fail`, with what to do. DIR is a mount, also a dead one;\n"
		"without an argument it is the one of the current directory, the only one, or the\n"
		"store that $PFS_STORE or the configuration says. An object of 4 MiB is written\n"
		"and removed.\n"
		"\n"
		"  -r, --read-only   nothing is written\n"
		"  --json            one JSON value instead of lines\n"
		"\n"
		"Exits with 1 when something fails.\n"
		"\n"
		"Example:\n"
		"  pfs doctor 's3://data/lab?endpoint=http://minio:9000'\n",
	.run = run,
};
