/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pfs init
 */
#include <stdio.h>

#include "commands.h"
#include "conf.h"
#include "object/store.h"

static int run(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "single-writer", no_argument, NULL, OPT_SINGLE_WRITER }, LONG_HELP, LONG_END
	};
	_cleanup_store_conf_ struct store_conf c = { 0 };
	bool single_writer = false;
	char **args;
	int r;

	while ((r = cli_option(self, argc, argv, "h", longs)) >= 0)
		if (r == OPT_SINGLE_WRITER)
			single_writer = true;
	cli_arguments(self, argc, argv, 1, 1, &args);
	r = store_conf_find(args[0], false, &c);
	if (r < 0)
		return EXIT_FAILED;
	/* What goes wrong is said where it does. */
	r = store_init(c.url, single_writer);
	if (r < 0)
		return EXIT_FAILED;
	printf("%s is a store now; pfs mount '%s' DIR mounts it\n", c.url, args[0]);
	return EXIT_DONE;
}

const struct command cmd_init = {
	.name = "init",
	.summary = "make a store",
	.help = "Usage: pfs init [--single-writer] STORE\n"
		"\n"
		"Makes an empty store: a directory, which is made if it is not there, a place in\n"
		"a bucket, or what the name in a configuration file says. A server is probed\n"
		"first, as some do not tell writers apart. A second time it changes nothing and\n"
		"fails.\n"
		"\n"
		"  --single-writer   for places where two writers cannot be kept apart, as on a\n"
		"                    network filesystem or such a server: only one machine may\n"
		"                    then write at a time, and mounts it with -o single_writer\n"
		"\n"
		"Examples:\n"
		"  pfs init /srv/pfs\n"
		"  pfs init 's3://lab/pfs?endpoint=http://minio:9000'\n",
	.run = run,
};
