/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Configuration files.
 */
#include "conf.h"

#include <ini.h>
#include <unistd.h>

#include "base/text.h"
#include "cli.h"

#define SYSTEM_FILE "/etc/pfs.conf"
#define SECTION	    "store "

struct reading {
	const char *file;
	const char *wanted; /* a store's name; NULL: the default is looked for */
	struct store_conf found;
	char *default_store, *run_env;
	bool has_failed;
};

void store_conf_release(struct store_conf *c)
{
	free(c->url);
	free(c->mount);
	free(c->options);
	*c = (struct store_conf){ 0 };
}

static int set(struct reading *x, char **to, const char *value)
{
	free(*to);
	*to = strdup(value);
	x->has_failed |= !*to;
	return !!*to;
}

/* The library's: 1 is success. */
static int take(void *ctx, const char *section, const char *name, const char *value)
{
	struct reading *x = ctx;
	bool is_store = strncmp(section, SECTION, strlen(SECTION)) == 0;
	bool is_wanted = is_store && x->wanted && strcmp(section + strlen(SECTION), x->wanted) == 0;

	if (is_store && strcmp(name, "url") == 0)
		return is_wanted ? set(x, &x->found.url, value) : 1;
	if (is_store && strcmp(name, "mount") == 0)
		return is_wanted ? set(x, &x->found.mount, value) : 1;
	if (is_store && strcmp(name, "options") == 0)
		return is_wanted ? set(x, &x->found.options, value) : 1;
	if (strcmp(section, "default") == 0 && strcmp(name, "store") == 0)
		return set(x, &x->default_store, value);
	if (strcmp(section, "default") == 0 && strcmp(name, "run_env") == 0)
		return set(x, &x->run_env, value);
	cli_error("%s: there is no setting `%s` in a section [%s]", x->file, name, section);
	x->has_failed = true;
	return 0;
}

static int read_one(const char *file, struct reading *x)
{
	int r;

	if (access(file, F_OK) < 0)
		return 0;
	x->file = file;
	r = ini_parse(file, take, x);
	if (x->has_failed)
		return -EINVAL;
	if (r > 0)
		cli_error("%s: line %d is not to be understood", file, r);
	else if (r < 0)
		cli_error("%s cannot be read: %s", file, strerror(errno));
	return r == 0 ? 0 : -EINVAL;
}

static char *user_file(void)
{
	const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");

	if (config && *config)
		return strf("%s/pfs/config", config);
	return home && *home ? strf("%s/.config/pfs/config", home) : NULL;
}

static int read_files(struct reading *x)
{
	_cleanup_free_ char *user = user_file();
	int r = read_one(SYSTEM_FILE, x);

	return r < 0 || !user ? r : read_one(user, x);
}

static char *absolute(const char *path)
{
	_cleanup_free_ char *cwd = path[0] == '/' ? NULL : getcwd(NULL, 0);

	if (path[0] == '/')
		return strf("file://%s", path);
	return cwd ? strf("file://%s/%s", cwd, path) : NULL;
}

static bool is_url(const char *text)
{
	return strstr(text, "://") || strcmp(text, "mem:") == 0;
}

static bool is_name(const char *text)
{
	return !strchr(text, '/') && !strchr(text, ':') && text[0] != '.';
}

static int find_named(const char *name, struct store_conf *ret)
{
	struct reading x = { .wanted = name };
	int r = read_files(&x);

	free(x.default_store);
	free(x.run_env);
	if (r == 0 && !x.found.url)
		r = -ENOENT;
	if (r < 0)
		store_conf_release(&x.found);
	else
		*ret = x.found;
	return r;
}

static int find_default(bool several_mounted, char **ret)
{
	struct reading x = { 0 };
	int r = read_files(&x);

	free(x.run_env);
	if (r == 0 && !x.default_store) {
		cli_error("which store? %s; --store, $PFS_STORE or a configuration file can say",
			  several_mounted ? "Several are mounted, and a path into one would tell"
					  : "None is mounted");
		r = -ENOENT;
	}
	if (r < 0)
		free(x.default_store);
	else
		*ret = x.default_store;
	return r;
}

int conf_run_env(char **ret)
{
	struct reading x = { 0 };
	int r = read_files(&x);

	free(x.default_store);
	if (r < 0)
		free(x.run_env);
	else
		*ret = x.run_env;
	return r;
}

int store_conf_find(const char *text, bool several_mounted, struct store_conf *ret)
{
	_cleanup_free_ char *by_default = NULL;
	int r;

	if (!text)
		text = getenv("PFS_STORE");
	if (!text || !*text) {
		r = find_default(several_mounted, &by_default);
		if (r < 0)
			return r;
		text = by_default;
	}
	r = is_name(text) ? find_named(text, ret) : -ENOENT;
	if (r != -ENOENT)
		return r;
	*ret = (struct store_conf){ .url = is_url(text) ? strdup(text) : absolute(text) };
	return ret->url ? 0 : -ENOMEM;
}
