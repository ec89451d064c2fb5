/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Repos' records as bytes (FORMAT.md, section 10.1). As with refs, the rules stand once for both
 * directions, and a record has one form.
 */
#include "format/repo.h"

#include "format/envelope.h"
#include "format/name.h"

#define REPO_MAGIC "pfsO"

enum {
	MODE_MAX = 07777
};

static void settings_free(struct repo_setting *settings, size_t n)
{
	for (size_t i = 0; settings && i < n; i++) {
		free(settings[i].key);
		free(settings[i].value);
	}
	free(settings);
}

void repo_rec_release(struct repo_rec *r)
{
	settings_free(r->settings, r->setting_count);
	*r = (struct repo_rec){ 0 };
}

int repo_rec_copy(const struct repo_rec *r, struct repo_rec *ret)
{
	_cleanup_repo_rec_ struct repo_rec copy = *r;

	copy.settings = new0(struct repo_setting, r->setting_count + 1u);
	if (!copy.settings)
		return -ENOMEM;
	for (uint16_t i = 0; i < r->setting_count; i++) {
		copy.settings[i].key = strdup(r->settings[i].key);
		copy.settings[i].value = strdup(r->settings[i].value);
		if (!copy.settings[i].key || !copy.settings[i].value)
			return -ENOMEM;
	}
	*ret = copy;
	copy = (struct repo_rec){ 0 };
	return 0;
}

static bool settings_are_valid(const struct repo_rec *r)
{
	if (r->setting_count > REPO_SETTINGS_MAX)
		return false;
	for (uint16_t i = 0; i < r->setting_count; i++)
		if (strlen(r->settings[i].key) > UINT8_MAX ||
		    strlen(r->settings[i].value) > UINT16_MAX ||
		    (i > 0 && strcmp(r->settings[i - 1].key, r->settings[i].key) >= 0))
			return false;
	return true;
}

static bool fields_are_valid(const struct repo_rec *r)
{
	return (r->state == REF_LIVE || r->state == REF_TOMBSTONE) && !id128_is_null(&r->id) &&
	       stamp_is_valid(r->time) && stamp_is_valid(r->created) &&
	       object_name_is_valid(r->default_branch) && chunk_params_are_valid(&r->chunk) &&
	       r->root_mode <= MODE_MAX && settings_are_valid(r);
}

static void settings_put(struct buf *b, const struct repo_rec *r)
{
	uint16_t count = r->state == REF_LIVE ? r->setting_count : 0;

	buf_put_u16(b, count);
	for (uint16_t i = 0; i < count; i++) {
		buf_put_str8(b, span_str(r->settings[i].key));
		buf_put_str16(b, span_str(r->settings[i].value));
	}
}

int repo_write(const struct repo_rec *r, struct buf *ret)
{
	_cleanup_buf_ struct buf b = { 0 };
	int e;

	if (!fields_are_valid(r))
		return -EINVAL;
	envelope_head_put(&b, REPO_MAGIC);
	buf_put_u8(&b, r->state);
	buf_put_u64(&b, r->seq);
	buf_put(&b, r->nonce.b, sizeof(r->nonce.b));
	buf_put(&b, r->id.b, sizeof(r->id.b));
	buf_put_str8(&b, span_str(r->writer));
	stamp_put(&b, r->time);
	buf_put_str8(&b, span_str(r->default_branch));
	buf_put_u32(&b, r->chunk.min);
	buf_put_u32(&b, r->chunk.avg);
	buf_put_u32(&b, r->chunk.max);
	buf_put_u16(&b, r->root_mode);
	buf_put_u32(&b, r->root_uid);
	buf_put_u32(&b, r->root_gid);
	stamp_put(&b, r->created);
	settings_put(&b, r);
	e = ref_seal(&b, r->state);
	if (e < 0)
		return e;
	return buf_take(&b, ret);
}

/* As a C string; with a NUL in it the cursor fails. NULL: no memory. */
static char *string_read(struct cursor *c, struct span s)
{
	if (s.len > 0 && memchr(s.data, '\0', s.len))
		cursor_fail(c);
	return strndup(s.len > 0 ? (const char *)s.data : "", s.len);
}

static int settings_read(struct cursor *c, struct repo_rec *r)
{
	uint16_t count = rd_u16(c);

	if (count > (r->state == REF_LIVE ? REPO_SETTINGS_MAX : 0))
		return -EBADMSG;
	r->settings = new0(struct repo_setting, count + 1u);
	if (!r->settings)
		return -ENOMEM;
	r->setting_count = count;
	for (uint16_t i = 0; i < count; i++) {
		r->settings[i].key = string_read(c, rd_str8(c, UINT8_MAX));
		r->settings[i].value = string_read(c, rd_str16(c, UINT16_MAX));
		if (!r->settings[i].key || !r->settings[i].value)
			return -ENOMEM;
	}
	return 0;
}

int repo_read(struct span object, struct repo_rec *ret)
{
	_cleanup_repo_rec_ struct repo_rec r = { 0 };
	struct cursor c;
	int e;

	if (object.len > REF_MAX)
		return -EBADMSG;
	e = envelope_open(object, REPO_MAGIC, &c);
	if (e < 0)
		return e;
	r.state = rd_u8(&c);
	r.seq = rd_u64(&c);
	r.nonce = rd_id128(&c);
	r.id = rd_id128(&c);
	rd_string8(&c, r.writer, sizeof(r.writer));
	r.time = stamp_read(&c);
	rd_string8(&c, r.default_branch, sizeof(r.default_branch));
	r.chunk.min = rd_u32(&c);
	r.chunk.avg = rd_u32(&c);
	r.chunk.max = rd_u32(&c);
	r.root_mode = rd_u16(&c);
	r.root_uid = rd_u32(&c);
	r.root_gid = rd_u32(&c);
	r.created = stamp_read(&c);
	e = settings_read(&c, &r);
	if (e < 0)
		return e;
	if (ref_padding_check(&c, r.state, object.len) < 0 || !fields_are_valid(&r))
		return -EBADMSG;
	*ret = r;
	r = (struct repo_rec){ 0 };
	return 0;
}
