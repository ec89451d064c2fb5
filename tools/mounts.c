/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reading /proc/self/mountinfo (proc(5)): fields are apart by single spaces, and what of that would
 * be ambiguous is written as \ and three octal digits.
 */
#include "mounts.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/buf.h"
#include "base/fdio.h"

#define PFS_TYPE "fuse.pfs"

enum {
	MOUNTINFO_MAX = 64 << 20
};

/* In place. */
static void unescape(char *s)
{
	char *to = s;

	while (*s) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
		    s[3] >= '0' && s[3] <= '7') {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 4;
		} else {
			*to++ = *s++;
		}
	}
	*to = '\0';
}

/* Of a line that has ended: empty. */
static char *field(char **line)
{
	static char none[1];

	return strsep(line, " ") ?: none;
}

static char *copy(char *text)
{
	unescape(text);
	return strdup(text);
}

static int parse(char *line, struct mounted *ret)
{
	unsigned maj, min;
	char *dev, *f;

	*ret = (struct mounted){ .id = strtoull(field(&line), NULL, 10) };
	field(&line); /* the parent's */
	dev = field(&line);
	if (sscanf(dev, "%u:%u", &maj, &min) != 2)
		return -EBADMSG;
	ret->dev = makedev(maj, min);
	ret->root = copy(field(&line));
	ret->point = copy(field(&line));
	field(&line); /* options */
	while ((f = strsep(&line, " ")) && strcmp(f, "-") != 0)
		;
	ret->type = copy(field(&line));
	ret->source = copy(field(&line));
	return ret->root && ret->point && ret->type && ret->source ? 0 : -ENOMEM;
}

static void mounted_release(struct mounted *x)
{
	free(x->root);
	free(x->point);
	free(x->type);
	free(x->source);
}

void mounts_release(struct mounts *m)
{
	for (size_t i = 0; i < m->count; i++)
		mounted_release(&m->items[i]);
	free(m->items);
	*m = (struct mounts){ 0 };
}

int mounts_load(struct mounts *ret)
{
	_cleanup_mounts_ struct mounts m = { 0 };
	_cleanup_buf_ struct buf text = { 0 };
	char *rest, *line;
	int r = read_file(AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_MAX, &text);

	if (r < 0)
		return r;
	buf_put_u8(&text, 0);
	if (buf_failed(&text))
		return -ENOMEM;
	rest = (char *)text.data;
	while ((line = strsep(&rest, "\n")) && *line) {
		struct mounted *items = reallocarray(m.items, m.count + 1, sizeof(*items));

		if (!items)
			return -ENOMEM;
		m.items = items;
		r = parse(line, &items[m.count++]);
		if (r < 0)
			return r;
	}
	*ret = m;
	m = (struct mounts){ 0 };
	return 0;
}

const struct mounted *mounts_at(const struct mounts *m, const char *path)
{
	for (size_t i = m->count; i > 0; i--)
		if (strcmp(m->items[i - 1].point, path) == 0)
			return &m->items[i - 1];
	return NULL;
}

const struct mounted *mounts_of(const struct mounts *m, const char *path)
{
	struct statx st;

	if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_MNT_ID, &st) < 0)
		return NULL;
	errno = ENOSYS;
	if (!(st.stx_mask & STATX_MNT_ID))
		return NULL;
	errno = ENOENT;
	for (size_t i = 0; i < m->count; i++)
		if (m->items[i].id == st.stx_mnt_id)
			return &m->items[i];
	return NULL;
}

size_t mounted_realm_len(const char *root)
{
	static const char before[] = "/.pfs/run/", behind[] = "/root";
	size_t len = 0;

	while (strncmp(root + len, before, strlen(before)) == 0) {
		const char *id = root + len + strlen(before), *end = id + strcspn(id, "/");
		size_t n = strlen(behind);

		if (end == id || strncmp(end, behind, n) != 0 || (end[n] && end[n] != '/'))
			break;
		len = (size_t)(end - root) + n;
	}
	return len;
}

static const struct mounted *find_root(const struct mounts *m, dev_t dev, const char *root,
				       size_t len)
{
	for (size_t i = m->count; i > 0; i--) {
		const struct mounted *x = &m->items[i - 1];

		if (x->dev == dev && strncmp(x->root, root, len) == 0 && !x->root[len] &&
		    mounts_at(m, x->point) == x)
			return x;
	}
	return NULL;
}

const struct mounted *mounts_whole(const struct mounts *m, const struct mounted *x)
{
	size_t len = mounted_realm_len(x->root);

	if (strlen(x->root) == MAX(len, (size_t)1))
		return x;
	return (len ? find_root(m, x->dev, x->root, len) : NULL) ?: find_root(m, x->dev, "/", 1);
}

bool mounted_is_pfs(const struct mounted *x)
{
	return strcmp(x->type, PFS_TYPE) == 0;
}
