/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The command `pfs`: finds the subcommand and runs it. Called as mount.pfs it is what mount(8)
 * runs.
 */
#include <stdio.h>

#include "base/log.h"
#include "commands.h"

const struct command *const commands[] = {
	&cmd_init,    &cmd_mount,  &cmd_umount, &cmd_repo,   &cmd_branch,  &cmd_commit,
	&cmd_log,     &cmd_status, &cmd_diff,	&cmd_show,   &cmd_merge,   &cmd_sync,
	&cmd_restore, &cmd_run,	   &cmd_rerun,	&cmd_param,  &cmd_metric,  &cmd_runs,
	&cmd_why,     &cmd_uses,   &cmd_import, &cmd_export, &cmd_push,	   &cmd_pull,
	&cmd_cache,   &cmd_stats,  &cmd_doctor, &cmd_help,   &cmd_version, NULL,
};

static void print_all(FILE *f)
{
	fputs("Usage: pfs COMMAND [OPTION]... [ARGUMENT]...\n"
	      "\n"
	      "Keeps versioned data in a store and mounts it as plain files.\n"
	      "\n"
	      "Commands:\n",
	      f);
	for (const struct command *const *c = commands; *c; c++)
		fprintf(f, "  %-10s%s\n", (*c)->name, (*c)->summary);
	fputs("\n"
	      "`pfs help COMMAND` tells more. A start:\n"
	      "\n"
	      "  pfs init /srv/pfs\n"
	      "  pfs mount /srv/pfs /pfs\n"
	      "  mkdir /pfs/data               # a repo, with its branch `main`\n"
	      "  cp -r results /pfs/data/main/\n"
	      "  mkdir /pfs/data/commits/first # a snapshot\n",
	      f);
}

static int run_help(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = { LONG_HELP, LONG_END };
	const struct command *c;
	char **args;

	while (cli_option(self, argc, argv, "h", longs) >= 0)
		;
	if (cli_arguments(self, argc, argv, 0, 1, &args) == 0) {
		print_all(stdout);
		return EXIT_DONE;
	}
	c = command_find(args[0]);
	if (!c)
		return cli_usage(self, "there is no command `%s`", args[0]);
	fputs(c->help, stdout);
	return EXIT_DONE;
}

const struct command cmd_help = {
	.name = "help",
	.summary = "tell of a command, or of all",
	.help = "Usage: pfs help [COMMAND]\n"
		"\n"
		"Tells what the command does and its options; without one, what commands there\n"
		"are. The manual is pfs(1).\n"
		"\n"
		"Example:\n"
		"  pfs help diff\n",
	.run = run_help,
};

static int run_version(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = { LONG_HELP, LONG_END };
	char **args;

	while (cli_option(self, argc, argv, "h", longs) >= 0)
		;
	cli_arguments(self, argc, argv, 0, 0, &args);
	puts("pfs " PFS_VERSION);
	return EXIT_DONE;
}

const struct command cmd_version = {
	.name = "version",
	.summary = "tell which version this is",
	.help = "Usage: pfs version\n"
		"\n"
		"Prints the program's name and version.\n"
		"\n"
		"Example:\n"
		"  pfs version\n",
	.run = run_version,
};

int main(int argc, char **argv)
{
	const struct command *c;
	const char *first;

	log_set_name("pfs");
	if (getenv("PFS_DEBUG"))
		log_set_level(LOG_LEVEL_DEBUG);
	if (strcmp(program_invocation_short_name, "mount.pfs") == 0)
		return cli_finish(run_mount_helper(argc, argv));
	if (argc < 2) {
		print_all(stderr);
		return EXIT_USAGE;
	}
	first = argv[1];
	if (strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0)
		first = "help";
	else if (strcmp(first, "--version") == 0 || strcmp(first, "-V") == 0)
		first = "version";
	c = command_find(first);
	if (!c) {
		cli_error(first[0] == '-' ? "there is no option `%s` before a command"
					  : "there is no command `%s`",
			  first);
		fputs("Try `pfs help`.\n", stderr);
		return EXIT_USAGE;
	}
	return cli_finish(c->run(c, argc - 1, argv + 1));
}
