/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A part of a run's tree as it is made (part.h).
 */
#include "record/part.h"

struct part_dir {
	struct buf name, xattrs;
	struct inode ino; /* its list of attributes is in @xattrs */
	bool stays;
	struct tree_edit *edit; /* owned; NULL: it has no entries yet */
};

static void dir_release(struct part_dir *d)
{
	buf_release(&d->name);
	buf_release(&d->xattrs);
	tree_edit_free(d->edit);
}

int part_init(struct part *p, struct node_source *source, struct node_sink *sink)
{
	struct inode ino = part_plain_dir();

	*p = (struct part){ .source = source, .sink = sink };
	return part_enter(p, span_of(NULL, 0), &ino, true);
}

void part_release(struct part *p)
{
	while (p->depth > 0)
		dir_release(&p->dirs[--p->depth]);
	free(p->dirs);
}

static int set_attributes(struct part_dir *d, const struct inode *ino)
{
	d->ino = *ino;
	d->ino.dir = (struct tree_root){ 0 };
	buf_put(&d->xattrs, ino->xattrs.list.data, ino->xattrs.list.len);
	d->ino.xattrs.list = buf_span(&d->xattrs);
	return buf_failed(&d->xattrs) ? -ENOMEM : 0;
}

int part_root(struct part *p, const struct inode *ino)
{
	buf_clear(&p->dirs[0].xattrs);
	return set_attributes(&p->dirs[0], ino);
}

int part_enter(struct part *p, struct span name, const struct inode *ino, bool stays)
{
	struct part_dir *d;

	if (p->depth == p->cap) {
		size_t cap = MAX(2 * p->cap, (size_t)16);

		d = reallocarray(p->dirs, cap, sizeof(*d));
		if (!d)
			return -ENOMEM;
		p->dirs = d;
		p->cap = cap;
	}
	d = &p->dirs[p->depth++];
	*d = (struct part_dir){ .stays = stays };
	buf_put(&d->name, name.data, name.len);
	return buf_failed(&d->name) ? -ENOMEM : set_attributes(d, ino);
}

int part_put(struct part *p, struct span name, const struct inode *ino)
{
	struct dirent_rec e = { .name = name, .inode = *ino };
	struct part_dir *d = &p->dirs[p->depth - 1];
	int r = 0;

	if (!d->edit)
		r = tree_edit_new(TREE_DIR, p->source, p->sink, NULL, &d->edit);
	return r < 0 ? r : dir_edit_put(d->edit, &e);
}

static int finish(struct part_dir *d)
{
	return d->edit ? tree_edit_finish(d->edit, &d->ino.dir) : 0;
}

int part_leave(struct part *p)
{
	struct part_dir d = p->dirs[--p->depth];
	int r = finish(&d);

	if (r == 0 && (d.edit || d.stays))
		r = part_put(p, buf_span(&d.name), &d.ino);
	dir_release(&d);
	return r;
}

int part_end(struct part *p, struct inode *ret)
{
	int r = 0;

	while (r == 0 && p->depth > 1)
		r = part_leave(p);
	if (r == 0)
		r = finish(&p->dirs[0]);
	if (r == 0)
		*ret = p->dirs[0].ino;
	return r;
}

struct inode part_plain_dir(void)
{
	return (struct inode){ .type = FT_DIR, .mode = 0755 };
}

struct inode part_absent(void)
{
	return (struct inode){ .type = FT_CHR };
}
