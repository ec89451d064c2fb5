/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The setting `autocommit` (head/autocommit.h).
 */
#include "head/autocommit.h"

#include "base/moment.h"

#define NS_PER_SEC 1000000000ll

enum {
	SECONDS_MAX = 365 * 24 * 3600,
};

/* What follows @word in a text that begins with it, or NULL. */
static const char *behind(const char *text, const char *word)
{
	size_t n = strlen(word);

	return strncmp(text, word, n) == 0 ? text + n : NULL;
}

int autocommit_parse(const char *text, struct autocommit *ret)
{
	const char *idle = behind(text, "idle="), *every = behind(text, "every=");
	int64_t sec;

	if (strcmp(text, "off") == 0) {
		*ret = (struct autocommit){ .when = AUTOCOMMIT_OFF };
		return 0;
	}
	if ((!idle && !every) || duration_parse(idle ?: every, &sec) < 0 || sec < 1 ||
	    sec > SECONDS_MAX)
		return -EINVAL;
	*ret = (struct autocommit){ .when = idle ? AUTOCOMMIT_IDLE : AUTOCOMMIT_EVERY,
				    .ns = sec * NS_PER_SEC };
	return 0;
}

int autocommit_of(const struct repo_rec *repo, struct autocommit *ret)
{
	for (uint16_t i = 0; i < repo->setting_count; i++)
		if (strcmp(repo->settings[i].key, AUTOCOMMIT_SETTING) == 0)
			return autocommit_parse(repo->settings[i].value, ret);
	*ret = (struct autocommit){ .when = AUTOCOMMIT_OFF };
	return 0;
}
