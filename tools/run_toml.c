/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * TOML 1.0 as JSON (run_config.h). Dates and times are strings; so are infinite numbers and those
 * that are none, which JSON has not.
 *
 * Tables that were opened by a header, and those that were written inline or as an array, are told
 * apart by a key that no TOML has: such a table may not be extended.
 */
#include <ctype.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/text.h"
#include "run_config.h"

enum {
	NUMBER_MAX = 64, /* characters of a number or date */
	KEY_MAX = 1024,
};

struct toml {
	const char *at; /* NUL-terminated */
	unsigned line;
	unsigned depth;
	size_t nodes;
	json_t *root; /* owned by the caller, as all that hangs below */
	json_t *closed; /* objects and arrays that are whole, as a set of addresses */
	const char *error;
};

static json_t *parse_value(struct toml *t);

static int fail(struct toml *t, const char *error)
{
	if (!t->error)
		t->error = error;
	return -EBADMSG;
}

static void mark_closed(struct toml *t, const json_t *j)
{
	char key[24];

	snprintf(key, sizeof(key), "%p", (const void *)j);
	json_object_set_new(t->closed, key, json_true());
}

static bool is_closed(const struct toml *t, const json_t *j)
{
	char key[24];

	snprintf(key, sizeof(key), "%p", (const void *)j);
	return json_object_get(t->closed, key);
}

static void skip_blanks(struct toml *t)
{
	t->at += strspn(t->at, " \t");
}

static bool at_newline(const struct toml *t)
{
	return t->at[0] == '\n' || (t->at[0] == '\r' && t->at[1] == '\n');
}

static void skip_newline(struct toml *t)
{
	t->at += t->at[0] == '\r' ? 2 : 1;
	t->line++;
}

static void skip_comment(struct toml *t)
{
	if (*t->at == '#')
		t->at += strcspn(t->at, "\n");
}

/* Blanks, comments and newlines, as between the elements of an array. */
static void skip_space(struct toml *t)
{
	for (;;) {
		skip_blanks(t);
		skip_comment(t);
		if (!at_newline(t))
			return;
		skip_newline(t);
	}
}

static int end_line(struct toml *t)
{
	skip_blanks(t);
	skip_comment(t);
	if (*t->at && !at_newline(t))
		return fail(t, "something stands behind the value");
	if (*t->at)
		skip_newline(t);
	return 0;
}

/* ---- strings ---- */

static int put_utf8(struct toml *t, struct buf *b, unsigned long c)
{
	if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000) || c == 0)
		return fail(t, "an escape stands for no character");
	if (c < 0x80) {
		buf_put_u8(b, (uint8_t)c);
		return 0;
	}
	if (c < 0x800) {
		buf_put_u8(b, (uint8_t)(0xc0 | c >> 6));
	} else {
		if (c < 0x10000) {
			buf_put_u8(b, (uint8_t)(0xe0 | c >> 12));
		} else {
			buf_put_u8(b, (uint8_t)(0xf0 | c >> 18));
			buf_put_u8(b, (uint8_t)(0x80 | (c >> 12 & 0x3f)));
		}
		buf_put_u8(b, (uint8_t)(0x80 | (c >> 6 & 0x3f)));
	}
	buf_put_u8(b, (uint8_t)(0x80 | (c & 0x3f)));
	return 0;
}

/* Behind the backslash. */
static int parse_escape(struct toml *t, struct buf *b, bool is_multiline)
{
	static const char letters[] = "btnfr\"\\", meant[] = "\b\t\n\f\r\"\\";
	const char *letter = *t->at ? strchr(letters, *t->at) : NULL;
	char digits[9] = { 0 };
	size_t n;

	if (letter) {
		buf_put_u8(b, (uint8_t)meant[letter - letters]);
		t->at++;
		return 0;
	}
	if (*t->at == 'u' || *t->at == 'U') {
		n = *t->at++ == 'u' ? 4 : 8;
		if (strspn(t->at, "0123456789abcdefABCDEF") < n)
			return fail(t, "an escape has too few digits");
		memcpy(digits, t->at, n);
		t->at += n;
		return put_utf8(t, b, strtoul(digits, NULL, 16));
	}
	/* The end of a line, and all blanks behind it. */
	if (is_multiline) {
		skip_blanks(t);
		if (at_newline(t)) {
			while (at_newline(t)) {
				skip_newline(t);
				skip_blanks(t);
			}
			return 0;
		}
	}
	return fail(t, "there is no such escape");
}

/* From its first quote on, into @b. */
static int parse_string(struct toml *t, struct buf *b)
{
	char quote = *t->at;
	bool is_multiline = t->at[1] == quote && t->at[2] == quote;
	size_t n;

	t->at += is_multiline ? 3 : 1;
	if (is_multiline && at_newline(t))
		skip_newline(t);
	for (;;) {
		n = *t->at == quote ? strspn(t->at, (char[]){ quote, '\0' }) : 0;
		if (n > 0 && !is_multiline) {
			t->at++;
			return 0;
		}
		if (n >= 3) {
			/* Up to two quotes may stand before those that end it. */
			if (n > 5)
				return fail(t, "a string has too many quotes at its end");
			buf_put(b, t->at, n - 3);
			t->at += n;
			return 0;
		}
		if (at_newline(t)) {
			if (!is_multiline)
				return fail(t, "a string has no end");
			buf_put_u8(b, '\n');
			skip_newline(t);
		} else if (*t->at == '\\' && quote == '"') {
			t->at++;
			if (parse_escape(t, b, is_multiline) < 0)
				return -EBADMSG;
		} else if (*t->at && (*t->at == '\t' || !iscntrl((unsigned char)*t->at))) {
			buf_put_u8(b, (uint8_t)*t->at++);
		} else {
			return fail(t, *t->at ? "a control character" : "a string has no end");
		}
	}
}

/* ---- numbers, dates ---- */

/* Without the "_" between digits; false: one is elsewhere. */
static bool strip_underscores(const char *s, char *ret)
{
	for (size_t i = 0; s[i]; i++) {
		if (s[i] != '_')
			*ret++ = s[i];
		else if (i == 0 || !isxdigit((unsigned char)s[i - 1]) ||
			 !isxdigit((unsigned char)s[i + 1]))
			return false;
	}
	*ret = '\0';
	return true;
}

static json_t *parse_integer(const char *s, int base)
{
	char *end;
	long long v;

	errno = 0;
	v = strtoll(s, &end, base);
	return *s && !*end && errno == 0 ? json_integer(v) : NULL;
}

/* A decimal number: JSON's grammar, but for a sign in front. */
static json_t *parse_number(const char *s)
{
	const char *digits = s + (*s == '+' || *s == '-');
	size_t n = strspn(digits, "0123456789");
	const char *rest = digits + n;
	json_t *j;

	if (n == 0 || (n > 1 && *digits == '0'))
		return NULL;
	if (!*rest)
		return parse_integer(s, 10);
	if (*rest == '.') {
		n = strspn(rest + 1, "0123456789");
		if (n == 0)
			return NULL;
		rest += 1 + n;
	}
	if (*rest == 'e' || *rest == 'E') {
		rest += 1 + (rest[1] == '+' || rest[1] == '-');
		n = strspn(rest, "0123456789");
		if (n == 0)
			return NULL;
		rest += n;
	}
	if (*rest)
		return NULL;
	j = json_real(strtod(s, NULL));
	return j ?: json_string(s);
}

static bool looks_like_time(const char *s)
{
	return (strlen(s) >= 8 && isdigit((unsigned char)s[0]) && isdigit((unsigned char)s[1])) &&
	       (s[2] == ':' || (s[4] == '-' && s[7] == '-')) &&
	       strspn(s, "0123456789-:.+TtZz ") == strlen(s);
}

static json_t *parse_word(struct toml *t)
{
	char word[NUMBER_MAX], number[NUMBER_MAX];
	size_t n = strcspn(t->at, " \t\r\n#,]}");
	const char *unsigned_word;
	json_t *j = NULL;

	/* A blank may stand between a date and its time. */
	if (n == 10 && t->at[4] == '-' && t->at[10] == ' ' && isdigit((unsigned char)t->at[11]))
		n += 1 + strcspn(t->at + 11, " \t\r\n#,]}");
	if (n == 0 || n >= sizeof(word)) {
		fail(t, "a value is missing, or not to be understood");
		return NULL;
	}
	memcpy(word, t->at, n);
	word[n] = '\0';
	t->at += n;
	unsigned_word = word + (word[0] == '+' || word[0] == '-');
	if (strcmp(word, "true") == 0 || strcmp(word, "false") == 0)
		return json_boolean(word[0] == 't');
	if (strcmp(unsigned_word, "inf") == 0 || strcmp(unsigned_word, "nan") == 0 ||
	    looks_like_time(word))
		return json_string(word);
	if (strip_underscores(word, number)) {
		const char *digits = number + 2;

		if (number[0] != '0' || !isalpha((unsigned char)number[1]) || number[1] == 'e' ||
		    number[1] == 'E')
			j = parse_number(number);
		else if (number[1] == 'x' && isxdigit((unsigned char)*digits))
			j = parse_integer(digits, 16);
		else if (number[1] == 'o' && isdigit((unsigned char)*digits))
			j = parse_integer(digits, 8);
		else if (number[1] == 'b' && isdigit((unsigned char)*digits))
			j = parse_integer(digits, 2);
	}
	if (!j)
		fail(t, "a value is not to be understood");
	return j;
}

/* ---- keys and tables ---- */

static int parse_key(struct toml *t, char ret[KEY_MAX])
{
	_cleanup_buf_ struct buf b = { 0 };
	size_t n = 0;

	if (*t->at == '"' || *t->at == '\'') {
		if (t->at[1] == *t->at && t->at[2] == *t->at)
			return fail(t, "a key cannot have several lines");
		if (parse_string(t, &b) < 0)
			return -EBADMSG;
	} else {
		while (isalnum((unsigned char)t->at[n]) || t->at[n] == '_' || t->at[n] == '-')
			n++;
		if (n == 0)
			return fail(t, "a key is missing");
		buf_put(&b, t->at, n);
		t->at += n;
	}
	if (buf_failed(&b) || b.len >= KEY_MAX)
		return fail(t, "a key is too long");
	if (b.len > 0)
		memcpy(ret, b.data, b.len);
	ret[b.len] = '\0';
	return 0;
}

/* The table that @key of @in is, which is made if it is not there; of an array its last one.
 * NULL: it is something else. */
static json_t *enter(struct toml *t, json_t *in, const char *key)
{
	json_t *j = json_object_get(in, key);

	if (!j) {
		j = json_object();
		if (++t->nodes > CONFIG_NODES_MAX || json_object_set_new(in, key, j) < 0) {
			fail(t, "it has too many tables");
			return NULL;
		}
		return j;
	}
	if (json_is_array(j) && !is_closed(t, j))
		j = json_array_get(j, json_array_size(j) - 1);
	if (json_is_object(j) && !is_closed(t, j))
		return j;
	fail(t, "a table was something else before");
	return NULL;
}

/* "a.b.c": enters all but the last, which is put into @ret. */
static json_t *parse_path(struct toml *t, json_t *in, char ret[KEY_MAX])
{
	unsigned depth = 0;

	for (;;) {
		skip_blanks(t);
		if (parse_key(t, ret) < 0)
			return NULL;
		skip_blanks(t);
		if (*t->at != '.')
			return in;
		t->at++;
		in = enter(t, in, ret);
		if (!in)
			return NULL;
		if (++depth + t->depth > CONFIG_DEPTH_MAX) {
			fail(t, "it is nested too deeply");
			return NULL;
		}
	}
}

static int parse_pair(struct toml *t, json_t *in)
{
	char key[KEY_MAX];
	json_t *value;

	in = parse_path(t, in, key);
	if (!in)
		return -EBADMSG;
	if (*t->at != '=')
		return fail(t, "there is no `=` behind a key");
	t->at++;
	skip_blanks(t);
	if (json_object_get(in, key))
		return fail(t, "a key is there twice");
	value = parse_value(t);
	if (!value)
		return -EBADMSG;
	return json_object_set_new(in, key, value) < 0 ? fail(t, "a key is not text in UTF-8") : 0;
}

static json_t *parse_array(struct toml *t)
{
	json_t *j = json_array(), *one;

	t->at++;
	for (;;) {
		skip_space(t);
		if (*t->at == ']')
			break;
		one = parse_value(t);
		if (!one || json_array_append_new(j, one) < 0)
			goto failed;
		skip_space(t);
		if (*t->at == ',') {
			t->at++;
		} else if (*t->at != ']') {
			fail(t, "an array has no end");
			goto failed;
		}
	}
	t->at++;
	mark_closed(t, j);
	return j;
failed:
	json_decref(j);
	return NULL;
}

static json_t *parse_inline_table(struct toml *t)
{
	json_t *j = json_object();

	t->at++;
	skip_blanks(t);
	while (*t->at != '}') {
		if (parse_pair(t, j) < 0)
			goto failed;
		skip_blanks(t);
		if (*t->at == ',') {
			t->at++;
			skip_blanks(t);
			if (*t->at != '}')
				continue;
		}
		if (*t->at != '}' || t->at[-1] == ',') {
			fail(t, "an inline table has no end");
			goto failed;
		}
	}
	t->at++;
	mark_closed(t, j);
	return j;
failed:
	json_decref(j);
	return NULL;
}

static json_t *parse_text(struct toml *t)
{
	_cleanup_buf_ struct buf b = { 0 };

	if (parse_string(t, &b) < 0)
		return NULL;
	if (buf_failed(&b))
		fail(t, "no memory");
	return t->error ? NULL : json_stringn(b.len ? (const char *)b.data : "", b.len);
}

static json_t *parse_value(struct toml *t)
{
	json_t *j = NULL;

	if (++t->depth > CONFIG_DEPTH_MAX)
		fail(t, "it is nested too deeply");
	else if (++t->nodes > CONFIG_NODES_MAX)
		fail(t, "it has too many values");
	else if (*t->at == '"' || *t->at == '\'')
		j = parse_text(t);
	else if (*t->at == '[')
		j = parse_array(t);
	else if (*t->at == '{')
		j = parse_inline_table(t);
	else
		j = parse_word(t);
	t->depth--;
	return j;
}

/* "[[a.b]]": one more of an array's tables. */
static json_t *add_table(struct toml *t, json_t *in, const char *key)
{
	json_t *array = json_object_get(in, key), *table;

	if (!array) {
		array = json_array();
		json_object_set_new(in, key, array);
	}
	if (!json_is_array(array) || is_closed(t, array)) {
		fail(t, "an array of tables was something else before");
		return NULL;
	}
	table = json_object();
	if (++t->nodes > CONFIG_NODES_MAX || json_array_append_new(array, table) < 0) {
		fail(t, "it has too many tables");
		return NULL;
	}
	return table;
}

/* "[a.b]" or "[[a.b]]": where the following keys go. */
static json_t *parse_header(struct toml *t)
{
	bool is_array = t->at[1] == '[';
	char key[KEY_MAX];
	json_t *in;

	t->at += is_array ? 2 : 1;
	in = parse_path(t, t->root, key);
	if (!in)
		return NULL;
	if (t->at[0] != ']' || (is_array && t->at[1] != ']')) {
		fail(t, "a table's header has no end");
		return NULL;
	}
	t->at += is_array ? 2 : 1;
	in = is_array ? add_table(t, in, key) : enter(t, in, key);
	return in && end_line(t) == 0 ? in : NULL;
}

static int parse_all(struct toml *t)
{
	json_t *in = t->root;

	for (;;) {
		skip_space(t);
		if (!*t->at)
			return 0;
		if (*t->at == '[') {
			in = parse_header(t);
			if (!in)
				return -EBADMSG;
		} else if (parse_pair(t, in) < 0 || end_line(t) < 0) {
			return -EBADMSG;
		}
	}
}

json_t *config_of_toml(struct span text, char why[CONFIG_ERROR_MAX])
{
	_cleanup_free_ char *s = strndup((const char *)text.data, text.len);
	struct toml t = { .at = s, .line = 1 };

	if (!s || !utf8_is_valid(text.data, text.len)) {
		snprintf(why, CONFIG_ERROR_MAX, "it is not text in UTF-8");
		return NULL;
	}
	t.root = json_object();
	t.closed = json_object();
	if (parse_all(&t) < 0) {
		snprintf(why, CONFIG_ERROR_MAX, "line %u: %s", t.line, t.error);
		json_decref(t.root);
		t.root = NULL;
	}
	json_decref(t.closed);
	return t.root;
}
