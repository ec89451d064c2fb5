/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Records of runs as JSON (RUNS.md, section 2): ids, checks, and what queries need of them.
 *
 * Pure functions; records come from outside and may be anything.
 */
#pragma once

#include <jansson.h>

#include "base/defs.h"
#include "format/key.h"

enum {
	RUN_ID_LEN = 20, /* 20260115-143052-7f3a */
	RUN_RECORD_MAX = 4 << 20,
	RUN_RECORD_VERSION = 1,
};

struct run_id {
	char s[RUN_ID_LEN + 1];
};

/* A new one for a run that starts at @sec (seconds since 1970). */
struct run_id run_id_new(int64_t sec);
/* 0 or -EINVAL. */
int run_id_parse(const char *text, struct run_id *ret);

/* The keys of its objects. */
struct key run_start_key(const struct run_id *id);
struct key run_end_key(const struct run_id *id);

/* Parses and checks one of the two: every key that is there has the type that RUNS.md says. 0; -EBADMSG
 * with a sentence logged that names the run; -ENOTSUP: a newer version. */
int run_start_read(const struct run_id *id, struct span text, json_t **ret);
int run_end_read(const struct run_id *id, struct span text, json_t **ret);
/* As text; -EINVAL when it could not be read back, -EFBIG. */
int run_record_write(const json_t *record, struct buf *ret);

/* The parameters that count (RUNS.md, section 4), as an object of JSON values; metrics likewise: the last of
 * each. Owned by the caller; NULL: no memory. @end may be NULL. */
json_t *run_params(const json_t *start, const json_t *end);
json_t *run_metrics(const json_t *end);

/* A value of a parameter given as text: a number, true, false, null, or a string. */
json_t *run_value(const char *text, size_t len);
