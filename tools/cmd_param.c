/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pfs param, pfs metric
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/text.h"
#include "commands.h"
#include "run_params.h"

/* One write, so that it stays whole among others'. */
static int append(const char *name, const char *line)
{
	const char *dir = getenv("PFS_RUN");
	_cleanup_free_ char *path = dir && *dir ? strf("%s/%s", dir, name) : NULL;
	_cleanup_close_ int fd = -1;
	size_t len = strlen(line);
	ssize_t n;

	if (!path) {
		cli_error("this is no run: `pfs run` starts one, and sets $PFS_RUN");
		return EXIT_FAILED;
	}
	fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (fd < 0) {
		cli_error("%s cannot be written: %s", path,
			  errno == ENOENT ? "there is no such run, or it has ended"
					  : strerror(errno));
		return EXIT_FAILED;
	}
	n = write(fd, line, len);
	if (n == (ssize_t)len)
		return EXIT_DONE;
	cli_error("%s cannot be written: %s", path, n < 0 ? strerror(errno) : "no space");
	return EXIT_FAILED;
}

/* The line that says all of @args: {"K": V, ...}; an argument that is wrong ends the program. */
static char *line_of(const struct command *self, char **args, json_t *step)
{
	json_t *params = json_array(), *j = json_object();
	_cleanup_free_ char *text = NULL;
	char *line;

	for (char **a = args; *a; a++)
		if (param_add_text(params, span_str(*a), "run") < 0)
			exit(cli_usage(self, "`%.100s` is not KEY=VALUE, as text", *a));
	for (size_t i = 0; i < json_array_size(params); i++) {
		const json_t *p = json_array_get(params, i);
		const char *key = json_string_value(json_object_get(p, "key"));

		if (strcmp(key, "step") == 0)
			exit(cli_usage(self, "`step` is no name of a value"));
		json_object_set(j, key, json_object_get(p, "value"));
	}
	if (step)
		json_object_set_new(j, "step", step);
	text = json_dumps(j, JSON_COMPACT);
	line = text ? strf("%s\n", text) : NULL;
	json_decref(params);
	json_decref(j);
	return line;
}

static json_t *parse_step(const struct command *self, const char *arg)
{
	json_t *step = json_loads(arg, JSON_DECODE_ANY, NULL);

	if (!json_is_number(step))
		exit(cli_usage(self, "--step wants a number, not `%.100s`", arg));
	return step;
}

static int run(const struct command *self, int argc, char **argv, const char *name, bool has_step)
{
	static const struct option with_step[] = { { "step", required_argument, NULL, OPT_STEP },
						   LONG_HELP,
						   LONG_END };
	static const struct option without[] = { LONG_HELP, LONG_END };
	_cleanup_free_ char *line = NULL;
	json_t *step = NULL;
	char **args;
	int r;

	while ((r = cli_option(self, argc, argv, "h", has_step ? with_step : without)) >= 0) {
		json_decref(step);
		step = parse_step(self, optarg);
	}
	cli_arguments(self, argc, argv, 1, argc, &args);
	line = line_of(self, args, step);
	if (!line) {
		cli_error("no memory");
		return EXIT_FAILED;
	}
	return append(name, line);
}

static int run_param(const struct command *self, int argc, char **argv)
{
	return run(self, argc, argv, "params", false);
}

static int run_metric(const struct command *self, int argc, char **argv)
{
	return run(self, argc, argv, "metrics", true);
}

const struct command cmd_param = {
	.name = "param",
	.summary = "say a parameter of the run that this is called in",
	.help = "Usage: pfs param KEY=VALUE...\n"
		"\n"
		"In a command that `pfs run` has started: records parameters of the run, as a\n"
		"line in $PFS_RUN/params would. Numbers, true, false and null are kept as such,\n"
		"all else as text.\n"
		"\n"
		"Example:\n"
		"  pfs param depth=3 kernel=rbf\n",
	.run = run_param,
};

const struct command cmd_metric = {
	.name = "metric",
	.summary = "say a result of the run that this is called in",
	.help = "Usage: pfs metric KEY=VALUE... [--step N]\n"
		"\n"
		"In a command that `pfs run` has started: records what the run has measured, as a\n"
		"line in $PFS_RUN/metrics would. Of several values of one key all are kept, and\n"
		"the last counts.\n"
		"\n"
		"  --step N   when it was: an epoch, an iteration\n"
		"\n"
		"Example:\n"
		"  pfs metric accuracy=0.93 loss=0.21 --step 10\n",
	.run = run_metric,
};
