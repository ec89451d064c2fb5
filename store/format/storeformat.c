/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The `format` object of format/storeformat.h.
 */
#include "format/storeformat.h"

#include "format/envelope.h"

#define FORMAT_MAGIC "pfsF"

int format_write(const struct format_rec *f, struct buf *ret)
{
	_cleanup_buf_ struct buf b = { 0 };

	envelope_head_put(&b, FORMAT_MAGIC);
	buf_put(&b, f->store_id.b, sizeof(f->store_id.b));
	buf_put_u64(&b, f->compat);
	buf_put_u64(&b, f->ro_compat);
	buf_put_u64(&b, f->incompat);
	buf_put_u64(&b, (uint64_t)f->created);
	buf_put_str8(&b, span_str(f->hash));
	buf_put_str8(&b, span_str(f->id_key));
	envelope_seal(&b);
	return buf_take(&b, ret);
}

int format_read(struct span object, struct format_rec *ret)
{
	struct format_rec f;
	struct cursor c;
	int r;

	if (object.len > FORMAT_OBJECT_MAX)
		return -EBADMSG;
	r = envelope_open(object, FORMAT_MAGIC, &c);
	if (r < 0)
		return r;
	f.store_id = rd_id128(&c);
	f.compat = rd_u64(&c);
	f.ro_compat = rd_u64(&c);
	f.incompat = rd_u64(&c);
	f.created = (int64_t)rd_u64(&c);
	rd_string8(&c, f.hash, sizeof(f.hash));
	rd_string8(&c, f.id_key, sizeof(f.id_key));
	if (!cursor_at_end(&c))
		return -EBADMSG;
	*ret = f;
	return 0;
}
