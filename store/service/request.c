/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Fields and answers of requests.
 */
#include "service/request.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "base/log.h"
#include "base/text.h"

int request_fail(int r, const char *fmt, ...)
{
	bool is_of_object = r == -EBADMSG || r == -EIO;
	char text[512], below[512];
	va_list ap;

	if (complaint()[0] && !is_of_object)
		return r;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!complaint()[0])
		return log_errno(r, "%s", text);
	snprintf(below, sizeof(below), "%s", complaint());
	return log_fail(r, "%s: %s", text, below);
}

int request_check(const struct request *q)
{
	return deadline_check(&q->access.deadline);
}

struct deadline request_deadline(const struct request *q, int64_t ms)
{
	struct deadline dl = deadline_in_ms(ms);

	dl.cancelled = q->who->cancelled;
	return dl;
}

struct refs_wait request_wait(const struct request *q)
{
	return (struct refs_wait){ .may_wait = true,
				   .deadline = request_deadline(q, REFS_TIMEOUT_MS) };
}

struct refs_wait request_fresh_wait(const struct request *q)
{
	struct refs_wait w = request_wait(q);

	w.fresh = true;
	return w;
}

bool request_settles(const struct request *q, struct refs_wait *w, int r)
{
	if (!w->fresh || (r != -ETIME && r != -EIO && r != -EHOSTUNREACH))
		return false;
	complaint_clear();
	*w = request_wait(q);
	return true;
}

static int wrong_type(const char *field, const char *wanted)
{
	return log_fail(-EINVAL, "the request's field `%s` is not %s", field, wanted);
}

int request_optional_string(struct request *q, const char *field, const char **ret)
{
	const json_t *j = json_object_get(q->fields, field);

	*ret = NULL;
	if (!j || json_is_null(j))
		return 0;
	if (!json_is_string(j) || strlen(json_string_value(j)) != json_string_length(j))
		return wrong_type(field, "a string");
	*ret = json_string_value(j);
	return 0;
}

int request_string(struct request *q, const char *field, const char **ret)
{
	int r = request_optional_string(q, field, ret);

	if (r == 0 && !*ret)
		return log_fail(-EINVAL, "the request has no field `%s`", field);
	return r;
}

int request_bool(struct request *q, const char *field, bool *ret)
{
	const json_t *j = json_object_get(q->fields, field);

	if (j && !json_is_boolean(j))
		return wrong_type(field, "true or false");
	*ret = json_is_true(j);
	return 0;
}

int request_number(struct request *q, const char *field, uint64_t otherwise, uint64_t *ret)
{
	const json_t *j = json_object_get(q->fields, field);

	*ret = otherwise;
	if (!j)
		return 0;
	if (!json_is_integer(j) || json_integer_value(j) < 0)
		return wrong_type(field, "a number that is not negative");
	*ret = (uint64_t)json_integer_value(j);
	return 0;
}

int request_strings(struct request *q, const char *field, json_t **ret)
{
	json_t *j = json_object_get(q->fields, field), *value;
	const char *key;

	*ret = NULL;
	if (!j)
		return 0;
	if (!json_is_object(j))
		return wrong_type(field, "an object of strings");
	json_object_foreach (j, key, value) {
		if (!json_is_string(value))
			return wrong_type(field, "an object of strings");
	}
	*ret = j;
	return 0;
}

int request_bytes(struct request *q, const char *field, struct buf *ret, bool *ret_has)
{
	const json_t *j = json_object_get(q->fields, field);
	int r;

	*ret_has = j && !json_is_null(j);
	if (!*ret_has)
		return 0;
	r = json_to_bytes(j, ret);
	return r == -EINVAL ? wrong_type(field, "a string, or an object with `hex`") : r;
}

struct answer answer_new(void)
{
	struct answer a = { .object = json_object() };

	a.failed = !a.object;
	return a;
}

void answer_release(struct answer *a)
{
	json_decref(a->object);
	a->object = NULL;
}

void answer_json(struct answer *a, const char *key, json_t *value)
{
	if (!value || json_object_set_new(a->object, key, value) < 0)
		a->failed = true;
}

void answer_object(struct answer *a, const char *key, struct answer *value)
{
	a->failed |= value->failed;
	answer_json(a, key, TAKE_PTR(value->object));
}

void answer_text(struct answer *a, const char *key, const char *text)
{
	answer_json(a, key, text ? json_of_bytes(span_str(text)) : json_null());
}

void answer_bytes(struct answer *a, const char *key, struct span bytes)
{
	answer_json(a, key, json_of_bytes(bytes));
}

void answer_keyed(struct answer *a, struct span key, struct span bytes)
{
	_cleanup_free_ char *text = NULL;

	if (utf8_is_valid(key.data, key.len)) {
		text = strndup((const char *)key.data, key.len);
	} else {
		text = malloc(strlen("hex:") + 2 * key.len + 1);
		if (text)
			hex_encode(key.data, key.len, mempcpy(text, "hex:", strlen("hex:")));
	}
	if (text)
		answer_bytes(a, text, bytes);
	else
		a->failed = true;
}

void answer_number(struct answer *a, const char *key, uint64_t n)
{
	answer_json(a, key, json_integer((json_int_t)MIN(n, (uint64_t)INT64_MAX)));
}

void answer_bool(struct answer *a, const char *key, bool b)
{
	answer_json(a, key, json_boolean(b));
}

void answer_oid(struct answer *a, const char *key, const struct oid *id)
{
	char hex[OID_HEX];

	answer_text(a, key, oid_is_null(id) ? NULL : oid_hex(id, hex));
}

void answer_time(struct answer *a, const char *key, int64_t sec, uint32_t nsec)
{
	char buf[TIME_TEXT];

	answer_text(a, key, time_text(sec, nsec, buf));
}

int request_answer(struct request *q, struct answer *a)
{
	_cleanup_free_ char *line = a->failed ? NULL : json_dumps(a->object, JSON_COMPACT);
	int r;

	if (!line)
		return -ENOMEM;
	r = q->emit(line, strlen(line), q->emit_ctx);
	if (r != 0)
		q->stopped = r;
	return r != 0 ? -EINTR : 0;
}
