/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The end's record, of what is noted (end.c): the last step of a run's end.
 */
#include "base/log.h"
#include "index/runs.h"
#include "record/archive.h"
#include "record/fields.h"
#include "run/parts.h"

/* What is missing, by what was found here and by what the command has told. */
static int put_errors(json_t *record, const json_t *noted, const json_t *told)
{
	json_t *all = json_array();
	int r = 0;

	if (json_is_array(noted))
		r = json_array_extend(all, (json_t *)noted);
	if (r == 0 && json_is_array(told))
		r = json_array_extend(all, (json_t *)told);
	if (r == 0 && json_array_size(all) > 0)
		r = json_object_set(record, "error", all);
	json_decref(all);
	return r;
}

/* The end's record, of what is noted. */
static json_t *record_of(struct run *run)
{
	static const char *const noted[] = { "status", "ended", "outputs", "tree", "memo" };
	static const char *const told[] = {
		"exit", "signal", "usage", "params", "metrics", "output"
	};
	const json_t *request = json_object_get(run->note, "request");
	json_t *e = json_pack("{s:i, s:s}", "pfs-run", RUN_RECORD_VERSION, "id", run->id.s);
	bool failed = !e;

	for (size_t i = 0; i < ARRAY_SIZE(noted); i++) {
		json_t *v = json_object_get(run->note, noted[i]);

		if (v && !json_is_null(v))
			failed |= json_object_set_new(e, noted[i], json_deep_copy(v)) < 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(told); i++) {
		json_t *v = json_object_get(request, told[i]);

		if (v)
			failed |= json_object_set(e, told[i], v) < 0;
	}
	failed |= put_errors(e, json_object_get(run->note, "error"),
			     json_object_get(request, "error")) < 0;
	if (failed) {
		json_decref(e);
		return NULL;
	}
	return e;
}

/* This machine finds it without a look at the store. */
static void tell_memo(struct run *run)
{
	struct oid key;

	if (run_has_status(run, "ok") &&
	    field_oid(json_object_get(run->note, "memo"), "key", &key) == 0 && !oid_is_null(&key))
		index_runs_put_key(run->runs->opts.store->index, &key, run->id.s);
}

/* Has the command told what no record can have? Then how it ended is all that is known. */
static bool leave_out_told(struct run *run)
{
	static const char *const kept[] = { "exit", "signal" };
	const json_t *request = json_object_get(run->note, "request");
	json_t *less = json_object();
	size_t n = json_object_size(request);

	for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
		json_t *v = json_object_get(request, kept[i]);

		if (json_is_integer(v) && json_integer_value(v) >= 0 &&
		    json_integer_value(v) <= UINT8_MAX)
			json_object_set(less, kept[i], v);
	}
	if (!less || json_object_size(less) == n) {
		json_decref(less);
		return false;
	}
	json_object_set_new(run->note, "request", less);
	json_object_del(run->note, "memo");
	run_note_error(run, "what was told of the command when it ended cannot be recorded: it is "
			    "not as it should be, or too much");
	return true;
}

static int archive(struct run *run, struct access *acc)
{
	json_t *e = record_of(run);
	int r = e ? archive_end(run->runs->opts.store, &run->id, e, &acc->deadline) : -ENOMEM;

	json_decref(e);
	return r;
}

int run_store_end(struct run *run, struct access *acc)
{
	int r;

	if (json_object_get(run->note, "is_stored"))
		return 0;
	r = archive(run, acc);
	if ((r == -EINVAL || r == -EFBIG) && leave_out_told(run))
		r = archive(run, acc);
	if (r == -EEXIST) {
		log_warning("run %s: the store has an end of it already, another one", run->id.s);
		r = 0;
	}
	if (r < 0)
		return log_errno(r, "run %s: the end of its record cannot be stored yet",
				 run->id.s);
	tell_memo(run);
	json_object_set_new(run->note, "is_stored", json_true());
	return run_note_save(run);
}
