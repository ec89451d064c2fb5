/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Collecting what a run is (run_request.h).
 */
#include "run_request.h"

#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "cli.h"
#include "client.h"
#include "conf.h"
#include "record/json_bytes.h"
#include "run_environment.h"
#include "run_params.h"

#define ENV_DEFAULT                                                            \
	"PATH LANG LC_ALL PYTHONPATH PYTHONHASHSEED VIRTUAL_ENV CONDA_PREFIX " \
	"OMP_NUM_THREADS CUDA_VISIBLE_DEVICES"

static json_t *json_text(const char *text)
{
	return json_of_bytes(span_str(text));
}

/* @path without the mount in front; NULL: it is not in it. */
static const char *path_inside(const struct target *mount, const char *path)
{
	size_t len = strlen(mount->mount);

	if (strcmp(mount->mount, "/") == 0)
		return path + 1;
	if (strncmp(path, mount->mount, len) != 0 || (path[len] && path[len] != '/'))
		return NULL;
	return path + len + strspn(path + len, "/");
}

static json_t *json_inside(const char *path)
{
	json_t *j = json_object();

	json_object_set_new(j, "pfs", json_text(path));
	return j;
}

static bool is_of_mount(const struct target *mount, const struct stat *st)
{
	struct stat root;

	return stat(mount->mount, &root) == 0 && root.st_dev == st->st_dev;
}

/* The current directory: a path, or where in the mount it is; NULL: it is gone. */
static json_t *json_cwd(const struct target *mount)
{
	_cleanup_target_ struct target here = { 0 };
	_cleanup_free_ char *cwd = getcwd(NULL, 0);
	struct stat st;
	const char *inside;

	if (!cwd)
		return NULL;
	inside = stat(".", &st) == 0 && is_of_mount(mount, &st) ? path_inside(mount, cwd) : NULL;
	if (inside)
		return json_inside(inside);
	/* Another place where a part of the mount is to be seen. */
	if (is_of_mount(mount, &st) && target_find(NULL, ".", &here) == 0 &&
	    strcmp(here.mount, mount->mount) == 0)
		return json_inside((const char *)here.path.data);
	return json_text(cwd);
}

/* Where the caller's shell has opened a file of the mount for it. */
static void put_stream(json_t *request, const char *name, int fd, const struct target *mount)
{
	_cleanup_free_ char *path = NULL, *link = strf("/proc/self/fd/%d", fd);
	struct stat st, named;
	const char *inside;

	if (!link || fstat(fd, &st) < 0 || !is_of_mount(mount, &st))
		return;
	path = realpath(link, NULL);
	inside = path ? path_inside(mount, path) : NULL;
	if (inside && stat(path, &named) == 0 && named.st_ino == st.st_ino)
		json_object_set_new(request, name, json_inside(inside));
	if (fd != STDIN_FILENO && fcntl(fd, F_GETFL) & O_APPEND)
		json_object_set_new(json_object_get(request, name), "append", json_true());
}

static bool is_secret(const char *name)
{
	static const char *const words[] = { "SECRET", "TOKEN", "PASSWORD", "KEY" };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (strcasestr(name, words[i]))
			return true;
	return false;
}

/* The names that are chosen; the caller's to free. NULL, said. */
static char *env_names(void)
{
	char *said = NULL;

	if (conf_run_env(&said) < 0)
		return NULL;
	return said ?: strdup(ENV_DEFAULT);
}

int run_env_restore(const json_t *env)
{
	_cleanup_free_ char *names = env_names();
	char *rest = names;
	const char *name;
	json_t *value;

	if (!names)
		return -EINVAL;
	while (rest && (name = strsep(&rest, " ,\t")))
		if (*name && !is_secret(name))
			unsetenv(name);
	json_object_foreach ((json_t *)env, name, value) {
		_cleanup_buf_ struct buf text = { 0 };

		if (json_to_bytes(value, &text) < 0)
			return -EINVAL;
		buf_put_u8(&text, 0);
		if (buf_failed(&text) || setenv(name, (const char *)text.data, 1) < 0) {
			cli_error("the variable %s cannot be set: %s", name, strerror(errno));
			return -errno;
		}
	}
	return 0;
}

static json_t *json_env(void)
{
	_cleanup_free_ char *names = env_names();
	json_t *j = names ? json_object() : NULL;
	char *rest = names;
	const char *name, *value;

	while (rest && (name = strsep(&rest, " ,\t"))) {
		value = *name ? getenv(name) : NULL;
		if (value && !is_secret(name) && utf8_is_valid(name, strlen(name)))
			json_object_set_new(j, name, json_text(value));
	}
	return j;
}

static json_t *json_user(void)
{
	const struct passwd *pw = getpwuid(geteuid());
	char number[24];

	if (pw)
		return json_text(pw->pw_name);
	snprintf(number, sizeof(number), "%u", geteuid());
	return json_string(number);
}

static void put_options(json_t *request, const struct run_options *o)
{
	json_t *params = json_array();

	if (o->name)
		json_object_set_new(request, "name", json_text(o->name));
	if (o->group)
		json_object_set_new(request, "group", json_text(o->group));
	if (o->out)
		json_object_set(request, "out", o->out);
	if (o->log)
		json_object_set_new(request, "log", json_true());
	if (o->keep_going)
		json_object_set_new(request, "keep_going", json_true());
	if (o->memo)
		json_object_set(request, "memo", o->memo);
	if (o->rerun)
		json_object_set_new(request, "rerun", json_string(o->rerun));
	if (o->update)
		json_object_set_new(request, "update", json_string(o->update));
	if (o->take_back)
		json_object_set(request, "take_back", o->take_back);
	params_of_argv(params, o->argv);
	json_array_extend(params, o->params);
	json_object_set_new(request, "params", params);
}

/* Their sums tell lists of packages apart as well. */
static json_t *without_excess(json_t *request)
{
	if (json_dumpb(request, NULL, 0, JSON_COMPACT) > RUN_REQUEST_MAX)
		json_object_del(request, "packages");
	if (json_dumpb(request, NULL, 0, JSON_COMPACT) <= RUN_REQUEST_MAX)
		return request;
	cli_error("the command line is too long to be recorded: %d bytes are the most",
		  RUN_REQUEST_MAX);
	json_decref(request);
	return NULL;
}

void run_options_release(struct run_options *o)
{
	json_decref(o->memo);
	json_decref(o->out);
	json_decref(o->params);
	json_decref(o->take_back);
}

char *run_path(const char *mount, const json_t *path)
{
	const json_t *inside = json_object_get(path, "pfs");
	_cleanup_buf_ struct buf text = { 0 };

	if (json_to_bytes(inside ?: path, &text) < 0)
		return NULL;
	return strf("%s%s%.*s", inside ? mount : "", inside ? "/" : "", (int)text.len,
		    (const char *)text.data);
}

json_t *run_request(const struct run_options *o, const struct target *mount)
{
	json_t *request = request_new("run-begin"), *argv = json_array(), *env = json_env(), *cwd;

	if (!env) {
		json_decref(argv);
		json_decref(request);
		return NULL;
	}
	for (char *const *a = o->argv; *a; a++)
		json_array_append_new(argv, json_text(*a));
	json_object_set_new(request, "argv", argv);
	cwd = o->cwd ? json_incref((json_t *)o->cwd) : json_cwd(mount);
	if (cwd)
		json_object_set_new(request, "cwd", cwd);
	json_object_set_new(request, "mount", json_text(mount->mount));
	json_object_set_new(request, "user", json_user());
	json_object_set_new(request, "env", env);
	put_options(request, o);
	if (o->stdin_at)
		json_object_set(request, "stdin", (json_t *)o->stdin_at);
	else
		put_stream(request, "stdin", STDIN_FILENO, mount);
	put_stream(request, "stdout", STDOUT_FILENO, mount);
	put_stream(request, "stderr", STDERR_FILENO, mount);
	run_environment(request, o->argv[0], mount->mount);
	return without_excess(request);
}
