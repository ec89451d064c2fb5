/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The model of tablemodel.h.
 */
#include "tablemodel.h"

#include "check.h"

static const uint8_t counter_key[] = { 0, 0, 0, 0, 'c' };

void tablemodel_release(struct model *m)
{
	for (size_t i = 0; i < m->count; i++) {
		buf_release(&m->records[i].key);
		buf_release(&m->records[i].value);
	}
	free(m->records);
	*m = (struct model){ 0 };
}

size_t tablemodel_find(const struct model *m, struct span key)
{
	size_t lo = 0, hi = m->count;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (span_cmp(buf_span(&m->records[mid].key), key) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

const struct model_record *tablemodel_get(const struct model *m, struct span key)
{
	size_t i = tablemodel_find(m, key);

	return i < m->count && span_equal(buf_span(&m->records[i].key), key) ? &m->records[i]
									     : NULL;
}

void tablemodel_put(struct model *m, struct span key, struct span value)
{
	size_t i = tablemodel_find(m, key);

	if (i == m->count || !span_equal(buf_span(&m->records[i].key), key)) {
		if (m->count == m->room) {
			m->room = MAX(2 * m->room, (size_t)64);
			m->records = reallocarray(m->records, m->room, sizeof(*m->records));
			assert_non_null(m->records);
		}
		memmove(&m->records[i + 1], &m->records[i], (m->count - i) * sizeof(*m->records));
		m->records[i] = (struct model_record){ 0 };
		buf_put(&m->records[i].key, key.data, key.len);
		m->count++;
	}
	buf_clear(&m->records[i].value);
	buf_put(&m->records[i].value, value.data, value.len);
}

static void remove_range(struct model *m, size_t first, size_t end)
{
	for (size_t i = first; i < end; i++) {
		buf_release(&m->records[i].key);
		buf_release(&m->records[i].value);
	}
	if (end > first)
		memmove(&m->records[first], &m->records[end],
			(m->count - end) * sizeof(*m->records));
	m->count -= end - first;
}

void tablemodel_delete(struct model *m, struct span key)
{
	size_t i = tablemodel_find(m, key);

	if (i < m->count && span_equal(buf_span(&m->records[i].key), key))
		remove_range(m, i, i + 1);
}

static bool begins_with(struct span key, struct span prefix)
{
	return key.len >= prefix.len &&
	       (prefix.len == 0 || memcmp(key.data, prefix.data, prefix.len) == 0);
}

void tablemodel_drop(struct model *m, uint32_t layer)
{
	uint32_t be = htobe32(layer);
	struct span prefix = span_of(&be, sizeof(be));
	size_t first = tablemodel_find(m, prefix), end = first;

	while (end < m->count && begins_with(buf_span(&m->records[end].key), prefix))
		end++;
	remove_range(m, first, end);
}

void tablemodel_apply(struct model *m, struct span batch)
{
	struct cursor c = cursor_of(batch);
	struct batch_op op;

	while (batch_next(&c, &op)) {
		if (op.kind == BATCH_PUT)
			tablemodel_put(m, op.key, op.value);
		else if (op.kind == BATCH_DELETE)
			tablemodel_delete(m, op.key);
		else
			tablemodel_drop(m, op.layer);
	}
	assert_true(cursor_at_end(&c));
}

const struct model_record *tablemodel_next(const struct model *m, struct span prefix,
					   struct span from)
{
	size_t i = MAX(tablemodel_find(m, prefix), tablemodel_find(m, from));

	return i < m->count && begins_with(buf_span(&m->records[i].key), prefix) ? &m->records[i]
										 : NULL;
}

const struct model_record *tablemodel_prev(const struct model *m, struct span prefix,
					   struct span from)
{
	for (size_t i = m->count; i-- > 0;) {
		struct span key = buf_span(&m->records[i].key);

		if (begins_with(key, prefix) && span_cmp(key, from) <= 0)
			return &m->records[i];
	}
	return NULL;
}

static void assert_record(int r, const struct buf *key, const struct buf *value,
			  const struct model_record *want)
{
	assert_int_equal(r, want ? 0 : -ENOENT);
	if (!want)
		return;
	assert_int_equal(key->len, want->key.len);
	assert_memory_equal(key->data, want->key.data, key->len);
	assert_int_equal(value->len, want->value.len);
	if (value->len > 0)
		assert_memory_equal(value->data, want->value.data, value->len);
}

void assert_table_is(struct table *t, const struct model *m)
{
	static const uint8_t last[TABLE_KEY_MAX] = { [0 ... TABLE_KEY_MAX - 1] = 0xff };
	_cleanup_buf_ struct buf key = { 0 }, value = { 0 }, from = { 0 };
	struct span all = span_of(NULL, 0);
	int r;

	for (size_t i = 0; i <= m->count; i++) {
		r = table_next(t, all, buf_span(&from), &key, &value);
		assert_record(r, &key, &value, i < m->count ? &m->records[i] : NULL);
		buf_clear(&from);
		buf_put(&from, key.data, key.len);
		buf_put_u8(&from, 0);
	}
	buf_clear(&from);
	buf_put(&from, last, sizeof(last));
	for (size_t i = m->count; i-- > 0;) {
		r = table_prev(t, all, buf_span(&from), &key, &value);
		assert_record(r, &key, &value, &m->records[i]);
		/* The greatest key below this one that could be. */
		buf_clear(&from);
		buf_put(&from, key.data, key.len);
		if (from.data[from.len - 1]-- == 0)
			from.len--;
		else
			buf_put(&from, last, sizeof(last) - from.len);
	}
}

void assert_lookups_agree(struct table *t, const struct model *m, struct prng *rnd, unsigned count)
{
	_cleanup_buf_ struct buf key = { 0 }, value = { 0 };

	for (unsigned i = 0; i < count; i++) {
		uint8_t bytes[TABLE_KEY_MAX];
		struct span k = random_key(rnd, (uint32_t)prng_below(rnd, 12), bytes), prefix = k;
		const struct model_record *want;
		int r;

		if (m->count > 0 && prng_below(rnd, 2) == 0)
			k = prefix = buf_span(&m->records[prng_below(rnd, m->count)].key);
		prefix.len = prng_below(rnd, 3) == 0 ? prng_below(rnd, k.len + 1) : MIN(k.len, 5ul);
		want = tablemodel_get(m, k);
		r = table_get(t, k, &value);
		assert_int_equal(r, want ? 0 : -ENOENT);
		if (want)
			assert_true(span_equal(buf_span(&value), buf_span(&want->value)));
		r = table_next(t, prefix, k, &key, &value);
		assert_record(r, &key, &value, tablemodel_next(m, prefix, k));
		r = table_prev(t, prefix, k, &key, &value);
		assert_record(r, &key, &value, tablemodel_prev(m, prefix, k));
	}
}

struct batch_source batch_source(uint64_t seed)
{
	struct batch_source s = { .seed = seed, .value_max = 200 };

	for (unsigned i = 0; i < SOURCE_LAYERS; i++)
		s.layers[i] = i;
	s.next_layer = SOURCE_LAYERS;
	return s;
}

struct span random_key(struct prng *rnd, uint32_t layer, uint8_t buf[TABLE_KEY_MAX])
{
	uint32_t be = htobe32(layer);
	uint64_t which = prng_below(rnd, SOURCE_KEYS);
	size_t len = 4;

	memcpy(buf, &be, len);
	buf[len++] = "iex"[which % 3];
	buf[len++] = (uint8_t)(which % 7);
	for (uint64_t v = which * 0x9e3779b9; v > 0; v >>= 7)
		buf[len++] = (uint8_t)v;
	/* Some as long as can be, some that begin like others. */
	if (which % 50 == 0) {
		memset(buf + len, 0xff, TABLE_KEY_MAX - len);
		len = TABLE_KEY_MAX;
	} else if (which % 11 == 0) {
		buf[len++] = 0;
	}
	return span_of(buf, len);
}

void batch_source_next(struct batch_source *s, struct table_batch *b)
{
	struct prng rnd = { s->seed + s->next * 0x9e3779b97f4a7c15 };
	uint64_t count = htole64(++s->next), n = 1 + prng_below(&rnd, 6);
	uint8_t value[4096], bytes[TABLE_KEY_MAX];

	buf_clear(&b->bytes);
	b->count = 0;
	if (prng_below(&rnd, 400) == 0) {
		uint64_t i = 1 + prng_below(&rnd, SOURCE_LAYERS - 1);

		table_batch_drop(b, s->layers[i]);
		s->layers[i] = s->next_layer++;
	}
	for (uint64_t i = 0; i < n; i++) {
		struct span key =
			random_key(&rnd, s->layers[prng_below(&rnd, SOURCE_LAYERS)], bytes);
		size_t len = prng_below(&rnd, s->value_max);

		if (prng_below(&rnd, 200) == 0)
			len = prng_below(&rnd, sizeof(value));
		prng_fill(&rnd, value, len);
		if (prng_below(&rnd, 3) == 0)
			table_batch_delete(b, key);
		else
			table_batch_put(b, key, span_of(value, len));
	}
	table_batch_put(b, span_of(counter_key, sizeof(counter_key)),
			span_of(&count, sizeof(count)));
}

int64_t table_counter(struct table *t)
{
	_cleanup_buf_ struct buf value = { 0 };
	struct cursor c;
	int r = table_get(t, span_of(counter_key, sizeof(counter_key)), &value);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	c = cursor_of(buf_span(&value));
	return (int64_t)rd_u64(&c);
}
