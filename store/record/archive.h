/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Records of runs in the store: each is written once, on the condition that there is none.
 *
 * Errors besides those named: the backend's (-EIO, -ETIME, -EROFS, ...), -EINPROGRESS (the reply
 * was lost, and the deadline passed before the record could be read back), and those of
 * run_record_write().
 *
 * Threads: all functions from any thread; all may wait for the backend.
 */
#pragma once

#include "object/store.h"
#include "record/record.h"

/*
 * Stores the start of a run under a new id, which is put into it: of the moment in its "started",
 * or now. @about_to (NULL: nobody) is told each id that is tried, and nothing is stored before it:
 * -EEXIST from it asks for another one, other errors end it. -EINPROGRESS: it is not known whether
 * the start is there, under the last id that was told; after other errors it is not.
 */
typedef int (*archive_id_fn)(const struct run_id *id, void *ctx);
int archive_begin(struct store *s, json_t *start, archive_id_fn about_to, void *ctx,
		  const struct deadline *dl, struct run_id *ret);

/* Stores a start that has its id already, perhaps again. 0 also if the same is there; -EEXIST: that
 * of another run is, and this one never will be. */
int archive_start(struct store *s, const struct run_id *id, const json_t *start,
		  const struct deadline *dl);

/* Stores its end. 0 also if the same is there; -EEXIST: another end is. */
int archive_end(struct store *s, const struct run_id *id, const json_t *end,
		const struct deadline *dl);

/* -ENOENT, -EBADMSG, -ENOTSUP. *@ret_end is NULL where there is none yet. */
int archive_get(struct store *s, const struct run_id *id, const struct deadline *dl,
		json_t **ret_start, json_t **ret_end);

/* Every object of a run of a month ("202601/"; "": of all) above @after (a key; NULL: all),
 * ascending by key, so that an end comes before its start: a listing may lack what was written
 * lately. Other keys are passed over. A result of @fn other than 0 ends it and is returned. */
typedef int (*archive_fn)(const struct run_id *id, bool is_end, void *ctx);
int archive_list(struct store *s, const char *month, const char *after, archive_fn fn, void *ctx,
		 const struct deadline *dl);

/* What a month's records, or with "" the months, are by the backend's stamp(). */
int archive_stamp(struct store *s, const char *month, uint64_t *ret);

/* Is there an end? 0, -ENOENT, or the backend's errors. */
int archive_has_end(struct store *s, const struct run_id *id, const struct deadline *dl);
