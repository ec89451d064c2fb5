/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Branches that a run has pinned after its start, which its start record does not have: a file
 * `late` of its directory has a line for each, as in "pinned" of the record (RUNS.md, section 2).
 *
 * A line is there before the run knows the branch, and on disk before the run has a head of it: so
 * whatever it has written is found again. A torn last line is of a branch that nobody has used.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/log.h"
#include "base/text.h"
#include "record/fields.h"
#include "run/parts.h"

#define LATE_FILE "late"

enum {
	LATE_MAX = 64 << 20, /* bytes: a branch has some hundred */
};

json_t *run_pinned_json(const struct run_head *h)
{
	json_t *one = json_pack("{s:s, s:o, s:s, s:o, s:o}", "repo", h->repo, "repo_id",
				json_of_id128(&h->repo_id), "branch", h->branch, "branch_id",
				json_of_id128(&h->branch_id), "commit", json_of_oid(&h->pinned));

	if (one && !oid_equal(&h->pinned, &h->committed) &&
	    json_object_set_new(one, "committed", json_of_oid(&h->committed)) < 0) {
		json_decref(one);
		return NULL;
	}
	return one;
}

int run_pinned_read(const json_t *p, struct run_head *ret)
{
	struct run_head h;
	_cleanup_free_ char *name = strf("%s/%s", field_text(p, "repo"), field_text(p, "branch"));

	if (!name)
		return -ENOMEM;
	if (run_branch_parse(name, &h) < 0 || field_id128(p, "repo_id", &h.repo_id) < 0 ||
	    field_id128(p, "branch_id", &h.branch_id) < 0 ||
	    field_oid(p, "commit", &h.pinned) < 0 ||
	    field_oid(p, json_object_get(p, "committed") ? "committed" : "commit", &h.committed) <
		    0)
		return -EBADMSG;
	*ret = h;
	return 0;
}

/* Whole, or not at all. */
static int append(int fd, struct span line)
{
	struct stat st;
	int r = fstat(fd, &st) < 0 ? -errno : 0;

	if (r == 0 && (uint64_t)st.st_size + line.len > LATE_MAX)
		r = -EFBIG;
	if (r < 0)
		return r;
	r = write_all(fd, line.data, line.len);
	if (r < 0 && ftruncate(fd, st.st_size) < 0)
		log_errno(-errno, "what is half written cannot be taken back");
	return r;
}

int run_late_note(struct run *run, const struct run_head *h)
{
	_cleanup_close_ int fd =
		openat(run->dirfd, LATE_FILE, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	json_t *one = run_pinned_json(h);
	_cleanup_free_ char *text = one ? json_dumps(one, JSON_COMPACT) : NULL;
	_cleanup_free_ char *line = text ? strf("%s\n", text) : NULL;
	int r = !line ? -ENOMEM : fd < 0 ? -errno : append(fd, span_str(line));

	json_decref(one);
	return r < 0 ? log_errno(r, "run %s: that it looks at %s/%s cannot be noted", run->id.s,
				 h->repo, h->branch)
		     : 0;
}

int run_late_sync(struct run *run)
{
	_cleanup_close_ int fd = openat(run->dirfd, LATE_FILE, O_RDONLY | O_CLOEXEC);
	int r = fd < 0 ? -errno : fsync_fd(fd);

	return r < 0 ? r : fsync_dir(run->dirfd, ".");
}

static int read_line(struct run *run, struct span line)
{
	json_t *p = json_loadb((const char *)line.data, line.len, 0, NULL);
	struct run_head h;
	int r = run_pinned_read(p, &h);

	json_decref(p);
	if (r < 0 || run_head_find(run, h.repo, h.branch))
		return r;
	h.is_late = true;
	return run_head_add(run, &h) ? 0 : -ENOMEM;
}

int run_late_read(struct run *run)
{
	_cleanup_buf_ struct buf b = { 0 };
	int r = read_file(run->dirfd, LATE_FILE, LATE_MAX, &b);
	size_t at = 0;

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	while (r == 0 && at < b.len) {
		const uint8_t *end = memchr(b.data + at, '\n', b.len - at);

		if (!end)
			break;
		r = read_line(run, span_of(b.data + at, (size_t)(end - b.data) - at));
		at = (size_t)(end - b.data) + 1;
	}
	return r;
}
