/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Throw-away files (throwaway.h).
 */
#include "record/throwaway.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#define THROWAWAY_SETTING "throwaway"
#define THROWAWAY_DEFAULT \
	"__pycache__ .ipynb_checkpoints .pytest_cache *.swp *.swo *~ .~lock.* .#* .DS_Store"

/* Patterns, each with a NUL behind. */
struct throwaway {
	size_t len;
	char text[];
};

int throwaway_new(const struct repo_rec *repo, struct throwaway **ret)
{
	const char *list = THROWAWAY_DEFAULT;
	struct throwaway *t;
	size_t n;

	for (uint16_t i = 0; i < repo->setting_count; i++)
		if (strcmp(repo->settings[i].key, THROWAWAY_SETTING) == 0)
			list = repo->settings[i].value;
	n = strlen(list) + 1;
	t = malloc(sizeof(*t) + n);
	if (!t)
		return -ENOMEM;
	t->len = n;
	memcpy(t->text, list, n);
	for (size_t i = 0; i < n; i++)
		if (t->text[i] == ' ' || t->text[i] == '\t')
			t->text[i] = '\0';
	*ret = t;
	return 0;
}

void throwaway_free(struct throwaway *t)
{
	free(t);
}

bool throwaway_has(struct span name, void *ctx)
{
	const struct throwaway *t = ctx;
	char text[FILE_NAME_MAX + 1];

	if (name.len >= sizeof(text))
		return false;
	memcpy(text, name.data, name.len);
	text[name.len] = '\0';
	for (size_t i = 0; i < t->len; i += strlen(t->text + i) + 1)
		if (t->text[i] && fnmatch(t->text + i, text, 0) == 0)
			return true;
	return false;
}

void throwaways_release(struct throwaways *t)
{
	throwaway_free(t->list);
}

static int use_repo(struct throwaways *t, struct span name, const struct deadline *dl)
{
	struct refs_wait w = { .may_wait = true, .deadline = *dl };
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	int r;

	if (span_equal(span_str(t->repo), name))
		return 0;
	throwaway_free(t->list);
	t->list = NULL;
	snprintf(t->repo, sizeof(t->repo), "%.*s", (int)name.len, (const char *)name.data);
	r = refs_repo(t->refs, t->repo, &w, &rec);
	if (r == 0)
		r = throwaway_new(&rec, &t->list);
	return r == -ENOENT || r == -EINVAL ? 0 : r;
}

int throwaways_have(struct throwaways *t, struct span path, const struct deadline *dl)
{
	const uint8_t *first = path.len > 0 ? memchr(path.data, '/', path.len) : NULL,
		      *last = path.len > 0 ? memrchr(path.data, '/', path.len) : NULL;
	int r;

	if (!first || first == last)
		return 0;
	r = use_repo(t, span_of(path.data, (size_t)(first - path.data)), dl);
	if (r < 0 || !t->list)
		return r;
	return throwaway_has(span_of(last + 1, path.len - (size_t)(last + 1 - path.data)), t->list);
}
