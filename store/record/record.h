/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Records of runs as JSON (run/RUNS.md, section 2): ids, checks, and what queries need of them.
 *
 * Pure functions; records come from outside and may be anything.
 */
#pragma once

#include <jansson.h>

#include "base/defs.h"
#include "format/key.h"

#define RUN_PREFIX "runs/"

enum {
	RUN_ID_LEN = 20, /* 20260115-143052-7f3a */
	RUN_MONTH_LEN = 7, /* 202601/: in which its objects are */
	RUN_TIME_LEN = 30, /* 2026-01-15T14:30:52.000000000Z */
	RUN_RECORD_MAX = 4 << 20,
	RUN_RECORD_VERSION = 1,
};

struct run_id {
	char s[RUN_ID_LEN + 1];
};

/* A new one for a run that starts at @ns (nanoseconds since 1970), the first, or after @tries that
 * others have: of two runs of one machine that which starts later has the higher one. */
struct run_id run_id_new(int64_t ns, unsigned tries);
/* 0 or -EINVAL. */
int run_id_parse(const char *text, struct run_id *ret);

/* When it started, as it says: seconds since 1970. */
int64_t run_id_time(const struct run_id *id);

/* The keys of its objects, and back: 0 or -EINVAL. */
struct key run_start_key(const struct run_id *id);
struct key run_end_key(const struct run_id *id);
int run_key_parse(const char *key, struct run_id *ret, bool *ret_is_end);

/* Nanoseconds since 1970 (years 1970 to 2262) as records have them, and back: 0 or -EINVAL. */
void run_time_text(int64_t ns, char ret[RUN_TIME_LEN + 1]);
int run_time_parse(const char *text, int64_t *ret_ns);

/* Parses and checks one of the two: every key that is there has the type that run/RUNS.md says;
 * none need be there but "pfs-run" and "id". 0; -EBADMSG with a sentence logged that names the
 * run; -ENOTSUP: a newer version; -ENOMEM. */
int run_start_read(const struct run_id *id, struct span text, json_t **ret);
int run_end_read(const struct run_id *id, struct span text, json_t **ret);
/* As text, in place of what @ret held; an end is what has a "status". -EINVAL when it could not be
 * read back (logged), -EFBIG, -ENOMEM. */
int run_record_write(const json_t *record, struct buf *ret);

/* The branch as a run had pinned it: its place in the records, borrowed, and in *@ret_key what the
 * commit is called there; NULL: it had none of that name. @end may be NULL. */
const json_t *run_pin_of(const json_t *start, const json_t *end, struct span repo,
			 struct span branch, const char **ret_key);

/* The parameters that count (run/RUNS.md, section 4), as an object of JSON values; metrics
 * likewise: the last of each. A name that is no UTF-8 is "hex:" and its digits. Owned by the
 * caller; NULL: no memory. @end may be NULL. */
json_t *run_params(const json_t *start, const json_t *end);
json_t *run_metrics(const json_t *end);

/* A value of a parameter given as text: a number, true, false, null, or a string; what is no UTF-8
 * as json_bytes.h has it. A number that JSON has but this program does not (of 30 digits, say)
 * stays a string. NULL: no memory. */
json_t *run_value(const char *text, size_t len);
