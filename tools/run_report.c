/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Collecting what a run has come to (run_report.h). Whatever cannot be had is left out, with a
 * sentence in "error" that says so: the run itself has succeeded or failed already.
 */
#include "run_report.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/text.h"
#include "capture.h"
#include "present.h"
#include "record/json_bytes.h"
#include "run_config.h"
#include "run_params.h"
#include "run_relay.h"
#include "run_request.h"

enum {
	CONFIGS_MAX = 100, /* files */
	CONFIG_VALUES_MAX = 5000, /* of all files */
	CONFIG_TEXT_MAX = 256 << 10, /* bytes of all values as JSON */
	LINES_MAX = 4 << 20, /* bytes of params or metrics that are looked at: the last */
	CAPTURE_MIN = 1 << 10,
};

/* A configuration file that was read, and then all of them. */
struct configs {
	const struct run_place *place;
	json_t *params, *errors; /* borrowed */
	json_t *read; /* {"path", "commit"} of each; owned */
	size_t count, text;
};

static _printf_(2, 3) void note(json_t *errors, const char *fmt, ...)
{
	char text[1000];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	json_array_append_new(errors, json_of_bytes(span_str(text)));
}

static int take_config(json_t *line, void *ctx)
{
	struct configs *c = ctx;

	if (c->count++ < CONFIGS_MAX)
		json_array_append(c->read, line);
	return 0;
}

/* Where "R/B/..." is as it was when the run began, which may have changed it since; NULL. To be
 * freed. */
static char *pinned_path(const struct configs *c, struct span path, const char *commit)
{
	const char *text = (const char *)path.data;
	size_t repo = path.len > 0 ? strcspn(text, "/") : 0;
	const char *below = path.len > repo ? strchr(text + repo + 1, '/') : NULL;

	if (!below)
		return NULL;
	return strf("%s/%.*s/commits/%s%s", c->place->root, (int)repo, text, commit, below);
}

/* One file's parameters. */
static void read_config(struct configs *c, const json_t *file)
{
	json_t *path = json_object_get(file, "path"), *params = json_array();
	_cleanup_buf_ struct buf name = { 0 };
	_cleanup_free_ char *full = NULL;
	char why[CONFIG_ERROR_MAX];
	int r = json_to_bytes(path, &name);

	buf_put_u8(&name, '\0');
	if (r == 0 && !buf_failed(&name)) {
		name.len--;
		full = pinned_path(c, buf_span(&name), field_text(file, "commit"));
	}
	if (!full) {
		json_decref(params);
		return;
	}
	r = config_read(full, params, why);
	/* The commit has none of that name: the run has made it, and so it is no input. */
	if (r < 0 && r != -ENOENT)
		note(c->errors, "%.*s has no parameters that could be read: %s", (int)name.len,
		     (const char *)name.data, why);
	else if (r > 0)
		note(c->errors, "%.*s has more values than are kept", (int)name.len,
		     (const char *)name.data);
	for (size_t i = 0; i < json_array_size(params); i++)
		json_object_set(json_array_get(params, i), "path", path);
	c->text += json_dumpb(params, NULL, 0, JSON_COMPACT);
	if (c->text <= CONFIG_TEXT_MAX &&
	    json_array_size(c->params) + json_array_size(params) <= CONFIG_VALUES_MAX)
		json_array_extend(c->params, params);
	else if (json_array_size(params) > 0)
		note(c->errors, "the parameters of %.*s are too many to be kept", (int)name.len,
		     (const char *)name.data);
	json_decref(params);
}

static void read_configs(struct client *client, struct configs *c)
{
	json_t *q = request_new("run-configs");

	c->read = json_array();
	json_object_set_new(q, "id", json_string(c->place->id));
	if (client_ask(client, q, take_config, c) < 0)
		note(c->errors, "it could not be told which configuration files were read");
	for (size_t i = 0; i < json_array_size(c->read); i++)
		read_config(c, json_array_get(c->read, i));
	if (c->count > CONFIGS_MAX)
		note(c->errors,
		     "of %zu files that may be configuration the first %d were looked at", c->count,
		     CONFIGS_MAX);
	json_decref(c->read);
}

/* The end of a file, from a line's start on. */
static int read_last_lines(const char *path, struct buf *ret)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	uint64_t from;
	uint8_t *to;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size == 0)
		return 0;
	from = st.st_size > LINES_MAX ? (uint64_t)st.st_size - LINES_MAX : 0;
	to = buf_extend(ret, (size_t)((uint64_t)st.st_size - from));
	n = to ? pread_upto(fd, to, ret->len, from) : -ENOMEM;
	if (n < 0)
		return (int)n;
	ret->len = (size_t)n;
	if (from > 0) {
		const uint8_t *nl = memchr(ret->data, '\n', ret->len);
		size_t cut = nl ? (size_t)(nl - ret->data) + 1 : ret->len;

		memmove(ret->data, ret->data + cut, ret->len - cut);
		ret->len -= cut;
	}
	return from > 0;
}

/* $PFS_RUN/params or metrics. */
static void read_lines(const struct run_place *p, const char *name, json_t *into, json_t *errors)
{
	_cleanup_free_ char *path = strf("%s/%s", p->dir, name);
	_cleanup_buf_ struct buf text = { 0 };
	json_t *lines = json_array();
	size_t bad = 0, count, first;
	int r = path ? read_last_lines(path, &text) : -ENOMEM;

	if (r < 0 && r != -ENOENT)
		note(errors, "the %s that the run has said cannot be read: %s", name, strerror(-r));
	if (r >= 0)
		params_of_lines(lines, buf_span(&text), &bad);
	count = json_array_size(lines);
	first = count > PARAM_LINES_MAX ? count - PARAM_LINES_MAX : 0;
	if (r > 0 || first > 0)
		note(errors, "of many %s the last %zu are kept", name, count - first);
	if (bad > 0)
		note(errors, "%zu line%s of the %s: no K=V or JSON object that can be kept", bad,
		     bad == 1 ? "" : "s", name);
	for (size_t i = first; i < count; i++)
		json_array_append(into, json_array_get(lines, i));
	json_decref(lines);
}

static json_t *json_usage(const struct ended *e)
{
	const struct timeval *user = &e->usage.ru_utime, *system = &e->usage.ru_stime;
	json_t *j = json_object();

	json_object_set_new(j, "seconds", json_real(e->seconds));
	json_object_set_new(j, "user",
			    json_real((double)user->tv_sec + (double)user->tv_usec / 1e6));
	json_object_set_new(j, "system",
			    json_real((double)system->tv_sec + (double)system->tv_usec / 1e6));
	json_object_set_new(j, "max_rss", json_integer((json_int_t)e->usage.ru_maxrss * 1024));
	return j;
}

/* Less of the output, where control characters make it long. */
static void put_output(json_t *report, struct relay *relay)
{
	for (size_t max = CAPTURE_MAX; max >= CAPTURE_MIN; max /= 2) {
		json_object_set_new(report, "output", relay_output(relay, max));
		if (json_dumpb(report, NULL, 0, JSON_COMPACT) <= RUN_REQUEST_MAX)
			return;
	}
	json_object_del(report, "output");
}

json_t *run_report(struct client *c, const struct run_place *p, const struct ended *ended,
		   struct relay *relay)
{
	json_t *report = request_new("run-end"), *params = json_array(), *metrics = json_array(),
	       *errors = json_array();
	struct configs configs = { .place = p, .params = params, .errors = errors };

	json_object_set_new(report, "id", json_string(p->id));
	if (WIFSIGNALED(ended->status))
		json_object_set_new(report, "signal", json_integer(WTERMSIG(ended->status)));
	else
		json_object_set_new(report, "exit", json_integer(WEXITSTATUS(ended->status)));
	json_object_set_new(report, "usage", json_usage(ended));
	read_configs(c, &configs);
	read_lines(p, "params", params, errors);
	read_lines(p, "metrics", metrics, errors);
	if (!relay)
		note(errors, "what it printed was not kept");
	if (!p->has_view)
		note(errors,
		     "it had no mount namespace: what it did below the mount point, and not "
		     "below $PFS_ROOT, is not in this record");
	json_object_set_new(report, "params", params);
	json_object_set_new(report, "metrics", metrics);
	if (json_array_size(errors) > 0)
		json_object_set(report, "error", errors);
	json_decref(errors);
	if (relay)
		put_output(report, relay);
	return report;
}
