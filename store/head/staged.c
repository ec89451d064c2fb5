/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What layers have in staging, to be given back when they go.
 */
#include "head/overlay.h"

/* Once or several times. */
static int note_file(struct staged *s, uint32_t file)
{
	uint32_t *p = reallocarray(s->files, s->file_count + 1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	s->files = p;
	s->files[s->file_count++] = file;
	return 0;
}

/* A file of its own that nothing lies in any more has no extents. */
static int collect_own_files(struct heads *hs, uint32_t layer, struct staged *s)
{
	struct record_key prefix = key_prefix(layer, 'i');
	_cleanup_buf_ struct buf key = { 0 }, value = { 0 };
	int r;

	while ((r = table_step(hs->table, key_span(&prefix), &key, &value)) == 0) {
		struct file_rec f;

		r = file_rec_read(buf_span(&value), &f);
		if (r == 0 && f.own_file)
			r = note_file(s, f.own_file);
		if (r < 0)
			return r;
	}
	return r == -ENOENT ? 0 : r;
}

static int collect_extents(struct heads *hs, uint32_t layer, struct staged *s)
{
	struct record_key prefix = key_prefix(layer, 'x');
	_cleanup_buf_ struct buf key = { 0 }, value = { 0 };
	int r;

	while ((r = table_step(hs->table, key_span(&prefix), &key, &value)) == 0) {
		struct extent x;

		r = extent_rec_read(buf_span(&value), 0, &x);
		if (r == 0 && x.source == EXTENT_STAGED)
			r = staging_is_slab(hs->staging, x.place.file)
				    ? freed_add(&s->freed, x.place, x.len, false)
				    : note_file(s, x.place.file);
		if (r < 0)
			return r;
	}
	return r == -ENOENT ? 0 : r;
}

int staged_collect(struct heads *hs, const struct layers *layers, struct staged *ret)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < layers->count; i++)
		r = collect_extents(hs, layers->id[i], ret);
	for (unsigned i = 0; r == 0 && i < layers->count; i++)
		r = collect_own_files(hs, layers->id[i], ret);
	return r;
}

void staged_keep_file(struct staged *s, uint32_t file)
{
	size_t n = 0;

	for (size_t i = 0; i < s->file_count; i++)
		if (s->files[i] != file)
			s->files[n++] = s->files[i];
	s->file_count = n;
}

void staged_free(struct staged *s, struct staging *st)
{
	for (size_t i = 0; i < s->file_count; i++)
		staging_release_file(st, s->files[i]);
	freed_end(&s->freed, st, true);
}

void staged_release(struct staged *s)
{
	free(s->freed.items);
	free(s->files);
}
