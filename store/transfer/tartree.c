/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Trees from tar streams (transfer/tartree.h).
 */
#include "transfer/tartree.h"

#include "base/hash.h"

static struct tarfile *file_new(struct tartree *t, bool is_dir)
{
	struct tarfile *f = new0(struct tarfile, 1);

	if (!f)
		return NULL;
	f->inode.type = is_dir ? FT_DIR : 0;
	f->next = t->files;
	t->files = f;
	return f;
}

int tartree_init(struct tartree *t)
{
	*t = (struct tartree){ .root = new0(struct tarname, 1) };
	if (!t->root)
		return -ENOMEM;
	t->root->file = file_new(t, true);
	if (t->root->file)
		return 0;
	tartree_release(t);
	return -ENOMEM;
}

static void free_name(struct hnode *n, void *ctx)
{
	free(container_of(n, struct tarname, node));
}

void tartree_release(struct tartree *t)
{
	htab_walk(&t->names, free_name, NULL);
	htab_release(&t->names);
	free(t->root);
	while (t->files) {
		struct tarfile *f = t->files;

		t->files = f->next;
		free(f->inlined);
		free(f->list);
		free(f);
	}
	*t = (struct tartree){ 0 };
}

static bool is_dir(const struct tarname *n)
{
	return n->file->inode.type == FT_DIR;
}

static uint64_t name_hash(const struct tarname *up, struct span name)
{
	return hash_u64((uintptr_t)up) ^ hash_bytes(name.data, name.len);
}

static struct tarname *find(const struct tartree *t, const struct tarname *up, struct span name)
{
	htab_for_each (n, &t->names, name_hash(up, name)) {
		struct tarname *x = container_of(n, struct tarname, node);

		if (x->up == up && span_equal(span_of(x->name, x->len), name))
			return x;
	}
	return NULL;
}

/* A name without a file. */
static struct tarname *add(struct tartree *t, struct tarname *up, struct span name)
{
	struct tarname *n = calloc(1, sizeof(*n) + name.len);

	if (!n)
		return NULL;
	n->len = name.len;
	memcpy(n->name, name.data, name.len);
	if (htab_insert(&t->names, &n->node, name_hash(up, name)) < 0) {
		free(n);
		return NULL;
	}
	n->up = up;
	n->beside = up->below;
	up->below = n;
	return n;
}

/* The next name of a path; false at its end. */
static bool next_name(struct span *path, struct span *ret)
{
	while (path->len > 0) {
		const uint8_t *slash = memchr(path->data, '/', path->len);
		struct span name =
			span_of(path->data, slash ? (size_t)(slash - path->data) : path->len);
		size_t n = name.len + (slash != NULL);

		*path = span_of(path->data + n, path->len - n);
		if (name.len == 0 || span_equal(name, span_str(".")))
			continue;
		*ret = name;
		return true;
	}
	return false;
}

static int check_name(struct span name)
{
	return name.len > FILE_NAME_MAX ? -ENAMETOOLONG : file_name_is_valid(name) ? 0 : -EINVAL;
}

/* Into the directory @name, which is made if nothing has that name. */
static int step_down(struct tartree *t, struct tarname **at, struct span name)
{
	struct tarname *n;
	struct tarfile *f;
	int r = check_name(name);

	if (r < 0)
		return r;
	n = find(t, *at, name);
	if (n && !is_dir(n))
		return -ENOTDIR;
	if (!n) {
		f = file_new(t, true);
		n = f ? add(t, *at, name) : NULL;
		if (!n)
			return -ENOMEM;
		n->file = f;
	}
	*at = n;
	return 0;
}

static int put_name(struct tartree *t, struct tarname *up, struct span name, bool make_dir,
		    struct tarfile *file, struct tarfile **ret)
{
	struct tarname *n = find(t, up, name);
	int r = check_name(name);

	if (r < 0)
		return r;
	if (n && is_dir(n) != make_dir)
		return make_dir ? -EEXIST : -EISDIR;
	if (n && make_dir) {
		*ret = n->file;
		return 0;
	}
	file = file ?: file_new(t, make_dir);
	n = n ?: file ? add(t, up, name) : NULL;
	if (!file || !n)
		return -ENOMEM;
	if (n->file)
		n->file->names--;
	n->file = file;
	file->names++;
	*ret = file;
	return 0;
}

int tartree_put(struct tartree *t, struct span path, bool make_dir, struct tarfile *file,
		struct tarfile **ret)
{
	struct tarname *at = t->root;
	struct span name, next;

	if (!next_name(&path, &name)) {
		if (make_dir)
			*ret = at->file;
		return make_dir ? 0 : -EISDIR;
	}
	while (next_name(&path, &next)) {
		int r = step_down(t, &at, name);

		if (r < 0)
			return r;
		name = next;
	}
	return put_name(t, at, name, make_dir, file, ret);
}

int tartree_find(struct tartree *t, struct span path, struct tarfile **ret)
{
	const struct tarname *at = t->root;
	struct span name;

	while (next_name(&path, &name)) {
		int r = check_name(name);

		at = r < 0 ? NULL : find(t, at, name);
		if (!at)
			return r < 0 ? r : -ENOENT;
	}
	if (is_dir(at))
		return -EISDIR;
	*ret = at->file;
	return 0;
}

static int own(struct span *s, uint8_t **owned)
{
	uint8_t *copy = NULL;

	if (s->len > 0) {
		copy = malloc(s->len);
		if (!copy)
			return -ENOMEM;
		memcpy(copy, s->data, s->len);
	}
	free(*owned);
	*owned = copy;
	s->data = copy;
	return 0;
}

int tarfile_own(struct tarfile *f)
{
	struct inode *ino = &f->inode;
	int r = own(&ino->xattrs.list, &f->list);

	if (r == 0 && (ino->type == FT_REG || ino->type == FT_LNK))
		r = own(&ino->content.inlined, &f->inlined);
	return r;
}

static int cmp_names(const void *a, const void *b)
{
	const struct tarname *x = *(struct tarname *const *)a, *y = *(struct tarname *const *)b;

	return span_cmp(span_of(x->name, x->len), span_of(y->name, y->len));
}

static int sort_dir(struct tarname *dir)
{
	_cleanup_free_ struct tarname **names = NULL;
	size_t count = 0, i = 0;

	for (const struct tarname *n = dir->below; n; n = n->beside)
		count++;
	if (count < 2)
		return 0;
	names = new0(struct tarname *, count);
	if (!names)
		return -ENOMEM;
	for (struct tarname *n = dir->below; n; n = n->beside)
		names[i++] = n;
	qsort(names, count, sizeof(*names), cmp_names);
	for (i = 0; i < count; i++)
		names[i]->beside = i + 1 < count ? names[i + 1] : NULL;
	dir->below = names[0];
	return 0;
}

struct sorting {
	int r;
};

static void sort_name(struct hnode *n, void *ctx)
{
	struct sorting *s = ctx;

	if (s->r == 0)
		s->r = sort_dir(container_of(n, struct tarname, node));
}

int tartree_sort(struct tartree *t)
{
	struct sorting s = { .r = sort_dir(t->root) };

	htab_walk(&t->names, sort_name, &s);
	return s.r;
}
