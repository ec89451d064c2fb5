/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The fingerprint of a command (run_environment.h).
 */
#include "run_environment.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fdio.h"
#include "base/text.h"
#include "record/json_bytes.h"
#include "run_digest.h"
#include "run_packages.h"

enum {
	SHEBANG_MAX = 256, /* bytes of its line that the kernel reads */
};

#define PATH_DEFAULT "/bin:/usr/bin"

static bool is_executable(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* As execvp() finds it; malloc'ed, or NULL. */
static char *find_executable(const char *name)
{
	_cleanup_free_ char *dirs = NULL;
	char *rest, *dir;

	if (strchr(name, '/'))
		return is_executable(name) ? strdup(name) : NULL;
	dirs = strdup(getenv("PATH") ?: PATH_DEFAULT);
	rest = dirs;
	while (rest && (dir = strsep(&rest, ":"))) {
		char *path = strf("%s/%s", *dir ? dir : ".", name);

		if (path && is_executable(path))
			return path;
		free(path);
	}
	return NULL;
}

static bool is_below(const char *path, const char *mount)
{
	struct stat st, root;

	return stat(path, &st) == 0 && stat(mount, &root) == 0 && st.st_dev == root.st_dev;
}

static json_t *json_program(const char *path, const char *mount)
{
	char hex[DIGEST_HEX];
	json_t *j = json_object();

	json_object_set_new(j, "path", json_of_bytes(span_str(path)));
	if (!is_below(path, mount) && digest_of_file(path, hex) == 0)
		json_object_set_new(j, "sha256", json_string(hex));
	return j;
}

/* What a script names in its first line, as found: `#!/usr/bin/env python3` means python3. NULL:
 * it is no script. */
static char *find_interpreter(const char *script)
{
	_cleanup_close_ int fd = open(script, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	char line[SHEBANG_MAX], *rest = line + 2, *word;
	ssize_t n = fd >= 0 ? pread(fd, line, sizeof(line) - 1, 0) : -1;
	const char *base;

	if (n < 3 || memcmp(line, "#!", 2) != 0)
		return NULL;
	line[n] = '\0';
	line[strcspn(line, "\n")] = '\0';
	while ((word = strsep(&rest, " \t")) && !*word)
		;
	if (!word)
		return NULL;
	base = strrchr(word, '/');
	if (!base || strcmp(base, "/env") != 0)
		return find_executable(word);
	/* Its options and assignments. */
	while ((word = strsep(&rest, " \t")) && (!*word || *word == '-' || strchr(word, '=')))
		;
	return word ? find_executable(word) : NULL;
}

static void put_list(json_t *sums, json_t *texts, const char *name, struct package_list *list)
{
	char hex[DIGEST_HEX];
	json_t *sum;

	if (utf8_is_valid(list->text.data, list->text.len) &&
	    digest_of(buf_span(&list->text), hex) == 0) {
		sum = json_object();
		json_object_set_new(sum, "sha256", json_string(hex));
		json_object_set_new(sum, "count", json_integer((json_int_t)list->count));
		json_object_set_new(sums, name, sum);
		json_object_set_new(texts, name, json_of_bytes(buf_span(&list->text)));
	}
	package_list_release(list);
}

static void put_packages(json_t *environment, json_t *request, const char *interpreter)
{
	json_t *sums = json_object(), *texts = json_object();
	struct package_list list;

	if (packages_of_dpkg(&list) == 0)
		put_list(sums, texts, "dpkg", &list);
	if (interpreter && packages_of_python(interpreter, &list) == 0)
		put_list(sums, texts, "python", &list);
	if (packages_of_conda(interpreter, &list) == 0)
		put_list(sums, texts, "conda", &list);
	if (interpreter && packages_of_r(interpreter, &list) == 0)
		put_list(sums, texts, "r", &list);
	json_object_set_new(environment, "packages", sums);
	json_object_set_new(request, "packages", texts);
}

void run_environment(json_t *request, const char *name, const char *mount)
{
	_cleanup_free_ char *path = find_executable(name), *interpreter = NULL;
	json_t *environment = json_object();

	if (path) {
		json_object_set_new(environment, "executable", json_program(path, mount));
		interpreter = find_interpreter(path);
	}
	if (interpreter)
		json_object_set_new(environment, "interpreter", json_program(interpreter, mount));
	put_packages(environment, request, interpreter ?: path);
	json_object_set_new(request, "environment", environment);
}
