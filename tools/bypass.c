/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Going past a mount.
 */
#include "bypass.h"

#include "cli.h"
#include "mounts.h"
#include "present.h"

void bypass_release(struct bypass *b)
{
	client_free(b->store);
	client_free(b->mount);
	target_release(&b->target);
	free(b->repo);
	free(b->rev);
	*b = (struct bypass){ 0 };
}

/* The URL of the store that is mounted. What was mounted says more than the daemon's name for it:
 * where the keys and certificates are. */
static int store_of_mount(const struct target *t, struct client *mount, enum client_use use,
			  struct target *ret)
{
	_cleanup_mounts_ struct mounts m = { 0 };
	const struct mounted *x = mounts_load(&m) == 0 ? mounts_at(&m, t->mount) : NULL;
	json_t *line = NULL;
	int r = client_ask_one(mount, request_new("info"), &line);

	if (r != 0)
		return r;
	if (use == CLIENT_CHANGES && *field_text(line, "run")) {
		cli_error(
			"inside run %s nothing is committed but what it writes, when it has ended",
			field_text(line, "run"));
		json_decref(line);
		return -EROFS;
	}
	ret->store = strdup(x && strstr(x->source, "://") ? x->source : field_text(line, "url"));
	json_decref(line);
	return ret->store ? 0 : -ENOMEM;
}

int bypass_url(const struct target *t, char **ret)
{
	_cleanup_target_ struct target direct = { 0 };
	_cleanup_client_ struct client *mount = NULL;
	int r = 0;

	if (t->mount)
		r = client_open(t, CLIENT_READS, &mount);
	if (r == 0 && t->mount)
		r = store_of_mount(t, mount, CLIENT_READS, &direct);
	if (r < 0)
		return r;
	*ret = t->mount ? TAKE_PTR(direct.store) : strdup(t->store);
	return *ret ? 0 : -ENOMEM;
}

static const char *skip_part(const char *path)
{
	path += strcspn(path, "/");
	return path + strspn(path, "/");
}

static const char *below_rev(const char *path)
{
	path = skip_part(path);
	if (strncmp(path, "commits/", strlen("commits/")) == 0)
		path = skip_part(path);
	return skip_part(path);
}

int bypass_open(const char *store, const char *arg, enum client_use use, struct bypass *ret)
{
	_cleanup_bypass_ struct bypass b = { 0 };
	_cleanup_target_ struct target direct = { 0 };
	int r = target_find(store, arg, &b.target);

	if (r < 0)
		return r;
	b.repo = target_repo(&b.target);
	b.rev = target_rev(&b.target);
	b.path = below_rev((const char *)b.target.path.data);
	if (!b.repo)
		return -ENOMEM;
	if (!*b.repo) {
		cli_error("`%s` is not REPO/REV", arg);
		return -EINVAL;
	}
	if (b.target.mount) {
		r = client_open(&b.target, CLIENT_READS, &b.mount);
		if (r == 0)
			r = store_of_mount(&b.target, b.mount, use, &direct);
	} else {
		direct.store = strdup(b.target.store);
		r = direct.store ? 0 : -ENOMEM;
	}
	if (r == 0)
		r = client_open(&direct, use, &b.store);
	if (r < 0)
		return r;
	*ret = b;
	b = (struct bypass){ 0 };
	return 0;
}

static int take_first(json_t *line, void *ctx)
{
	json_t **ret = ctx;

	*ret = json_incref(line);
	return 1; /* what has changed is not wanted */
}

json_t *bypass_status(struct bypass *b)
{
	json_t *q, *line = NULL;

	if (!b->mount)
		return NULL;
	q = request_new("status");
	json_object_set_new(q, "path", json_sprintf("%s/%s", b->repo, b->rev ?: ""));
	client_ask(b->mount, q, take_first, &line);
	return line;
}
