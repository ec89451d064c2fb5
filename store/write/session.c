/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The commit's session: a queue between the walker, who says what changed, and the trees, which
 * need every content's id before they can have an entry.
 *
 *	walker --> steps (in order) --> directories being edited --> nodes
 *	              |
 *	              '-- contents --> batches --> workers
 *
 * The walker's thread does both ends: after each thing it says, steps whose contents are ready are
 * carried out from the front; when too many wait, it waits for the first.
 */
#include "write/session.h"

#include "base/list.h"
#include "base/log.h"
#include "object/reader.h"

enum {
	STEPS_MAX = 4096,
};

enum step_kind {
	STEP_BEGIN,
	STEP_END,
	STEP_PUT,
	STEP_PUT_LINK,
	STEP_REMOVE,
	STEP_LINK, /* a record of the links tree */
	STEP_STORE, /* a content alone */
};

struct step {
	enum step_kind kind;
	struct list link; /* in session->steps */
	struct span name; /* owned, in @bytes */
	struct inode inode; /* spans in @bytes */
	struct tree_root base; /* STEP_BEGIN */
	bool has_base;
	bool has_link;
	struct id128 id; /* of a link */
	uint32_t nlink;
	uint64_t tag; /* STEP_STORE */
	struct content_build *build; /* owned; NULL: the inode has its content */
	size_t len;
	uint8_t bytes[];
};

/* What becomes of a link, in the order in which it was said. */
struct link_change {
	struct id128 id;
	size_t nth;
	struct step *step; /* owned; the record, with its number of names */
	uint32_t nlink; /* without: the number that it has now; 0: it is removed */
};

struct session {
	struct session_options o;
	struct packer *packer; /* owned */
	struct access access;
	struct reader_source source;
	struct batch *open; /* small chunks being gathered */
	struct list steps;
	size_t step_count;
	struct tree_edit **dirs; /* a stack of directories being edited; owned */
	size_t depth, cap;
	struct link_change *links; /* owned */
	size_t link_count, link_cap;
	struct step *root; /* the root's last step: the snapshot borrows it */
};

static void step_free(struct step *x)
{
	if (!x)
		return;
	content_build_free(x->build);
	free(x);
}
DEFINE_CLEANUP(struct step *, step_free)

int session_new(const struct session_options *o, struct session **ret)
{
	_cleanup_(session_freep) struct session *s = new0(struct session, 1);
	struct packer_options po = { .store = o->store,
				     .is_large = o->is_large,
				     .cancelled = o->cancelled };
	int r;

	if (!s)
		return -ENOMEM;
	s->o = *o;
	list_init(&s->steps);
	access_init(&s->access, o->store->reader, true);
	s->access.deadline.cancelled = o->cancelled;
	s->source = reader_source(o->store->reader, &s->access);
	r = packer_new(&po, &s->packer);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(s);
	return 0;
}

void session_free(struct session *s)
{
	if (!s)
		return;
	list_for_each_safe (x, &s->steps, struct step, link)
		step_free(x);
	while (s->depth > 0)
		tree_edit_free(s->dirs[--s->depth]);
	free(s->dirs);
	for (size_t i = 0; i < s->link_count; i++)
		step_free(s->links[i].step);
	free(s->links);
	step_free(s->root);
	if (s->packer)
		packer_batch_unref(s->packer, s->open);
	packer_free(s->packer);
	access_release(&s->access);
	free(s);
}

static uint8_t *copy_span(struct span *s, uint8_t *to)
{
	if (s->len > 0)
		memcpy(to, s->data, s->len);
	s->data = to;
	return to + s->len;
}

/* A step with copies of all that its name and inode borrow. */
static int step_new(enum step_kind kind, struct span name, const struct inode *ino,
		    struct step **ret)
{
	bool has_content = ino && (ino->type == FT_REG || ino->type == FT_LNK);
	size_t len = name.len + (ino ? ino->xattrs.list.len : 0) +
		     (has_content ? ino->content.inlined.len : 0);
	struct step *x = calloc(1, sizeof(*x) + len);
	uint8_t *to;

	if (!x)
		return -ENOMEM;
	x->kind = kind;
	x->len = len;
	x->name = name;
	to = copy_span(&x->name, x->bytes);
	if (ino) {
		x->inode = *ino;
		to = copy_span(&x->inode.xattrs.list, to);
		if (has_content)
			copy_span(&x->inode.content.inlined, to);
	}
	*ret = x;
	return 0;
}

static int submit_open(struct session *s)
{
	int r;

	if (!s->open)
		return 0;
	r = packer_submit(s->packer, s->open);
	packer_batch_unref(s->packer, TAKE_PTR(s->open));
	return r;
}

static struct tree_edit *top(struct session *s)
{
	return s->dirs[s->depth - 1];
}

static int open_dir(struct session *s, struct step *x)
{
	int r;

	if (s->depth == s->cap) {
		size_t cap = MAX(2 * s->cap, (size_t)16);
		struct tree_edit **d = reallocarray(s->dirs, cap, sizeof(*d));

		if (!d)
			return -ENOMEM;
		s->dirs = d;
		s->cap = cap;
	}
	r = tree_edit_new(TREE_DIR, &s->source.base, packer_sink(s->packer),
			  x->has_base ? &x->base : NULL, &s->dirs[s->depth]);
	if (r == 0)
		s->depth++;
	return r;
}

static int put_entry(struct session *s, const struct step *x)
{
	struct dirent_rec d = {
		.name = x->name, .has_link = x->has_link, .link = x->id, .inode = x->inode
	};

	return dir_edit_put(top(s), &d);
}

static int close_dir(struct session *s, struct step *x)
{
	struct tree_edit *e = s->dirs[--s->depth];
	int r = tree_edit_finish(e, &x->inode.dir);

	tree_edit_free(e);
	return r < 0 || s->depth == 0 ? r : put_entry(s, x);
}

static int keep_link(struct session *s, const struct link_change *change)
{
	if (s->link_count == s->link_cap) {
		size_t cap = MAX(2 * s->link_cap, (size_t)16);
		struct link_change *l = reallocarray(s->links, cap, sizeof(*l));

		if (!l)
			return -ENOMEM;
		s->links = l;
		s->link_cap = cap;
	}
	s->links[s->link_count] = *change;
	s->links[s->link_count].nth = s->link_count;
	s->link_count++;
	return 0;
}

/* A link's record waits until all are known. There may be many: what its content was built with
 * goes, but for bytes that travel inline. */
static int keep_record(struct session *s, struct step **step)
{
	struct step *x = *step;
	struct span inlined = x->build ? x->inode.content.inlined : span_of(NULL, 0);
	int r;

	if (inlined.len > 0) {
		struct step *longer = realloc(x, sizeof(*x) + x->len + inlined.len);

		if (!longer)
			return -ENOMEM;
		*step = x = longer;
		x->inode.xattrs.list.data = x->bytes;
		x->inode.content.inlined.data =
			memcpy(x->bytes + x->len, inlined.data, inlined.len);
	}
	content_build_free(TAKE_PTR(x->build));
	r = keep_link(s, &(struct link_change){ .id = x->id, .step = x });
	if (r == 0)
		*step = NULL;
	return r;
}

/* Carries out one step. What it holds is freed, or kept where it is still needed. */
static int carry_out(struct session *s, struct step *step)
{
	_cleanup_(step_freep) struct step *x = step;
	int r = 0;

	if (x->build)
		r = content_build_finish(x->build, &x->inode.content);
	if (r < 0)
		return r;
	switch (x->kind) {
	case STEP_BEGIN:
		return open_dir(s, x);
	case STEP_END:
		r = close_dir(s, x);
		if (s->depth == 0 && r == 0)
			s->root = TAKE_PTR(x);
		return r;
	case STEP_PUT:
	case STEP_PUT_LINK:
		return put_entry(s, x);
	case STEP_REMOVE:
		return dir_edit_remove(top(s), x->name);
	case STEP_LINK:
		return keep_record(s, &x);
	case STEP_STORE:
		return s->o.stored(s->o.stored_ctx, x->tag, &x->inode.content);
	}
	return -EINVAL;
}

/* Carries out steps from the front as far as they are ready, and until no more than @max wait. */
static int carry_on(struct session *s, size_t max)
{
	int r = 0;

	while (r == 0 && s->step_count > 0) {
		struct step *x = list_first(&s->steps, struct step, link);

		if (x->build && !content_build_is_ready(x->build)) {
			if (s->step_count <= max)
				return 0;
			/* It may be its own batch that is not full. */
			r = submit_open(s);
			if (r < 0)
				return r;
		}
		list_remove(&x->link);
		s->step_count--;
		r = carry_out(s, x);
	}
	return r;
}

static int add_step(struct session *s, struct step *x)
{
	list_append(&s->steps, &x->link);
	s->step_count++;
	return carry_on(s, STEPS_MAX);
}

static int build(struct session *s, struct step *x, struct content_source *src)
{
	struct content_options o = {
		.packer = s->packer, .params = s->o.chunk, .access = &s->access, .open = &s->open
	};
	int r;

	r = content_build_new(&o, src, &x->build);
	if (r < 0) {
		step_free(x);
		return r;
	}
	return add_step(s, x);
}

int session_dir_begin(struct session *s, const struct tree_root *base)
{
	struct step *x;
	int r = step_new(STEP_BEGIN, span_of(NULL, 0), NULL, &x);

	if (r < 0)
		return r;
	x->has_base = base && !oid_is_null(&base->id);
	if (x->has_base)
		x->base = *base;
	return add_step(s, x);
}

int session_dir_end(struct session *s, struct span name, const struct inode *ino)
{
	struct step *x;
	int r = step_new(STEP_END, name, ino, &x);

	return r < 0 ? r : add_step(s, x);
}

int session_put_file(struct session *s, struct span name, const struct inode *ino,
		     struct content_source *src)
{
	struct step *x;
	int r = step_new(STEP_PUT, name, ino, &x);

	if (r < 0) {
		src->free(src);
		return r;
	}
	return build(s, x, src);
}

int session_put(struct session *s, struct span name, const struct inode *ino)
{
	struct content_source *src;
	struct step *x;
	int r;

	/* A symlink's target travels with the inode until it is stored here. */
	if (ino->type == FT_LNK && ino->content.inlined.len == ino->content.size) {
		r = content_of_bytes(ino->content.inlined, &src);
		return r < 0 ? r : session_put_file(s, name, ino, src);
	}
	r = step_new(STEP_PUT, name, ino, &x);
	return r < 0 ? r : add_step(s, x);
}

int session_put_link(struct session *s, struct span name, uint8_t type, const struct id128 *link)
{
	struct inode ino = { .type = type };
	struct step *x;
	int r = step_new(STEP_PUT_LINK, name, &ino, &x);

	if (r < 0)
		return r;
	x->has_link = true;
	x->id = *link;
	return add_step(s, x);
}

int session_remove(struct session *s, struct span name)
{
	struct step *x;
	int r = step_new(STEP_REMOVE, name, NULL, &x);

	return r < 0 ? r : add_step(s, x);
}

static int link_step(struct session *s, const struct id128 *link, uint32_t nlink,
		     const struct inode *ino, struct content_source *src)
{
	struct step *x;
	int r = step_new(STEP_LINK, span_of(NULL, 0), ino, &x);

	if (r < 0) {
		if (src)
			src->free(src);
		return r;
	}
	x->id = *link;
	x->nlink = nlink;
	return src ? build(s, x, src) : add_step(s, x);
}

int session_link_file(struct session *s, const struct id128 *link, uint32_t nlink,
		      const struct inode *ino, struct content_source *src)
{
	return link_step(s, link, nlink, ino, src);
}

int session_link(struct session *s, const struct id128 *link, uint32_t nlink,
		 const struct inode *ino)
{
	struct content_source *src = NULL;
	int r = 0;

	if (ino->type == FT_LNK && ino->content.inlined.len == ino->content.size)
		r = content_of_bytes(ino->content.inlined, &src);
	return r < 0 ? r : link_step(s, link, nlink, ino, src);
}

int session_unlink(struct session *s, const struct id128 *link)
{
	return keep_link(s, &(struct link_change){ .id = *link });
}

int session_link_names(struct session *s, const struct id128 *link, uint32_t nlink)
{
	/* The record itself may still be waiting. */
	int r = session_settle(s);

	return r < 0 ? r : keep_link(s, &(struct link_change){ .id = *link, .nlink = nlink });
}

int session_store(struct session *s, uint64_t tag, struct content_source *src)
{
	struct step *x;
	int r = step_new(STEP_STORE, span_of(NULL, 0), NULL, &x);

	if (r < 0) {
		src->free(src);
		return r;
	}
	x->tag = tag;
	return build(s, x, src);
}

int session_settle(struct session *s)
{
	int r = submit_open(s);

	return r < 0 ? r : carry_on(s, 0);
}

int session_xattrs(struct session *s, struct span list, struct xattrs *x)
{
	struct content_options o = { .packer = s->packer, .open = &s->open };
	struct batch *b;
	uint32_t i;
	int r;

	if (list.len <= XATTR_INLINE_MAX) {
		*x = (struct xattrs){ .list = list };
		return 0;
	}
	r = content_add_chunk(&o, list, &b, &i);
	if (r < 0)
		return r;
	if (!b->ticket)
		r = submit_open(s);
	if (r == 0)
		r = packer_wait(s->packer, b);
	if (r == 0)
		*x = (struct xattrs){
			.large_len = (uint32_t)list.len,
			.large = b->chunks[i].id,
			.loc = b->chunks[i].loc,
		};
	packer_batch_unref(s->packer, b);
	return r;
}

static int cmp_links(const void *a, const void *b)
{
	const struct link_change *x = a, *y = b;
	int c = id128_cmp(&x->id, &y->id);

	return c ? c : (x->nth > y->nth) - (x->nth < y->nth);
}

/* Puts or removes the link that all of these are about. */
static int edit_link(struct tree_edit *e, const struct link_change *l, size_t n)
{
	struct link_rec rec = { .link = l->id };

	for (size_t i = 0; i < n; i++) {
		rec.nlink = l[i].nlink;
		if (l[i].step) {
			rec.nlink = l[i].step->nlink;
			rec.inode = l[i].step->inode;
		}
	}
	return rec.nlink ? links_edit_put(e, &rec) : links_edit_remove(e, &l->id);
}

static int edit_links(struct session *s, const struct tree_root *base, struct tree_root *ret)
{
	_cleanup_(tree_edit_freep) struct tree_edit *e = NULL;
	size_t n;
	int r;

	if (s->link_count == 0 && base) {
		*ret = *base;
		return 0;
	}
	if (s->link_count > 0)
		qsort(s->links, s->link_count, sizeof(s->links[0]), cmp_links);
	r = tree_edit_new(TREE_LINKS, &s->source.base, packer_sink(s->packer),
			  base && !oid_is_null(&base->id) ? base : NULL, &e);
	for (size_t i = 0; r == 0 && i < s->link_count; i += n) {
		for (n = 1; i + n < s->link_count; n++)
			if (!id128_equal(&s->links[i].id, &s->links[i + n].id))
				break;
		r = edit_link(e, &s->links[i], n);
	}
	return r < 0 ? r : tree_edit_finish(e, ret);
}

int session_finish(struct session *s, const struct tree_root *base_links, struct snapshot *ret)
{
	struct tree_root links;
	int r = session_settle(s);

	if (r == 0 && (!s->root || s->depth != 0))
		r = log_fail(-EIO, "a snapshot's walk ended in the middle");
	if (r == 0)
		r = edit_links(s, base_links, &links);
	if (r == 0)
		r = packer_finish(s->packer);
	if (r < 0)
		return r;
	packer_resolve(s->packer, &s->root->inode.dir.loc);
	packer_resolve(s->packer, &links.loc);
	ret->root = s->root->inode;
	ret->links = links;
	return 0;
}

struct packer *session_packer(struct session *s)
{
	return s->packer;
}
