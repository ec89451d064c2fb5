/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The collector's state of format/gcstate.h.
 */
#include "format/gcstate.h"

#include "format/envelope.h"

#define GC_MAGIC "pfsG"

void gc_state_release(struct gc_state *g)
{
	free(g->condemned);
	*g = (struct gc_state){ 0 };
}

static int by_name(const void *a, const void *b)
{
	return id128_cmp(a, b);
}

bool gc_state_condemns(const struct gc_state *g, const struct id128 *pack)
{
	return g->condemned_count > 0 && bsearch(pack, g->condemned, g->condemned_count,
						 sizeof(g->condemned[0]), by_name) != NULL;
}

static bool fields_are_valid(const struct gc_state *g)
{
	if (g->phase > GC_SWEEPING || g->condemned_count > GC_CONDEMNED_MAX)
		return false;
	for (uint32_t i = 1; i < g->condemned_count; i++)
		if (id128_cmp(&g->condemned[i - 1], &g->condemned[i]) >= 0)
			return false;
	return true;
}

int gc_state_write(const struct gc_state *g, struct buf *ret)
{
	_cleanup_buf_ struct buf b = { 0 };

	if (!fields_are_valid(g))
		return -EINVAL;
	envelope_head_put(&b, GC_MAGIC);
	buf_put_u64(&b, g->epoch);
	buf_put_u8(&b, g->phase);
	buf_put_u32(&b, g->condemned_count);
	buf_put(&b, g->condemned, (size_t)g->condemned_count * sizeof(g->condemned[0]));
	envelope_seal(&b);
	return buf_take(&b, ret);
}

int gc_state_read(struct span object, struct gc_state *ret)
{
	_cleanup_gc_state_ struct gc_state g = { 0 };
	struct cursor c;
	int r;

	if (object.len > GC_STATE_MAX)
		return -EBADMSG;
	r = envelope_open(object, GC_MAGIC, &c);
	if (r < 0)
		return r;
	g.epoch = rd_u64(&c);
	g.phase = rd_u8(&c);
	g.condemned_count = rd_u32(&c);
	if (cursor_failed(&c) || cursor_left(&c) / sizeof(g.condemned[0]) < g.condemned_count)
		return -EBADMSG;
	g.condemned = new0(struct id128, g.condemned_count + 1ul);
	if (!g.condemned)
		return -ENOMEM;
	rd_copy(&c, g.condemned, (size_t)g.condemned_count * sizeof(g.condemned[0]));
	if (!cursor_at_end(&c) || !fields_are_valid(&g))
		return -EBADMSG;
	*ret = g;
	g = (struct gc_state){ 0 };
	return 0;
}
