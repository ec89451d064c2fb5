/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Importing a local directory or file.
 *
 * Two walks: the first counts, and finds out which files are hard links (those with several names
 * within the tree) and which ids they get; the second reads. The tree may change between and during
 * them; what is imported is then a little of both, as with any archiver, but each file is whole.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/log.h"
#include "transfer/attributes.h"
#include "transfer/basewalk.h"
#include "transfer/import.h"
#include "transfer/localfile.h"
#include "transfer/localwalk.h"

enum {
	READ_ATTEMPTS = 3, /* of a file that changes; the last takes it as it comes */
};

/* What a walk of either kind has at hand. */
struct local {
	struct import *im;
	struct localwalk *walk; /* owned; NULL: a single file */
	struct basewalk base;
	struct buf list, target; /* scratch: xattrs, a symlink's target */
};

static void local_release(struct local *l)
{
	localwalk_free(l->walk);
	basewalk_release(&l->base);
	buf_release(&l->list);
	buf_release(&l->target);
}
#define _cleanup_local_ _cleanup_(local_release)

static int local_init(struct local *l, struct import *im, int fd, bool links_only)
{
	const struct localwalk_options o = {
		.one_file_system = im->req->one_file_system,
		.cancelled = im->report.o->cancelled,
	};

	*l = (struct local){
		.im = im,
		.base = { .source = &im->place.source.base, .links_only = links_only },
	};
	/* Opened anew, as each walk reads it from its beginning. */
	fd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : localwalk_new(fd, &o, &l->walk);
}

/* Leaves out what the last event was about. */
static int skip(struct local *l, int error)
{
	const char *src = l->im->req->src;
	_cleanup_buf_ struct buf path = { 0 }, whole = { 0 };
	int r;

	/* A file that is all there is cannot be left out. */
	if (!l->walk)
		return log_errno(error, "%s", src);
	r = localwalk_path(l->walk, &path);
	if (r < 0)
		return r;
	buf_printf(&whole, "%s/%s", src, (const char *)path.data);
	if (buf_failed(&whole))
		return -ENOMEM;
	return report_skip(&l->im->report, (const char *)whole.data, error);
}

/* What the base has at the name of the event: 1, 0, or an error. */
static int find_base(struct local *l, const struct localwalk_event *e, struct dirent_rec *ret)
{
	const struct place *p = &l->im->place;

	if (l->base.depth > 0)
		return basewalk_find(&l->base, e->name, ret);
	*ret = p->entry;
	return p->exists;
}

/*
 * The first walk.
 */

/* With keep only what the tree has too is replaced, and directories are not. */
static int lose_name(struct local *l, const struct localwalk_event *e,
		     const struct dirent_rec *there)
{
	bool stays = e->kind == LOCALWALK_ENTER && dirent_tree(there);

	return !l->im->req->keep || stays ? 0 : import_lose(l->im, there);
}

static int scan_event(struct local *l, const struct localwalk_event *e)
{
	struct import *im = l->im;
	struct dirent_rec there;
	int found, r;

	if (e->kind == LOCALWALK_LEAVE) {
		basewalk_leave(&l->base);
		return 0;
	}
	if (e->kind == LOCALWALK_FAILED)
		return 0;
	found = find_base(l, e, &there);
	r = found > 0 ? lose_name(l, e, &there) : found;
	if (r < 0)
		return r;
	if (e->kind == LOCALWALK_ENTER)
		return basewalk_enter(&l->base, found ? dirent_tree(&there) : NULL);
	im->report.files_total++;
	if (S_ISREG(e->st.st_mode))
		im->report.bytes_total += (uint64_t)e->st.st_size;
	if (e->st.st_nlink < 2)
		return 0;
	return linkmap_name(&im->links, e->st.st_dev, e->st.st_ino,
			    found && there.has_link ? &there.link : NULL);
}

static int scan(struct import *im, int fd)
{
	_cleanup_local_ struct local l = { 0 };
	struct place *p = &im->place;
	struct localwalk_event e;
	int r, more;

	r = local_init(&l, im, fd, true);
	if (r == 0 && !im->req->keep && p->exists)
		r = import_lose(im, &p->entry);
	while (r == 0 && (more = localwalk_next(l.walk, &e)) != 0)
		r = more < 0 ? more : scan_event(&l, &e);
	return r < 0 ? r : linkmap_settle(&im->links, &p->source.base, &p->commit.links);
}

/*
 * The second walk.
 */

/* A file that is being put: what befalls the file itself is kept apart from what befalls us. */
struct putting {
	struct local *l;
	int dirfd;
	int follow; /* O_NOFOLLOW, or 0: the user said which file it is */
	const char *name; /* there */
	struct span as; /* its name in the store */
	struct linked *link; /* NULL: it is no hard link */
	int error; /* of the file */
};

/* Gives it to the session, under its name or as a link's record. */
static int put_inode(struct putting *x, const struct inode *ino, struct content_source *src)
{
	struct session *s = x->l->im->session;

	if (x->link)
		return src ? session_link_file(s, &x->link->id, x->link->count, ino, src)
			   : session_link(s, &x->link->id, x->link->count, ino);
	return src ? session_put_file(s, x->as, ino, src) : session_put(s, x->as, ino);
}

static int open_regular(struct putting *x, struct stat *ret)
{
	const int flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | x->follow;
	_cleanup_close_ int fd = openat(x->dirfd, x->name, flags | O_NOATIME);

	if (fd < 0 && errno == EPERM)
		fd = openat(x->dirfd, x->name, flags);
	if (fd < 0 || fstat(fd, ret) < 0)
		return -errno;
	return S_ISREG(ret->st_mode) ? TAKE_FD(fd) : -ESTALE;
}

/* Reads the xattrs of what is being put into @ino, which borrows them from the scratch. */
static int put_xattrs(struct putting *x, int fd, struct inode *ino)
{
	struct local *l = x->l;

	x->error = xattrs_of_file(fd, &l->list);
	if (x->error < 0)
		return x->error;
	return session_xattrs(l->im->session, buf_span(&l->list), &ino->xattrs);
}

static int try_regular(struct putting *x, bool is_patient)
{
	_cleanup_close_ int fd = -1;
	struct localfile_options o = { .is_patient = is_patient,
				       .report = &x->l->im->report,
				       .error = &x->error };
	struct content_source *src;
	struct inode ino;
	struct stat st;
	int r;

	x->error = 0;
	fd = open_regular(x, &st);
	if (fd < 0)
		return x->error = fd;
	ino = inode_of_stat(&st);
	r = put_xattrs(x, fd, &ino);
	if (r < 0)
		return r;
	o.fd = TAKE_FD(fd);
	o.st = &st;
	r = localfile_source(&o, &src);
	return r < 0 ? r : put_inode(x, &ino, src);
}

static int put_regular(struct putting *x)
{
	int r = -ESTALE;

	for (unsigned i = 1; i <= READ_ATTEMPTS; i++) {
		r = try_regular(x, i == READ_ATTEMPTS);
		if (r == 0 || x->error != -ESTALE)
			break;
	}
	return r;
}

static int put_special(struct putting *x, const struct stat *st)
{
	struct inode ino = inode_of_stat(st);
	struct buf *target = &x->l->target;
	_cleanup_close_ int fd = -1;
	ssize_t n;
	int r;

	fd = openat(x->dirfd, x->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return x->error = -errno;
	if (ino.type == 0)
		return x->error = -EOPNOTSUPP;
	if (ino.type == FT_LNK) {
		buf_clear(target);
		if (!buf_extend(target, SYMLINK_MAX + 1))
			return -ENOMEM;
		n = readlinkat(fd, "", (char *)target->data, SYMLINK_MAX + 1);
		if (n < 1 || n > SYMLINK_MAX)
			return x->error = n < 0 ? -errno : -ENAMETOOLONG;
		ino.content.inlined = span_of(target->data, (size_t)n);
		ino.content.size = ino.content.data = (uint64_t)n;
	}
	r = put_xattrs(x, fd, &ino);
	return r < 0 ? r : put_inode(x, &ino, NULL);
}

/* The file itself; a hard link's other names follow with put_name() alone. */
static int put_content(struct putting *x, const struct stat *st)
{
	int r = S_ISREG(st->st_mode) ? put_regular(x) : put_special(x, st);

	if (x->link && (r == 0 || x->error)) {
		x->link->state = r == 0 ? LINKED_PUT : LINKED_FAILED;
		x->link->error = x->error;
	}
	return r;
}

static int put_name(struct putting *x, const struct stat *st)
{
	if (x->link->state == LINKED_FAILED)
		return x->error = x->link->error;
	x->link->put++;
	return session_put_link(x->l->im->session, x->as, file_type_of_mode(st->st_mode),
				&x->link->id);
}

/* The name in the base has gone: are links below it? */
static int lose_again(struct local *l, const struct localwalk_event *e)
{
	const struct tree_root *dir = l->base.depth > 0 ? basewalk_dir(&l->base) : NULL;
	struct dirent_rec there;
	int found;

	if (!l->im->req->keep || !dir || !dir->sum.has_links)
		return 0;
	found = find_base(l, e, &there);
	return found > 0 ? lose_name(l, e, &there) : found;
}

static int put_file(struct local *l, const struct localwalk_event *e, struct span as)
{
	struct import *im = l->im;
	struct putting x = {
		.l = l,
		.dirfd = e->dirfd,
		.follow = l->walk ? O_NOFOLLOW : 0,
		.name = (const char *)e->name.data,
		.as = as,
	};
	int r = 0;

	if (e->st.st_nlink > 1)
		x.link = linkmap_find(&im->links, e->st.st_dev, e->st.st_ino);
	if (!x.link || x.link->state == LINKED_NEW)
		r = put_content(&x, &e->st);
	else if (S_ISREG(e->st.st_mode))
		report_add(&im->report, 0, (uint64_t)e->st.st_size);
	if (r == 0 && x.link)
		r = put_name(&x, &e->st);
	if (r < 0)
		return x.error ? skip(l, x.error) : r;
	r = lose_again(l, e);
	if (r < 0)
		return r;
	report_add(&im->report, 1, 0);
	report_tell(&im->report, false);
	return 0;
}

static int enter(struct local *l, const struct localwalk_event *e)
{
	struct dirent_rec there;
	int found = l->im->req->keep ? find_base(l, e, &there) : 0;
	int r;

	if (found < 0)
		return found;
	r = found ? lose_name(l, e, &there) : 0;
	if (r == 0)
		r = basewalk_enter(&l->base, found ? dirent_tree(&there) : NULL);
	return r < 0 ? r : session_dir_begin(l->im->session, basewalk_dir(&l->base));
}

static int leave(struct local *l, const struct localwalk_event *e)
{
	struct import *im = l->im;
	struct inode ino = inode_of_stat(&e->st);
	int r = xattrs_of_file(e->fd, &l->list);

	if (r < 0) {
		buf_clear(&l->list);
		r = skip(l, r);
	}
	if (r == 0)
		r = session_xattrs(im->session, buf_span(&l->list), &ino.xattrs);
	if (r < 0)
		return r;
	basewalk_leave(&l->base);
	return session_dir_end(im->session, l->base.depth ? e->name : place_name(&im->place), &ino);
}

static int put_event(struct local *l, const struct localwalk_event *e)
{
	switch (e->kind) {
	case LOCALWALK_ENTER:
		return enter(l, e);
	case LOCALWALK_LEAVE:
		return leave(l, e);
	case LOCALWALK_FILE:
		return put_file(l, e, e->name);
	case LOCALWALK_FAILED:
		return skip(l, e->error);
	}
	return -EINVAL;
}

static int put_tree(struct import *im, int fd)
{
	_cleanup_local_ struct local l = { 0 };
	struct localwalk_event e;
	int r, more;

	r = local_init(&l, im, fd, false);
	while (r == 0 && (more = localwalk_next(l.walk, &e)) != 0)
		r = more < 0 ? more : put_event(&l, &e);
	return r;
}

static int import_dir(struct import *im, int fd)
{
	struct place *p = &im->place;
	int r;

	r = scan(im, fd);
	im->links.is_checked = im->req->keep;
	if (r == 0)
		r = import_begin(im, im->report.bytes_total);
	if (r == 0)
		r = place_enter(p, im->session);
	if (r == 0)
		r = put_tree(im, fd);
	if (r == 0)
		r = place_leave(p, im->session);
	return r < 0 ? r
		     : linkmap_finish(&im->links, &p->source.base, &p->commit.links, im->session);
}

static int import_file(struct import *im, const struct stat *st)
{
	struct place *p = &im->place;
	struct local l = { .im = im };
	struct localwalk_event e = { .name = span_str(im->req->src), .st = *st, .dirfd = AT_FDCWD };
	int r = 0;

	if (p->name_len == 0)
		return log_fail(-ENOTDIR, "%s: a file cannot be the root of a branch",
				im->req->src);
	im->report.files_total = 1;
	im->report.bytes_total = (uint64_t)st->st_size;
	e.st.st_nlink = 1;
	if (p->exists)
		r = import_lose(im, &p->entry);
	if (r == 0)
		r = import_begin(im, im->report.bytes_total);
	if (r == 0)
		r = place_enter(p, im->session);
	if (r == 0)
		r = put_file(&l, &e, place_name(p));
	if (r == 0)
		r = place_leave(p, im->session);
	if (r == 0)
		r = linkmap_finish(&im->links, &p->source.base, &p->commit.links, im->session);
	local_release(&l);
	return r;
}

int import_local(struct import *im)
{
	const char *src = im->req->src;
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (stat(src, &st) < 0)
		return log_errno(-errno, "%s", src);
	if (S_ISREG(st.st_mode))
		return import_file(im, &st);
	if (!S_ISDIR(st.st_mode))
		return log_fail(-ENOTDIR, "%s: neither a directory nor a file", src);
	fd = open(src, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return log_errno(-errno, "%s", src);
	return import_dir(im, fd);
}
