/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Verbs that tell of the store and the mount.
 */
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "backend/count.h"
#include "base/log.h"
#include "catalog/catalog.h"
#include "format/key.h"
#include "format/pack.h"
#include "head/head.h"
#include "index/index.h"
#include "object/cache.h"
#include "object/reader.h"
#include "object/trust.h"
#include "run/run.h"
#include "service/names.h"
#include "service/verbs.h"

enum {
	SAMPLE_MAX = 64, /* packs whose footers tell how well things compress */
};

/*
 * info			which store this is, and who answers
 *
 * One line: {url, store: id, created, is_mounted, is_read_only, pid, machine, state_dir: where it
 * keeps what is not in the store, runs: how many go on; of a mount; run: the
 * one in whose view it is asked}.
 */
int verb_info(struct request *q)
{
	const struct store *s = q->service->store;
	_cleanup_answer_ struct answer a = answer_new();
	char id[ID128_HEX], state[PATH_MAX], link[64];
	struct runs_stats runs;
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", s->state_fd);
	n = readlink(link, state, sizeof(state) - 1);
	state[n > 0 ? n : 0] = '\0';
	answer_text(&a, "url", s->backend->url);
	answer_text(&a, "store", id128_hex(&s->format.store_id, id));
	answer_time(&a, "created", s->format.created, 0);
	answer_bool(&a, "is_mounted", q->service->heads != NULL);
	answer_bool(&a, "is_read_only", s->read_only);
	answer_number(&a, "pid", (uint64_t)getpid());
	answer_text(&a, "machine", s->machine);
	answer_text(&a, "state_dir", n > 0 ? state : NULL);
	if (q->service->runs) {
		runs_stats(q->service->runs, &runs);
		answer_number(&a, "runs", runs.going_on);
	}
	if (q->who->within)
		answer_text(&a, "run", run_id(q->who->within)->s);
	return request_answer(q, &a);
}

static void put_cached(struct request *q, struct answer *a)
{
	const struct store *s = q->service->store;
	struct answer r = answer_new(), x = answer_new();
	struct reader_stats rs;
	struct index_stats is;

	reader_stats(s->reader, &rs);
	answer_number(&r, "node_hits", rs.node_hits);
	answer_number(&r, "node_misses", rs.node_misses);
	answer_number(&r, "chunk_hits", rs.chunk_hits);
	answer_number(&r, "chunk_misses", rs.chunk_misses);
	answer_number(&r, "disk_hits", rs.disk_hits);
	answer_number(&r, "fetches", rs.fetches);
	answer_number(&r, "fetched_bytes", rs.fetched_bytes);
	answer_number(&r, "bad", rs.bad);
	answer_number(&r, "node_memory", rs.node_memory);
	answer_number(&r, "chunk_memory", rs.chunk_memory);
	answer_object(a, "reader", &r);
	index_stats(s->index, &is);
	answer_number(&x, "ids", is.ids);
	answer_number(&x, "packs", is.packs);
	answer_number(&x, "segments", is.segments);
	answer_number(&x, "mapped_bytes", is.mapped_bytes);
	answer_object(a, "index", &x);
	answer_number(a, "cached_bytes", s->cache ? cache_used(s->cache) : 0);
	answer_number(a, "cache_budget", s->cache ? cache_budget(s->cache) : 0);
	answer_text(a, "conditions", trust_word(s));
}

static void put_requests(struct request *q, struct answer *a)
{
	struct answer all = answer_new(), ops = answer_new();
	struct backend_counts c;

	count_backend_get(q->service->store->counted, &c);
	for (size_t i = 0; i < COUNT_OP_COUNT; i++) {
		struct answer op = answer_new();

		answer_number(&op, "calls", c.ops[i].calls);
		answer_number(&op, "errors", c.ops[i].errors);
		answer_number(&op, "time_us", c.ops[i].time_us);
		answer_object(&ops, count_op_names[i], &op);
	}
	answer_object(&all, "requests", &ops);
	answer_number(&all, "read_bytes", c.read_bytes);
	answer_number(&all, "written_bytes", c.written_bytes);
	answer_object(a, "backend", &all);
}

static void put_heads(struct request *q, struct answer *a)
{
	struct answer h = answer_new();
	struct heads_stats s;

	heads_stats(q->service->heads, &s);
	answer_number(&h, "heads", s.heads);
	answer_number(&h, "dirty", s.dirty);
	answer_number(&h, "staged_bytes", s.staged);
	answer_number(&h, "staged_to_be_freed", s.waiting);
	answer_number(&h, "staged_limit", s.budget);
	answer_number(&h, "journal_bytes", s.journal_bytes);
	answer_number(&h, "memory_bytes", s.memory_bytes);
	answer_number(&h, "checkpoints", s.checkpoints);
	answer_number(&h, "syncs", s.syncs);
	answer_object(a, "heads", &h);
}

static void put_runs(struct request *q, struct answer *a)
{
	struct answer x = answer_new();
	struct catalog_stats s;
	struct runs_stats here;

	catalog_stats(q->service->store, &s);
	answer_number(&x, "known", s.runs);
	answer_number(&x, "without_end", s.open);
	if (s.looked)
		answer_time(&x, "looked", s.looked, 0);
	if (s.swept)
		answer_time(&x, "listed", s.swept, 0);
	if (q->service->runs) {
		runs_stats(q->service->runs, &here);
		answer_number(&x, "going_on", here.going_on);
		answer_number(&x, "ending", here.ending);
		answer_number(&x, "ended", here.ended);
	}
	answer_object(a, "runs", &x);
}

/* Packs as listed, and a sample of them, each as likely as any other. */
struct pack_sum {
	struct request *q;
	uint64_t packs, bytes;
	struct {
		char key[KEY_MAX + 1];
		uint64_t size;
	} sample[SAMPLE_MAX];
};

static int count_pack(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	struct pack_sum *s = ctx;
	uint64_t at = s->packs++;

	s->bytes += size;
	if (at >= SAMPLE_MAX)
		at = random_u64() % s->packs;
	if (at < SAMPLE_MAX && strlen(key) <= KEY_MAX) {
		memcpy(s->sample[at].key, key, strlen(key) + 1);
		s->sample[at].size = size;
	}
	return request_check(s->q);
}

/* What a pack's footer says of the bytes of files in it, before compression. */
static int raw_bytes(struct request *q, const char *key, uint64_t size, uint64_t *ret)
{
	struct backend *b = q->service->store->backend;
	struct deadline dl = request_deadline(q, CHANGE_TIMEOUT_MS);
	_cleanup_buf_ struct buf footer = { 0 };
	uint8_t last[PACK_TRAILER_SIZE], *p;
	struct pack_trailer t;
	size_t n;
	int r;

	if (size < sizeof(last))
		return -EBADMSG;
	r = b->ops->get(b, key, size - sizeof(last), sizeof(last), last, &dl, &n);
	if (r < 0 || n != sizeof(last))
		return r < 0 ? r : -EBADMSG;
	r = pack_trailer_read(span_of(last, n), size, &t);
	if (r < 0)
		return r;
	p = buf_extend(&footer, size - t.footer_off);
	if (!p)
		return -ENOMEM;
	r = b->ops->get(b, key, t.footer_off, footer.len, p, &dl, &n);
	if (r == 0)
		r = n == footer.len ? pack_footer_check(buf_span(&footer), &t) : -EBADMSG;
	for (uint32_t i = 0; r == 0 && i < t.count; i++) {
		struct pack_entry e;

		pack_footer_entry(buf_span(&footer), i, &e);
		if (e.kind == OID_CHUNK)
			*ret += e.len;
	}
	return r;
}

/* Unique bytes of files in the store: of all packs if they are few, else by the sample. */
static uint64_t unique_bytes(struct pack_sum *s)
{
	uint64_t n = MIN(s->packs, (uint64_t)SAMPLE_MAX), raw = 0, looked_at = 0;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t sum = 0;

		if (raw_bytes(s->q, s->sample[i].key, s->sample[i].size, &sum) < 0)
			continue;
		raw += sum;
		looked_at += s->sample[i].size;
	}
	if (looked_at == 0 || s->packs <= SAMPLE_MAX)
		return raw;
	return (uint64_t)((double)raw / (double)looked_at * (double)s->bytes);
}

struct commit_sum {
	uint64_t commits, bytes; /* bytes: as if each commit were a copy */
	uint64_t damaged; /* commits and repos' records */
};

static int count_commits(struct request *q, const char *repo, struct commit_sum *sum)
{
	struct refs *refs = q->service->store->refs;
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	_cleanup_names_ struct names ids = { 0 };
	struct refs_wait w = request_wait(q);
	int r = refs_repo(refs, repo, &w, &rec);

	if (r == 0)
		r = names_of_commits(q, &rec.id, &ids);
	for (size_t i = 0; r == 0 && i < ids.count; i++) {
		_cleanup_buf_ struct buf object = { 0 };
		_cleanup_commit_ struct commit c = { 0 };
		struct oid id;

		w = request_wait(q);
		r = oid_parse(span_str(ids.items[i]), &id);
		if (r == 0)
			r = refs_commit(refs, &rec.id, &id, &w, &object);
		if (r == 0)
			r = commit_read(buf_span(&object), &id, &c);
		if (r == -EBADMSG || r == -ENOTSUP || r == -ENOENT) {
			sum->damaged++;
			r = 0;
			continue;
		}
		if (r < 0)
			return r;
		sum->commits++;
		sum->bytes = add_sat(sum->bytes, c.root.dir.sum.bytes);
	}
	if (r == -EBADMSG || r == -ENOTSUP) {
		sum->damaged++;
		r = 0;
	}
	return r == -ENOENT ? 0 : r;
}

static int put_store(struct request *q, struct answer *a)
{
	struct backend *b = q->service->store->backend;
	struct deadline dl = DEADLINE_NEVER;
	_cleanup_free_ struct pack_sum *packs = new0(struct pack_sum, 1);
	_cleanup_names_ struct names repos = { 0 };
	struct commit_sum commits = { 0 };
	struct answer s = answer_new();
	uint64_t unique = 0;
	int r;

	if (!packs)
		return -ENOMEM;
	packs->q = q;
	dl.cancelled = q->who->cancelled;
	r = b->ops->list(b, PACK_PREFIX, NULL, count_pack, packs, &dl);
	if (r == 0)
		r = names_of_repos(q, &repos);
	for (size_t i = 0; r == 0 && i < repos.count; i++)
		r = count_commits(q, repos.items[i], &commits);
	if (r == 0)
		unique = unique_bytes(packs);
	answer_number(&s, "repos", repos.count);
	answer_number(&s, "commits", commits.commits);
	answer_number(&s, "packs", packs->packs);
	answer_number(&s, "stored_bytes", packs->bytes);
	answer_number(&s, "unique_bytes", unique);
	answer_number(&s, "commit_bytes", commits.bytes);
	answer_bool(&s, "is_estimate", packs->packs > SAMPLE_MAX);
	answer_number(&s, "damaged", commits.damaged);
	answer_object(a, "store", &s);
	return r;
}

/*
 * stats		numbers
 *
 *	store?: also of the store as a whole, which takes listing it
 *
 * One line: {reader: {...}, index: {...}, cached_bytes, cache_budget: 0 without a disk cache,
 * conditions: who keeps them, as object/trust.h says, backend: {requests: by kind {calls, errors,
 * time_us}, read_bytes, written_bytes: of objects}, heads?: {...}, runs: {known, without_end,
 * looked?: when it was last looked for new ones, listed?: when all of them were last listed; of a
 * mount going_on, ending, ended: whose views are still in use}, mount?: what the daemon adds,
 * store?: {repos, commits, packs, stored_bytes: of packs, unique_bytes: of different chunks before
 * compression, commit_bytes: of all commits as if each were a copy, is_estimate, damaged: how many
 * commits and repos' records could not be counted}}. So unique_bytes / stored_bytes is how well
 * things compress, commit_bytes / unique_bytes how much is shared.
 */
int verb_stats(struct request *q)
{
	_cleanup_answer_ struct answer a = answer_new();
	json_t *mount;
	bool with_store;
	int r = request_bool(q, "store", &with_store);

	if (r < 0)
		return r;
	put_cached(q, &a);
	put_requests(q, &a);
	if (q->service->heads)
		put_heads(q, &a);
	put_runs(q, &a);
	if (q->service->stats) {
		mount = json_object();
		if (mount)
			q->service->stats(mount, q->service->ctx);
		answer_json(&a, "mount", mount);
	}
	if (with_store)
		r = put_store(q, &a);
	return r < 0 ? request_fail(r, "the store cannot be counted") : request_answer(q, &a);
}
