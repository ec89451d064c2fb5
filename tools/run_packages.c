/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Lists of packages (run_packages.h).
 */
#include "run_packages.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/text.h"
#include "run_digest.h"

#define DPKG_STATUS "/var/lib/dpkg/status"

enum {
	STATUS_MAX = 64 << 20, /* bytes of dpkg's file */
	SETTINGS_MAX = 64 << 10, /* of a small file */
	PACKAGES_MAX = 100000,
};

/* Lines being collected. */
struct lines {
	char **items; /* owned */
	size_t count, room;
	bool has_failed;
};

void package_list_release(struct package_list *l)
{
	buf_release(&l->text);
	*l = (struct package_list){ 0 };
}

static void add(struct lines *l, char *line)
{
	if (l->count == l->room) {
		size_t room = MAX(2 * l->room, (size_t)64);
		char **items = reallocarray(l->items, room, sizeof(*items));

		if (items) {
			l->items = items;
			l->room = room;
		}
	}
	if (!line || l->count == l->room || l->count == PACKAGES_MAX) {
		l->has_failed = true;
		free(line);
		return;
	}
	l->items[l->count++] = line;
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted, each once; @l is released. 0, -ENOENT: there are none; -ENOMEM. */
static int finish(struct lines *l, struct package_list *ret)
{
	struct package_list list = { 0 };

	if (l->count > 0)
		qsort(l->items, l->count, sizeof(*l->items), compare);
	for (size_t i = 0; i < l->count; i++) {
		if (i > 0 && strcmp(l->items[i], l->items[i - 1]) == 0)
			continue;
		buf_printf(&list.text, "%s\n", l->items[i]);
		list.count++;
	}
	for (size_t i = 0; i < l->count; i++)
		free(l->items[i]);
	free(l->items);
	if (l->has_failed || buf_failed(&list.text) || list.count == 0) {
		bool is_empty = list.count == 0 && !l->has_failed;

		package_list_release(&list);
		return is_empty ? -ENOENT : -ENOMEM;
	}
	*ret = list;
	return 0;
}

/* Each name in @dir; one that is not there has none. */
static void each_name(const char *dir, void (*fn)(const char *dir, const char *name, void *ctx),
		      void *ctx)
{
	DIR *d = dir ? opendir(dir) : NULL;
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.')
			fn(dir, e->d_name, ctx);
	if (d)
		closedir(d);
}

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n >= m && strcmp(s + n - m, end) == 0;
}

/* The small file's line "@key SEPARATOR value", malloc'ed; or NULL. */
static char *setting(const char *path, const char *key, char separator)
{
	_cleanup_buf_ struct buf b = { 0 };
	char *rest, *line;

	if (read_file(AT_FDCWD, path, SETTINGS_MAX, &b) < 0)
		return NULL;
	buf_put_u8(&b, 0);
	rest = buf_failed(&b) ? NULL : (char *)b.data;
	while (rest && (line = strsep(&rest, "\n"))) {
		size_t n = strlen(key);

		if (strncasecmp(line, key, n) != 0)
			continue;
		line += n;
		line += strspn(line, " \t");
		if (*line != separator)
			continue;
		line += 1 + strspn(line + 1, " \t");
		line[strcspn(line, "\r")] = '\0';
		return strdup(line);
	}
	return NULL;
}

/* ---- dpkg ---- */

struct stanza {
	const char *name, *version, *arch;
	bool is_installed;
};

static void end_stanza(struct lines *l, struct stanza *s)
{
	if (s->is_installed && s->name && s->version)
		add(l, strf("%s:%s %s", s->name, s->arch ?: "", s->version));
	*s = (struct stanza){ 0 };
}

static const char *value_of(const char *line, const char *key)
{
	size_t n = strlen(key);

	return strncmp(line, key, n) == 0 ? line + n + strspn(line + n, " \t") : NULL;
}

static int read_status(const char *path, struct package_list *ret)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct stanza s = { 0 };
	struct lines l = { 0 };
	char *rest, *line;
	int r = read_file(AT_FDCWD, path, STATUS_MAX, &b);

	if (r < 0)
		return r;
	buf_put_u8(&b, 0);
	if (buf_failed(&b))
		return -ENOMEM;
	rest = (char *)b.data;
	while (rest && (line = strsep(&rest, "\n"))) {
		const char *status;

		if (!*line) {
			end_stanza(&l, &s);
			continue;
		}
		s.name = value_of(line, "Package:") ?: s.name;
		s.version = value_of(line, "Version:") ?: s.version;
		s.arch = value_of(line, "Architecture:") ?: s.arch;
		status = value_of(line, "Status:");
		if (status)
			s.is_installed = ends_with(status, " installed");
	}
	end_stanza(&l, &s);
	return finish(&l, ret);
}

static size_t count_lines(const struct buf *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->len; i++)
		n += b->data[i] == '\n';
	return n;
}

int packages_of_dpkg(struct package_list *ret)
{
	struct package_list list = { 0 };
	struct stat st;
	int r;

	if (stat(DPKG_STATUS, &st) < 0)
		return -errno;
	if (digest_recall("dpkg", &st, &list.text)) {
		list.count = count_lines(&list.text);
		*ret = list;
		return 0;
	}
	buf_release(&list.text);
	r = read_status(DPKG_STATUS, ret);
	if (r == 0)
		digest_remember("dpkg", &st, buf_span(&ret->text));
	return r;
}

/* ---- Python ---- */

/* A version as in "python3.11": "3.11", or "" of any other name; into @ret of @size. */
static bool python_version(const char *path, char *ret, size_t size)
{
	const char *base = strrchr(path, '/');
	size_t n;

	base = base ? base + 1 : path;
	if (strncmp(base, "python", strlen("python")) != 0)
		return false;
	base += strlen("python");
	n = strspn(base, "0123456789.");
	snprintf(ret, size, "%.*s", memchr(base, '.', n) ? (int)n : 0, base);
	return !base[n];
}

/* "NAME-VERSION.dist-info", or "NAME-VERSION-pyX.Y.egg-info". */
static void add_distribution(const char *dir, const char *name, void *ctx)
{
	_cleanup_free_ char *s = strdup(name);
	char *end, *dash;

	if (!s)
		return;
	if (ends_with(s, ".dist-info")) {
		s[strlen(s) - strlen(".dist-info")] = '\0';
	} else if (ends_with(s, ".egg-info")) {
		s[strlen(s) - strlen(".egg-info")] = '\0';
		end = strrchr(s, '-');
		if (end && strncmp(end, "-py", 3) == 0)
			*end = '\0';
	} else {
		return;
	}
	dash = strrchr(s, '-');
	if (dash)
		*dash = ' ';
	add(ctx, TAKE_PTR(s));
}

struct site {
	struct lines lines;
	const char *version; /* "3.11"; "": any */
};

/* A directory of modules, as lib/python3.11: what is in its site-packages. */
static void add_site(const char *dir, const char *name, void *ctx)
{
	static const char *const kinds[] = { "site-packages", "dist-packages" };
	struct site *s = ctx;

	if (strncmp(name, "python", strlen("python")) != 0)
		return;
	name += strlen("python");
	/* Debian's python3/ is for all of its versions. */
	if (*s->version && strcmp(name, s->version) != 0 && strcmp(name, "3") != 0)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		_cleanup_free_ char *path = strf("%s/python%s/%s", dir, name, kinds[i]);

		each_name(path, add_distribution, &s->lines);
	}
}

static void add_prefix(struct site *s, const char *prefix)
{
	static const char *const libs[] = { "lib", "lib64", "local/lib" };
	_cleanup_free_ char *whole = NULL;
	struct stat a, b;

	for (size_t i = 0; i < ARRAY_SIZE(libs); i++) {
		_cleanup_free_ char *dir = strf("%s/%s", prefix, libs[i]);

		/* lib64 is often lib. */
		if (i == 0 && dir && stat(dir, &a) == 0)
			whole = strdup(dir);
		else if (whole && dir && stat(dir, &b) == 0 && a.st_ino == b.st_ino &&
			 a.st_dev == b.st_dev)
			continue;
		each_name(dir, add_site, s);
	}
}

/* The directory above that of @path; malloc'ed. */
static char *prefix_of(const char *path)
{
	_cleanup_free_ char *dir = strdup(path);
	char *slash = dir ? strrchr(dir, '/') : NULL;

	if (slash)
		*slash = '\0';
	slash = slash ? strrchr(dir, '/') : NULL;
	if (!slash)
		return NULL;
	*slash = '\0';
	return strdup(*dir ? dir : "/");
}

static void add_user_site(struct site *s)
{
	const char *home = getenv("HOME"), *base = getenv("PYTHONUSERBASE");
	_cleanup_free_ char *dir = NULL;

	if (getenv("PYTHONNOUSERSITE"))
		return;
	dir = base && *base ? strf("%s/lib", base) : home ? strf("%s/.local/lib", home) : NULL;
	each_name(dir, add_site, s);
}

static void add_pythonpath(struct site *s)
{
	_cleanup_free_ char *dirs = strdup(getenv("PYTHONPATH") ?: "");
	char *rest = dirs, *dir;

	while (rest && (dir = strsep(&rest, ":")))
		if (*dir)
			each_name(dir, add_distribution, &s->lines);
}

int packages_of_python(const char *program, struct package_list *ret)
{
	_cleanup_free_ char *real = realpath(program, NULL), *own = prefix_of(program);
	_cleanup_free_ char *cfg = own ? strf("%s/pyvenv.cfg", own) : NULL;
	_cleanup_free_ char *shares = NULL, *base = NULL;
	char version[16];
	struct site s = { .version = version };

	if (!real || !python_version(real, version, sizeof(version)))
		return -ENOENT;
	base = prefix_of(real);
	if (cfg && access(cfg, R_OK) == 0) {
		shares = setting(cfg, "include-system-site-packages", '=');
		add_prefix(&s, own);
		if (shares && strcasecmp(shares, "true") != 0) {
			free(base);
			base = NULL;
		}
	}
	if (base) {
		add_prefix(&s, base);
		add_user_site(&s);
	}
	add_pythonpath(&s);
	return finish(&s.lines, ret);
}

/* ---- conda, R ---- */

/* "NAME-VERSION-BUILD.json". */
static void add_conda(const char *dir, const char *name, void *ctx)
{
	_cleanup_free_ char *s = strdup(name);

	if (!s || !ends_with(s, ".json"))
		return;
	s[strlen(s) - strlen(".json")] = '\0';
	for (int i = 0; i < 2; i++) {
		char *dash = strrchr(s, '-');

		if (dash)
			*dash = ' ';
	}
	add(ctx, TAKE_PTR(s));
}

int packages_of_conda(const char *program, struct package_list *ret)
{
	const char *active = getenv("CONDA_PREFIX");
	_cleanup_free_ char *own = program ? prefix_of(program) : NULL, *dir = NULL;
	struct lines l = { 0 };

	dir = own ? strf("%s/conda-meta", own) : NULL;
	each_name(dir, add_conda, &l);
	if (l.count == 0 && active && *active) {
		free(dir);
		dir = strf("%s/conda-meta", active);
		each_name(dir, add_conda, &l);
	}
	return finish(&l, ret);
}

static void add_r(const char *dir, const char *name, void *ctx)
{
	_cleanup_free_ char *path = strf("%s/%s/DESCRIPTION", dir, name);
	_cleanup_free_ char *version = path ? setting(path, "Version", ':') : NULL;

	if (version)
		add(ctx, strf("%s %s", name, version));
}

/* ~/R/PLATFORM-library/VERSION is where a user's are unless he says otherwise. */
static void add_r_version(const char *dir, const char *name, void *ctx)
{
	_cleanup_free_ char *path = strf("%s/%s", dir, name);

	each_name(path, add_r, ctx);
}

static void add_r_platform(const char *dir, const char *name, void *ctx)
{
	_cleanup_free_ char *path = strf("%s/%s", dir, name);

	if (ends_with(name, "-library"))
		each_name(path, add_r_version, ctx);
}

/* R's own, and those of the site. */
static void add_r_prefix(const char *prefix, struct lines *l)
{
	static const char *const libraries[] = { "library", "site-library" };

	for (size_t i = 0; i < ARRAY_SIZE(libraries); i++) {
		_cleanup_free_ char *dir = strf("%s/lib/R/%s", prefix, libraries[i]);

		each_name(dir, add_r, l);
	}
}

int packages_of_r(const char *program, struct package_list *ret)
{
	static const char *const variables[] = { "R_LIBS", "R_LIBS_SITE", "R_LIBS_USER" };
	const char *base = strrchr(program, '/'), *home = getenv("HOME");
	_cleanup_free_ char *prefix = prefix_of(program), *users = strf("%s/R", home ?: "");
	struct lines l = { 0 };

	base = base ? base + 1 : program;
	if (strcmp(base, "R") != 0 && strcmp(base, "Rscript") != 0)
		return -ENOENT;
	if (prefix)
		add_r_prefix(prefix, &l);
	if (!prefix || strcmp(prefix, "/usr/local") != 0)
		add_r_prefix("/usr/local", &l);
	if (home)
		each_name(users, add_r_platform, &l);
	for (size_t i = 0; i < ARRAY_SIZE(variables); i++) {
		_cleanup_free_ char *dirs = strdup(getenv(variables[i]) ?: "");
		char *rest = dirs, *dir;

		while (rest && (dir = strsep(&rest, ":")))
			if (*dir)
				each_name(dir, add_r, &l);
	}
	return finish(&l, ret);
}
