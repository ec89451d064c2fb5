/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Records as text and back: what stands in run/RUNS.md, section 2, as tables of keys and their
 * types.
 *
 * Before any JSON is made of a text, its brackets are counted: a few MiB of "[[[[" would become
 * hundreds in memory.
 */
#include "base/log.h"
#include "base/oid.h"
#include "base/text.h"
#include "record/json_bytes.h"
#include "record/record.h"

enum {
	DEPTH_MAX = 64,
	CONTAINERS_MAX = 1 << 17,
};

typedef bool (*check_fn)(const json_t *j);

struct field {
	const char *key;
	check_fn check;
};

/* Every field that is there has its type. */
static const char *first_wrong(const json_t *object, const struct field *fields, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const json_t *j = json_object_get(object, fields[i].key);

		if (j && !fields[i].check(j))
			return fields[i].key;
	}
	return NULL;
}

#define HAS_FIELDS(j, fields) (json_is_object(j) && !first_wrong((j), (fields), ARRAY_SIZE(fields)))

static bool are_all(const json_t *j, check_fn check)
{
	for (size_t i = 0; i < json_array_size(j); i++)
		if (!check(json_array_get(j, i)))
			return false;
	return json_is_array(j);
}

static bool is_text(const json_t *j)
{
	return json_is_string(j);
}

static bool is_hex(const json_t *j)
{
	const char *s = json_string_value(j);

	return s && strlen(s) % 2 == 0 && s[strspn(s, "0123456789abcdef")] == '\0';
}

static bool is_hex_of(const json_t *j, size_t bytes)
{
	return is_hex(j) && json_string_length(j) == 2 * bytes;
}

/* Text, or {"hex": ...}. */
static bool is_bytes(const json_t *j)
{
	return json_is_string(j) || is_hex(json_object_get(j, "hex"));
}

static bool is_path(const json_t *j)
{
	return is_bytes(j) || is_bytes(json_object_get(j, "pfs"));
}

static bool is_flag(const json_t *j)
{
	return json_is_boolean(j);
}

static bool is_count(const json_t *j)
{
	return json_is_integer(j) && json_integer_value(j) >= 0;
}

static bool is_u32(const json_t *j)
{
	return is_count(j) && json_integer_value(j) <= UINT32_MAX;
}

static bool is_byte(const json_t *j)
{
	return is_count(j) && json_integer_value(j) <= UINT8_MAX;
}

static bool is_amount(const json_t *j)
{
	return json_is_number(j) && json_number_value(j) >= 0;
}

static bool is_number(const json_t *j)
{
	return json_is_number(j);
}

static bool is_anything(const json_t *j)
{
	return true;
}

static bool is_time(const json_t *j)
{
	const char *s = json_string_value(j);
	int64_t ns;

	return s && run_time_parse(s, &ns) == 0;
}

static bool is_run(const json_t *j)
{
	const char *s = json_string_value(j);
	struct run_id id;

	return s && run_id_parse(s, &id) == 0;
}

static bool is_identity(const json_t *j)
{
	return is_hex_of(j, sizeof(struct id128));
}

static bool is_oid(const json_t *j)
{
	return is_hex_of(j, OID_SIZE);
}

static bool is_commit(const json_t *j)
{
	return json_is_null(j) || is_oid(j);
}

static bool are_bytes(const json_t *j)
{
	return are_all(j, is_bytes);
}

static bool are_texts(const json_t *j)
{
	return are_all(j, is_text);
}

static bool is_error(const json_t *j)
{
	return is_bytes(j) || are_bytes(j);
}

static bool is_environ(const json_t *j)
{
	const char *name;
	json_t *value;

	if (!json_is_object(j))
		return false;
	json_object_foreach ((json_t *)j, name, value)
		if (!is_bytes(value))
			return false;
	return true;
}

static bool is_param(const json_t *j)
{
	static const struct field fields[] = {
		{ "key", is_bytes }, { "value", is_anything }, { "from", is_text },
		{ "path", is_path }, { "step", is_number },
	};

	return HAS_FIELDS(j, fields) && json_object_get(j, "key") && json_object_get(j, "value");
}

static bool are_params(const json_t *j)
{
	return are_all(j, is_param);
}

static bool is_pin(const json_t *j)
{
	static const struct field fields[] = {
		{ "repo", is_text },	 { "repo_id", is_identity },
		{ "branch", is_text },	 { "branch_id", is_identity },
		{ "commit", is_commit }, { "committed", is_commit },
	};

	return HAS_FIELDS(j, fields);
}

static bool are_pins(const json_t *j)
{
	return are_all(j, is_pin);
}

static bool is_executable(const json_t *j)
{
	static const struct field fields[] = { { "path", is_path }, { "sha256", is_oid } };

	return HAS_FIELDS(j, fields);
}

static bool are_packages(const json_t *j)
{
	static const struct field fields[] = { { "sha256", is_oid }, { "count", is_count } };
	const char *name;
	json_t *value;

	if (!json_is_object(j))
		return false;
	json_object_foreach ((json_t *)j, name, value)
		if (!HAS_FIELDS(value, fields))
			return false;
	return true;
}

static bool is_environment(const json_t *j)
{
	static const struct field fields[] = { { "executable", is_executable },
					       { "interpreter", is_executable },
					       { "packages", are_packages } };

	return HAS_FIELDS(j, fields);
}

static bool is_usage(const json_t *j)
{
	static const struct field fields[] = { { "seconds", is_amount },
					       { "user", is_amount },
					       { "system", is_amount },
					       { "max_rss", is_amount } };

	return HAS_FIELDS(j, fields);
}

static bool is_output(const json_t *j)
{
	static const struct field fields[] = {
		{ "repo", is_text },	 { "repo_id", is_identity }, { "branch", is_text },
		{ "pinned", is_commit }, { "result", is_commit },    { "published", is_commit },
		{ "kept", is_text },	 { "into", is_run },
	};

	return HAS_FIELDS(j, fields);
}

static bool are_outputs(const json_t *j)
{
	return are_all(j, is_output);
}

static bool is_tree(const json_t *j)
{
	static const struct field fields[] = { { "id", is_oid },
					       { "hint", is_hex },
					       { "dirs", is_count },
					       { "files", is_count },
					       { "bytes", is_count } };

	/* Null: it could not be made, and "error" says why. */
	return json_is_null(j) || (HAS_FIELDS(j, fields) && json_object_get(j, "id"));
}

static bool is_stream(const json_t *j)
{
	static const struct field fields[] = { { "bytes", is_count },
					       { "head", is_bytes },
					       { "tail", is_bytes },
					       { "same", is_flag } };

	return HAS_FIELDS(j, fields);
}

static bool is_what_it_said(const json_t *j)
{
	static const struct field fields[] = { { "stdout", is_stream }, { "stderr", is_stream } };

	return HAS_FIELDS(j, fields);
}

static bool is_memo(const json_t *j)
{
	static const struct field fields[] = { { "key", is_oid }, { "of", is_run } };

	return HAS_FIELDS(j, fields);
}

static bool is_status(const json_t *j)
{
	static const char *const words[] = { "ok", "failed", "killed", "lost", "unpublished" };
	const char *s = json_string_value(j);

	for (size_t i = 0; s && i < ARRAY_SIZE(words); i++)
		if (strcmp(s, words[i]) == 0)
			return true;
	return false;
}

static const struct field start_fields[] = {
	{ "name", is_bytes },	 { "argv", are_bytes },
	{ "cwd", is_path },	 { "user", is_bytes },
	{ "uid", is_u32 },	 { "gid", is_u32 },
	{ "machine", is_bytes }, { "pfs", is_text },
	{ "parent", is_run },	 { "group", is_bytes },
	{ "started", is_time },	 { "env", is_environ },
	{ "out", are_texts },	 { "params", are_params },
	{ "pinned", are_pins },	 { "environment", is_environment },
	{ "stdin", is_path },	 { "stdout", is_path },
	{ "stderr", is_path },	 { "keep_going", is_flag },
	{ "rerun", is_run },	 { "update", is_run },
	{ "mount", is_bytes },
};

static const struct field end_fields[] = {
	{ "ended", is_time },	  { "status", is_status },	 { "exit", is_byte },
	{ "signal", is_byte },	  { "error", is_error },	 { "usage", is_usage },
	{ "params", are_params }, { "metrics", are_params },	 { "outputs", are_outputs },
	{ "tree", is_tree },	  { "output", is_what_it_said }, { "memo", is_memo },
};

/* Are there no more brackets in it, and no deeper, than a record could have? */
static bool is_of_a_size(struct span text)
{
	size_t containers = 0, depth = 0, deepest = 0;
	bool in_string = false;

	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.data[i];

		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (c == '{' || c == '[') {
			containers++;
			deepest = MAX(deepest, ++depth);
		} else if ((c == '}' || c == ']') && depth > 0) {
			depth--;
		}
	}
	return containers <= CONTAINERS_MAX && deepest <= DEPTH_MAX;
}

/* Version and id, which say whether the rest can be understood at all. */
static int check_head(const json_t *j, const struct run_id *id)
{
	const json_t *version = json_object_get(j, "pfs-run");
	const char *own = json_string_value(json_object_get(j, "id"));

	if (!json_is_object(j) || !json_is_integer(version) || json_integer_value(version) < 1)
		return log_fail(-EBADMSG, "run %s: the record is damaged: it says no version",
				id->s);
	if (json_integer_value(version) > RUN_RECORD_VERSION)
		return log_fail(-ENOTSUP,
				"run %s: the record was written by a newer pfs (version %lld, "
				"this one knows %d)",
				id->s, (long long)json_integer_value(version), RUN_RECORD_VERSION);
	if (!own || strcmp(own, id->s) != 0)
		return log_fail(-EBADMSG, "run %s: the record is damaged: it is another run's",
				id->s);
	return 0;
}

static int read_record(const struct run_id *id, struct span text, const struct field *fields,
		       size_t n, json_t **ret)
{
	json_error_t error;
	const char *wrong;
	json_t *j;
	int r;

	if (text.len > RUN_RECORD_MAX || !is_of_a_size(text))
		return log_fail(-EBADMSG, "run %s: the record is damaged: it is too large", id->s);
	j = json_loadb((const char *)text.data, text.len, 0, &error);
	if (!j && json_error_code(&error) == json_error_out_of_memory)
		return -ENOMEM;
	if (!j)
		return log_fail(-EBADMSG, "run %s: the record is damaged: %s, in line %d", id->s,
				error.text, error.line);
	r = check_head(j, id);
	wrong = r == 0 ? first_wrong(j, fields, n) : NULL;
	if (wrong)
		r = log_fail(-EBADMSG,
			     "run %s: the record is damaged: \"%s\" is not what it has to be",
			     id->s, wrong);
	if (r < 0) {
		json_decref(j);
		return r;
	}
	*ret = j;
	return 0;
}

int run_start_read(const struct run_id *id, struct span text, json_t **ret)
{
	return read_record(id, text, start_fields, ARRAY_SIZE(start_fields), ret);
}

int run_end_read(const struct run_id *id, struct span text, json_t **ret)
{
	return read_record(id, text, end_fields, ARRAY_SIZE(end_fields), ret);
}

/* Text being made. */
struct writing {
	struct buf *text;
	bool is_too_large;
};

static int append(const char *data, size_t len, void *ctx)
{
	struct writing *w = ctx;

	w->is_too_large = len > RUN_RECORD_MAX || w->text->len + len > RUN_RECORD_MAX;
	if (w->is_too_large)
		return -1;
	buf_put(w->text, data, len);
	return buf_failed(w->text) ? -1 : 0;
}

int run_record_write(const json_t *record, struct buf *ret)
{
	const char *own = json_string_value(json_object_get(record, "id"));
	bool is_end = json_object_get(record, "status");
	struct writing w = { .text = ret };
	json_t *again;
	struct run_id id;
	int r;

	if (!own || run_id_parse(own, &id) < 0)
		return log_fail(-EINVAL, "a run's record without an id cannot be stored");
	buf_clear(ret);
	if (json_dump_callback(record, append, &w, JSON_COMPACT) < 0)
		return w.is_too_large ? log_fail(-EFBIG, "run %s: the record is larger than %d MiB",
						 id.s, RUN_RECORD_MAX >> 20)
				      : -ENOMEM;
	r = is_end ? run_end_read(&id, buf_span(ret), &again)
		   : run_start_read(&id, buf_span(ret), &again);
	if (r < 0)
		return r == -ENOMEM ? r : -EINVAL;
	json_decref(again);
	return 0;
}
