/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a run that may be repeated depends on and no record has: its standard files, its umask and
 * groups, the files outside of the mount that its arguments name.
 *
 * Threads: the main one.
 */
#pragma once

#include <jansson.h>
#include <sys/stat.h>

#include "target.h"

struct memo_input {
	bool is_file; /* stdin is one, and this is what it was */
	struct stat was;
};

/*
 * "memo" of run-begin, or NULL: it cannot be told, which is said. Stdin becomes one of this
 * process's own, so that who comes after finds it as it was: a file is opened anew, and in place of
 * a terminal there is nothing.
 */
json_t *memo_around(const struct target *mount, char *const *argv, struct memo_input *ret);

/* Processes that the command leaves behind become this one's. Before it is made. */
void memo_adopt(void);
/* After its end: has it left none behind, and was its input the same all the time? */
bool memo_is_whole(const struct memo_input *in);
