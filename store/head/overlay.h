/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Inside views and heads: what the files of this folder share, and nobody else includes.
 *
 * A view is a base (a commit's trees) and, if it is a head, layers of records above it:
 *
 *	top		what was done since the last freeze
 *	frozen ...	what a commit is being made of: one layer, and one for each that failed
 *	base		the commit the head is based on: its last one, or a pin on it
 *
 * Invariants
 *  - a file with a record in the top has its name in the top (or a link record), and so have all
 *    directories above it: a commit finds what changed by walking down the layer's names
 *  - a name that no layer has is exactly the base's, and so is the file behind it
 *  - what frozen layers refer to in staging files is not written to
 *
 * Locks, lowest rank first
 *	head->commit_lock	10	one commit, fold or discard at a time
 *	head->gate		20	shared by whoever moves staged bytes; exclusive: a freeze
 *					(who takes those of several heads, or their view->lock,
 *					does so by ascending head->id; nobody else has two)
 *	live_file->lock		30	a file's bytes and size
 *	view->lock		40	names, records, base, vnodes' parents; no I/O but the
 *					table's append is done under it, and no vnode is let go
 *					of (its end takes the lock)
 *	the table's, staging's	50
 *	the vnode table's	60
 */
#pragma once

#include "base/list.h"
#include "base/thread.h"
#include "head/head.h"
#include "head/record.h"
#include "merge/join.h"
#include "object/reader.h"
#include "object/store.h"
#include "state/table.h"

enum {
	FROZEN_MAX = RECORD_FROZEN_MAX, /* more failed commits than that are first made up for
					   (commit.c) */
	LAYERS_MAX = FROZEN_MAX + 1,
};

/* Layers to look in, the newest first. */
struct layers {
	uint32_t id[LAYERS_MAX];
	unsigned count;
};

/* A commit to look into. */
struct base {
	struct oid id; /* null: of an unborn branch */
	struct buf object; /* which @commit borrows */
	struct commit commit;
	struct inode root; /* the root directory; its xattrs borrow @object. type 0: not loaded */
};

struct view {
	atomic_uint refs;
	struct store *store; /* borrowed */
	struct vnode_table *vnodes; /* borrowed */
	uint64_t salt; /* of inode numbers */
	struct id128 repo;
	char *repo_name; /* owned */
	pthread_mutex_t lock;
	struct base base; /* guarded by lock; of a commit's view never changed */
	uint64_t generation; /* changes with the base; guarded by lock */
	bool is_head;
	atomic_uint visited; /* its vnodes */
	_Atomic(void *) owner; /* the client's own */
};

/* The last commit of the head, until it is on the branch and its maker was told (record.h). */
struct pending {
	enum pending_state state; /* 0: there is none */
	struct oid commit, fork;
	char name[OBJECT_NAME_MAX + 1];
	bool is_old; /* the name alone was made, or is being made */
	/* Not kept over a restart: */
	bool is_answered;
	bool is_fork_sure; /* nothing of it can be on the branch but the fork */
	bool is_diverged; /* both sides have changed the same since the fork */
	struct oid diverged_from; /* the branch's commit then */
};

struct head {
	struct view view; /* first */
	struct heads *heads; /* borrowed */
	struct list link; /* in heads */
	uint32_t id;
	struct id128 branch; /* identity; of a private head a random one */
	bool is_private; /* no branch's; never changed, as the two below */
	struct id128 numbers; /* whose inode numbers it has: the branch's */
	bool is_fixed; /* nothing can be changed in it; set before anybody uses it */
	char *label; /* of a private head; owned; HEAD_LABEL_MAX bytes at most */
	uint8_t label_len;
	pthread_mutex_t commit_lock;
	pthread_rwlock_t gate;
	/* Guarded by view.lock. */
	/* Owned; changed under commit_lock, view.lock and the heads' lock, so that any of them is
	 * enough to read it. */
	char *branch_name;
	bool is_left_over; /* the branch is gone, and it was said */
	const void *leaving_with; /* what is removing the repo; NULL: nothing */
	uint32_t top; /* 0: none */
	struct layers frozen;
	/* The base, or what that is a pin on (pin.h); changed under commit_lock and view.lock:
	 * either is enough to read it. */
	struct oid committed;
	bool is_committing; /* frozen layers are being read */
	struct unsure_merge unsure; /* guarded by commit_lock */
	struct pending pending; /* changed under commit_lock and view.lock: either is enough */
	uint64_t *lifted; /* files whose record came up from a frozen layer meanwhile; owned */
	size_t lifted_count, lifted_cap;
	bool has_exceptions; /* some inode number is not derived from its place */
	atomic_bool is_removed; /* its branch is gone; read without lock too, to find a head */
	uint64_t next_age, ages_end; /* ages given to names; reserved in the head's record */
	unsigned writers; /* times that files are open for writing */
	uint64_t touched; /* changes, and closes of those */
	uint64_t left; /* vnodes left behind */
	bool moved_with_orphans; /* whose numbers names of the base may lead to */
	struct list handles; /* open directories */
};

/* A number for a staging file is never given out twice, so some are reserved ahead. */
enum {
	FILES_RESERVED = 1 << 12, /* each mount uses up as many of the 2^32 */
	FILES_MARGIN = 1 << 10,
};

/* The process's part: all heads of one state directory. */
struct heads {
	struct heads_options opts;
	struct store *store; /* borrowed */
	struct vnode_table *vnodes; /* borrowed */
	struct table *table; /* owned, as below */
	struct staging *staging;
	int lock_fd;
	pthread_mutex_t counting; /* rank 44: no counters are applied after newer ones */
	pthread_mutex_t lock; /* rank 45: may be taken under a view's lock */
	struct counters_rec counters; /* guarded by lock */
	struct list heads; /* guarded by lock; by ascending id */
	struct list privates; /* private heads, each a reference; guarded by lock */
	/* Guarded by lock: what is still done in the store's pool for commits that have returned.
	 */
	unsigned aftermaths;
	pthread_cond_t settled; /* there is none */
	/* heads_before_commits() */
	void (*before_commit)(struct view *head, void *ctx);
	void *before_ctx;
};

/* What is known of a directory in use. */
struct live_dir {
	struct tree_root root; /* the base's tree, as of @generation */
	uint64_t generation;
	bool is_known;
};

/* What a file in use has; counted by its users. */
struct live_file {
	pthread_rwlock_t lock;
	unsigned users; /* guarded by the view's lock, as all below */
	unsigned writers; /* times that it is open for writing */
	struct content content; /* as the base has it, as of @generation */
	struct buf inlined; /* what content.inlined borrows */
	uint64_t generation;
	bool is_known;
};

/* What is known of a file that has a link id, and so may have several names. */
struct hard_link {
	struct id128 id;
	struct buf names; /* by which clients may know it; see link_names_next() */
};

/* What a vnode that was left behind is for good. */
struct left {
	struct oid commit; /* the base it was of */
	struct file_rec rec; /* of no layer, without a name; spans borrow @bytes */
	struct buf bytes;
};

static inline struct head *head_of(struct view *v)
{
	return container_of(v, struct head, view);
}

/*
 * Runs @attempt (an expression that takes @acc, locks, works at hand, and unlocks) until it has
 * all it needs.
 */
#define WITH_ACCESS(acc, attempt)                                        \
	({                                                               \
		int _r;                                                  \
		do {                                                     \
			access_at_hand(acc);                             \
			_r = (attempt);                                  \
		} while (_r == -EAGAIN && (_r = access_wait(acc)) == 0); \
		access_may_fetch(acc);                                   \
		_r;                                                      \
	})

#define WITH_ACCESS_64(acc, attempt)                                     \
	({                                                               \
		int64_t _r;                                              \
		do {                                                     \
			access_at_hand(acc);                             \
			_r = (attempt);                                  \
		} while (_r == -EAGAIN && (_r = access_wait(acc)) == 0); \
		access_may_fetch(acc);                                   \
		_r;                                                      \
	})

/* A file's record with what its spans borrow. */
struct file {
	struct file_rec rec;
	uint32_t layer; /* where it was found, or is about to be; 0: the base */
	uint32_t xattr_layer; /* where its staged xattrs are */
	struct buf raw;
	struct node *leaf;
};
void file_release(struct file *f);
#define _cleanup_file_ _cleanup_(file_release)

/* What a name means. */
struct found {
	uint64_t ino;
	uint8_t type;
	bool is_layered; /* in a layer's entry; else in the base */
	uint64_t age;
	struct node *leaf; /* a reference, with @base */
	struct dirent_rec base;
};
void found_release(struct found *f);
#define _cleanup_found_ _cleanup_(found_release)

/*
 * Looking (lookup.c); all at hand, under view->lock.
 */
uint64_t derive_ino(const struct view *v, uint64_t dir, struct span name);
uint64_t derive_link_ino(const struct view *v, const struct id128 *link);
uint64_t root_ino(const struct view *v);

/* The base tree below a directory's layers. */
int dir_root(struct view *v, struct vnode *dir, struct access *acc, struct tree_root *ret);

/* 0, -ENOENT. */
int find_name(struct view *v, struct vnode *dir, struct span name, struct access *acc,
	      struct found *ret);
/* The same where the directory's number and tree are known already. */
int find_in(struct view *v, uint64_t dir, const struct tree_root *root, struct span name,
	    struct access *acc, struct found *ret);

/* One that no name leads to. */
static inline uint64_t random_ino(void)
{
	return random_u64() >> 1 | 1ull << 62;
}

/* The number of a name in the base, which may be an exception. */
int base_ino(struct view *v, uint64_t dir, const struct dirent_rec *e, uint64_t *ret);
/* The same, but -ENOENT if nobody can have seen it: then it may yet get another one. */
int seen_ino(struct view *v, uint64_t dir, const struct dirent_rec *e, uint64_t *ret);

/* All layers of a head. */
struct layers head_layers(const struct head *h);

/* The newest record for @ino in @layers: 0 or -ENOENT. */
int load_from(struct head *h, const struct layers *layers, uint64_t ino, struct file *ret);
int load_layered(struct head *h, uint64_t ino, struct file *ret);
int load_vnode(struct view *v, struct vnode *n, struct access *acc, struct file *ret);
int load_found(struct view *v, uint64_t dir, struct span name, const struct found *f,
	       struct access *acc, struct file *ret);

/* A record as the base has it. */
void file_of_inode(const struct inode *ino, bool has_link, struct file_rec *ret);

void file_stat(const struct file_rec *f, uint64_t ino, struct stat *ret);

/* A vnode for what was found in @dir and loaded. */
int vnode_of_found(struct view *v, struct vnode *dir, struct span name, const struct found *f,
		   const struct file_rec *rec, struct vnode **ret);

/* The newest entry for a name in @layers, whiteouts included: 0 or -ENOENT. */
int entry_get(struct head *h, const struct layers *layers, uint64_t dir, struct span name,
	      struct entry_rec *ret);

/* The extended attributes of a loaded file as a list, in @ret. */
int file_xattrs(struct view *v, uint64_t ino, const struct file *f, struct access *acc,
		struct buf *ret);

/*
 * Changing (change.c): one operation's records, made together.
 */
struct change {
	struct head *head;
	struct access *acc; /* borrowed */
	struct table_batch batch;
	struct inode_time now;
	uint32_t layer; /* the top */
	bool is_new_top; /* given out by this change */
	uint64_t age; /* the last age given out */
};

/* Not a commit, and not fixed. */
bool view_can_change(const struct view *v);

/* Under view->lock: -EROFS (view_can_change()), -ESTALE (the branch is gone), -EAGAIN (no room in
 * the table: the caller may not wait). Ends with change_apply() or change_release(). */
int change_begin(struct change *c, struct view *v, struct access *acc);
int change_apply(struct change *c);
void change_release(struct change *c);
#define _cleanup_change_ _cleanup_(change_release)

/* Room in the table, waited for with no lock held if @acc may. */
int change_room(struct view *v, struct access *acc);

/* A number for a layer. */
uint32_t layer_new(struct heads *hs);

/* In a change that a file comes up with from a frozen layer; see land.c. */
int note_lifted(struct head *h, uint64_t ino);

/* The head's own record, for a change that alters it. */
void head_put(struct head *h, uint32_t top, struct table_batch *b);

/* Applies a batch together with the mount's counters, as one must that makes a layer or a head
 * known. As table_apply(). */
int counters_apply(struct heads *hs, struct table_batch *b);

/* Turns a loaded file into one of the top: from then on its record is the caller's to put. Names of
 * it and above it follow where needed. */
int change_file(struct change *c, struct vnode *n, struct file *f);
void change_put(struct change *c, uint64_t ino, const struct file_rec *f);

/* A name in a directory comes to mean the file @ino, whose record is @f. */
void change_name_put(struct change *c, uint64_t dir, struct span name, uint64_t ino,
		     const struct file_rec *f);
/* A name that the directory's base tree has means a file with a record in the top. */
void change_name_keep(struct change *c, uint64_t dir, struct span name, uint64_t ino, uint8_t type);
void change_link_put(struct change *c, const struct id128 *link, uint64_t ino);
/* It means nothing any more. @root: the directory's base tree. */
int change_name_remove(struct change *c, uint64_t dir, const struct tree_root *root,
		       struct span name, uint64_t ino, const struct file_rec *f);

/* What @k, a place or a link, leads to has that number, and nothing else has. */
void exception_put(struct head *h, const struct record_key *k, uint64_t ino,
		   struct table_batch *batch);

/* A number for a new file, derived from its place if that one is free. @was_there: the name is in
 * a layer or the base, if only as what was removed. */
int change_new_ino(struct change *c, uint64_t dir, struct span name, bool was_there, uint64_t *ret);

/* After change_file(): gives a file a link id if it has none. Its last name is gone. */
void change_link_id(struct change *c, struct vnode *n, struct file *f);
void change_link_gone(struct change *c, uint64_t ino, const struct file_rec *f);

/*
 * Bytes (extents.c).
 */

/* What shows at an offset of a file. */
struct shown {
	uint64_t len; /* until something else begins */
	uint8_t source; /* enum extent_source */
	bool is_base; /* the content that lies below all layers */
	struct stage_place place;
	struct content content; /* inlined: borrows the file's */
	uint64_t content_off;
};

/* At @off < size of a file that was loaded from @layers or, with none, from the base. */
int extents_shown(struct head *h, const struct layers *layers, uint64_t ino, const struct file *f,
		  uint64_t off, struct shown *ret);
/* The same in a view, through all its layers. */
int view_shown(struct view *v, uint64_t ino, const struct file *f, uint64_t off, struct shown *ret);

/* What a change gives back to staging once it is applied, and what it shared before. */
struct freed {
	struct stage_place place;
	uint64_t len;
	bool is_shared;
};
struct freed_list {
	struct freed *items; /* owned */
	size_t count, cap;
};
int freed_add(struct freed_list *l, struct stage_place place, uint64_t len, bool is_shared);
/* Frees what the change freed if it was applied, what it shared if it was not. */
void freed_end(struct freed_list *l, struct staging *s, bool was_applied);

/*
 * What layers have in staging (staged.c).
 */
struct staged {
	struct freed_list freed; /* in slabs */
	uint32_t *files; /* staging files of their own; owned */
	size_t file_count;
};
/* Remembers what is in them, which must not change. 0 or errors of the table. */
int staged_collect(struct heads *hs, const struct layers *layers, struct staged *ret);
void staged_keep_file(struct staged *s, uint32_t file);
/* Gives it back, once the records are gone. */
void staged_free(struct staged *s, struct staging *st);
void staged_release(struct staged *s);

/* Takes [@off, @off + @len) out of the top's extents, splitting those at the edges. */
int extents_carve(struct change *c, uint64_t ino, uint64_t off, uint64_t len,
		  struct freed_list *freed);
/* Makes the @count extents @x, each beginning where the one before ends, what shows in their range:
 * carves, and joins the first with one before that it continues. Once a change and file: it looks
 * at what was there before the change. */
int extents_set(struct change *c, uint64_t ino, const struct extent *x, unsigned count,
		struct freed_list *freed);

/* The extent of @layer that holds @off, or begins next after it; -ENOENT. */
int extent_at(struct head *h, uint32_t layer, uint64_t ino, uint64_t off, struct extent *ret);

/*
 * Files in use (live.c).
 */

/* One more user of the file's state, made if need be: 0 or -ENOMEM. One less. */
int live_get(struct vnode *n, struct live_file **ret);
void live_put(struct vnode *n);

/* Under view->lock: what a regular file is, without looking its name up each time. The record's
 * content may borrow from the live file; valid under the lock. */
int live_load(struct view *v, struct vnode *n, struct access *acc, struct file *ret);

struct hard_link *link_new(const struct id128 *id);
void link_free(struct hard_link *l);

/* Under view->lock: clients may know @n as @name in @dir (a vnode's id); they do not any more.
 * Nothing happens to a file without a link id; what finds no memory is not known. */
void link_known(struct vnode *n, uint64_t dir, struct span name);
void link_unknown(struct vnode *n, uint64_t dir, struct span name);

/* The names in link->names, one after the other: the next one at *@at, which moves on; false: no
 * more. */
bool link_names_next(const struct buf *names, size_t *at, uint64_t *ret_dir, struct span *ret_name);

/* What a file of the base @commit was, to be left behind as. 0 or -ENOMEM. */
int left_new(const struct oid *commit, const struct inode *i, struct left **ret);
void left_free(struct left *l);

/* Under view->lock: leaves @n behind, as @l, which it takes. */
void left_put(struct head *h, struct vnode *n, struct left *l);

/* Bytes that travel as a hint are used only if they are what the id says; else they go. */
void content_check_inlined(struct content *c);

/*
 * Files without a name (orphan.c).
 */

/* In the change that takes the last name: the record is kept while somebody has the file. */
void orphan_put(struct change *c, uint64_t ino, struct file_rec *f);
/* Nobody has it any more: with no lock held. */
void orphan_reap(struct head *h, uint64_t ino);
bool has_orphans(struct head *h);
/* Under view->lock: does the top, or any layer, have a change? Files without a name are none. */
bool top_has_changes(struct head *h);
bool has_changes(struct head *h);
/* The same, or is its base a pin? Then something of the head is uncommitted. */
bool is_uncommitted(struct head *h);
/* The same under the lock, or at a mount, when nobody can have it. 0 or -errno. */
int orphan_remove(struct head *h, uint64_t ino);

/* Heads and their branches */

/* The one behind @h (NULL: the first), or NULL. Heads come at the end and stay as long as all. */
struct head *next_head(struct heads *hs, const struct head *h);

/* As head_follow(), with commit_lock held. @under_writers: a file that is open for writing keeps it
 * only if it is left behind. */
int follow_locked(struct head *h, const struct oid *target, bool under_writers, struct access *acc);

/* Another mount has renamed the branch. A commit that is under way finds that by itself. */
void follow_name(struct head *h, const char *name);

static inline bool is_pinned(const struct head *h)
{
	return !oid_equal(&h->committed, &h->view.base.id);
}

/* Has its base in memory: 0; -ENOENT: the repo is gone; or errors of refs. */
int head_load(struct head *h, struct access *acc);

/* One that nobody knows yet, without a base. 0 or -ENOMEM. */
int head_new(struct heads *hs, const struct head_rec *rec, struct head **ret);
void head_free(struct head *h);

/* Is anything uncommitted in a private head of that repo? */
bool any_private_changed(struct heads *hs, const struct id128 *repo);

/* The records of it that are in no layer go, but its own. */
int head_forget_rest(struct head *h);

/* The one that goes by this name, or NULL. */
struct head *find_by_name(struct heads *hs, const struct id128 *repo, const char *branch);

/* A loaded head whose branch is gone, if something in it is uncommitted: nobody but us has that. A
 * reference; -ENOENT. */
int get_left_over(struct head *h, struct view **ret);

/* What is called @name and was left when another got that name: NAME.left-XXXXXXXX. */
void left_name(const char *name, const struct id128 *id, char ret[OBJECT_NAME_MAX + 1]);

/* Takes the view's lock. */
bool head_has_uncommitted(struct head *h);

/* The name is that of @branch: a head of a former branch by this name gets another one. */
void clear_name(struct heads *hs, const struct id128 *repo, const struct id128 *branch,
		const char *name);
