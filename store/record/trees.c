/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The tree of a run's record (trees.h): its parts side by side, in one session.
 *
 * Only the files of "extra" have new bytes; all else is entries of commits, with their ids and
 * hints as they are. Should the collector have moved while it was written, it is written again.
 */
#include "record/trees.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/fdio.h"
#include "base/log.h"
#include "base/text.h"
#include "format/commit.h"
#include "format/hint.h"
#include "index/index.h"
#include "object/reader.h"
#include "record/tree_read.h"
#include "record/trees_parts.h"

enum {
	TRIES_MAX = 5,
	SEGMENT_TIMEOUT_MS = 60000,
};

int making_commit(const struct making *m, const struct id128 *repo, const struct oid *id,
		  struct commit_trees *ret)
{
	struct refs_wait w = { .may_wait = true, .deadline = m->access->deadline };
	_cleanup_buf_ struct buf object = { 0 };
	_cleanup_commit_ struct commit c = { 0 };
	int r;

	*ret = (struct commit_trees){ .mode = 0755 };
	if (oid_is_null(id))
		return 0;
	r = refs_commit(m->store->refs, repo, id, &w, &object);
	if (r == 0)
		r = commit_read(buf_span(&object), id, &c);
	if (r < 0)
		return r == -ENOENT ? -EBADMSG : r;
	*ret = (struct commit_trees){ .root = c.root.dir, .links = c.links, .mode = c.root.mode };
	return 0;
}

int making_inode(const struct making *m, const struct tree_root *links, const struct dirent_rec *e,
		 struct node **ret_leaf, struct inode *ret)
{
	struct node_source *source = (struct node_source *)&m->source.base;
	struct link_rec record;
	int r;

	if (!e->has_link) {
		*ret = e->inode;
		return 0;
	}
	r = links_lookup(source, links, &e->link, ret_leaf, &record);
	if (r == 0)
		*ret = record.inode;
	return r == -ENOENT ? -EBADMSG : r;
}

/* A file that somebody may cut shorter meanwhile: what is missing reads as zeroes. */
struct fd_source {
	struct content_source base;
	int fd; /* borrowed */
};

static int fd_piece(struct content_source *s, uint64_t off, struct piece *ret)
{
	*ret = (struct piece){ .kind = PIECE_DATA, .len = s->size - off };
	return 0;
}

static int fd_read(struct content_source *s, uint64_t off, size_t len, void *buf)
{
	struct fd_source *f = container_of(s, struct fd_source, base);
	ssize_t n = pread_upto(f->fd, buf, len, off);

	if (n < 0)
		return (int)n;
	memset((uint8_t *)buf + n, 0, len - (size_t)n);
	return 0;
}

static void fd_free(struct content_source *s)
{
	free(container_of(s, struct fd_source, base));
}

static int content_of_fd(int fd, struct content_source **ret)
{
	struct fd_source *f;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	f = new0(struct fd_source, 1);
	if (!f)
		return -ENOMEM;
	f->fd = fd;
	f->base = (struct content_source){
		.size = (uint64_t)st.st_size, .piece = fd_piece, .read = fd_read, .free = fd_free
	};
	*ret = &f->base;
	return 0;
}

static int cmp_extra(const void *a, const void *b)
{
	return strcmp(((const struct run_extra *)a)->name, ((const struct run_extra *)b)->name);
}

static int put_extra(struct session *s, const struct run_extra *extra, size_t n)
{
	const struct inode file = { .type = FT_REG, .mode = 0644 }, dir = part_plain_dir();
	_cleanup_free_ struct run_extra *sorted = new0(struct run_extra, n + 1);
	int r;

	if (!sorted)
		return -ENOMEM;
	if (n == 0)
		return 0;
	memcpy(sorted, extra, n * sizeof(*extra));
	qsort(sorted, n, sizeof(*sorted), cmp_extra);
	r = session_dir_begin(s, NULL);
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct content_source *src;

		r = sorted[i].fd >= 0 ? content_of_fd(sorted[i].fd, &src)
				      : content_of_bytes(sorted[i].bytes, &src);
		if (r == 0)
			r = session_put_file(s, span_str(sorted[i].name), &file, src);
	}
	return r < 0 ? r : session_dir_end(s, span_str(RUN_TREE_EXTRA), &dir);
}

/* Ends a part and puts it in the root, if it has anything in it. */
static int put_part(struct session *s, const char *name, struct part *p)
{
	struct inode ino;
	int r = part_end(p, &ino);

	if (r < 0 || (oid_is_null(&ino.dir.id) && ino.xattrs.list.len == 0))
		return r;
	return session_put(s, span_str(name), &ino);
}

static int make(struct making *m, struct session *s, struct seen *seen,
		const struct run_extra *extra, size_t extra_count)
{
	_cleanup_(part_release) struct part read = { 0 }, looked = { 0 }, written = { 0 };
	_cleanup_(part_release) struct part kept = { 0 };
	struct part *all[] = { &read, &kept, &looked, &written };
	const struct inode dir = part_plain_dir();
	int r = session_dir_begin(s, NULL);

	m->sink = packer_sink(session_packer(s));
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(all); i++)
		r = part_init(all[i], &m->source.base, m->sink);
	if (r == 0)
		r = making_observed(m, seen, &read, &kept, &looked);
	if (r == 0)
		r = making_written(m, &written);
	if (r == 0)
		r = put_extra(s, extra, extra_count);
	if (r == 0)
		r = put_part(s, RUN_TREE_KEPT, &kept);
	if (r == 0)
		r = put_part(s, RUN_TREE_LOOKED, &looked);
	if (r == 0)
		r = put_part(s, RUN_TREE_READ, &read);
	if (r == 0)
		r = put_part(s, RUN_TREE_WRITTEN, &written);
	return r < 0 ? r : session_dir_end(s, span_of(NULL, 0), &dir);
}

static int try_once(struct making *m, struct seen *seen, const struct run_extra *extra,
		    size_t extra_count, struct tree_root *ret)
{
	const struct session_options so = { .store = m->store,
					    .chunk = CHUNK_PARAMS_DEFAULT,
					    .cancelled = m->access->deadline.cancelled };
	struct deadline dl = deadline_in_ms(SEGMENT_TIMEOUT_MS);
	_cleanup_(session_freep) struct session *s = NULL;
	struct snapshot snap;
	int r = session_new(&so, &s);

	if (r == 0)
		r = make(m, s, seen, extra, extra_count);
	if (r == 0)
		r = session_finish(s, NULL, &snap);
	if (r == 0)
		r = packer_recheck(session_packer(s));
	if (r < 0)
		return r;
	*ret = snap.root.dir;
	packer_tell_index(session_packer(s));
	/* A segment that is not published now is published after the next one. */
	index_publish(m->store->index, m->store->backend, false, &dl);
	return 0;
}

static int cmp_branches(const void *a, const void *b)
{
	const struct run_branch *x = a, *y = b;

	return strcmp(x->repo, y->repo) ?: strcmp(x->branch, y->branch);
}

int run_tree_write(struct store *store, struct seen *seen, const struct run_branch *branches,
		   size_t count, const struct run_extra *extra, size_t extra_count,
		   struct access *acc, struct tree_root *ret)
{
	_cleanup_free_ struct run_branch *sorted = new0(struct run_branch, count + 1);
	struct making m = { .store = store, .access = acc, .branch_count = count };
	int r = -ERESTART;

	if (!sorted)
		return -ENOMEM;
	if (count > 0) {
		memcpy(sorted, branches, count * sizeof(*branches));
		qsort(sorted, count, sizeof(*sorted), cmp_branches);
	}
	m.branches = sorted;
	m.source = reader_source(store->reader, acc);
	access_may_fetch(acc);
	for (unsigned n = 0; r == -ERESTART && n < TRIES_MAX; n++)
		r = try_once(&m, seen, extra, extra_count, ret);
	return r;
}

json_t *run_tree_json(const struct tree_root *t)
{
	_cleanup_free_ char *hex = NULL;
	_cleanup_buf_ struct buf hint = { 0 };
	char id[OID_HEX];

	if (t->loc.state == LOC_AT) {
		buf_put(&hint, t->loc.pack.b, sizeof(t->loc.pack.b));
		buf_put_u32(&hint, t->loc.offset);
		buf_put_u32(&hint, t->loc.frame_len);
		buf_put_u16(&hint, t->loc.item);
	}
	hex = malloc(2 * hint.len + 1);
	if (!hex || buf_failed(&hint))
		return NULL;
	hex_encode(hint.data, hint.len, hex);
	return json_pack("{s:s, s:s, s:I, s:I, s:I}", "id", oid_hex(&t->id, id), "hint", hex,
			 "dirs", (json_int_t)t->sum.items, "files", (json_int_t)t->sum.files,
			 "bytes", (json_int_t)MIN(t->sum.bytes, (uint64_t)INT64_MAX));
}

/* What hint there is may be wrong, and none is needed. */
static struct loc hint_of(const char *hex)
{
	uint8_t raw[sizeof(struct id128) + 10];
	struct loc l = { .state = LOC_AT };
	struct cursor c;

	if (!hex || strlen(hex) != 2 * sizeof(raw) || hex_decode(hex, strlen(hex), raw) < 0)
		return LOC_NOWHERE;
	c = cursor_of(span_of(raw, sizeof(raw)));
	l.pack = rd_id128(&c);
	l.offset = rd_u32(&c);
	l.frame_len = rd_u32(&c);
	l.item = rd_u16(&c);
	return l;
}

int run_tree_read(const json_t *j, struct tree_root *ret)
{
	const char *id = json_string_value(json_object_get(j, "id"));
	const json_t *dirs = json_object_get(j, "dirs"), *files = json_object_get(j, "files"),
		     *bytes = json_object_get(j, "bytes");
	struct tree_root t = { 0 };

	if (!id || oid_parse(span_str(id), &t.id) < 0 || !json_is_integer(dirs) ||
	    !json_is_integer(files) || !json_is_integer(bytes) || json_integer_value(dirs) < 0 ||
	    json_integer_value(files) < 0 || json_integer_value(bytes) < 0)
		return -EBADMSG;
	t.loc = hint_of(json_string_value(json_object_get(j, "hint")));
	t.sum.items = t.sum.subdirs = (uint64_t)json_integer_value(dirs);
	t.sum.files = (uint64_t)json_integer_value(files);
	t.sum.bytes = (uint64_t)json_integer_value(bytes);
	*ret = t;
	return 0;
}
