/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Configuration files: which is which, JSON and INI (run_config.h).
 */
#include "run_config.h"

#include <fcntl.h>
#include <ini.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fdio.h"
#include "base/text.h"
#include "record/record.h"
#include "run_params.h"

static const struct format {
	const char *ending;
	json_t *(*parse)(struct span text, char why[CONFIG_ERROR_MAX]);
} formats[] = {
	{ ".json", config_of_json }, { ".yaml", config_of_yaml }, { ".yml", config_of_yaml },
	{ ".toml", config_of_toml }, { ".ini", config_of_ini },
};

static const struct format *format_of(const char *path)
{
	const char *dot = strrchr(path, '.');

	for (size_t i = 0; dot && i < ARRAY_SIZE(formats); i++)
		if (strcasecmp(dot, formats[i].ending) == 0)
			return &formats[i];
	return NULL;
}

static int read_whole(const char *path, struct buf *ret)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;
	uint8_t *to;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (st.st_size > CONFIG_MAX)
		return -EFBIG;
	if (st.st_size == 0)
		return 0;
	to = buf_extend(ret, (size_t)st.st_size);
	n = to ? pread_upto(fd, to, (size_t)st.st_size, 0) : -ENOMEM;
	if (n >= 0)
		ret->len = (size_t)n;
	return n < 0 ? (int)n : 0;
}

int config_read(const char *path, json_t *params, char why[CONFIG_ERROR_MAX])
{
	const struct format *f = format_of(path);
	_cleanup_buf_ struct buf text = { 0 };
	json_t *j;
	int r;

	if (!f) {
		snprintf(why, CONFIG_ERROR_MAX, "its name says no format that is known");
		return -EINVAL;
	}
	r = read_whole(path, &text);
	if (r < 0) {
		snprintf(why, CONFIG_ERROR_MAX, "%s", strerror(-r));
		return r;
	}
	if (text.len == 0)
		return 0;
	j = f->parse(buf_span(&text), why);
	if (!j)
		return -EBADMSG;
	r = json_is_object(j) ? params_flatten(params, j, CONFIG_VALUES, "config") : 0;
	json_decref(j);
	if (r < 0)
		snprintf(why, CONFIG_ERROR_MAX, "%s", strerror(-r));
	return r;
}

json_t *config_of_json(struct span text, char why[CONFIG_ERROR_MAX])
{
	json_error_t error = { 0 };
	json_t *j = params_json(text, &error);

	if (!j)
		snprintf(why, CONFIG_ERROR_MAX, "line %d: %s", error.line, error.text);
	return j;
}

/* The library's: 1 is success. Keys outside of sections are of no section. */
static int take_setting(void *ctx, const char *section, const char *name, const char *value)
{
	json_t *all = ctx, *into = *section ? json_object_get(all, section) : all;

	if (!into) {
		into = json_object();
		if (json_object_set_new(all, section, into) < 0)
			return 0;
	}
	if (!json_is_object(into))
		return 0;
	return json_object_set_new(into, name, run_value(value, strlen(value))) == 0;
}

json_t *config_of_ini(struct span text, char why[CONFIG_ERROR_MAX])
{
	_cleanup_free_ char *s = strndup((const char *)text.data, text.len);
	json_t *j = json_object();
	int r = s && utf8_is_valid(text.data, text.len) ? ini_parse_string(s, take_setting, j) : -1;

	if (r == 0)
		return j;
	if (r > 0)
		snprintf(why, CONFIG_ERROR_MAX, "line %d is not to be understood", r);
	else
		snprintf(why, CONFIG_ERROR_MAX, "it is not text in UTF-8");
	json_decref(j);
	return NULL;
}
