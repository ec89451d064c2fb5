/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Whose work a file is, as the catalog knows it.
 *
 * Threads: the caller's.
 */
#pragma once

#include "catalog/files.h"

/* How it is known that a run made a file. */
enum run_how {
	RUN_HOW_NOT, /* no run is known to have made it */
	RUN_HOW_PLACE, /* the run wrote these bytes to this path */
	RUN_HOW_CONTENT, /* the run wrote these bytes elsewhere: the file was copied or moved */
};

/*
 * The run that made what has the content @id and lies at @place (NULL: nowhere that is known): the
 * last that wrote it there and published it, else the last that wrote it at all before a run read
 * it there; of those that started before @before (NULL: ever). 0, with @ret_how, or errors of the
 * index.
 */
int run_maker(struct store *s, const struct run_place *place, const struct oid *id,
	      const struct run_id *before, struct run_id *ret, enum run_how *ret_how);

/* The last run that wrote to the place, whatever, and published it, or whose stdout or stderr it
 * was: 1, 0 (none), -errno. */
int run_last_writer(struct store *s, const struct run_place *place, const struct deadline *dl,
		    struct run_id *ret);

/* Where what the run wrote to a place's branch was published: by itself or, begun in another run,
 * with that one. 0; -ENOENT: nowhere; errors of the index. */
int run_published(struct store *s, const struct run_id *run, const struct run_place *place,
		  struct oid *ret);

/* Is the file at @place the very one that the run's record has there, with its times? For what was
 * written past its view and is nowhere published. 1, 0, errors of tree/tree.h. */
int run_wrote(const struct run_reading *rd, const struct run_id *run, const struct run_place *place,
	      const struct run_file *file);
