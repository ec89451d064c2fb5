/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the files of a plan share (lineage/plan.h).
 */
#pragma once

#include "base/hash.h"
#include "base/htab.h"
#include "catalog/turns.h"
#include "lineage/plan.h"
#include "record/throwaway.h"
#include "record/trees.h"

/* A step that another one has read from, and what. */
struct edge {
	struct step *from;
	json_t *path; /* owned */
	bool is_turn; /* that was changed, and is taken back with what @from has made */
};

struct step {
	struct hnode node;
	struct run_id id;
	struct step *next; /* in the order in which they were found */
	struct edge *edges; /* owned */
	size_t edge_count, edge_cap;
	struct step **then; /* owned: those whose work is taken back with its own (plan.h) */
	size_t then_count, then_cap;
	size_t at; /* while the walk is in it: the next edge */
	struct step *read_by; /* the last one that got an edge to it */
	const struct step *skipped_for; /* who is not run, so that it is not */
	struct step *through; /* of one that is over and depends: a step to be run */
	bool is_root, is_entered, is_stale, depends, is_over; /* is_over: made again since */
	json_t *reasons; /* owned; of one that is stale, NULL: nobody may see them */
	char *skip; /* owned; NULL: it can be run */
};

/* Who made a file that several have made, looked up once. */
struct line {
	struct hnode node;
	char *path; /* owned */
	struct run_turns turns;
};

/* What is known of a run, looked up once. */
struct known_run {
	struct hnode node;
	struct run_id id, outermost, first; /* the latter as their functions say, or empty */
	uint64_t command; /* as plan_command() */
	bool has_command;
};

struct run_plan {
	struct run_planning p;
	struct htab by_id; /* of struct step; owned, with its elements, as the next two */
	struct htab lines; /* of struct line, where there are several */
	struct htab runs; /* of struct known_run */
	struct run_turns
		turns; /* owned; of the file that was asked for last, where there are not */
	struct step *first, *last;
	size_t count;
	struct throwaways throwaways;
	struct step **stack; /* owned; of the walk in depth */
	size_t depth, room;
	/* Of the step that is looked at. */
	struct step *at;
	json_t *start, *end; /* owned */
	struct buf bytes;
	struct run_row row;
	struct tree_root tree;
	struct run_id met; /* the last one that has made again what it has made */
};

/* The step that a run is; new, if it was none. 0, -E2BIG (said), -ENOMEM. */
int plan_step(struct run_plan *p, const struct run_id *id, struct step **ret);
/* NULL: it is none. */
struct step *plan_known(const struct run_plan *p, const struct run_id *id);
/* @to has read from @from, unless they are the same. */
int plan_edge(struct step *to, struct span path, struct step *from, bool is_turn);
/* What @then has made is taken back with what @s has. */
int plan_then(struct step *s, struct step *then);

/* Keeps the step that is looked at from being run, if nothing did; what is not hard --force does
 * not mind. 0 or -ENOMEM. */
int _printf_(3, 4) plan_skip(struct run_plan *p, bool is_hard, const char *fmt, ...);

/* Of a record, an error after which there is no use in asking again. */
bool plan_is_unreadable(int r);

/* All that there is to know of a step by itself. (plan_look.c) */
int plan_look(struct run_plan *p, struct step *s);

/* ---- who made what (plan_turns.c) ---- */

/* Frees what it has kept in the plan. */
void plan_forget_turns(struct run_plan *p);

/* Who made what is at a place now: borrowed from the plan until it is asked again. */
int plan_line(struct run_plan *p, struct span path, const struct run_place *place,
	      const struct run_file *now, const struct run_turns **ret);

/* The run that what lies at the place is of: 1, 0, -errno. @is_its: as it made it there; else
 * somebody has changed it since. */
int plan_maker(struct run_plan *p, const struct run_place *place, const struct run_file *f,
	       struct run_id *ret, bool *is_its);

/* A hash of what was run, where, and with which parameters; of a record that cannot be read it is
 * unlike any other. 0, or errors of the archive. */
int plan_command(struct run_plan *p, const struct run_id *id, uint64_t *ret);

/* Was it run in place of one of those, or of one that was? 1, 0, -errno. */
int plan_is_in_place_of(struct run_plan *p, const struct run_id *id, const struct run_turns *of);
/* Was one of them run in place of that one? 1, 0, -errno. */
int plan_has_replaced(struct run_plan *p, const struct run_turns *t, const struct run_id *of);
/* The first of those in whose place it was run; itself. */
int plan_first_of(struct run_plan *p, const struct run_id *id, struct run_id *ret);
/* Tells whom an update has not come to: they had changed what was at the place before one was run
 * again that has made what is there, and whose work lies below; of those who were run in place of
 * one another the last. @made: who made it, or was the last to. Borrows as plan_line(). */
typedef int (*plan_undone_fn)(struct run_plan *p, struct span path, struct step *s);
int plan_each_undone(struct run_plan *p, struct span path, const struct run_place *place,
		     const struct run_file *now, const struct run_id *made, plan_undone_fn fn);
