/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A world of machines that commit to one branch, for test_publication: what each machine asked for
 * and was told, written down where all processes see it; what a machine does; and the judge, who
 * holds the store against it.
 *
 * Each machine is a process with a state directory of its own. All of the world but the history
 * belongs to the test's own process.
 */
#pragma once

#include <sys/types.h>

#include "headstand.h"
#include "weather.h"

enum {
	MACHINES = 8,
	OPS_MAX = 400, /* a machine */
	NAME_MAX_LEN = 32,
	URL_LEN = 256,
	TEXT_SIZE = 32, /* of a file, with its end */
	GROUP = 3, /* files of a machine that change together */
};

/* One operation of a machine, ending in a commit. */
enum kind {
	OWN_FILES, /* a group of its own, and one new file */
	SAME_NAME, /* the same, under a name that others want, too */
	SAME_FILE, /* one that others write, too */
	NO_CHANGE,
};

enum told {
	ASKED = 1, /* and nothing was heard yet */
	DONE,
	TAKEN, /* the name is another's */
};

struct operation {
	atomic_int told;
	enum kind kind;
	bool is_new;
	char name[NAME_MAX_LEN]; /* "": none */
	struct oid id; /* when it is done */
	atomic_bool is_on_branch; /* as was said then */
	unsigned tries;
};

enum phase {
	CHANGING,
	COMMITTING,
};

struct machine {
	atomic_uint next; /* operation */
	atomic_int phase;
	atomic_uint starts;
	atomic_uint diverged;
	struct operation ops[OPS_MAX];
};

struct history {
	char url[URL_LEN];
	uint64_t seed;
	unsigned machines, ops;
	struct machine machine[MACHINES];
	struct mailbox mailbox;
};

/* A machine's files of one commit, in its directory "mN". */
extern const char *const group_names[GROUP];

/* The file that all processes map; made if it is not there. To be unmapped. */
struct history *history_map(const char *path);

/* What an operation writes. All texts are of the same length. */
void text_of(unsigned machine, unsigned op, char ret[TEXT_SIZE]);
void write_text(struct headstand *s, struct vnode *dir, const char *name, const char *text);

/* 0, or an error: -ENOENT if there is no such file. */
int read_text(struct headstand *s, struct vnode *root, const char *path, char ret[TEXT_SIZE]);

/* Is machine @number of the world in @dir until all its operations are done; 0, its exit status. It
 * may be killed at any point, by itself, and is to be started again then. */
int be_a_machine(const char *dir, unsigned number);

struct world {
	struct scratch dir;
	struct history *history;
	struct backend *network; /* owned; without any weather */
	struct headstand reader;
	struct id128 repo;
	pid_t pids[MACHINES];
	unsigned running, kills;
	struct oid tip; /* as the reader last saw it */
	unsigned seen[MACHINES]; /* the group's number in it, and one */
};

/* From the store, whatever is known. */
static const struct refs_wait FRESH = { true, true, { INT64_MAX, NULL } };

/* Where the branch is, and whether a commit is in the history of another. */
struct oid branch_tip(struct world *w);
bool comes_before(struct world *w, const struct oid *a, const struct oid *b);

/* Fails the test if something does not hold that must at any moment; so of the reader's own head,
 * which follows. @seen is brought up to date. */
void read_along(struct world *w);
void follow_along(struct world *w, unsigned seen[MACHINES]);

/* Fails the test if something does not hold that must when all are done. */
void judge(struct world *w);
