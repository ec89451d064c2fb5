/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Mount options, in one table.
 */
#include "options.h"

#include <inttypes.h>
#include <limits.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/text.h"

enum option_kind {
	OPTION_IGNORED,
	OPTION_SET, /* a word: the bool becomes true */
	OPTION_CLEAR, /* false */
	OPTION_ON_OFF,
	OPTION_SIZE, /* bytes, uint64_t */
	OPTION_COUNT, /* uint64_t */
	OPTION_NUMBER, /* unsigned */
	OPTION_TEXT,
};

struct option {
	const char *name;
	enum option_kind kind;
	size_t field;
	uint64_t min, max; /* of numbers; max 0: any */
};

#define FIELD(f) offsetof(struct mount_options, f)

static const struct option options[] = {
	{ "state", OPTION_TEXT, FIELD(state_dir) },
	{ "memory", OPTION_SIZE, FIELD(memory_bytes), 64 * MiB, UINT64_MAX },
	{ "disk", OPTION_SIZE, FIELD(disk_bytes), 64 * MiB, UINT64_MAX },
	{ "max_nodes", OPTION_COUNT, FIELD(max_nodes), 1000, UINT64_MAX },
	{ "refresh", OPTION_NUMBER, FIELD(refresh_ms), 10, INT_MAX },
	{ "threads", OPTION_NUMBER, FIELD(threads), 1, 64 },
	{ "placement", OPTION_ON_OFF, FIELD(placement) },
	{ "single_writer", OPTION_SET, FIELD(single_writer) },
	{ "ro", OPTION_SET, FIELD(read_only) },
	{ "rw", OPTION_CLEAR, FIELD(read_only) },
	{ "allow_other", OPTION_SET, FIELD(allow_other) },
	{ "dev", OPTION_SET, FIELD(allow_dev) },
	{ "nodev", OPTION_CLEAR, FIELD(allow_dev) },
	{ "suid", OPTION_SET, FIELD(allow_suid) },
	{ "nosuid", OPTION_CLEAR, FIELD(allow_suid) },
	{ "noexec", OPTION_SET, FIELD(no_exec) },
	{ "exec", OPTION_CLEAR, FIELD(no_exec) },
	{ "nonempty", OPTION_SET, FIELD(allow_nonempty) },
	{ "foreground", OPTION_SET, FIELD(foreground) },
	/* The kernel's, which mean nothing where no access times are kept. */
	{ "defaults" },
	{ "atime" },
	{ "noatime" },
	{ "diratime" },
	{ "nodiratime" },
	{ "relatime" },
	{ "norelatime" },
	{ "strictatime" },
	{ "nostrictatime" },
	{ "lazytime" },
	{ "nolazytime" },
	{ "async" },
	{ "silent" },
	{ "loud" },
	/* fstab's. */
	{ "auto" },
	{ "noauto" },
	{ "user" },
	{ "nouser" },
	{ "users" },
	{ "owner" },
	{ "group" },
	{ "_netdev" },
	{ "nofail" },
};

void mount_options_init(struct mount_options *o)
{
	*o = (struct mount_options){
		.memory_bytes = 256 * MiB,
		.max_nodes = 1000 * 1000,
		.refresh_ms = 2000,
		.autocommit_speed = 1,
		.placement = true,
		.allow_other = geteuid() == 0,
	};
}

void mount_options_release(struct mount_options *o)
{
	free(o->store);
	free(o->mount_point);
	free(o->state_dir);
	*o = (struct mount_options){ 0 };
}

/* A path from the root of the tree, the same one however it was written: it tells which state
 * directory is meant. */
static char *absolute(const char *path)
{
	char *real = path_of_place(path);
	_cleanup_free_ char *cwd = NULL;

	if (real)
		return real;
	if (path[0] == '/')
		return strdup(path);
	cwd = getcwd(NULL, 0);
	return cwd ? strf("%s/%s", cwd, path) : NULL;
}

static char *absolute_store(const char *store)
{
	static const char scheme[] = "file:///";
	_cleanup_free_ char *path = NULL;

	if (strncmp(store, scheme, strlen(scheme)) == 0)
		store += strlen(scheme) - 1;
	else if (strstr(store, "://") || strncmp(store, "mem:", strlen("mem:")) == 0)
		return strdup(store);
	path = absolute(store);
	return path ? strf("file://%s", path) : NULL;
}

int mount_options_set_places(struct mount_options *o, const char *store, const char *mount_point)
{
	free(o->store);
	free(o->mount_point);
	o->store = absolute_store(store);
	o->mount_point = absolute(mount_point);
	if (o->store && o->mount_point)
		return 0;
	return log_errno(-errno, "it cannot be told where %s and %s are", store, mount_point);
}

static bool is_ignored(const char *word)
{
	static const char *const prefixes[] = { "x-", "X-", "comment=" };

	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
		if (strncmp(word, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	return word[0] == '\0';
}

static int set_number(const struct option *opt, void *field, const char *value)
{
	uint64_t n;
	int r = opt->kind == OPTION_SIZE ? parse_size(value, &n) : parse_u64(value, &n);

	if (r == -ERANGE || (r == 0 && n > opt->max))
		return log_fail(-EINVAL, "mount option `%s=%s`: that is more than there can be",
				opt->name, value);
	if (r < 0 || n < opt->min)
		return log_fail(
			-EINVAL, "mount option `%s=%s`: a %s of at least %" PRIu64 " is wanted",
			opt->name, value, opt->kind == OPTION_SIZE ? "size" : "number", opt->min);
	if (opt->kind == OPTION_NUMBER)
		*(unsigned *)field = (unsigned)n;
	else
		*(uint64_t *)field = n;
	return 0;
}

static int set_text(const struct option *opt, char **field, const char *value)
{
	char *text = value[0] ? strdup(value) : NULL;

	if (!text)
		return value[0] ? -ENOMEM
				: log_fail(-EINVAL, "mount option `%s=`: nothing after it",
					   opt->name);
	free(*field);
	*field = text;
	return 0;
}

static int set(const struct option *opt, struct mount_options *o, const char *value)
{
	void *field = (char *)o + opt->field;
	bool wants_value = opt->kind >= OPTION_ON_OFF;

	if (wants_value != !!value)
		return log_fail(-EINVAL, "mount option `%s` %s", opt->name,
				wants_value ? "wants a value" : "takes no value");
	switch (opt->kind) {
	case OPTION_IGNORED:
		return 0;
	case OPTION_SET:
	case OPTION_CLEAR:
		*(bool *)field = opt->kind == OPTION_SET;
		return 0;
	case OPTION_ON_OFF:
		if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
			return log_fail(-EINVAL, "mount option `%s` is `on` or `off`", opt->name);
		*(bool *)field = strcmp(value, "on") == 0;
		return 0;
	case OPTION_SIZE:
	case OPTION_COUNT:
	case OPTION_NUMBER:
		return set_number(opt, field, value);
	case OPTION_TEXT:
		return set_text(opt, field, value);
	}
	return -EINVAL;
}

static int parse_one(struct mount_options *o, char *word)
{
	char *value = strchr(word, '=');

	if (is_ignored(word))
		return 0;
	if (value)
		*value++ = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (strcmp(options[i].name, word) == 0)
			return set(&options[i], o, value);
	return log_fail(-EINVAL, "there is no mount option `%s`", word);
}

int mount_options_parse(struct mount_options *o, const char *text)
{
	_cleanup_free_ char *copy = strdup(text);
	char *rest = copy, *word;

	if (!copy)
		return -ENOMEM;
	while ((word = strsep(&rest, ","))) {
		int r = parse_one(o, word);

		if (r < 0)
			return r;
	}
	return 0;
}

char *mount_state_dir(const struct mount_options *o)
{
	_cleanup_free_ char *both = strf("%s %s", o->store, o->mount_point);
	const char *home = getenv("HOME"), *base = getenv("XDG_STATE_HOME");
	uint64_t hash;

	if (o->state_dir)
		return absolute(o->state_dir);
	if (!both)
		return NULL;
	hash = xxh64(both, strlen(both), 0);
	if (geteuid() == 0)
		return strf("/var/lib/pfs/%016" PRIx64, hash);
	if (base && base[0] == '/')
		return strf("%s/pfs/%016" PRIx64, base, hash);
	return home ? strf("%s/.local/state/pfs/%016" PRIx64, home, hash) : NULL;
}
