/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Parameters in configuration files: *.json, *.yaml, *.yml, *.toml, *.ini.
 *
 * Such files come from anybody: whatever is in one, it is parsed with bounded memory and time.
 *
 * Threads: the caller's.
 */
#pragma once

#include <jansson.h>

#include "base/defs.h"

enum {
	CONFIG_MAX = 64 << 10, /* bytes of a file */
	CONFIG_VALUES = 1000, /* of a file */
	CONFIG_DEPTH_MAX = 64, /* of nesting */
	CONFIG_NODES_MAX = 20000, /* values of all kinds while parsing: references multiply them */
	CONFIG_ERROR_MAX = 200, /* bytes of a sentence */
};

/* Adds what the file @path has to the array @params, as run_params.h has parameters, from "config".
 * 0; 1: it has more than are kept; -errno, and @why says what is wrong. */
int config_read(const char *path, json_t *params, char why[CONFIG_ERROR_MAX]);

/* The formats, each as JSON. NULL, and @why says what is wrong. */
json_t *config_of_json(struct span text, char why[CONFIG_ERROR_MAX]);
json_t *config_of_yaml(struct span text, char why[CONFIG_ERROR_MAX]);
json_t *config_of_toml(struct span text, char why[CONFIG_ERROR_MAX]);
json_t *config_of_ini(struct span text, char why[CONFIG_ERROR_MAX]);
