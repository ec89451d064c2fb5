/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Looking into a view: names to inode numbers, inode numbers to records, through the layers down
 * to the base.
 *
 * Everything here runs at hand, under view->lock: a node that is not in memory is -EAGAIN.
 */
#include <sys/sysmacros.h>

#include "base/hash.h"
#include "base/log.h"
#include "head/overlay.h"

enum {
	INO_FIRST = 16, /* below, numbers mean something to somebody */
	DIR_SIZE = 4096,
};

/* A number for a link id must not meet one for a name. */
static const uint64_t link_salt = 0x6c696e6b73616c74;

static uint64_t ino_of(uint64_t hash)
{
	return hash < INO_FIRST ? hash + INO_FIRST : hash;
}

uint64_t derive_ino(const struct view *v, uint64_t dir, struct span name)
{
	uint8_t key[8 + FILE_NAME_MAX];
	size_t n = MIN(name.len, (size_t)FILE_NAME_MAX);
	uint64_t le = htole64(dir);

	memcpy(key, &le, sizeof(le));
	if (n > 0)
		memcpy(key + sizeof(le), name.data, n);
	return ino_of(xxh64(key, sizeof(le) + n, v->salt));
}

uint64_t derive_link_ino(const struct view *v, const struct id128 *link)
{
	return ino_of(xxh64(link->b, sizeof(link->b), v->salt ^ link_salt));
}

uint64_t root_ino(const struct view *v)
{
	return derive_ino(v, 0, span_of(NULL, 0));
}

void file_release(struct file *f)
{
	buf_release(&f->raw);
	node_unref(f->leaf);
	*f = (struct file){ 0 };
}

void found_release(struct found *f)
{
	node_unref(f->leaf);
	*f = (struct found){ 0 };
}

struct layers head_layers(const struct head *h)
{
	struct layers l = h->frozen;

	if (h->top) {
		memmove(l.id + 1, l.id, l.count * sizeof(l.id[0]));
		l.id[0] = h->top;
		l.count++;
	}
	return l;
}

int load_from(struct head *h, const struct layers *layers, uint64_t ino, struct file *ret)
{
	for (unsigned i = 0; i < layers->count; i++) {
		struct record_key k = key_inode(layers->id[i], ino);
		_cleanup_file_ struct file f = { .layer = layers->id[i],
						 .xattr_layer = layers->id[i] };
		int r;

		r = table_get(h->heads->table, key_span(&k), &f.raw);
		if (r == -ENOENT)
			continue;
		if (r == 0)
			r = file_rec_read(buf_span(&f.raw), &f.rec);
		if (r < 0)
			return log_fail(-EIO, "the record of inode %llu in %s/%s is damaged",
					(unsigned long long)ino, h->view.repo_name, h->branch_name);
		*ret = f;
		f = (struct file){ 0 };
		return 0;
	}
	return -ENOENT;
}

int load_layered(struct head *h, uint64_t ino, struct file *ret)
{
	struct layers l = head_layers(h);

	return load_from(h, &l, ino, ret);
}

int entry_get(struct head *h, const struct layers *layers, uint64_t dir, struct span name,
	      struct entry_rec *ret)
{
	for (unsigned i = 0; i < layers->count; i++) {
		struct record_key k = key_entry(layers->id[i], dir, name);
		_cleanup_buf_ struct buf raw = { 0 };
		int r = table_get(h->heads->table, key_span(&k), &raw);

		if (r == 0)
			r = entry_rec_read(buf_span(&raw), ret);
		if (r != -ENOENT)
			return r == -EBADMSG ? -EIO : r;
	}
	return -ENOENT;
}

/*
 * Another mount may have made a file at a place whose number belongs to the file that was there:
 * that goes by another name here, or by none while somebody has it. Then the new one gets a number
 * of its own, for good.
 */
static int give_way(struct head *h, const struct record_key *place, bool is_exception,
		    uint64_t *ino)
{
	_cleanup_table_batch_ struct table_batch batch = { 0 };
	struct record_key taken = key_taken(h->id, *ino);
	uint64_t other = random_ino();
	int r;

	if (is_exception)
		table_batch_delete(&batch, key_span(&taken));
	exception_put(h, place, other, &batch);
	r = table_apply(h->heads->table, &batch);
	if (r == 0)
		*ino = other;
	return r;
}

/* Is the number, derived from a place, that of a file which was moved away from there? 1, 0,
 * -errno. */
static int is_moved_ones(struct head *h, uint64_t ino)
{
	_cleanup_buf_ struct buf raw = { 0 };
	struct record_key taken = key_taken(h->id, ino);
	int r = table_get(h->heads->table, key_span(&taken), &raw);

	return r == -ENOENT ? 0 : r < 0 ? r : 1;
}

static int is_orphans(struct head *h, uint64_t ino)
{
	_cleanup_buf_ struct buf raw = { 0 };
	struct record_key mark = key_orphan(h->id, ino);
	int r = table_get(h->heads->table, key_span(&mark), &raw);

	return r == -ENOENT ? 0 : r < 0 ? r : 1;
}

/* 1: the number is another's, so @k, a place or a link id, is to get one of its own. */
static int must_give_way(struct head *h, const struct dirent_rec *e, bool is_exception,
			 uint64_t ino)
{
	int r = 0;

	if (h->has_exceptions && !is_exception && !e->has_link)
		r = is_moved_ones(h, ino);
	if (r == 0)
		r = vnode_is_nameless(h->view.vnodes, &h->view, ino);
	/* One that is about to be reaped has no vnode any more. */
	if (r == 0 && h->moved_with_orphans)
		r = is_orphans(h, ino);
	return r;
}

/* The number of a name as far as it has one: 0; 1: it is to give way (base_ino()). */
static int find_ino(struct view *v, uint64_t dir, const struct dirent_rec *e,
		    struct record_key *ret_key, bool *ret_is_exception, uint64_t *ret)
{
	_cleanup_buf_ struct buf raw = { 0 };
	struct head *h;
	int r;

	*ret_is_exception = false;
	*ret = e->has_link ? derive_link_ino(v, &e->link) : derive_ino(v, dir, e->name);
	if (!v->is_head)
		return 0;
	h = head_of(v);
	if (!h->has_exceptions && !h->left && !h->top)
		return 0;
	*ret_key = e->has_link ? key_link_exception(h->id, &e->link)
			       : key_exception(h->id, dir, e->name);
	if (h->has_exceptions) {
		r = table_get(h->heads->table, key_span(ret_key), &raw);
		if (r < 0 && r != -ENOENT)
			return r;
		if (r == 0 && raw.len != sizeof(uint64_t))
			return -EIO;
		if (r == 0)
			*ret = key_u64_at(buf_span(&raw), 0);
		*ret_is_exception = r == 0;
	}
	return must_give_way(h, e, *ret_is_exception, *ret);
}

int base_ino(struct view *v, uint64_t dir, const struct dirent_rec *e, uint64_t *ret)
{
	bool is_exception;
	struct record_key k;
	int r = find_ino(v, dir, e, &k, &is_exception, ret);

	return r > 0 ? give_way(head_of(v), &k, is_exception, ret) : r;
}

int seen_ino(struct view *v, uint64_t dir, const struct dirent_rec *e, uint64_t *ret)
{
	bool is_exception;
	struct record_key k;
	int r = find_ino(v, dir, e, &k, &is_exception, ret);

	return r > 0 ? -ENOENT : r;
}

int find_in(struct view *v, uint64_t dir, const struct tree_root *root, struct span name,
	    struct access *acc, struct found *ret)
{
	struct reader_source src = reader_source(v->store->reader, acc);
	struct found f = { 0 };
	int r;

	if (v->is_head) {
		struct layers l = head_layers(head_of(v));
		struct entry_rec e;

		r = entry_get(head_of(v), &l, dir, name, &e);
		if (r == 0 && e.ino == 0)
			return -ENOENT;
		if (r == 0)
			*ret = (struct found){
				.ino = e.ino, .type = e.type, .is_layered = true, .age = e.age
			};
		if (r != -ENOENT)
			return r;
	}
	r = dir_lookup(&src.base, root, name, &f.leaf, &f.base);
	if (r < 0)
		return r;
	f.type = f.base.inode.type;
	r = base_ino(v, dir, &f.base, &f.ino);
	if (r < 0) {
		found_release(&f);
		return r;
	}
	*ret = f;
	return 0;
}

int find_name(struct view *v, struct vnode *dir, struct span name, struct access *acc,
	      struct found *ret)
{
	struct tree_root root;
	int r;

	if (dir->type != FT_DIR)
		return -ENOTDIR;
	if (name.len > FILE_NAME_MAX)
		return -ENAMETOOLONG;
	if (dir->flags & VNODE_UNLINKED)
		return -ENOENT;
	r = dir_root(v, dir, acc, &root);
	return r < 0 ? r : find_in(v, dir->ino, &root, name, acc, ret);
}

/* Is a directory's tree known without looking into its parent's? 1 and the tree, 0, -errno. */
static int known_root(struct view *v, const struct vnode *dir, struct tree_root *ret)
{
	if (v->is_head && !(dir->flags & VNODE_LEFT)) {
		_cleanup_file_ struct file f = { 0 };
		int r = load_layered(head_of(v), dir->ino, &f);

		if (r == 0)
			*ret = f.rec.inode.dir;
		if (r != -ENOENT)
			return r < 0 ? r : 1;
	}
	if (dir->flags & VNODE_UNLINKED) {
		*ret = (struct tree_root){ 0 };
		return 1;
	}
	if (!dir->parent) {
		*ret = v->base.root.dir;
		return 1;
	}
	if (dir->dir && dir->dir->is_known && dir->dir->generation == v->generation) {
		*ret = dir->dir->root;
		return 1;
	}
	return 0;
}

/* Learns a directory's tree from that of its parent. */
static int learn_root(struct view *v, struct vnode *dir, const struct tree_root *parent,
		      struct access *acc)
{
	struct reader_source src = reader_source(v->store->reader, acc);
	_cleanup_(node_unrefp) struct node *leaf = NULL;
	struct dirent_rec e;
	int r;

	r = dir_lookup(&src.base, parent, vnode_name(dir), &leaf, &e);
	if (r < 0)
		return r;
	if (e.inode.type != FT_DIR)
		return -ENOENT;
	if (!dir->dir)
		dir->dir = new0(struct live_dir, 1);
	if (!dir->dir)
		return -ENOMEM;
	*dir->dir = (struct live_dir){ .root = e.inode.dir,
				       .generation = v->generation,
				       .is_known = true };
	return 0;
}

int dir_root(struct view *v, struct vnode *dir, struct access *acc, struct tree_root *ret)
{
	/* The nearest known one above first, then down again: no recursion, however deep the path.
	 */
	for (;;) {
		struct vnode *d = dir;
		struct tree_root root;
		int r = known_root(v, d, &root);

		if (r != 0) {
			if (r > 0)
				*ret = root;
			return MIN(r, 0);
		}
		while ((r = known_root(v, d->parent, &root)) == 0)
			d = d->parent;
		if (r > 0)
			r = learn_root(v, d, &root, acc);
		if (r < 0)
			return r;
	}
}

void file_of_inode(const struct inode *ino, bool has_link, struct file_rec *ret)
{
	*ret = (struct file_rec){ .inode = *ino, .nlink = 1, .has_link = has_link };
	if (ino->type == FT_REG) {
		ret->size = ret->lower_end = ino->content.size;
		ret->data = ino->content.data;
	} else if (ino->type == FT_DIR) {
		ret->nlink = (uint32_t)MIN(ino->dir.sum.subdirs + 2, (uint64_t)UINT32_MAX);
		ret->items = ino->dir.sum.items;
	}
}

/* -ENOENT: it was removed, or something else has come in its place. */
static int load_link(struct view *v, const struct id128 *link, struct access *acc, struct file *ret)
{
	struct reader_source src = reader_source(v->store->reader, acc);
	struct link_rec l;
	int r;

	r = links_lookup(&src.base, &v->base.commit.links, link, &ret->leaf, &l);
	if (r < 0)
		return r;
	file_of_inode(&l.inode, true, &ret->rec);
	ret->rec.nlink = l.nlink;
	ret->rec.link = *link;
	return 0;
}

static int load_base(struct view *v, uint64_t dir, struct span name, const struct dirent_rec *e,
		     struct node *leaf, struct access *acc, struct file *ret)
{
	if (e->has_link) {
		int r = load_link(v, &e->link, acc, ret);

		return r == -ENOENT ? log_fail(-EIO,
					       "%s: a hard-linked file has no record in its commit",
					       v->repo_name)
				    : r;
	}
	file_of_inode(&e->inode, false, &ret->rec);
	ret->rec.parent = dir;
	ret->rec.name = name;
	ret->leaf = node_ref(leaf);
	return 0;
}

int load_found(struct view *v, uint64_t dir, struct span name, const struct found *f,
	       struct access *acc, struct file *ret)
{
	_cleanup_file_ struct file file = { 0 };
	int r = -ENOENT;

	if (v->is_head)
		r = load_layered(head_of(v), f->ino, &file);
	if (r == -ENOENT && !f->is_layered)
		r = load_base(v, dir, name, &f->base, f->leaf, acc, &file);
	else if (r == -ENOENT)
		r = log_fail(-EIO, "%s: a name without a record", v->repo_name);
	if (r < 0)
		return r;
	*ret = file;
	file = (struct file){ 0 };
	return 0;
}

int load_vnode(struct view *v, struct vnode *n, struct access *acc, struct file *ret)
{
	struct reader_source src = reader_source(v->store->reader, acc);
	_cleanup_(node_unrefp) struct node *leaf = NULL;
	_cleanup_file_ struct file f = { 0 };
	struct tree_root root;
	struct dirent_rec e;
	int r = -ENOENT;

	if (n->flags & VNODE_LEFT) {
		*ret = (struct file){ .rec = n->left->rec };
		return 0;
	}
	if (v->is_head)
		r = load_layered(head_of(v), n->ino, &f);
	if (r == -ENOENT) {
		if (n->link) {
			r = load_link(v, &n->link->id, acc, &f);
		} else if (n->flags & VNODE_UNLINKED) {
			r = -ESTALE;
		} else if (!n->parent) {
			file_of_inode(&v->base.root, false, &f.rec);
			r = 0;
		} else {
			r = dir_root(v, n->parent, acc, &root);
			if (r == 0)
				r = dir_lookup(&src.base, &root, vnode_name(n), &leaf, &e);
			if (r == 0)
				r = load_base(v, n->parent->ino, vnode_name(n), &e, leaf, acc, &f);
		}
	}
	if (r < 0)
		return r == -ENOENT ? -ESTALE : r;
	*ret = f;
	f = (struct file){ 0 };
	return 0;
}

void file_stat(const struct file_rec *f, uint64_t ino, struct stat *ret)
{
	const struct inode *i = &f->inode;
	struct stat st = {
		.st_ino = ino,
		.st_mode = file_type_to_mode(i->type) | i->mode,
		.st_nlink = f->nlink,
		.st_uid = i->uid,
		.st_gid = i->gid,
		.st_blksize = STAGE_BLOCK,
		.st_mtim = inode_time_to(i->mtime),
		.st_ctim = inode_time_to(i->ctime),
	};

	st.st_atim = st.st_mtim;
	switch (i->type) {
	case FT_REG:
		st.st_size = (off_t)f->size;
		st.st_blocks = (blkcnt_t)(ALIGN_UP(f->data, STAGE_BLOCK) / 512);
		break;
	case FT_DIR:
		st.st_size = DIR_SIZE;
		st.st_blocks = DIR_SIZE / 512;
		break;
	case FT_LNK:
		st.st_size = (off_t)i->content.size;
		break;
	case FT_CHR:
	case FT_BLK:
		st.st_rdev = makedev(i->dev.major, i->dev.minor);
		break;
	default:
		break;
	}
	*ret = st;
}

int vnode_of_found(struct view *v, struct vnode *dir, struct span name, const struct found *f,
		   const struct file_rec *rec, struct vnode **ret)
{
	struct hard_link *link = NULL;
	int r;

	/* A name of a hard link may go before the others: the vnode then needs the id. */
	if (rec->has_link) {
		link = link_new(&rec->link);
		if (!link)
			return -ENOMEM;
	}
	r = vnode_get(v->vnodes, v, f->ino, f->type, dir, name, ret);
	if (r == 0 && link) {
		if (!(*ret)->link)
			(*ret)->link = TAKE_PTR(link);
		link_known(*ret, vnode_id(dir), name);
	}
	link_free(link);
	return r;
}

int file_xattrs(struct view *v, uint64_t ino, const struct file *f, struct access *acc,
		struct buf *ret)
{
	struct record_key k;

	if (!f->rec.is_xattr_staged)
		return xattrs_load(v->store->reader, &f->rec.inode.xattrs, acc, ret);
	k = key_xattrs(f->xattr_layer, ino);
	return table_get(head_of(v)->heads->table, key_span(&k), ret);
}
