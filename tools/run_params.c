/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Parameters (run_params.h).
 */
#include "run_params.h"

#include <ctype.h>

#include "base/buf.h"
#include "base/text.h"
#include "record/json_bytes.h"
#include "record/record.h"

enum {
	ARGUMENTS_MAX = 1000, /* parameters of one command line */
	DEPTH_MAX = 32, /* of objects; deeper ones are values */
};

int param_add(json_t *into, struct span key, json_t *value, const char *from)
{
	json_t *p = json_object();
	bool is_key = key.len > 0 && key.len <= PARAM_KEY_MAX && utf8_is_valid(key.data, key.len);

	if (!value || !is_key) {
		json_decref(value);
		json_decref(p);
		return -EINVAL;
	}
	json_object_set_new(p, "key", json_stringn((const char *)key.data, key.len));
	json_object_set_new(p, "value", value);
	json_object_set_new(p, "from", json_string(from));
	return json_array_append_new(into, p) < 0 ? -ENOMEM : 0;
}

static json_t *value_of(struct span text)
{
	return text.len <= PARAM_VALUE_MAX ? run_value((const char *)text.data, text.len) : NULL;
}

int param_add_text(json_t *into, struct span text, const char *from)
{
	const uint8_t *eq = memchr(text.data, '=', text.len);
	size_t len = eq ? (size_t)(eq - text.data) : 0;

	if (!eq)
		return -EINVAL;
	return param_add(into, span_of(text.data, len),
			 value_of(span_of(eq + 1, text.len - len - 1)), from);
}

bool param_is_text(const char *text)
{
	json_t *one = json_array();
	int r = param_add_text(one, span_str(text), "option");

	json_decref(one);
	return r == 0;
}

static bool is_name(const char *s, size_t len)
{
	if (len == 0 || (!isalpha((unsigned char)s[0]) && s[0] != '_'))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)s[i]) && !strchr("_.-/", s[i]))
			return false;
	return true;
}

/* "K=V", where the key looks like one; "==" is a comparison. */
static bool is_assignment(const char *arg)
{
	size_t len = strcspn(arg, "=");

	return arg[len] == '=' && arg[len + 1] != '=' && is_name(arg, len);
}

/* What may stand behind "--K" as its value: a negative number does. */
static bool is_value(const char *arg)
{
	return arg && (arg[0] != '-' || !arg[1] || isdigit((unsigned char)arg[1]) ||
		       (arg[1] == '.' && isdigit((unsigned char)arg[2])));
}

/* A parameter among a command's arguments. */
struct argument {
	size_t at;
	struct span key;
	const char *value; /* in the same argument, or the next; NULL: "--K" alone */
	bool is_apart; /* in the next */
};
typedef bool (*argument_fn)(const struct argument *a, void *ctx);

/* "--K V", "--K=V" or "--K" at @i: how many arguments it takes, 0: it is none. */
static size_t read_option(char *const *argv, size_t i, struct argument *ret)
{
	const char *name = argv[i] + 2, *next = argv[i + 1];
	size_t len = strcspn(name, "=");

	if (!is_name(name, len))
		return 0;
	*ret = (struct argument){ .at = i, .key = span_of(name, len) };
	if (name[len] == '=') {
		ret->value = name + len + 1;
		return 1;
	}
	ret->is_apart = is_value(next) && !is_assignment(next);
	ret->value = ret->is_apart ? next : NULL;
	return 1 + ret->is_apart;
}

/* Each of them, until @fn is false. */
static void each_argument(char *const *argv, argument_fn fn, void *ctx)
{
	bool is_program = false, is_behind = false;

	for (size_t i = !!argv[0]; argv[i]; i++) {
		const char *arg = argv[i];
		struct argument a = { .at = i };
		size_t n = 0;

		/* `sh -c TEXT`: what looks like an assignment in there is none. */
		if (is_program) {
			is_program = false;
		} else if (!is_behind && strcmp(arg, "--") == 0) {
			is_behind = true;
		} else if (!is_behind && strncmp(arg, "--", 2) == 0) {
			n = read_option(argv, i, &a);
		} else if (strcmp(arg, "-c") == 0 || strcmp(arg, "-e") == 0) {
			is_program = !is_behind;
		} else if (arg[0] != '-') {
			/* Some write "+K=V" for a new key. */
			arg += strspn(arg, "+");
			if (is_assignment(arg)) {
				a.key = span_of(arg, strcspn(arg, "="));
				a.value = arg + a.key.len + 1;
				n = 1;
			}
		}
		if (n > 0 && !fn(&a, ctx))
			return;
		i += n > 0 ? n - 1 : 0;
	}
}

static bool add_argument(const struct argument *a, void *ctx)
{
	json_t *into = ctx;

	param_add(into, a->key, a->value ? value_of(span_str(a->value)) : json_true(), "argv");
	return json_array_size(into) < ARGUMENTS_MAX;
}

void params_of_argv(json_t *into, char *const *argv)
{
	each_argument(argv, add_argument, into);
}

struct replacing {
	struct span key;
	struct argument last;
	bool has_one;
};

static bool match_argument(const struct argument *a, void *ctx)
{
	struct replacing *p = ctx;

	if (span_equal(a->key, p->key)) {
		p->last = *a;
		p->has_one = true;
	}
	return true;
}

/* "--K" alone. */
static int replace_flag(char **arg, const char *value)
{
	if (strcmp(value, "true") == 0)
		return 1;
	if (strcmp(value, "false") != 0)
		return -EINVAL;
	free(*arg);
	for (; *arg; arg++)
		*arg = arg[1];
	return 1;
}

int params_replace(char **argv, struct span key, const char *value)
{
	struct replacing p = { .key = key };
	char **arg, *text;
	size_t kept;

	each_argument(argv, match_argument, &p);
	if (!p.has_one)
		return 0;
	arg = &argv[p.last.at + p.last.is_apart];
	if (!p.last.value)
		return replace_flag(arg, value);
	kept = p.last.is_apart ? 0 : (size_t)(p.last.value - *arg);
	text = strf("%.*s%s", (int)kept, *arg, value);
	if (!text)
		return -ENOMEM;
	free(*arg);
	*arg = text;
	return 1;
}

struct flattening {
	json_t *into;
	const char *from;
	size_t left;
	struct buf key;
};

static int flatten(struct flattening *f, const json_t *object, unsigned depth)
{
	size_t at = f->key.len;
	const char *key;
	json_t *value;
	int r = 0;

	json_object_foreach ((json_t *)object, key, value) {
		f->key.len = at;
		if (at > 0)
			buf_put_u8(&f->key, '.');
		buf_put(&f->key, key, strlen(key));
		if (buf_failed(&f->key))
			return -ENOMEM;
		if (json_is_object(value) && depth < DEPTH_MAX) {
			r = flatten(f, value, depth + 1);
			if (r != 0)
				return r;
			continue;
		}
		if (f->left-- == 0)
			return 1;
		r = param_add(f->into, buf_span(&f->key), json_incref(value), f->from);
		/* A key that is none is left out. */
		if (r == -ENOMEM)
			return r;
	}
	f->key.len = at;
	return 0;
}

int params_flatten(json_t *into, const json_t *object, size_t max, const char *from)
{
	struct flattening f = { .into = into, .from = from, .left = max };
	int r = flatten(&f, object, 0);

	buf_release(&f.key);
	return r;
}

/* NaN, or a number that none of JSON's can hold, as programs write them all the same. */
static bool is_wild_number(struct span token)
{
	static const char *const names[] = { "NaN", "Infinity", "-Infinity" };
	json_t *j;
	bool is_wild;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (span_equal(token, span_str(names[i])))
			return true;
	if (!isdigit(token.data[0]) && (token.data[0] != '-' || token.len < 2))
		return false;
	j = run_value((const char *)token.data, token.len);
	is_wild = json_is_string(j);
	json_decref(j);
	return is_wild;
}

/* Of the string, the word or number, or the other character that @text starts with. */
static size_t token_len(struct span text)
{
	size_t n = 1;

	if (text.data[0] == '"') {
		while (n < text.len && text.data[n] != '"')
			n += 1 + (text.data[n] == '\\');
		return MIN(n + 1, text.len);
	}
	if (!isalnum(text.data[0]) && text.data[0] != '-')
		return 1;
	while (n < text.len && (isalnum(text.data[n]) || memchr("+-.", text.data[n], 3)))
		n++;
	return n;
}

json_t *params_json(struct span text, json_error_t *ret_error)
{
	json_t *j = json_loadb((const char *)text.data, text.len, JSON_DECODE_ANY, ret_error);
	_cleanup_buf_ struct buf quoted = { 0 };

	if (j)
		return j;
	while (text.len > 0) {
		struct span token = span_of(text.data, token_len(text));
		bool is_wild = is_wild_number(token);

		if (is_wild)
			buf_put_u8(&quoted, '"');
		buf_put(&quoted, token.data, token.len);
		if (is_wild)
			buf_put_u8(&quoted, '"');
		text = span_of(text.data + token.len, text.len - token.len);
	}
	if (buf_failed(&quoted))
		return NULL;
	return json_loadb((const char *)quoted.data, quoted.len, JSON_DECODE_ANY, ret_error);
}

static int add_object(json_t *into, struct span line)
{
	json_t *j = params_json(line, NULL), *step;
	size_t first = json_array_size(into);
	int r;

	if (!json_is_object(j)) {
		json_decref(j);
		return -EINVAL;
	}
	step = json_incref(json_object_get(j, "step"));
	json_object_del(j, "step");
	r = params_flatten(into, j, ARGUMENTS_MAX, "run");
	for (size_t i = first; step && i < json_array_size(into); i++)
		json_object_set(json_array_get(into, i), "step", step);
	json_decref(step);
	json_decref(j);
	return r > 0 ? 0 : r;
}

static struct span trim(struct span s)
{
	while (s.len > 0 && isspace(s.data[s.len - 1]))
		s.len--;
	while (s.len > 0 && isspace(s.data[0])) {
		s.data++;
		s.len--;
	}
	return s;
}

void params_of_lines(json_t *into, struct span text, size_t *ret_bad)
{
	size_t bad = 0;

	while (text.len > 0) {
		const uint8_t *nl = memchr(text.data, '\n', text.len);
		size_t len = nl ? (size_t)(nl - text.data) : text.len;
		struct span line = trim(span_of(text.data, len));

		text.data += len + !!nl;
		text.len -= len + !!nl;
		if (line.len == 0)
			continue;
		if ((line.data[0] == '{' ? add_object(into, line)
					 : param_add_text(into, line, "run")) < 0)
			bad++;
	}
	*ret_bad = bad;
}
