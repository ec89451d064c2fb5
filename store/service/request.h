/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A request while it is answered: its fields, its answer's lines, and what it may wait for.
 *
 * For the files of service/ alone. A request belongs to its thread.
 */
#pragma once

#include "base/buf.h"
#include "object/access.h"
#include "object/refs.h"
#include "object/store.h"
#include "record/json_bytes.h"
#include "service/service.h"

enum {
	REFS_TIMEOUT_MS = 10 * 1000, /* of one look at refs or a commit */
	CHANGE_TIMEOUT_MS = 30 * 1000, /* of one change of refs */
	REQUEST_SIZE_MAX = 4 << 20,
};

struct request {
	const struct service *service; /* borrowed, as all here */
	const struct service_caller *who;
	json_t *fields; /* owned */
	struct access access; /* released with the request */
	service_emit_fn emit;
	void *emit_ctx;
	int stopped; /* what @emit returned when it wanted no more; else 0 */
};

/*
 * Fields. A wanted one that is missing, or one of a wrong type, is -EINVAL with a sentence. Strings
 * are borrowed.
 */
int request_string(struct request *q, const char *field, const char **ret);
int request_optional_string(struct request *q, const char *field, const char **ret); /* NULL */
int request_bool(struct request *q, const char *field, bool *ret); /* false */
int request_number(struct request *q, const char *field, uint64_t otherwise, uint64_t *ret);
/* {"key": "value"...}: borrowed, NULL when there is none. */
int request_strings(struct request *q, const char *field, json_t **ret);
/* A string or {"hex": ...}, into @ret; *@ret_has says whether the field is there. */
int request_bytes(struct request *q, const char *field, struct buf *ret, bool *ret_has);

/* Says what went wrong, unless what is below has said it better; of a damaged or missing object
 * both are said. Returns @r. */
int request_fail(int r, const char *fmt, ...) _printf_(2, 3);

/* -ECANCELED once the caller has gone. */
int request_check(const struct request *q);

struct deadline request_deadline(const struct request *q, int64_t ms);
struct refs_wait request_wait(const struct request *q);

/*
 * For looks that must show what another command has just done; when the store does not answer, what
 * was last known has to do:
 *
 *	struct refs_wait w = request_fresh_wait(q);
 *
 *	do {
 *		r = refs_get(..., &w, ...);
 *	} while (request_settles(q, &w, r));
 */
struct refs_wait request_fresh_wait(const struct request *q);
bool request_settles(const struct request *q, struct refs_wait *w, int r);

/*
 * A line of the answer, or an object in one: keys in the order they were put. What finds no memory
 * fails the whole at the end.
 */
struct answer {
	json_t *object; /* owned */
	bool failed;
};
struct answer answer_new(void);
void answer_release(struct answer *a);
#define _cleanup_answer_ _cleanup_(answer_release)

void answer_json(struct answer *a, const char *key, json_t *value); /* takes */
void answer_object(struct answer *a, const char *key, struct answer *value); /* takes */
void answer_text(struct answer *a, const char *key, const char *text); /* NULL: null */
void answer_bytes(struct answer *a, const char *key, struct span bytes);
/* Under a key that is bytes as well: "hex:6b6579ff" when it is not UTF-8. */
void answer_keyed(struct answer *a, struct span key, struct span bytes);
void answer_number(struct answer *a, const char *key, uint64_t n);
void answer_bool(struct answer *a, const char *key, bool b);
void answer_oid(struct answer *a, const char *key, const struct oid *id); /* null id: null */
void answer_time(struct answer *a, const char *key, int64_t sec, uint32_t nsec);

/* Gives the line to the caller. 0; -EINTR when he wants no more (see request.stopped). */
int request_answer(struct request *q, struct answer *a);
