/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Parameters and metrics of runs from what programs are told and say (RUNS.md, section 4): arrays
 * of {"key", "value", "from"}, with "step" or "path" where there is one.
 *
 * Threads: the caller's.
 */
#pragma once

#include <jansson.h>

#include "base/defs.h"

enum {
	PARAM_KEY_MAX = 255, /* bytes; longer keys are none */
	PARAM_VALUE_MAX = 4096,
	PARAM_LINES_MAX = 5000, /* of those that a run says, the last */
};

/* Adds one. @value is taken. -EINVAL: no key in UTF-8, or no value (NULL) that can be kept;
 * -ENOMEM. */
int param_add(json_t *into, struct span key, json_t *value, const char *from);

/* "K=V", typed; V may be any bytes. 0, -EINVAL, -ENOMEM. */
int param_add_text(json_t *into, struct span text, const char *from);

/* Is it one of these? */
bool param_is_text(const char *text);

/* The arguments of a command: --K V, --K=V, K=V; --K alone is true. */
void params_of_argv(json_t *into, char *const *argv);

/* JSON as programs write it: what is no number to JSON (NaN, Infinity, 1e999, integers above 64
 * bits) is a string. NULL: it is none, *@ret_error (NULL: nobody asks) says why. */
json_t *params_json(struct span text, json_error_t *ret_error);

/*
 * The last of these that is called @key gets another value, in the form in which it stands there;
 * "--K" alone goes away with "false". The arguments are malloc'ed. 1; 0: none has that name;
 * -EINVAL: it stands alone, and @value is neither "true" nor "false"; -ENOMEM.
 */
int params_replace(char **argv, struct span key, const char *value);

/*
 * Lines, each "K=V" or a JSON object whose members are values ("step" belongs to the others). Blank
 * ones do not count. @ret_bad: how many are neither.
 */
void params_of_lines(json_t *into, struct span text, size_t *ret_bad);

/* The values of an object and of all objects in it, with keys joined by "."; arrays as they are. At
 * most @max; 1 if that was not all, 0 or -errno. */
int params_flatten(json_t *into, const json_t *object, size_t max, const char *from);
