/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The nodes of /pfs/.pfs/run: in each realm the runs that were begun there, and the one that the
 * realm is of.
 *
 * What a run writes about itself lies in the state directory. Who has begun it may write there, and
 * all of its processes, in its own realm and from outside: through two nodes, so that the kernel
 * keeps nothing of these files.
 */
#include "root_runs.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/hash.h"

enum {
	FILE_SHIFT = 3,
	FILE_MASK = (1 << FILE_SHIFT) - 1,
	DIR_SIZE = 4096,
	INO_FIRST = 16,
};

/* By their numbers; 0 is the directory. */
static const char *const file_names[] = { NULL, "params", "metrics", "stdout", "stderr" };

static uint64_t run_node(const struct realm *in, const struct realm *of, unsigned file)
{
	return ROOT_NODES | (uint64_t)in->number << ROOT_REALM_SHIFT | ROOT_RUN_BIT |
	       (uint64_t)of->number << FILE_SHIFT | file;
}

uint64_t run_dir_node(const struct realm *in, const struct realm *of)
{
	return run_node(in, of, 0);
}

static unsigned file_of(uint64_t node)
{
	return node & FILE_MASK;
}

bool run_is_dir(uint64_t node)
{
	return file_of(node) == 0;
}

const char *run_file_name(uint64_t node)
{
	return file_of(node) < ARRAY_SIZE(file_names) ? file_names[file_of(node)] : NULL;
}

struct realm *run_of_node(struct root *r, uint64_t node)
{
	uint32_t number = (uint32_t)(node >> FILE_SHIFT) & ROOT_REALM_MAX;

	return realm_hold(r, root_own_node(number, ROOT_OWN_TOP));
}

static uint64_t ino_of(const struct realm *k, unsigned file)
{
	uint64_t h = xxh64(run_id(k->run)->s, RUN_ID_LEN, file);

	return h < INO_FIRST ? h + INO_FIRST : h;
}

uint64_t run_ino(struct root *r, uint64_t node)
{
	_cleanup_realm_ struct realm *k = run_of_node(r, node);

	return k ? ino_of(k, file_of(node)) : INO_FIRST;
}

/* A file that nobody has written to yet is there, and empty. */
static int stat_of(const struct realm *k, unsigned file, struct stat *ret)
{
	int dirfd = run_dirfd(k->run);
	struct stat st, dir;

	if (fstat(dirfd, &dir) < 0)
		return -errno;
	st = dir;
	st.st_size = DIR_SIZE;
	if (file > 0 && fstatat(dirfd, file_names[file], &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno != ENOENT)
			return -errno;
		st.st_size = 0;
		st.st_blocks = 0;
	}
	*ret = (struct stat){
		.st_ino = ino_of(k, file),
		.st_mode = file > 0 ? S_IFREG | 0600 : S_IFDIR | 0700,
		.st_nlink = file > 0 ? 1 : 2,
		.st_uid = run_uid(k->run),
		.st_gid = dir.st_gid,
		.st_size = st.st_size,
		.st_blocks = st.st_blocks,
		.st_blksize = DIR_SIZE,
		.st_mtim = st.st_mtim,
		.st_ctim = st.st_ctim,
		.st_atim = st.st_atim,
	};
	return 0;
}

static int reply_run(struct call *c, struct realm *in, struct realm *of, unsigned file)
{
	struct stat st;
	int r = stat_of(of, file, &st);

	return r < 0 ? r : reply_node(c, run_node(in, of, file), &st, file > 0 ? 0 : ROOT_TIMEOUT);
}

/* The run of that name in the realm, held, or NULL. */
static struct realm *find(struct realm *in, const char *id)
{
	WITH_LOCK(&in->root->lock);

	list_for_each (k, &in->root->realm_list, struct realm, link) {
		if ((k != in && k->parent != in) || strcmp(run_id(k->run)->s, id) != 0)
			continue;
		k->holds++;
		return k;
	}
	return NULL;
}

int runs_lookup(struct call *c, struct realm *in)
{
	_cleanup_realm_ struct realm *of = find(in, (const char *)c->name.data);

	return of ? reply_run(c, in, of, 0) : -ENOENT;
}

int run_lookup(struct call *c)
{
	_cleanup_realm_ struct realm *in = realm_hold(c->fs->root, c->node);
	_cleanup_realm_ struct realm *of = run_of_node(c->fs->root, c->node);
	const char *name = (const char *)c->name.data;

	if (!in || !of)
		return -ESTALE;
	if (!run_is_dir(c->node))
		return -ENOTDIR;
	/* A directory has one place. */
	if (strcmp(name, "root") == 0)
		return in == of ? -ENOENT : reply_own(c, of, ROOT_OWN_TOP);
	for (unsigned i = 1; i < ARRAY_SIZE(file_names); i++)
		if (strcmp(name, file_names[i]) == 0)
			return reply_run(c, in, of, i);
	return -ENOENT;
}

int run_getattr(struct call *c)
{
	_cleanup_realm_ struct realm *of = run_of_node(c->fs->root, c->node);
	struct stat st;
	int r = of ? stat_of(of, file_of(c->node), &st) : -ESTALE;

	if (r == 0)
		call_reply_attr(c, &st, run_is_dir(c->node) ? ROOT_TIMEOUT : 0);
	return r;
}

int run_setattr(struct call *c)
{
	_cleanup_realm_ struct realm *of = run_of_node(c->fs->root, c->node);
	const struct setattr *s = &c->attrs;
	const unsigned can = SETATTR_SIZE | SETATTR_MTIME | SETATTR_CTIME | SETATTR_KILL_PRIV;
	_cleanup_close_ int fd = -1;
	struct timespec times[] = { { .tv_nsec = UTIME_OMIT }, s->mtime };

	if (!of)
		return -ESTALE;
	if (run_is_dir(c->node) || s->what & ~can)
		return -EPERM;
	fd = run_file_open(of, c->node, O_WRONLY);
	if (fd < 0)
		return fd;
	if (s->what & SETATTR_SIZE && s->size > RUN_FILE_MAX)
		return -EFBIG;
	if (s->what & SETATTR_SIZE && ftruncate(fd, (off_t)s->size) < 0)
		return -errno;
	if (s->what & SETATTR_MTIME && futimens(fd, times) < 0)
		return -errno;
	return run_getattr(c);
}

/* The names are copied out: nothing is called under the lock. */
static int list_runs(struct realm *in, struct run_id **ret, size_t *ret_count)
{
	size_t n = 0;

	WITH_LOCK(&in->root->lock);

	*ret = calloc(in->root->realms.count, sizeof(**ret));
	if (!*ret)
		return -ENOMEM;
	list_for_each (k, &in->root->realm_list, struct realm, link)
		if (k == in || k->parent == in)
			(*ret)[n++] = *run_id(k->run);
	*ret_count = n;
	return 0;
}

int runs_list(struct root *r, uint64_t node, int (*add)(const char *name, void *ctx), void *ctx)
{
	_cleanup_realm_ struct realm *in = realm_hold(r, node);
	_cleanup_realm_ struct realm *of = is_run(node) ? run_of_node(r, node) : NULL;
	_cleanup_free_ struct run_id *ids = NULL;
	size_t n = 0;
	int e = 0;

	if (!in || (is_run(node) && !of))
		return -ESTALE;
	if (!of)
		e = list_runs(in, &ids, &n);
	for (size_t i = 0; e == 0 && i < n; i++)
		e = add(ids[i].s, ctx);
	if (!of)
		return e;
	for (size_t i = 1; e == 0 && i < ARRAY_SIZE(file_names); i++)
		e = add(file_names[i], ctx);
	return e == 0 && of != in ? add("root", ctx) : e;
}
