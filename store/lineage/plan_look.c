/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A step of a plan, looked at by itself (lineage/plan_parts.h): why it is stale, what it has read
 * from, what has changed what it made since, and what keeps it from being run.
 */
#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"
#include "base/text.h"
#include "catalog/catalog.h"
#include "lineage/plan_parts.h"
#include "lineage/stale.h"
#include "record/archive.h"
#include "record/fields.h"
#include "record/json_bytes.h"
#include "record/tree_read.h"

bool plan_is_unreadable(int r)
{
	return r == -ENOENT || r == -EBADMSG || r == -ENOTSUP || r == -EIO;
}

/* ---- its edges and reasons ---- */

static int set_id(json_t *o, const char *key, const struct run_file *f)
{
	char hex[OID_HEX];
	json_t *v;

	if (!f)
		return 0;
	v = f->type == FT_DIR	  ? json_string("directory")
	    : oid_is_null(&f->id) ? json_string("")
				  : json_string(oid_hex(&f->id, hex));
	return json_object_set_new(o, key, v);
}

static int add_reason(struct run_plan *p, struct span path, const struct run_file *was,
		      const struct run_file *now)
{
	json_t *o;

	p->at->is_stale = true;
	if (json_array_size(p->at->reasons) == RUN_PLAN_REASONS)
		return 0;
	o = json_object();
	if (json_object_set_new(o, "path", json_of_bytes(path)) < 0 || set_id(o, "was", was) < 0 ||
	    set_id(o, "now", now) < 0 || json_array_append_new(p->at->reasons, o) < 0)
		return -ENOMEM;
	return 0;
}

/* What a part of its record has there, if that is a file: 1, 0, -errno. */
static int find_in(struct run_plan *p, const char *part, struct span path, struct run_file *ret)
{
	_cleanup_(node_unrefp) struct node *leaf = NULL;
	struct inode ino;
	int r = run_tree_find(&p->tree, part, path, p->p.rd.access, &leaf, &ino);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	*ret = run_file_of(&ino);
	return ino.type == FT_REG || ino.type == FT_LNK;
}

static int add_edge(struct run_plan *p, struct span path, const struct run_id *id)
{
	struct step *from;
	int r = plan_step(p, id, &from);

	return r < 0 ? r : plan_edge(p->at, path, from, false);
}

/* What was only added to is no input, but comes first. */
static int add_former(struct run_plan *p, struct span path, const struct run_id *id, bool has_read)
{
	return has_read || plan_known(p, id) ? add_edge(p, path, id) : 0;
}

/* Was one of those who made it run in place of one of those? 1, 0, -errno. */
static int is_made_anew(struct run_plan *p, const struct run_turns *line, const struct run_id *made,
			const struct run_turns *before)
{
	int r = 0;

	if (line->count == 0)
		return plan_is_in_place_of(p, made, before);
	if (run_turns_find(line, &p->at->id) != SIZE_MAX)
		return 0;
	for (size_t i = 0; r == 0 && i < line->count; i++)
		r = plan_is_in_place_of(p, &line->at[i].id, before);
	return r;
}

/* What it found where it has written itself: who had made that? If an update has run that one
 * again, and not yet this one, it finds something else there, and its own work is gone.
 * @made: who made what is there now, or was the last to. */
static int take_own(struct run_plan *p, struct span path, const struct run_place *place,
		    const struct inode *ino, const struct run_file *left,
		    const struct run_file *now, const struct run_id *made, bool has_read)
{
	_cleanup_run_turns_ struct run_turns before = { 0 };
	const struct run_file found = run_file_of(ino);
	const struct run_turns *line;
	int r = run_turns_of(&p->p.rd, place, &found, &p->at->id, &before);

	if (r < 0 || before.count == 0)
		return r;
	r = plan_line(p, path, place, now, &line);
	if (r == 0)
		r = is_made_anew(p, line, made, &before);
	if (r == 1)
		r = add_reason(p, path, left, now) ?: add_former(p, path, made, has_read);
	return r < 0 ? r : add_former(p, path, &before.at[0].id, has_read);
}

static int read_from(struct run_plan *p, struct span path, struct step *s)
{
	return plan_edge(p->at, path, s, false);
}

/* It has read there what a run has made, and others will have made of that. */
static int add_maker(struct run_plan *p, struct span path, const struct run_place *place,
		     const struct run_file *now, const struct run_id *id)
{
	return add_edge(p, path, id) ?: plan_each_undone(p, path, place, now, id, read_from);
}

/* Who has made what is there now? */
static int take_found(struct run_plan *p, struct span path, const struct inode *ino, bool has_read)
{
	struct run_file now, left;
	struct run_place place;
	struct run_id id;
	bool is_its;
	int r = run_place_read(path, &place) ? run_tips_find(p->p.tips, &place, &now) : -ENOENT;

	if (r == 0)
		r = plan_maker(p, &place, &now, &id, &is_its);
	if (r <= 0)
		return r == -ENOENT ? 0 : r;
	r = find_in(p, RUN_TREE_WRITTEN, path, &left);
	if (r == 0)
		return add_maker(p, path, &place, &now, &id);
	return r < 0 ? r : take_own(p, path, &place, ino, &left, &now, &id, has_read);
}

static int take_read(struct span path, const struct inode *ino, void *ctx)
{
	return ino->type == FT_REG || ino->type == FT_LNK ? take_found(ctx, path, ino, true) : 0;
}

static int take_kept(struct span path, const struct inode *ino, void *ctx)
{
	struct run_file file;
	int r = ino->type == FT_REG || ino->type == FT_LNK
			? find_in(ctx, RUN_TREE_READ, path, &file)
			: 1;

	return r == 0 ? take_found(ctx, path, ino, false) : MIN(r, 0);
}

static int take_changed(struct span path, const struct run_file *was, const struct run_file *now,
			void *ctx)
{
	struct run_plan *p = ctx;
	struct run_place place;
	struct run_id id;
	bool is_its;
	int r = 0;

	if (now && run_place_read(path, &place))
		r = plan_maker(p, &place, now, &id, &is_its);
	if (r == 1)
		r = add_maker(p, path, &place, now, &id);
	return r < 0 ? r : add_reason(p, path, was, now);
}

/* ---- what keeps it from being run ---- */

/* A sentence is text, whatever it names. */
static void make_text(char *s)
{
	bool is_utf8 = utf8_is_valid(s, strlen(s));

	for (; *s; s++)
		if ((uint8_t)*s < ' ' || (!is_utf8 && (uint8_t)*s >= 0x80))
			*s = '?';
}

int plan_skip(struct run_plan *p, bool is_hard, const char *fmt, ...)
{
	va_list ap;
	int r = 0;

	if (p->at->skip || (p->p.force && !is_hard))
		return 0;
	va_start(ap, fmt);
	r = vasprintf(&p->at->skip, fmt, ap);
	va_end(ap);
	if (r < 0) {
		p->at->skip = NULL;
		return -ENOMEM;
	}
	make_text(p->at->skip);
	return 0;
}

static int shown(struct span path)
{
	return (int)MIN(path.len, (size_t)200);
}

static int is_same_command(struct run_plan *p, const struct run_id *a, const struct run_id *b)
{
	uint64_t x = 0, y = 0;
	int r = plan_command(p, a, &x) ?: plan_command(p, b, &y);

	return r < 0 ? r : x == y;
}

/* What lies where it has written is another run's. */
static int meet_other(struct run_plan *p, struct span path, const struct run_id *other)
{
	struct run_id mine, its;
	int r;

	if (p->at->is_over || strcmp(other->s, p->met.s) == 0)
		return 0;
	p->met = *other;
	r = plan_first_of(p, other, &its) ?: plan_first_of(p, &p->at->id, &mine);
	/* Run in place of one that the step wrote over then as well? */
	if (r < 0 || (strcmp(its.s, other->s) != 0 && strcmp(its.s, mine.s) < 0))
		return r;
	r = is_same_command(p, &p->at->id, other);
	p->at->is_over = r == 1;
	if (r != 0)
		return MIN(r, 0);
	return plan_skip(
		p, false,
		"%.*s, which it has made, was made by run %s since: --force writes over it",
		shown(path), (const char *)path.data, other->s);
}

/* Is one of the first @count of the same command? 1, 0, -errno. */
static int has_again(struct run_plan *p, const struct run_turns *line, size_t count)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < count; i++)
		r = is_same_command(p, &p->at->id, &line->at[i].id);
	return r;
}

static bool have_read(const struct run_turns *line, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!line->at[i].has_read)
			return false;
	return true;
}

/* They do so again, each behind the one before it. */
static int add_followers(struct run_plan *p, struct span path, const struct run_turns *line,
			 size_t count)
{
	struct step *before = p->at, *s;
	int r = 0;

	for (size_t i = count; r == 0 && i > 0; i--, before = s) {
		r = plan_step(p, &line->at[i - 1].id, &s);
		if (r == 0)
			r = plan_edge(s, path, before, true);
		if (r == 0)
			r = plan_then(p->at, s);
	}
	return r;
}

/* The first @count of those have changed what it made, one after the other. What they have read
 * is made again by the way; what was only added to is, where that is asked for. */
static int meet_followers(struct run_plan *p, struct span path, const struct run_turns *line,
			  size_t count)
{
	const struct step *last = plan_known(p, &line->at[0].id);
	int r;

	if (have_read(line, count))
		return add_followers(p, path, line, count);
	r = has_again(p, line, count);
	p->at->is_over |= r == 1;
	if (r != 0)
		return MIN(r, 0);
	if (p->p.force && last && last->is_root)
		return add_followers(p, path, line, count);
	return plan_skip(p, false,
			 "%.*s, which it has made, was added to by run %s since: --force makes it "
			 "anew, and runs that again",
			 shown(path), (const char *)path.data, line->at[count - 1].id.s);
}

static int take_other(struct run_plan *p, struct span path, const struct run_place *place,
		      const struct run_file *now)
{
	struct run_turn me = { .id = p->at->id };
	const struct run_turns self = { .at = &me, .count = 1 }, *line;
	struct run_id id;
	bool is_its;
	size_t at;
	int r = plan_line(p, path, place, now, &line);

	if (r < 0)
		return r;
	at = run_turns_find(line, &p->at->id);
	if (at != SIZE_MAX && at > 0)
		return meet_followers(p, path, line, at);
	r = plan_has_replaced(p, line, &p->at->id);
	p->at->is_over |= r == 1;
	if (r != 0)
		return MIN(r, 0);
	r = plan_maker(p, place, now, &id, &is_its);
	if (r == 1 && is_its && strcmp(id.s, p->at->id.s) != 0)
		return meet_other(p, path, &id);
	if (r == 1)
		r = plan_is_in_place_of(p, &id, &self);
	p->at->is_over |= r == 1;
	if (r != 0)
		return MIN(r, 0);
	return plan_skip(p, false,
			 "%.*s, which it has made, was changed since: --force writes over it",
			 shown(path), (const char *)path.data);
}

/* It is there as it made it; but others may have made the same since. */
static int take_same(struct run_plan *p, struct span path, const struct run_place *place,
		     const struct run_file *now)
{
	const struct run_turns *line;
	struct run_id id;
	bool is_its;
	int r = plan_maker(p, place, now, &id, &is_its);

	if (r <= 0 || strcmp(id.s, p->at->id.s) == 0)
		return MIN(r, 0);
	r = plan_line(p, path, place, now, &line);
	if (r == 0 && run_turns_find(line, &p->at->id) == SIZE_MAX)
		r = plan_has_replaced(p, line, &p->at->id);
	p->at->is_over |= r == 1;
	return MIN(r, 0);
}

static int take_written(struct span path, const struct inode *ino, void *ctx)
{
	struct run_plan *p = ctx;
	struct run_file was = run_file_of(ino), now;
	struct run_place place;
	int r;

	r = throwaways_have(&p->throwaways, path, &p->p.rd.access->deadline);
	if (r != 0)
		return r < 0 ? r : RUN_TREE_SKIP;
	if ((ino->type != FT_REG && ino->type != FT_LNK) || !run_place_read(path, &place))
		return 0;
	r = run_tips_find(p->p.tips, &place, &now);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	return now.type != was.type || !oid_equal(&now.id, &was.id)
		       ? take_other(p, path, &place, &now)
		       : take_same(p, path, &place, &now);
}

static int check_status(struct run_plan *p)
{
	if (p->row.uid != p->p.uid)
		return plan_skip(p, true, "it is another user's");
	if (p->row.status != RUN_OK)
		return plan_skip(p, true, "it has not ended well");
	return 0;
}

/* The record of a step; what of it cannot be read keeps it from being run. */
static int load(struct run_plan *p, struct step *s)
{
	int r;

	json_decref(p->start);
	json_decref(p->end);
	p->start = p->end = NULL;
	p->at = s;
	p->met = (struct run_id){ 0 };
	s->reasons = json_array();
	r = catalog_row(p->p.rd.store, &s->id, &p->bytes, &p->row);
	if (r < 0)
		return r;
	complaint_clear();
	r = archive_get(p->p.rd.store, &s->id, &p->p.rd.access->deadline, &p->start, &p->end);
	if (r == 0 && p->end)
		r = run_tree_read(json_object_get(p->end, "tree"), &p->tree);
	return r;
}

int plan_look(struct run_plan *p, struct step *s)
{
	struct run_staleness stale = {
		.rd = p->p.rd, .tips = p->p.tips, .id = &s->id, .changed = take_changed, .ctx = p
	};
	int r = load(p, s);

	stale.start = p->start;
	stale.end = p->end;
	if (r == 0 && p->end)
		r = run_tree_walk(&p->tree, RUN_TREE_READ, p->p.rd.access, take_read, p);
	if (r == 0 && p->end)
		r = run_tree_walk(&p->tree, RUN_TREE_KEPT, p->p.rd.access, take_kept, p);
	if (r == 0 && p->end)
		r = run_stale(&stale);
	if (r == 0)
		r = check_status(p);
	if (r == 0 && p->end)
		r = run_tree_walk(&p->tree, RUN_TREE_WRITTEN, p->p.rd.access, take_written, p);
	if (!plan_is_unreadable(r))
		return r;
	/* Nobody knows what it saw. */
	s->is_stale = true;
	r = plan_skip(p, true, "what is recorded of it cannot be read");
	complaint_clear();
	return r;
}
