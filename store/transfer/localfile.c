/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Local files as sources (transfer/localfile.h).
 */
#include "transfer/localfile.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/fdio.h"

struct localfile {
	struct content_source base;
	struct localfile_options o;
	struct stat st;
	bool may_have_holes;
	/* What was last found: [from, to) is a hole, or is not. */
	uint64_t from, to;
	bool is_hole;
};

static struct localfile *localfile_of(struct content_source *s)
{
	return container_of(s, struct localfile, base);
}

static int fail(struct localfile *f, int error)
{
	*f->o.error = error;
	return error;
}

/* Finds out what lies at @off. A filesystem that does not know has data everywhere. */
static int seek(struct localfile *f, uint64_t off)
{
	off_t size = (off_t)f->base.size, data, hole;

	data = lseek(f->o.fd, (off_t)off, SEEK_DATA);
	if (data < 0 && errno != ENXIO && errno != EINVAL)
		return fail(f, -errno);
	if (data < 0)
		data = errno == ENXIO ? size : (off_t)off;
	f->from = off;
	f->is_hole = data > (off_t)off;
	if (f->is_hole) {
		f->to = (uint64_t)MIN(data, size);
		return 0;
	}
	hole = lseek(f->o.fd, (off_t)off, SEEK_HOLE);
	f->to = (uint64_t)(hole <= (off_t)off ? size : MIN(hole, size));
	return 0;
}

static int localfile_piece(struct content_source *s, uint64_t off, struct piece *ret)
{
	struct localfile *f = localfile_of(s);
	int r = 0;

	if (off < f->from || off >= f->to)
		r = f->may_have_holes ? seek(f, off) : 0;
	if (r < 0)
		return r;
	*ret = (struct piece){ .kind = f->is_hole ? PIECE_HOLE : PIECE_DATA, .len = f->to - off };
	return 0;
}

static bool has_changed(struct localfile *f)
{
	struct stat st;

	return fstat(f->o.fd, &st) < 0 || st.st_size != f->st.st_size ||
	       st.st_mtim.tv_sec != f->st.st_mtim.tv_sec ||
	       st.st_mtim.tv_nsec != f->st.st_mtim.tv_nsec;
}

static int localfile_read(struct content_source *s, uint64_t off, size_t len, void *buf)
{
	struct localfile *f = localfile_of(s);
	int r = pread_all(f->o.fd, buf, len, off);

	if (r == -ENODATA)
		r = -ESTALE;
	if (r == 0 && !f->o.is_patient && off + len == s->size && has_changed(f))
		r = -ESTALE;
	if (r == 0 && report_is_cancelled(f->o.report))
		r = -ECANCELED;
	if (r < 0)
		return fail(f, r);
	report_add(f->o.report, 0, len);
	report_tell(f->o.report, false);
	return 0;
}

static void localfile_free(struct content_source *s)
{
	struct localfile *f = localfile_of(s);

	close(f->o.fd);
	free(f);
}

int localfile_source(const struct localfile_options *o, struct content_source **ret)
{
	struct localfile *f = new0(struct localfile, 1);

	if (!f) {
		close(o->fd);
		return -ENOMEM;
	}
	*f = (struct localfile){
		.base = {
			.size = (uint64_t)o->st->st_size,
			.piece = localfile_piece,
			.read = localfile_read,
			.free = localfile_free,
		},
		.o = *o,
		.st = *o->st,
		.may_have_holes = o->st->st_blocks * 512 < o->st->st_size,
	};
	f->o.st = NULL;
	if (!f->may_have_holes)
		f->to = f->base.size;
	*ret = &f->base;
	return 0;
}
