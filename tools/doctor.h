/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Inside pfs doctor: one finding after another, of the machine, of a mount, of a store.
 *
 * A check says what it found and what to do about it, and never fails: what keeps it from looking
 * is a finding too.
 */
#pragma once

#include <jansson.h>

#include "base/defs.h"
#include "s3/url.h"

enum verdict {
	VERDICT_OK,
	VERDICT_WARN, /* it works, but perhaps not as it is thought to */
	VERDICT_FAIL, /* it does not work */
};

struct doctor {
	bool json;
	json_t *findings; /* owned; with @json */
	unsigned warnings, failures;
};

/* What is looked at, in a word or two ("clock"), and a sentence. */
void finding(struct doctor *d, enum verdict v, const char *what, const char *fmt, ...)
	_printf_(4, 5);

/* The same, with the sentence that the library has for its last error (@r) instead, if it has one.
 * @advice is put behind; NULL: none. */
void finding_of_error(struct doctor *d, enum verdict v, const char *what, int r,
		      const char *advice);

/* Versions, FUSE and who may use it. */
void doctor_machine(struct doctor *d);

/* A state directory: whether it can be written, what lies there, who has it. @must_exist: a mount
 * has it, or should. */
void doctor_state(struct doctor *d, const char *path, bool must_exist);

/* What lives at a mount point: 0 when a daemon answers. @ret_store (malloc'ed) is which store, also
 * of a dead one. */
int doctor_mount(struct doctor *d, const char *point, char **ret_store);

/* The branches of a mount whose store answers: what is uncommitted, which have diverged. */
void doctor_heads(struct doctor *d, const char *point);

/* The way to a bucket: keys, name, connection, certificate, clock. Could it be asked at all? */
bool doctor_server(struct doctor *d, const char *url);

/* The store itself: format, what may be done there, conditions, speed, space. @read_only: nothing
 * is written. */
void doctor_store(struct doctor *d, const char *url, bool read_only);
