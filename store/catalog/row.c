/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Rows (catalog/row.h).
 *
 * A row has what queries ask of all runs, flat: numbers of fixed size, then texts with their
 * lengths, then outputs, parameters and metrics one behind the other, each group with its bytes'
 * length, so that who does not ask for it passes over it.
 */
#include "catalog/row.h"

#include <math.h>
#include <string.h>

#include "record/fields.h"
#include "record/json_bytes.h"
#include "record/trees.h"

#define NS_PER_SEC 1000000000.0

enum {
	TEXT_MAX = 4096, /* of one text in a row; what is longer is cut */
	PAIRS_MAX = 2000, /* parameters in a row, and metrics */
	OUTPUTS_MAX = 10000,
};

static const char *const status_texts[] = {
	[RUN_RUNNING] = "running", [RUN_OK] = "ok",	  [RUN_FAILED] = "failed",
	[RUN_KILLED] = "killed",   [RUN_LOST] = "lost",	  [RUN_UNPUBLISHED] = "unpublished",
	[RUN_DAMAGED] = "damaged", [RUN_NEWER] = "newer",
};

const char *run_status_text(enum run_status s)
{
	return (size_t)s < ARRAY_SIZE(status_texts) ? status_texts[s] : "damaged";
}

static struct span text_of(const json_t *j, const char *key)
{
	const json_t *v = json_object_get(j, key);

	return json_is_string(v) ? span_of(json_string_value(v), json_string_length(v))
				 : (struct span){ 0 };
}

static void put_text(struct buf *b, struct span s)
{
	s.len = MIN(s.len, (size_t)TEXT_MAX);
	buf_put_str16(b, s);
}

/* A text that may be any bytes. */
static void put_bytes(struct buf *b, const json_t *j)
{
	_cleanup_buf_ struct buf bytes = { 0 };

	if (!j || json_to_bytes(j, &bytes) < 0)
		buf_clear(&bytes);
	put_text(b, buf_span(&bytes));
}

static int64_t time_of(const json_t *j, const char *key)
{
	const char *text = json_string_value(json_object_get(j, key));
	int64_t ns;

	return text && run_time_parse(text, &ns) == 0 ? ns : 0;
}

/* As measured by who started the command. */
static void put_seconds(struct buf *b, const json_t *usage)
{
	const json_t *v = json_object_get(usage, "seconds");
	double seconds = json_is_number(v) ? json_number_value(v) : -1;

	buf_put(b, &seconds, sizeof(seconds));
}

static double rd_seconds(struct cursor *c)
{
	double seconds = -1;

	rd_copy(c, &seconds, sizeof(seconds));
	return isfinite(seconds) ? seconds : -1;
}

static void put_oid(struct buf *b, const json_t *j, const char *key)
{
	struct oid id = { 0 };

	if (oid_parse(text_of(j, key), &id) < 0)
		id = (struct oid){ 0 };
	buf_put_oid(b, &id);
}

static void put_value(struct buf *b, const json_t *v)
{
	_cleanup_free_ char *text = NULL;
	double real;

	switch (json_typeof(v)) {
	case JSON_FALSE:
	case JSON_TRUE:
		buf_put_u8(b, json_is_true(v) ? RUN_VALUE_TRUE : RUN_VALUE_FALSE);
		return;
	case JSON_INTEGER:
		buf_put_u8(b, RUN_VALUE_INTEGER);
		buf_put_u64(b, (uint64_t)json_integer_value(v));
		return;
	case JSON_REAL:
		buf_put_u8(b, RUN_VALUE_REAL);
		real = json_real_value(v);
		buf_put(b, &real, sizeof(real));
		return;
	case JSON_STRING:
		buf_put_u8(b, RUN_VALUE_TEXT);
		put_text(b, span_of(json_string_value(v), json_string_length(v)));
		return;
	case JSON_NULL:
		buf_put_u8(b, RUN_VALUE_NULL);
		return;
	default:
		text = json_dumps(v, JSON_COMPACT);
		b->failed |= !text;
		buf_put_u8(b, RUN_VALUE_JSON);
		put_text(b, span_str(text ?: ""));
	}
}

/* A group's count and its bytes. */
static void put_group(struct buf *b, size_t count, const struct buf *bytes)
{
	b->failed |= bytes->failed;
	buf_put_u16(b, (uint16_t)count);
	buf_put_str32(b, buf_span(bytes));
}

static void put_pairs(struct buf *b, const json_t *object)
{
	_cleanup_buf_ struct buf pairs = { 0 };
	size_t count = 0;
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)object, key, value) {
		if (count == PAIRS_MAX)
			break;
		count++;
		put_text(&pairs, span_str(key));
		put_value(&pairs, value);
	}
	put_group(b, count, &pairs);
}

static void put_outputs(struct buf *b, const json_t *array)
{
	_cleanup_buf_ struct buf out = { 0 };
	struct id128 repo;
	size_t i, count = 0;
	json_t *o;

	json_array_foreach (array, i, o) {
		if (!json_is_string(json_object_get(o, "result")) &&
		    !json_is_string(json_object_get(o, "published")) &&
		    !json_is_string(json_object_get(o, "kept")))
			continue;
		if (count++ == OUTPUTS_MAX)
			break;
		put_text(&out, text_of(o, "repo"));
		put_text(&out, text_of(o, "branch"));
		put_text(&out, text_of(o, "kept"));
		put_text(&out, text_of(o, "into"));
		if (field_id128(o, "repo_id", &repo) < 0)
			repo = (struct id128){ 0 };
		buf_put(&out, repo.b, sizeof(repo.b));
		put_oid(&out, o, "pinned");
		put_oid(&out, o, "result");
		put_oid(&out, o, "published");
	}
	put_group(b, MIN(count, (size_t)OUTPUTS_MAX), &out);
}

/* The command as one line: what has blanks in it is quoted. */
static void put_command(struct buf *b, const json_t *argv)
{
	_cleanup_buf_ struct buf line = { 0 };
	size_t i;
	json_t *a;

	json_array_foreach (argv, i, a) {
		struct span s = span_str(json_is_string(a) ? json_string_value(a) : "?");
		bool is_plain =
			s.len > 0 && !strpbrk((const char *)s.data, " \t\n\"'\\$`*?;&|<>()");

		if (i > 0)
			buf_put_u8(&line, ' ');
		if (!is_plain)
			buf_put_u8(&line, '\'');
		buf_put(&line, s.data, s.len);
		if (!is_plain)
			buf_put_u8(&line, '\'');
		if (line.len > TEXT_MAX)
			break;
	}
	b->failed |= line.failed;
	put_text(b, buf_span(&line));
}

static enum run_status status_of(const json_t *start, const json_t *end, enum run_status unreadable)
{
	struct span s = text_of(end, "status");

	if (unreadable == RUN_DAMAGED || unreadable == RUN_NEWER)
		return unreadable;
	if (!end)
		return start ? RUN_RUNNING : RUN_DAMAGED;
	for (unsigned i = RUN_OK; i <= RUN_UNPUBLISHED; i++)
		if (span_equal(s, span_str(status_texts[i])))
			return i;
	return RUN_DAMAGED;
}

static void put_tree(struct buf *b, const json_t *tree)
{
	struct tree_root t = { 0 };

	if (!json_is_object(tree) || run_tree_read(tree, &t) < 0)
		t = (struct tree_root){ .loc = LOC_NOWHERE };
	buf_put_oid(b, &t.id);
	buf_put(b, t.loc.pack.b, sizeof(t.loc.pack.b));
	buf_put_u32(b, t.loc.offset);
	buf_put_u32(b, t.loc.frame_len);
	buf_put_u16(b, t.loc.item);
	buf_put_u8(b, t.loc.state == LOC_AT);
}

int run_row_write(const struct run_id *id, const json_t *start, const json_t *end,
		  enum run_status unreadable, uint8_t flags, struct buf *ret)
{
	const json_t *exit = json_object_get(end, "exit"), *sig = json_object_get(end, "signal");
	const json_t *uid = json_object_get(start, "uid");
	json_t *params = run_params(start, end), *metrics = run_metrics(end);
	_cleanup_buf_ struct buf b = { 0 };

	b.failed = !params || !metrics;
	buf_put_u8(&b, RUN_ROW_VERSION);
	buf_put_u8(&b, (uint8_t)status_of(start, end, unreadable));
	buf_put_u8(&b, flags);
	buf_put_u8(&b, exit || sig);
	buf_put_u32(&b, (uint32_t)(sig ? -json_integer_value(sig) : json_integer_value(exit)));
	buf_put_u64(&b, (uint64_t)time_of(start, "started"));
	buf_put_u64(&b, (uint64_t)time_of(end, "ended"));
	put_seconds(&b, json_object_get(end, "usage"));
	buf_put_u32(&b, json_is_integer(uid) ? (uint32_t)json_integer_value(uid) : UINT32_MAX);
	put_tree(&b, json_object_get(end, "tree"));
	put_bytes(&b, json_object_get(start, "name"));
	put_bytes(&b, json_object_get(start, "user"));
	put_bytes(&b, json_object_get(start, "machine"));
	put_bytes(&b, json_object_get(start, "group"));
	put_text(&b, text_of(start, "parent"));
	put_text(&b, text_of(start, "update"));
	put_command(&b, json_object_get(start, "argv"));
	put_outputs(&b, json_object_get(end, "outputs"));
	put_pairs(&b, params);
	put_pairs(&b, metrics);
	json_decref(params);
	json_decref(metrics);
	return buf_take(&b, ret);
}

static struct span rd_group(struct cursor *c, uint16_t *ret_count)
{
	*ret_count = rd_u16(c);
	return rd_str32(c, UINT32_MAX);
}

int run_row_read(const struct run_id *id, struct span raw, struct run_row *ret)
{
	struct cursor c = cursor_of(raw);
	struct run_row row = { .id = *id };

	if (rd_u8(&c) != RUN_ROW_VERSION)
		return -EBADMSG;
	row.status = rd_u8(&c);
	row.flags = rd_u8(&c);
	row.has_exit = rd_u8(&c) != 0;
	row.exit = (int32_t)rd_u32(&c);
	row.started_ns = (int64_t)rd_u64(&c);
	row.ended_ns = (int64_t)rd_u64(&c);
	row.seconds = rd_seconds(&c);
	row.uid = rd_u32(&c);
	row.tree = rd_oid(&c);
	row.tree_loc.pack = rd_id128(&c);
	row.tree_loc.offset = rd_u32(&c);
	row.tree_loc.frame_len = rd_u32(&c);
	row.tree_loc.item = rd_u16(&c);
	row.tree_loc.state = rd_u8(&c) ? LOC_AT : LOC_NONE;
	row.name = rd_str16(&c, TEXT_MAX);
	row.user = rd_str16(&c, TEXT_MAX);
	row.machine = rd_str16(&c, TEXT_MAX);
	row.group = rd_str16(&c, TEXT_MAX);
	row.parent = rd_str16(&c, TEXT_MAX);
	row.update = rd_str16(&c, TEXT_MAX);
	row.command = rd_str16(&c, TEXT_MAX);
	row.outputs = rd_group(&c, &row.output_count);
	row.params = rd_group(&c, &row.param_count);
	row.metrics = rd_group(&c, &row.metric_count);
	if (!cursor_at_end(&c) || row.status > RUN_NEWER)
		return -EBADMSG;
	*ret = row;
	return 0;
}

bool run_row_seconds(const struct run_row *row, double *ret)
{
	if (row->seconds >= 0) {
		*ret = row->seconds;
		return true;
	}
	if (!row->started_ns || row->ended_ns < row->started_ns)
		return false;
	*ret = (double)(row->ended_ns - row->started_ns) / NS_PER_SEC;
	return true;
}

bool run_output_next(struct cursor *c, struct run_output *ret)
{
	if (cursor_left(c) == 0)
		return false;
	ret->repo = rd_str16(c, TEXT_MAX);
	ret->branch = rd_str16(c, TEXT_MAX);
	ret->kept = rd_str16(c, TEXT_MAX);
	ret->into = rd_str16(c, TEXT_MAX);
	ret->repo_id = rd_id128(c);
	ret->pinned = rd_oid(c);
	ret->result = rd_oid(c);
	ret->published = rd_oid(c);
	return !cursor_failed(c);
}

bool run_pair_next(struct cursor *c, struct run_pair *ret)
{
	struct run_value *v = &ret->value;

	if (cursor_left(c) == 0)
		return false;
	*v = (struct run_value){ 0 };
	ret->key = rd_str16(c, TEXT_MAX);
	v->type = rd_u8(c);
	switch (v->type) {
	case RUN_VALUE_INTEGER:
		v->integer = (int64_t)rd_u64(c);
		v->real = (double)v->integer;
		break;
	case RUN_VALUE_REAL:
		rd_copy(c, &v->real, sizeof(v->real));
		break;
	case RUN_VALUE_TEXT:
	case RUN_VALUE_JSON:
		v->text = rd_str16(c, TEXT_MAX);
		break;
	default:
		break;
	}
	return !cursor_failed(c);
}
