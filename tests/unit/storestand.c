/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Stores for tests of what writes them (storestand.h).
 */
#include "storestand.h"

#include "index/index.h"

static const struct id128 STORE_ID = { { 5 } };

static void open_objects(struct storestand *s)
{
	const struct reader_options o = {
		.backend = s->store.backend,
		.index = s->store.index,
		.node_bytes = 4 << 20,
		.chunk_bytes = 8 << 20,
		.fetch_threads = 1,
	};

	assert_ok(reader_new(&o, &s->store.reader));
	access_init(&s->acc, s->store.reader, true);
	s->acc.deadline = DEADLINE_NEVER;
}

static void open_machine(struct storestand *s)
{
	char name[16];
	int fd;

	snprintf(name, sizeof(name), "index%u", s->machines++);
	fd = scratch_dir(&s->dir, name);
	assert_ok(index_open(fd, &STORE_ID, 16 << 20, &s->store.index));
	close(fd);
	open_objects(s);
}

static void close_objects(struct storestand *s)
{
	access_release(&s->acc);
	reader_free(s->store.reader);
}

static void close_machine(struct storestand *s)
{
	close_objects(s);
	index_free(s->store.index);
}

static int set_up(void **state, bool is_on_disk)
{
	const struct backend_options o = { .create = true };
	struct storestand *s = new0(struct storestand, 1);
	char path[80];

	s->dir = scratch_make();
	snprintf(path, sizeof(path), "%s/store", s->dir.path);
	assert_ok(backend_open(is_on_disk ? path : "mem:", &o, &s->store.backend));
	assert_ok(fault_backend_new(s->store.backend, &s->store.backend));
	assert_ok(pool_new("work", 2, &s->store.pool));
	assert_ok(pool_new("upload", 2, &s->store.uploads));
	open_machine(s);
	*state = s;
	return 0;
}

int storestand_set_up(void **state)
{
	return set_up(state, false);
}

int storestand_set_up_on_disk(void **state)
{
	return set_up(state, true);
}

int storestand_set_up_elsewhere(void **state)
{
	int r = storestand_set_up(state);

	((struct storestand *)*state)->store.backend->is_local = false;
	return r;
}

int storestand_tear_down(void **state)
{
	struct storestand *s = *state;

	/* A test that failed may have left work. */
	pool_free(s->store.uploads);
	pool_free(s->store.pool);
	close_machine(s);
	backend_free(s->store.backend);
	scratch_remove(&s->dir);
	free(s);
	return 0;
}

void storestand_move(struct storestand *s)
{
	close_machine(s);
	open_machine(s);
}

void storestand_forget_objects(struct storestand *s)
{
	close_objects(s);
	open_objects(s);
}

struct packer_stats stats_since(struct packer *p, const struct packer_stats *before)
{
	struct packer_stats now;

	packer_stats(p, &now);
	now.chunks -= before->chunks;
	now.nodes -= before->nodes;
	now.raw_bytes -= before->raw_bytes;
	now.stored_bytes -= before->stored_bytes;
	now.reused -= before->reused;
	now.reused_bytes -= before->reused_bytes;
	now.packs -= before->packs;
	return now;
}

struct fault_counts storestand_counts(struct storestand *s)
{
	struct fault_counts c;

	fault_backend_counts(s->store.backend, &c);
	return c;
}

static int count_key(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	++*(unsigned *)ctx;
	return 0;
}

unsigned storestand_packs(struct storestand *s)
{
	struct backend *b = s->store.backend;
	unsigned n = 0;

	assert_ok(b->ops->list(b, "packs/", NULL, count_key, &n, NULL));
	return n;
}

uint8_t *content_bytes(struct storestand *s, const struct content *c)
{
	uint8_t *bytes = malloc(c->size + 1);

	assert_non_null(bytes);
	assert_int_equal(content_read(s->store.reader, c, 0, c->size, bytes, &s->acc), c->size);
	return bytes;
}

struct made {
	struct content_source base;
	struct madepiece *pieces; /* owned, bytes too */
	size_t count;
	struct madecounts *counts;
};

static struct made *made_of(struct content_source *s)
{
	return container_of(s, struct made, base);
}

/* Which piece @off is in, and how far. */
static const struct madepiece *piece_at(const struct made *m, uint64_t off, uint64_t *ret_in)
{
	for (size_t i = 0; i < m->count; i++) {
		if (off < m->pieces[i].len) {
			*ret_in = off;
			return &m->pieces[i];
		}
		off -= m->pieces[i].len;
	}
	fail_msg("asked for what is behind the end");
	return NULL;
}

static bool fails(struct made *m)
{
	return m->counts->fail_in > 0 && --m->counts->fail_in == 0;
}

static int made_piece(struct content_source *s, uint64_t off, struct piece *ret)
{
	struct made *m = made_of(s);
	uint64_t in = 0;
	const struct madepiece *p = piece_at(m, off, &in);

	if (fails(m))
		return -EUCLEAN;
	*ret = (struct piece){
		.kind = p->kind,
		.len = p->len - in,
		.content = p->content,
		.content_off = p->content_off + in,
	};
	return 0;
}

static int made_read(struct content_source *s, uint64_t off, size_t len, void *buf)
{
	struct made *m = made_of(s);
	uint8_t *to = buf;

	if (fails(m))
		return -EUCLEAN;
	m->counts->reads++;
	m->counts->read += len;
	while (len > 0) {
		uint64_t in = 0;
		const struct madepiece *p = piece_at(m, off, &in);
		size_t n = MIN(len, (size_t)(p->len - in));

		if (p->kind == PIECE_HOLE)
			memset(to, 0, n);
		else if (p->kind == PIECE_DATA)
			memcpy(to, p->bytes + in, n);
		else
			memcpy(to, p->content_bytes + p->content_off + in, n);
		to += n;
		off += n;
		len -= n;
	}
	return 0;
}

static void made_stored(struct content_source *s, uint64_t off, const struct batch_chunk *chunk)
{
	struct made *m = made_of(s);
	uint8_t *bytes = malloc(chunk->len);
	struct oid id;

	m->counts->stored++;
	m->counts->fail_in = 0;
	assert_non_null(bytes);
	assert_ok(made_read(s, off, chunk->len, bytes));
	m->counts->read -= chunk->len;
	m->counts->reads--;
	id = oid_of(OID_CHUNK, bytes, chunk->len);
	assert_memory_equal(&id, &chunk->id, sizeof(id));
	assert_int_equal(chunk->loc.state, LOC_AT);
	free(bytes);
}

static void made_free(struct content_source *s)
{
	struct made *m = made_of(s);

	m->counts->freed++;
	for (size_t i = 0; i < m->count; i++)
		free((void *)m->pieces[i].bytes);
	free(m->pieces);
	free(m);
}

struct content_source *made_source(const struct madepiece *pieces, size_t n,
				   struct madecounts *counts)
{
	struct made *m = new0(struct made, 1);

	m->base = (struct content_source){
		.piece = made_piece, .read = made_read, .stored = made_stored, .free = made_free
	};
	m->counts = counts;
	m->count = n;
	m->pieces = new0(struct madepiece, n + 1);
	for (size_t i = 0; i < n; i++) {
		m->pieces[i] = pieces[i];
		m->base.size += pieces[i].len;
		if (!pieces[i].bytes)
			continue;
		m->pieces[i].bytes = malloc(pieces[i].len);
		assert_non_null(m->pieces[i].bytes);
		memcpy((void *)m->pieces[i].bytes, pieces[i].bytes, pieces[i].len);
	}
	return &m->base;
}

int build_content(struct storestand *s, struct packer *p, const struct chunk_params *params,
		  struct content_source *src, struct content *ret, struct buf *ret_inlined)
{
	_cleanup_(content_build_freep) struct content_build *b = NULL;
	struct batch *open = NULL;
	struct content_options o = {
		.packer = p, .params = *params, .access = &s->acc, .open = &open
	};
	int r = content_build_new(&o, src, &b);

	if (r == 0 && open)
		r = packer_submit(p, open);
	packer_batch_unref(p, open);
	if (r == 0)
		r = content_build_finish(b, ret);
	if (r < 0)
		return r;
	buf_clear(ret_inlined);
	buf_put(ret_inlined, ret->inlined.data, ret->inlined.len);
	ret->inlined = buf_span(ret_inlined);
	return 0;
}
