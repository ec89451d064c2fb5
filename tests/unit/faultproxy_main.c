/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The proxy of faultproxy.h as a program, for tests in other languages:
 *
 *	faultproxy http://127.0.0.1:PORT
 *
 * It says its URL, then does what it reads, a command a line, and answers each with a line: a
 * number, or "ok". The end of its input ends it.
 *
 *	rule FAULT [at=POINT] [method=M] [path=P] [skip=N] [times=N] [n=N] [text=T] [from=T]
 *	clear | refuse | accept | hang-up N | count [PATH] | hits | deliver
 *
 * FAULT and POINT are those of faultproxy.h in lower case, with '-'; in T '+' is a blank and %XX a
 * byte.
 */
#include <stdio.h>

#include "faultproxy.h"

static const char *const FAULTS[] = {
	[PROXY_NONE] = "none",	   [PROXY_RESET] = "reset",
	[PROXY_CLOSE] = "close",   [PROXY_HALF_CLOSE] = "half-close",
	[PROXY_STALL] = "stall",   [PROXY_DRIP] = "drip",
	[PROXY_ANSWER] = "answer", [PROXY_ANSWER_AFTER] = "answer-after",
	[PROXY_HOLD] = "hold",	   [PROXY_LENGTH] = "length",
	[PROXY_HEADER] = "header", [PROXY_EDIT] = "edit",
	[PROXY_FLIP] = "flip",	   [PROXY_KEEP] = "keep",
	[PROXY_REPLAY] = "replay",
};

static const char *const POINTS[] = {
	[AT_REQUEST_LINE] = "request-line",
	[AT_REQUEST_HEADERS] = "request-headers",
	[AT_REQUEST_HEAD_END] = "request-head-end",
	[AT_REQUEST_BODY] = "request-body",
	[AT_REQUEST_LAST_BYTE] = "request-last-byte",
	[AT_DELIVERED] = "delivered",
	[AT_STATUS] = "status",
	[AT_HEADERS] = "headers",
	[AT_HEAD_END] = "head-end",
	[AT_BODY] = "body",
	[AT_LAST_BYTE] = "last-byte",
	[AT_END] = "end",
};

static void give_up(const char *what, const char *word)
{
	fprintf(stderr, "faultproxy: %s: %s\n", what, word);
	exit(2);
}

static unsigned place_of(const char *word, const char *const *all, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(all[i], word) == 0)
			return (unsigned)i;
	give_up("not known", word);
	return 0;
}

/* What rules borrow, to the end. */
struct word {
	struct word *next;
	char text[];
};
static struct word *words;

/* Kept for as long as the rules may be. */
static const char *decoded(const char *s)
{
	struct word *w = malloc(sizeof(*w) + strlen(s) + 1);
	char *to;

	if (!w)
		abort();
	w->next = words;
	words = w;
	to = w->text;
	for (; *s; s++) {
		unsigned byte;

		if (*s == '%' && sscanf(s + 1, "%2x", &byte) == 1) {
			*to++ = (char)byte;
			s += 2;
		} else {
			*to++ = (char)(*s == '+' ? ' ' : *s);
		}
	}
	*to = '\0';
	return w->text;
}

static void forget_words(void)
{
	while (words) {
		struct word *next = words->next;

		free(words);
		words = next;
	}
}

static void set(struct proxy_rule *r, const char *word)
{
	const char *value = strchr(word, '=');
	size_t len = value ? (size_t)(value - word) : 0;

	if (!value)
		give_up("not NAME=VALUE", word);
	value++;
	if (strncmp(word, "at", len) == 0)
		r->at = (enum proxy_at)place_of(value, POINTS, ARRAY_SIZE(POINTS));
	else if (strncmp(word, "method", len) == 0)
		r->method = decoded(value);
	else if (strncmp(word, "path", len) == 0)
		r->path = decoded(value);
	else if (strncmp(word, "text", len) == 0)
		r->text = decoded(value);
	else if (strncmp(word, "from", len) == 0)
		r->from = decoded(value);
	else if (strncmp(word, "skip", len) == 0)
		r->skip = (unsigned)strtoul(value, NULL, 10);
	else if (strncmp(word, "times", len) == 0)
		r->times = (unsigned)strtoul(value, NULL, 10);
	else if (strncmp(word, "n", len) == 0)
		r->n = strtoll(value, NULL, 10);
	else
		give_up("not known", word);
}

static void add_rule(struct proxy *p, char **save)
{
	struct proxy_rule r = { 0 };
	const char *word = strtok_r(NULL, " \n", save);

	r.fault = (enum proxy_fault)place_of(word ?: "", FAULTS, ARRAY_SIZE(FAULTS));
	while ((word = strtok_r(NULL, " \n", save)))
		set(&r, word);
	proxy_add(p, r);
}

static void obey(struct proxy *p, char *line)
{
	char *save, *word = strtok_r(line, " \n", &save);
	unsigned number = 0;
	bool is_number = true;

	if (word && strcmp(word, "count") == 0)
		number = proxy_count(p, NULL, strtok_r(NULL, " \n", &save));
	else if (word && strcmp(word, "hits") == 0)
		number = proxy_hits(p);
	else if (word && strcmp(word, "deliver") == 0)
		number = (unsigned)proxy_deliver(p);
	else
		is_number = false;
	if (is_number) {
		printf("%u\n", number);
		return;
	}
	if (word && strcmp(word, "rule") == 0)
		add_rule(p, &save);
	else if (word && strcmp(word, "clear") == 0)
		proxy_clear(p);
	else if (word && strcmp(word, "refuse") == 0)
		proxy_refuse(p, true);
	else if (word && strcmp(word, "accept") == 0)
		proxy_refuse(p, false);
	else if (word && strcmp(word, "hang-up") == 0)
		proxy_hang_up(p, (unsigned)strtoul(strtok_r(NULL, " \n", &save) ?: "0", NULL, 10));
	else
		give_up("not a command", word ?: "");
	printf("ok\n");
}

int main(int argc, char **argv)
{
	struct proxy p;
	char line[4096];

	if (argc != 2)
		give_up("usage", "faultproxy http://127.0.0.1:PORT");
	setvbuf(stdout, NULL, _IOLBF, 0);
	proxy_start(&p, argv[1]);
	printf("%s\n", p.url);
	while (fgets(line, sizeof(line), stdin))
		obey(&p, line);
	proxy_stop(&p);
	forget_words();
	return 0;
}
