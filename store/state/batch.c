/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Batches of table.h and batch.h.
 */
#include "state/batch.h"

void table_batch_put(struct table_batch *b, struct span key, struct span value)
{
	buf_put_u8(&b->bytes, BATCH_PUT);
	buf_put_str16(&b->bytes, key);
	buf_put_str32(&b->bytes, value);
	b->count++;
}

void table_batch_delete(struct table_batch *b, struct span key)
{
	buf_put_u8(&b->bytes, BATCH_DELETE);
	buf_put_str16(&b->bytes, key);
	b->count++;
}

void table_batch_drop(struct table_batch *b, uint32_t layer)
{
	buf_put_u8(&b->bytes, BATCH_DROP);
	buf_put_u32(&b->bytes, layer);
	b->count++;
}

void table_batch_release(struct table_batch *b)
{
	buf_release(&b->bytes);
	*b = (struct table_batch){ 0 };
}

bool batch_next(struct cursor *c, struct batch_op *ret)
{
	struct batch_op op = { 0 };

	if (cursor_left(c) == 0)
		return false;
	op.kind = rd_u8(c);
	switch (op.kind) {
	case BATCH_PUT:
		op.key = rd_str16(c, TABLE_KEY_MAX);
		op.value = rd_str32(c, TABLE_VALUE_MAX);
		break;
	case BATCH_DELETE:
		op.key = rd_str16(c, TABLE_KEY_MAX);
		break;
	case BATCH_DROP:
		op.layer = rd_u32(c);
		if (op.layer == 0)
			cursor_fail(c);
		break;
	default:
		cursor_fail(c);
	}
	if (!cursor_failed(c) && op.kind != BATCH_DROP) {
		if (op.key.len < TABLE_LAYER_LEN)
			cursor_fail(c);
		else
			op.layer = key_layer(op.key);
	}
	if (op.layer == TABLE_LAYER_OWN)
		cursor_fail(c);
	if (cursor_failed(c))
		return false;
	*ret = op;
	return true;
}

int batch_check(struct span batch, struct batch_sums *ret)
{
	struct cursor c = cursor_of(batch);
	struct batch_sums sums = { 0 };
	struct batch_op op;

	while (batch_next(&c, &op)) {
		if (op.kind == BATCH_DROP) {
			sums.drops++;
			continue;
		}
		sums.records++;
		sums.bytes += op.key.len + op.value.len;
	}
	if (!cursor_at_end(&c))
		return -EBADMSG;
	*ret = sums;
	return 0;
}
