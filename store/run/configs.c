/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Configuration files among those that a run has read, for its parameters (RUNS.md, section 4).
 *
 * A result is none: what is there as a run is known to have written it. (What the run has written
 * itself it has not read from a commit.) Where that cannot be told, it is configuration.
 */
#include <stdio.h>

#include "catalog/catalog.h"
#include "catalog/files.h"
#include "catalog/maker.h"
#include "run/parts.h"

enum {
	CONFIGS_MAX = 1000,
	LOOK_TIMEOUT_MS = 1000, /* for what other runs have come to meanwhile */
};

struct configs {
	struct run *run;
	struct access *acc;
	run_config_fn fn;
	void *ctx;
	struct buf path;
	size_t *ends; /* owned; of path, by depth */
	size_t room, count;
	struct loaded top; /* the commit that the walk is in; owned */
	bool has_top;
	bool has_looked; /* at other runs */
};

static bool may_hold_parameters(struct span name)
{
	static const char *const ends[] = { ".json", ".yaml", ".yml", ".toml", ".ini" };

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		size_t n = strlen(ends[i]);

		if (name.len > n && memcmp(name.data + name.len - n, ends[i], n) == 0)
			return true;
	}
	return false;
}

/* A branch, or the full id of a commit. */
struct top_name {
	char repo[OBJECT_NAME_MAX + 1], rev[OBJECT_NAME_MAX + 1];
};

static bool name_top(const struct run_place *p, struct top_name *ret)
{
	if (p->repo.len > OBJECT_NAME_MAX || p->rev.len > OBJECT_NAME_MAX)
		return false;
	snprintf(ret->repo, sizeof(ret->repo), "%.*s", (int)p->repo.len,
		 (const char *)p->repo.data);
	snprintf(ret->rev, sizeof(ret->rev), "%.*s", (int)p->rev.len, (const char *)p->rev.data);
	return true;
}

/* The commit that the run has seen there. 0, -ENOENT, or errors of refs. */
static int load_top(struct configs *c, const struct run_place *p, const struct top_name *name)
{
	struct refs *refs = c->run->runs->opts.store->refs;
	struct refs_wait w = { .may_wait = true, .deadline = c->acc->deadline };
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct oid id;
	int r = 0;

	if (c->has_top)
		return 0;
	if (oid_parse(p->rev, &id) < 0)
		r = run_pinned(c->run, name->repo, name->rev, c->acc, &id);
	if (r == 0)
		r = refs_repo(refs, name->repo, &w, &rec);
	if (r == 0)
		r = refs_load_commit(refs, &rec.id, &id, &w, &c->top);
	c->has_top = r == 0;
	return r;
}

/* Has a run written it there as it is? What other runs have come to is looked at once, for so long:
 * of what is not known by then nothing is said. */
static bool is_output(struct configs *c, const struct run_place *p, const struct oid *id)
{
	static const struct catalog_look look = { 0 };
	struct store *store = c->run->runs->opts.store;
	struct deadline dl = deadline_in_ms(LOOK_TIMEOUT_MS);
	struct run_id maker;
	enum run_how how;

	dl.cancelled = c->acc->deadline.cancelled;
	if (!c->has_looked)
		catalog_look(store, &look, &dl);
	c->has_looked = true;
	return run_maker(store, p, id, NULL, &maker, &how) == 0 && how == RUN_HOW_PLACE;
}

static bool is_config(struct configs *c)
{
	const struct run_reading rd = { c->run->runs->opts.store, c->acc };
	struct run_file was;
	struct top_name name;
	struct run_place p;

	if (!run_place_read(buf_span(&c->path), &p) || !name_top(&p, &name) ||
	    load_top(c, &p, &name) < 0 || run_file_in_commit(&rd, &c->top.commit, p.path, &was) < 0)
		return false;
	return was.type == FT_REG && !is_output(c, &p, &was.id);
}

static int see(unsigned depth, struct span name, unsigned what, void *ctx)
{
	struct configs *c = ctx;

	if (depth + 1 >= c->room) {
		size_t room = MAX(2 * c->room, (size_t)depth + 32);
		size_t *p = reallocarray(c->ends, room, sizeof(*p));

		if (!p)
			return -ENOMEM;
		c->ends = p;
		c->room = room;
	}
	if (depth == 0) {
		loaded_release(&c->top);
		c->top = (struct loaded){ 0 };
		c->has_top = false;
	}
	c->path.len = depth > 0 ? c->ends[depth - 1] : 0;
	if (depth > 0)
		buf_put_u8(&c->path, '/');
	buf_put(&c->path, name.data, name.len);
	if (buf_failed(&c->path))
		return -ENOMEM;
	c->ends[depth] = c->path.len;
	if (depth == 0 || !(what & SEEN_READ) || !may_hold_parameters(name) ||
	    c->count == CONFIGS_MAX || !is_config(c))
		return 0;
	c->count++;
	return c->fn(buf_span(&c->path), &c->top.id, c->ctx);
}

int run_configs(struct run *run, struct access *acc, run_config_fn fn, void *ctx)
{
	struct configs c = { .run = run, .acc = acc, .fn = fn, .ctx = ctx };
	int r;

	access_may_fetch(acc);
	r = seen_walk(run->seen, see, &c);
	loaded_release(&c.top);
	buf_release(&c.path);
	free(c.ends);
	return r;
}
