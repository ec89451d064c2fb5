/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Rows as JSON (catalog/row.h).
 */
#include "base/text.h"
#include "catalog/row.h"
#include "record/json_bytes.h"

/* A text that was cut may end within a character. */
static json_t *json_of_text(struct span s)
{
	size_t n = s.len;

	for (unsigned i = 0; i < 4 && n > 0 && !utf8_is_valid(s.data, n); i++)
		n--;
	return json_of_bytes(utf8_is_valid(s.data, n) ? span_of(s.data, n) : s);
}

json_t *run_value_json(const struct run_value *v)
{
	json_t *j;

	switch (v->type) {
	case RUN_VALUE_FALSE:
	case RUN_VALUE_TRUE:
		return json_boolean(v->type == RUN_VALUE_TRUE);
	case RUN_VALUE_INTEGER:
		return json_integer(v->integer);
	case RUN_VALUE_REAL:
		return json_real(v->real) ?: json_null();
	case RUN_VALUE_TEXT:
		return json_of_text(v->text);
	case RUN_VALUE_JSON:
		j = json_loadb((const char *)v->text.data, v->text.len, 0, NULL);
		return j ?: json_of_text(v->text);
	default:
		return json_null();
	}
}

static void set(json_t *o, const char *key, json_t *value, bool *failed)
{
	if (json_object_set_new(o, key, value) < 0)
		*failed = true;
}

static void set_text(json_t *o, const char *key, struct span s, bool *failed)
{
	if (s.len > 0)
		set(o, key, json_of_text(s), failed);
}

static void set_oid(json_t *o, const char *key, const struct oid *id, bool *failed)
{
	char hex[OID_HEX];

	if (!oid_is_null(id))
		set(o, key, json_string(oid_hex(id, hex)), failed);
}

static void set_time(json_t *o, const char *key, int64_t ns, bool *failed)
{
	char text[RUN_TIME_LEN + 1];

	if (ns == 0)
		return;
	run_time_text(ns, text);
	set(o, key, json_string(text), failed);
}

static json_t *pairs_json(struct span raw, bool *failed)
{
	struct cursor c = cursor_of(raw);
	json_t *o = json_object();
	struct run_pair p;

	while (o && run_pair_next(&c, &p))
		if (json_object_setn_new(o, (const char *)p.key.data, p.key.len,
					 run_value_json(&p.value)) < 0)
			*failed = true;
	return o;
}

static json_t *outputs_json(struct span raw, bool *failed)
{
	struct cursor c = cursor_of(raw);
	json_t *all = json_array();
	struct run_output out;

	while (all && run_output_next(&c, &out)) {
		json_t *o = json_object();

		set_text(o, "repo", out.repo, failed);
		set_text(o, "branch", out.branch, failed);
		set_oid(o, "pinned", &out.pinned, failed);
		set_oid(o, "result", &out.result, failed);
		set_oid(o, "published", &out.published, failed);
		set_text(o, "kept", out.kept, failed);
		set_text(o, "into", out.into, failed);
		if (json_array_append_new(all, o) < 0)
			*failed = true;
	}
	return all;
}

json_t *run_row_json(const struct run_row *row)
{
	json_t *o = json_object();
	bool failed = false;
	double seconds;

	set(o, "id", json_string(row->id.s), &failed);
	set_text(o, "name", row->name, &failed);
	set(o, "status", json_string(run_status_text(row->status)), &failed);
	set_time(o, "started", row->started_ns, &failed);
	set_time(o, "ended", row->ended_ns, &failed);
	if (run_row_seconds(row, &seconds))
		set(o, "seconds", json_real(seconds), &failed);
	if (row->has_exit && row->exit >= 0)
		set(o, "exit", json_integer(row->exit), &failed);
	else if (row->has_exit)
		set(o, "signal", json_integer(-row->exit), &failed);
	set_text(o, "user", row->user, &failed);
	set_text(o, "machine", row->machine, &failed);
	set_text(o, "group", row->group, &failed);
	set_text(o, "parent", row->parent, &failed);
	set_text(o, "command", row->command, &failed);
	set(o, "params", pairs_json(row->params, &failed), &failed);
	set(o, "metrics", pairs_json(row->metrics, &failed), &failed);
	set(o, "outputs", outputs_json(row->outputs, &failed), &failed);
	if (!failed)
		return o;
	json_decref(o);
	return NULL;
}

json_t *run_row_seen(const struct run_row *row, bool may_see)
{
	return may_see ? run_row_json(row) : json_pack("{s:s, s:b}", "id", row->id.s, "hidden", 1);
}
