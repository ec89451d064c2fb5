/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Golden files of text: lines, of which those that start with '#' are left out.
 */
#pragma once

#include <stdio.h>

#include "base/defs.h"

/* PFS_GOLDEN_DIR comes from the build. */
static inline FILE *golden_open(const char *name)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", PFS_GOLDEN_DIR, name);
	return fopen(path, "re");
}

/* The next line without its end; false when there is none. @line is grown and the caller's. */
static inline bool golden_line(FILE *f, char **line, size_t *cap)
{
	ssize_t n;

	do {
		n = getline(line, cap, f);
		if (n < 0)
			return false;
	} while ((*line)[0] == '#');
	(*line)[strcspn(*line, "\n")] = '\0';
	return true;
}
