/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reading a former run (run_former.h).
 */
#include "run_former.h"

#include <stdio.h>
#include <unistd.h>

#include "base/text.h"
#include "cli.h"
#include "present.h"
#include "record/json_bytes.h"
#include "run_params.h"
#include "runs.h"

void former_release(struct former *f)
{
	for (char **a = f->argv; a && *a; a++)
		free(*a);
	free(f->argv);
	json_decref(f->line);
	*f = (struct former){ 0 };
}

static int take(json_t *line, void *ctx)
{
	struct former *f = ctx;

	if (!run_aside(line)) {
		json_decref(f->line);
		f->line = json_incref(line);
	}
	return 0;
}

static char *text_of(const json_t *bytes)
{
	_cleanup_buf_ struct buf b = { 0 };

	if (json_to_bytes(bytes, &b) < 0 || (b.len > 0 && memchr(b.data, '\0', b.len)))
		return NULL;
	return strndup(b.len > 0 ? (const char *)b.data : "", b.len);
}

static int read_argv(struct former *f)
{
	const json_t *argv = json_object_get(f->start, "argv");
	size_t n = json_array_size(argv);

	f->argv = calloc(n + 1, sizeof(*f->argv));
	for (size_t i = 0; f->argv && i < n; i++) {
		f->argv[i] = text_of(json_array_get(argv, i));
		if (!f->argv[i])
			return -EBADMSG;
	}
	return !f->argv ? -ENOMEM : n > 0 ? 0 : -EBADMSG;
}

static int check(const struct former *f)
{
	const char *problem = field_text(f->line, "problem");

	if (!f->start) {
		cli_error("run %s cannot be run again: %s", f->id,
			  *problem ? problem : "its record is not there");
		return -EBADMSG;
	}
	if (f->end)
		return 0;
	if (*problem)
		cli_error("run %s cannot be run again: %s", f->id, problem);
	else
		cli_error(
			"run %s has not ended, as far as is known: it can be run again when it has",
			f->id);
	return -EBUSY;
}

int former_load(struct client *c, const char *run, struct former *ret)
{
	_cleanup_former_ struct former f = { 0 };
	json_t *q = request_new("run-show");
	int r;

	json_object_set_new(q, "run", json_string(run));
	r = client_ask(c, q, take, &f);
	if (r < 0)
		return r;
	f.row = json_object_get(f.line, "run");
	f.start = json_object_get(f.line, "start");
	f.end = json_object_get(f.line, "end");
	f.id = field_text(f.row, "id");
	r = check(&f);
	if (r < 0)
		return r;
	r = read_argv(&f);
	if (r < 0) {
		cli_error("run %s cannot be run again: its record does not say what was run", f.id);
		return r;
	}
	*ret = f;
	f = (struct former){ 0 };
	return 0;
}

static bool is_from(const json_t *param, const char *from)
{
	return strcmp(field_text(param, "from"), from) == 0;
}

int former_options(const struct former *f, struct run_options *ret)
{
	const json_t *params = json_object_get(f->start, "params"), *p;
	size_t i;

	*ret = (struct run_options){
		.name = json_string_value(json_object_get(f->start, "name")),
		.out = json_incref(json_object_get(f->start, "out")),
		.params = json_array(),
		.keep_going = field_bool(f->start, "keep_going"),
		.argv = f->argv,
		.place = json_string_value(json_object_get(f->start, "mount")),
		.cwd = json_object_get(f->start, "cwd"),
		.stdin_at = json_object_get(f->start, "stdin"),
		.printed_as = f->start,
	};
	json_array_foreach (params, i, p)
		if (is_from(p, "option"))
			json_array_append(ret->params, (json_t *)p);
	return ret->params ? 0 : -ENOMEM;
}

int former_surround(const struct former *f, const char *mount, bool is_now)
{
	const json_t *cwd = json_object_get(f->start, "cwd");
	_cleanup_free_ char *dir = run_path(mount, cwd);

	/* The view may have it where the mount has not. */
	if ((!dir || chdir(dir) < 0) && (is_now || !json_object_get(cwd, "pfs"))) {
		cli_error("run %s was run in %s: %s", f->id, dir ?: "an unknown directory",
			  strerror(dir ? errno : ENOENT));
		return -ENOENT;
	}
	if (dir && setenv("PWD", dir, 1) < 0)
		return -errno;
	return run_env_restore(json_object_get(f->start, "env"));
}

static bool is_key(const json_t *param, struct span key)
{
	return span_equal(span_str(field_text(param, "key")), key);
}

/* Takes it out; was it there? */
static bool take_out(json_t *params, struct span key)
{
	bool found = false;

	for (size_t i = json_array_size(params); i-- > 0;) {
		if (is_key(json_array_get(params, i), key)) {
			json_array_remove(params, i);
			found = true;
		}
	}
	return found;
}

/* Did it come from where nobody can put another value? Says so. */
static bool is_out_of_reach(const struct former *f, struct span key)
{
	const json_t *params = json_object_get(f->end, "params"), *p;
	const int len = (int)key.len;
	const char *text = (const char *)key.data;
	size_t i;

	json_array_foreach (params, i, p) {
		_cleanup_free_ char *path = text_of(json_object_get(p, "path"));

		if (!is_key(p, key))
			continue;
		if (is_from(p, "config"))
			cli_error("run %s had %.*s from %s: change it there, and `pfs run` it",
				  f->id, len, text, path ?: "a configuration file");
		else
			cli_error("run %s said %.*s itself: nobody else can", f->id, len, text);
		return true;
	}
	return false;
}

int former_replace(struct former *f, struct run_options *o, const char *param)
{
	const char *eq = strchr(param, '=');
	struct span key = span_of(param, eq ? (size_t)(eq - param) : 0);
	int r = eq ? params_replace(f->argv, key, eq + 1) : -EINVAL;
	bool was_said;

	if (r < 0) {
		cli_error(
			"`%.100s`: of what stands alone in the command only true and false can be said",
			param);
		return r;
	}
	was_said = take_out(o->params, key);
	if (r > 0 && !was_said)
		return 0;
	if (r == 0 && !was_said) {
		if (is_out_of_reach(f, key))
			return -EINVAL;
		cli_note("pfs: %.*s was no parameter of run %s: it is only recorded", (int)key.len,
			 param, f->id);
	}
	return param_add_text(o->params, span_str(param), "option");
}
