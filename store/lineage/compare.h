/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What differs between two runs.
 *
 * Threads: the caller's.
 */
#pragma once

#include "catalog/files.h"

struct run_comparison {
	struct run_reading rd;
	/* Gets each difference: {"what": "command", "param", "metric", "pinned", "environment"
	 * or "input", "key" (of an input: "path"), "a"?, "b"?}: absent where a side has none.
	 * Takes it. Other than 0 ends it. */
	int (*emit)(json_t *line, void *ctx);
	void *ctx;
};

/* Records, as archive_get() has them; each may be NULL. */
int run_compare_records(const struct run_comparison *c, const json_t *start_a, const json_t *end_a,
			const json_t *start_b, const json_t *end_b);

/*
 * What they have made, path by path, throw-away files left out: {"what": "output", "path", "a"?, "b"?:
 * {"size", "id", "mode"} or {"removed": true}, "same": whether they are}. (compare_made.c)
 */
int run_compare_outputs(const struct run_comparison *c, const json_t *end_a, const json_t *end_b);

/* How they ended, what they printed and measured: {"what": "ended" or "metric", "key", "a"?, "b"?,
 * "same"}, and where it is known of both {"what": "stdout" or "stderr", "a", "b": bytes, "same"}. */
int run_compare_ends(const struct run_comparison *c, const json_t *end_a, const json_t *end_b);

/* What they read, path by path, without looking at what is the same. */
int run_compare_inputs(const struct run_comparison *c, const struct run_row *a,
		       const struct run_row *b);
