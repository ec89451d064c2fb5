/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What all subcommands share: how they are described, their options, their messages.
 */
#pragma once

#include <getopt.h>

#include "base/defs.h"

enum exit_code {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_DIVERGED = 3, /* it is done, but not on the branch */
};

/* Of what returned 0 or an error that was said. */
static inline int cli_exit_code(int r)
{
	return r == 0 ? EXIT_DONE : EXIT_FAILED;
}

struct command {
	const char *name;
	const char *summary; /* for the list of all */
	const char *help; /* usage, options, an example: what `pfs help NAME` prints */
	int (*run)(const struct command *self, int argc, char **argv); /* an exit code */
};

/* The table of subcommands, ended by NULL. */
extern const struct command *const commands[];

const struct command *command_find(const char *name);

/* Letters of long options that have none; options that several commands share. */
enum {
	OPT_STORE = 256,
	OPT_JSON,
	OPT_META,
	OPT_AUTHOR,
	OPT_STAT,
	OPT_ONELINE,
	OPT_SINGLE_WRITER,
	OPT_CHUNK,
	OPT_BRANCH,
	OPT_KEEP,
	OPT_ONE_FILE_SYSTEM,
	OPT_THREADS,
	OPT_QUIET,
	OPT_ALL,
	OPT_AS,
	OPT_OUT,
	OPT_PARAM,
	OPT_GROUP,
	OPT_LOG,
	OPT_MEMO,
	OPT_KEEP_GOING,
	OPT_MOUNT,
	OPT_STEP,
};
#define LONG_STORE                                          \
	{                                                   \
		"store", required_argument, NULL, OPT_STORE \
	}
#define LONG_JSON                                   \
	{                                           \
		"json", no_argument, NULL, OPT_JSON \
	}
#define LONG_HELP                              \
	{                                      \
		"help", no_argument, NULL, 'h' \
	}
#define LONG_END                 \
	{                        \
		NULL, 0, NULL, 0 \
	}

/*
 * The next option's letter, with its argument in optarg, or -1 when there are no more. --help is
 * answered here; an option that there is not, or that lacks its argument, is said and ends the
 * program with EXIT_USAGE. @letters start with "h", or with "+h" where the first argument ends the
 * options.
 */
int cli_option(const struct command *c, int argc, char **argv, const char *letters,
	       const struct option *longs);

/* The arguments behind the options, which must be @min to @max; else as a wrong option. Returns how
 * many there are. */
int cli_arguments(const struct command *c, int argc, char **argv, int min, int max,
		  char ***ret_args);

/* A line on stderr: what went wrong; what is worth knowing. */
void cli_error(const char *fmt, ...) _printf_(1, 2);
void cli_note(const char *fmt, ...) _printf_(1, 2);

/* From here on errors are not printed, but kept: for who tells of them in another way. */
void cli_keep_errors(void);
/* The last one kept since this was last asked, or "". Valid until the next error. */
const char *cli_take_error(void);

/* The same with where help is; returns EXIT_USAGE. */
int cli_usage(const struct command *c, const char *fmt, ...) _printf_(2, 3);

/* Flushes stdout. EXIT_FAILED, with a sentence, when what was printed was not written. */
int cli_finish(int exit_code);
