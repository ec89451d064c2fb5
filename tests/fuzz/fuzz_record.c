/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Any bytes as a run's record, and what is made of one that is accepted: nothing may crash, and
 * what was accepted can be written again.
 */
#include "base/log.h"
#include "record/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void as(int (*read)(const struct run_id *id, struct span text, json_t **ret),
	       const struct run_id *id, struct span text)
{
	_cleanup_buf_ struct buf again = { 0 };
	json_t *j;

	if (read(id, text, &j) < 0)
		return;
	json_decref(run_params(j, j));
	json_decref(run_metrics(j));
	/* Numbers become longer as text than they were; an end without a status is no end. */
	if (text.len < RUN_RECORD_MAX / 32 &&
	    read == (json_object_get(j, "status") ? run_end_read : run_start_read) &&
	    run_record_write(j, &again) < 0)
		abort();
	json_decref(j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span text = span_of(data, size);
	struct run_id id;

	log_set_quiet(true);
	if (run_id_parse("20260115-143052-7f3a", &id) < 0)
		abort();
	as(run_start_read, &id, text);
	as(run_end_read, &id, text);
	json_decref(run_value((const char *)data, size));
	return 0;
}
