/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Finding targets (target.h).
 */
#include "target.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "cli.h"
#include "conf.h"
#include "mounts.h"

enum {
	SHOWN_MAX = 200, /* of an argument that is too long for anything */
};

void target_release(struct target *t)
{
	free(t->mount);
	free(t->store);
	buf_release(&t->path);
	*t = (struct target){ 0 };
}

static int set_path(struct target *t, const char *path)
{
	while (*path == '/')
		path++;
	buf_clear(&t->path);
	buf_put(&t->path, path, strlen(path) + 1);
	if (buf_failed(&t->path))
		return -ENOMEM;
	t->path.len--;
	return 0;
}

/* A path where things are, though its last parts may not be: as far as it goes, real, and then as
 * it was written. malloc'ed; NULL and errno. */
static char *real_path(const char *path)
{
	_cleanup_free_ char *head = NULL, *parent = NULL;
	char *real = realpath(path, NULL);
	const char *slash;
	size_t n = strlen(path);

	if (real || (errno != ENOENT && errno != ENOTDIR))
		return real;
	while (n > 1 && path[n - 1] == '/')
		n--;
	head = strndup(path, n);
	if (!head)
		return NULL;
	slash = strrchr(head, '/');
	if (strcmp(slash ? slash + 1 : head, "..") == 0 || n <= 1) {
		errno = ENOENT;
		return NULL;
	}
	parent = !slash		 ? strdup(".")
		 : slash == head ? strdup("/")
				 : strndup(head, (size_t)(slash - head));
	real = parent ? real_path(parent) : NULL;
	if (!real)
		return NULL;
	free(parent);
	parent = real;
	return strf("%s/%s", strcmp(real, "/") == 0 ? "" : real, slash ? slash + 1 : head);
}

/* The mount of the deepest part of @path (a real one) that is there. */
static const struct mounted *mount_of(const struct mounts *m, const char *path)
{
	_cleanup_free_ char *p = strdup(path);
	const struct mounted *x;
	char *slash;

	while (p && *p) {
		x = mounts_of(m, p);
		if (x || (errno != ENOENT && errno != ENOTDIR && errno != ENAMETOOLONG))
			return x;
		slash = strrchr(p, '/');
		if (!slash)
			break;
		slash[slash == p && slash[1] ? 1 : 0] = '\0';
	}
	return NULL;
}

/* A symlink in a mount is itself a thing to be asked about; anywhere else it only leads there. */
static char *real_path_of_arg(const struct mounts *m, const char *arg)
{
	_cleanup_free_ char *dir = NULL, *real = NULL;
	const struct mounted *x;
	const char *slash = strrchr(arg, '/');
	struct stat st;

	if (lstat(arg, &st) < 0 || !S_ISLNK(st.st_mode))
		return real_path(arg);
	dir = slash ? strndup(arg, (size_t)(slash - arg) + 1) : strdup(".");
	real = dir ? realpath(dir, NULL) : NULL;
	if (!real)
		return NULL;
	x = mounts_of(m, real);
	if (!x || !mounted_is_pfs(x))
		return real_path(arg);
	return strf("%s/%s", real, slash ? slash + 1 : arg);
}

static int of_mount(const struct mounts *m, const struct mounted *x, const char *below,
		    struct target *t)
{
	const struct mounted *whole = mounts_whole(m, x);
	_cleanup_free_ char *path = NULL;
	size_t mounted_len, realm_len;

	if (!whole) {
		cli_error("%s is a part of a mount whose root is not to be seen here", x->point);
		return -ENOENT;
	}
	below += strspn(below, "/");
	path = strf("%s/%s", strcmp(x->root, "/") == 0 ? "" : x->root, below);
	if (!path)
		return -ENOMEM;
	/* A run's view is a mount of its own, wherever it is to be seen. */
	realm_len = mounted_realm_len(path);
	mounted_len = MIN(mounted_realm_len(whole->root), realm_len);
	t->mount = strf("%s%.*s", whole->point, (int)(realm_len - mounted_len), path + mounted_len);
	return t->mount ? set_path(t, path + realm_len) : -ENOMEM;
}

/* Says why a path leads nowhere. Returns -@error. */
static int cannot_follow(const char *arg, int error)
{
	if (error == ENOTCONN)
		cli_error("%s: the daemon has ended; `pfs umount` the place and mount it again",
			  arg);
	else
		cli_error("%.*s%s: %s", SHOWN_MAX, arg, strlen(arg) > SHOWN_MAX ? "..." : "",
			  strerror(error));
	return -error;
}

/* An argument as a path of this machine: 0; 1: it is in no mount of ours; or -errno, said. */
static int find_local(const struct mounts *m, const char *arg, struct target *t)
{
	_cleanup_free_ char *real = real_path_of_arg(m, arg);
	const struct mounted *x;
	const char *below;

	if (!real)
		return cannot_follow(arg, errno);
	x = mount_of(m, real);
	if (!x || !mounted_is_pfs(x))
		return 1;
	below = real + (strcmp(x->point, "/") == 0 ? 0 : strlen(x->point));
	return of_mount(m, x, below, t);
}

static bool exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

/* The first part of @path, from @dir on. */
static bool first_part_exists(const char *dir, const char *path)
{
	_cleanup_free_ char *p = strf("%s/%.*s", dir, (int)strcspn(path, "/"), path);

	return *path && p && exists(p);
}

/* What find_local() says, but that "no mount" is an error as well. */
static int find_in_mount(const struct mounts *m, const char *arg, struct target *t)
{
	int r = find_local(m, arg, t);

	if (r != 1)
		return r;
	cli_error("`%s` is not in a pfs mount", arg);
	return -ENOENT;
}

/* The current directory's mount, if it is in one. One that is gone, or closed to the caller, is in
 * none. */
static int find_cwd(const struct mounts *m, struct target *t)
{
	_cleanup_free_ char *real = realpath(".", NULL);

	return real || errno == ENOTCONN ? find_local(m, ".", t) : 1;
}

/* The one mount there is, if there is only one. */
static const struct mounted *only_mount(const struct mounts *m, bool *ret_several)
{
	const struct mounted *only = NULL;

	*ret_several = false;

	for (size_t i = 0; i < m->count; i++) {
		const struct mounted *x = &m->items[i];

		if (!mounted_is_pfs(x) || strcmp(x->root, "/") != 0)
			continue;
		*ret_several |= only && only->dev != x->dev;
		only = x;
	}
	return *ret_several ? NULL : only;
}

static int find_store(const char *store, bool is_several, const char *path, struct target *t)
{
	_cleanup_store_conf_ struct store_conf c = { 0 };
	int r = store_conf_find(store, is_several, &c);

	if (r < 0)
		return r;
	t->store = c.url;
	c.url = NULL;
	return set_path(t, path);
}

/* From here to the mount's root or a repo's, if the current directory is in a mount. */
static int find_from_cwd(const char *arg, const struct target *cwd, struct target *t)
{
	_cleanup_free_ char *repo = target_repo(cwd), *dir = NULL, *path = NULL;

	if (!repo)
		return -ENOMEM;
	dir = strf("%s/%s", cwd->mount, repo);
	if (!dir)
		return -ENOMEM;
	if (first_part_exists(cwd->mount, arg))
		path = strdup(arg);
	else if (*repo && first_part_exists(dir, arg))
		path = strf("%s/%s", repo, arg);
	else
		return 1;
	t->mount = strdup(cwd->mount);
	return path && t->mount ? set_path(t, path) : -ENOMEM;
}

static bool says_where_it_is(const char *arg)
{
	return arg[0] == '/' || strcmp(arg, ".") == 0 || strcmp(arg, "..") == 0 ||
	       strncmp(arg, "./", 2) == 0 || strncmp(arg, "../", 3) == 0;
}

/* What is left when neither --store nor the current directory says: the environment, the only
 * mount, the configuration. */
static int find_elsewhere(const struct mounts *m, const char *arg, struct target *t)
{
	const char *env = getenv("PFS_STORE"), *root = getenv("PFS_ROOT");
	bool is_several;
	const struct mounted *x = only_mount(m, &is_several);

	if (root && *root && find_local(m, root, t) == 0)
		return arg ? set_path(t, arg) : 0;
	if (!(env && *env) && x)
		return of_mount(m, x, arg ?: "", t);
	return find_store(NULL, is_several, arg ?: "", t);
}

static int find(const struct mounts *m, const char *arg, bool is_new, struct target *t)
{
	_cleanup_target_ struct target cwd = { 0 };
	int r = find_cwd(m, &cwd);

	if (r < 0)
		return r;
	if (arg && says_where_it_is(arg))
		return find_in_mount(m, arg, t);
	if (arg && !is_new && exists(arg)) {
		r = find_local(m, arg, t);
		if (r != 1)
			return r;
	}
	if (!cwd.mount)
		return find_elsewhere(m, arg, t);
	if (!arg)
		return find_in_mount(m, ".", t);
	if (is_new && !strchr(arg, '/')) {
		_cleanup_free_ char *repo = target_repo(&cwd), *path = NULL;

		path = repo ? strf("%s/%s", repo, arg) : NULL;
		t->mount = strdup(cwd.mount);
		return path && t->mount ? set_path(t, path) : -ENOMEM;
	}
	r = find_from_cwd(arg, &cwd, t);
	return r == 1 ? find_in_mount(m, arg, t) : r;
}

static int find_any(const char *store, const char *arg, bool is_new, struct target *ret)
{
	_cleanup_target_ struct target t = { 0 };
	_cleanup_mounts_ struct mounts m = { 0 };
	int r;

	if (arg && !*arg) {
		cli_error("an empty argument names nothing");
		return -EINVAL;
	}
	if (store) {
		if (arg && says_where_it_is(arg)) {
			cli_error("with --store a path starts with a repo, not as `%s` does", arg);
			return -EINVAL;
		}
		r = find_store(store, false, arg ?: "", &t);
	} else {
		r = mounts_load(&m);
		if (r < 0)
			cli_error("it cannot be told what is mounted: %s", errno_text(r));
		else
			r = find(&m, arg, is_new, &t);
	}
	if (r < 0)
		return r;
	*ret = t;
	t = (struct target){ 0 };
	return 0;
}

int target_find(const char *store, const char *arg, struct target *ret)
{
	return find_any(store, arg, false, ret);
}

/* A mount that the caller did not name: that of $PFS_ROOT, or the only one. */
static int find_only(const struct mounts *m, struct target *t)
{
	const char *root = getenv("PFS_ROOT");
	const struct mounted *x;
	bool is_several;

	if (root && *root)
		return find_in_mount(m, root, t);
	x = only_mount(m, &is_several);
	if (x)
		return of_mount(m, x, "", t);
	cli_error(is_several ? "several stores are mounted here: --mount DIR says which is meant"
			     : "no store is mounted here; `pfs mount` mounts one");
	return -ENOENT;
}

int target_find_mount(const char *dir, struct target *ret)
{
	_cleanup_target_ struct target t = { 0 };
	_cleanup_mounts_ struct mounts m = { 0 };
	int r = mounts_load(&m);

	if (r < 0) {
		cli_error("it cannot be told what is mounted: %s", errno_text(r));
		return r;
	}
	r = dir ? find_in_mount(&m, dir, &t) : find_cwd(&m, &t);
	if (r == 1)
		r = find_only(&m, &t);
	if (r < 0)
		return r;
	*ret = t;
	t = (struct target){ 0 };
	return 0;
}

int target_find_new(const char *store, const char *arg, struct target *ret)
{
	return find_any(store, arg, true, ret);
}

int target_check_same(const struct target *a, const struct target *b)
{
	const char *x = a->mount ?: a->store, *y = b->mount ?: b->store;

	if (!a->mount == !b->mount && strcmp(x, y) == 0)
		return 0;
	cli_error("%s and %s are different stores", x, y);
	return -EXDEV;
}

char *target_repo(const struct target *t)
{
	const char *path = (const char *)t->path.data;

	return strndup(path ?: "", path ? strcspn(path, "/") : 0);
}

char *target_rev(const struct target *t)
{
	const char *p = (const char *)t->path.data;

	p += strcspn(p, "/");
	while (*p == '/')
		p++;
	if (strncmp(p, "commits/", strlen("commits/")) == 0)
		p += strlen("commits/");
	return *p ? strndup(p, strcspn(p, "/")) : NULL;
}
