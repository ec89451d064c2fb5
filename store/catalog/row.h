/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the catalog keeps of a run, for scanning: bytes that are read where they lie.
 *
 * Pure functions. Rows are this machine's own and come from a cache that may be damaged.
 */
#pragma once

#include <jansson.h>

#include "format/inode.h"
#include "record/record.h"

enum {
	RUN_ROW_VERSION = 4, /* rows of another one are none */
};

enum run_status {
	RUN_RUNNING, /* its end is not there */
	RUN_OK,
	RUN_FAILED,
	RUN_KILLED,
	RUN_LOST,
	RUN_UNPUBLISHED,
	RUN_DAMAGED, /* its record cannot be read */
	RUN_NEWER, /* it is of a newer version */
};
const char *run_status_text(enum run_status s);

enum run_row_flag {
	RUN_ROW_TREES = 1, /* all of its trees is in the index */
	RUN_ROW_NO_TREES = 2, /* they cannot be had: damaged, or not there */
};

enum run_value_type {
	RUN_VALUE_NULL,
	RUN_VALUE_FALSE,
	RUN_VALUE_TRUE,
	RUN_VALUE_INTEGER,
	RUN_VALUE_REAL,
	RUN_VALUE_TEXT,
	RUN_VALUE_JSON, /* an array or an object, as text */
};
struct run_value {
	uint8_t type; /* enum run_value_type */
	int64_t integer;
	double real; /* of both kinds of numbers */
	struct span text; /* borrowed */
};

/* Everything is borrowed from the row's bytes. */
struct run_row {
	struct run_id id;
	uint8_t status; /* enum run_status */
	uint8_t flags; /* enum run_row_flag */
	bool has_exit;
	int32_t exit; /* status, or minus a signal's number */
	int64_t started_ns, ended_ns; /* since 1970; 0: not known */
	double seconds; /* that the command took; < 0: not told */
	uint32_t uid; /* UINT32_MAX: not known */
	struct span name, user, machine, group, parent, command; /* empty: none */
	struct span update; /* the run that it was run in place of; empty: none */
	struct oid tree; /* of the record; null: none */
	struct loc tree_loc;
	uint16_t output_count, param_count, metric_count;
	struct span outputs, params, metrics; /* to be walked */
};

/* A row of a record: @start or @end may be NULL when it could not be read, which @status then
 * says. */
int run_row_write(const struct run_id *id, const json_t *start, const json_t *end,
		  enum run_status unreadable, uint8_t flags, struct buf *ret);
/* 0 or -EBADMSG. */
int run_row_read(const struct run_id *id, struct span raw, struct run_row *ret);

/* How long it took: as told of its command, whatever clocks said; else between its start and its
 * end. False where that is not known: it goes on, or the clock was set back. */
bool run_row_seconds(const struct run_row *row, double *ret);

struct run_output {
	struct span repo, branch, kept, into; /* kept, into: empty: none */
	struct id128 repo_id; /* null: not known */
	struct oid pinned, result, published; /* null: none */
};
struct run_pair {
	struct span key;
	struct run_value value;
};
/* For walking row->outputs and row->params or metrics with a cursor; false at the end. */
bool run_output_next(struct cursor *c, struct run_output *ret);
bool run_pair_next(struct cursor *c, struct run_pair *ret);

/* As JSON: what `pfs runs --json` shows of it. NULL: no memory. */
json_t *run_row_json(const struct run_row *row);
/* Of one that the caller may not see, its id alone. */
json_t *run_row_seen(const struct run_row *row, bool may_see);
json_t *run_value_json(const struct run_value *v);
