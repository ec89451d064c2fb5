/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Options and messages of subcommands.
 */
#include "cli.h"

#include <stdarg.h>
#include <stdio.h>

static bool keeps_errors, has_kept;
static char kept[2000];

const struct command *command_find(const char *name)
{
	for (const struct command *const *c = commands; *c; c++)
		if (strcmp((*c)->name, name) == 0)
			return *c;
	return NULL;
}

/* One line: names of files and what records say is in it, and may be anything. */
static void message(const char *before, const char *fmt, va_list ap)
{
	_cleanup_free_ char *text = NULL;

	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	for (char *c = text; c && *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	fflush(stdout);
	fprintf(stderr, "%s%s\n", before, text ?: strerror(ENOMEM));
}

void cli_error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (keeps_errors)
		vsnprintf(kept, sizeof(kept), fmt, ap);
	else
		message("pfs: ", fmt, ap);
	has_kept = keeps_errors;
	va_end(ap);
}

void cli_keep_errors(void)
{
	keeps_errors = true;
}

const char *cli_take_error(void)
{
	const char *text = has_kept ? kept : "";

	has_kept = false;
	return text;
}

void cli_note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	message("", fmt, ap);
	va_end(ap);
}

int cli_usage(const struct command *c, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "pfs %s: ", c->name);
	va_start(ap, fmt);
	message("", fmt, ap);
	va_end(ap);
	fprintf(stderr, "Try `pfs help %s`.\n", c->name);
	return EXIT_USAGE;
}

int cli_option(const struct command *c, int argc, char **argv, const char *letters,
	       const struct option *longs)
{
	bool is_ordered = letters[0] == '+';
	char with_colon[32];
	int letter;

	snprintf(with_colon, sizeof(with_colon), "%s:%s", is_ordered ? "+" : "",
		 letters + is_ordered);
	opterr = 0;
	letter = getopt_long(argc, argv, with_colon, longs, NULL);
	switch (letter) {
	case 'h':
		fputs(c->help, stdout);
		exit(cli_finish(EXIT_DONE));
	case ':':
		exit(cli_usage(c, "the option `%s` needs a value", argv[optind - 1]));
	case '?':
		if (optopt && optopt < OPT_STORE && !strchr(letters, optopt))
			exit(cli_usage(c, "there is no option `-%c`", optopt));
		exit(cli_usage(c, "there is no such option, or not so: `%s`", argv[optind - 1]));
	default:
		return letter;
	}
}

int cli_arguments(const struct command *c, int argc, char **argv, int min, int max,
		  char ***ret_args)
{
	int n = argc - optind;

	if (n < min)
		exit(cli_usage(c, n == 0 ? "an argument is missing" : "too few arguments"));
	if (n > max)
		exit(cli_usage(c, "one argument too many: `%s`", argv[optind + max]));
	*ret_args = argv + optind;
	return n;
}

int cli_finish(int exit_code)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return exit_code;
	cli_error("the output cannot be written: %s", strerror(errno));
	return exit_code == EXIT_DONE ? EXIT_FAILED : exit_code;
}
