/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The state directory of a mount: opening it after whatever happened, and the heads in it.
 *
 *	state/lock	held while a process uses the directory
 *	state/store	the id of the store it belongs to
 *	state/journal/	state/heads/	the table
 *	state/stage/	staged bytes
 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/deadline.h"
#include "base/fdio.h"
#include "base/log.h"
#include "head/base.h"
#include "head/commit.h"

enum {
	LOCK_WAIT_MS = 2000,
	LOCK_POLL_MS = 5,
};

/* What a directory is called, for messages; "" where that cannot be told. */
static const char *path_of(int dirfd, char ret[PATH_MAX])
{
	char link[32];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", dirfd);
	n = readlink(link, ret, PATH_MAX - 1);
	ret[MAX(n, (ssize_t)0)] = '\0';
	return ret;
}

/* A process that was just killed may not have ended yet, so the lock gets a moment. */
static int lock_state(int dirfd)
{
	struct deadline dl = deadline_in_ms(LOCK_WAIT_MS);
	char path[PATH_MAX];
	_cleanup_close_ int fd = openat(dirfd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return log_errno(-errno, "the state directory's lock cannot be opened");
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK)
			return log_errno(-errno, "the state directory cannot be locked");
		if (deadline_check(&dl) < 0)
			return log_fail(-EBUSY, "the state directory %s is in use by another mount",
					path_of(dirfd, path));
		usleep(LOCK_POLL_MS * 1000);
	}
	return TAKE_FD(fd);
}

static int check_owner(int dirfd, const struct id128 *store)
{
	_cleanup_buf_ struct buf b = { 0 };
	char hex[ID128_HEX];
	int r;

	id128_hex(store, hex);
	r = read_file(dirfd, "store", ID128_HEX, &b);
	if (r == -ENOENT)
		return write_file_atomic(dirfd, "store", span_str(hex), 0600);
	if (r < 0)
		return log_errno(r, "the state directory's file `store` cannot be read");
	if (!span_equal(buf_span(&b), span_str(hex)))
		return log_fail(-EXDEV,
				"the state directory belongs to another store (%.*s, not "
				"%s); choose another with -o state=DIR",
				(int)b.len, (const char *)b.data, hex);
	return 0;
}

static void sync_begin(void *ctx)
{
	struct heads *hs = ctx;

	if (hs->staging)
		staging_sync_begin(hs->staging);
}

static int sync_data(void *ctx)
{
	struct heads *hs = ctx;

	return hs->staging ? staging_sync(hs->staging) : 0;
}

static void synced(void *ctx)
{
	struct heads *hs = ctx;

	if (hs->staging)
		staging_synced(hs->staging);
}

static int read_counters(struct heads *hs)
{
	struct record_key k = key_counters();
	_cleanup_buf_ struct buf raw = { 0 };
	int r = table_get(hs->table, key_span(&k), &raw);

	hs->counters = (struct counters_rec){ .next_layer = 1, .next_head = 1, .files_end = 1 };
	if (r == -ENOENT)
		return 0;
	return r < 0 ? r : counters_rec_read(buf_span(&raw), &hs->counters);
}

static char *span_dup(struct span s)
{
	return s.len ? strndup((const char *)s.data, s.len) : strdup("");
}

void head_free(struct head *h)
{
	free(h->branch_name);
	free(h->label);
	free(h->lifted);
	pthread_mutex_destroy(&h->commit_lock);
	pthread_rwlock_destroy(&h->gate);
	view_release(&h->view);
	free(h);
}

int head_new(struct heads *hs, const struct head_rec *rec, struct head **ret)
{
	_cleanup_free_ char *repo_name = span_dup(rec->repo_name);
	pthread_rwlockattr_t attr;
	struct head *h = new0(struct head, 1);

	if (!h)
		return -ENOMEM;
	h->branch_name = span_dup(rec->branch_name);
	h->label = span_dup(rec->label);
	if (!repo_name || !h->branch_name || !h->label ||
	    view_init(&h->view, hs->store, hs->vnodes, &rec->repo, repo_name) < 0) {
		free(h->branch_name);
		free(h->label);
		free(h);
		return -ENOMEM;
	}
	h->view.is_head = true;
	h->view.salt = view_salt(rec->numbers.b, sizeof(rec->numbers.b));
	h->heads = hs;
	h->branch = rec->branch;
	h->numbers = rec->numbers;
	h->is_private = rec->is_private;
	h->label_len = (uint8_t)rec->label.len;
	list_init(&h->handles);
	pthread_mutex_init(&h->commit_lock, NULL);
	/* A freeze must get in between writers that never end. */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&h->gate, &attr);
	pthread_rwlockattr_destroy(&attr);
	*ret = h;
	return 0;
}

static bool has_any(struct heads *hs, const struct record_key *prefix)
{
	_cleanup_buf_ struct buf key = { 0 }, value = { 0 };

	return table_next(hs->table, key_span(prefix), key_span(prefix), &key, &value) != -ENOENT;
}

static int load_pending(struct head *h)
{
	struct record_key k = key_pending(h->id);
	_cleanup_buf_ struct buf raw = { 0 };
	struct pending_rec rec;
	int r = table_get(h->heads->table, key_span(&k), &raw);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = pending_rec_read(buf_span(&raw), &rec);
	if (r < 0)
		return r;
	h->pending = (struct pending){
		.state = rec.state,
		.commit = rec.commit,
		.fork = rec.fork,
		.is_old = rec.is_old,
	};
	memcpy(h->pending.name, rec.name.data, rec.name.len);
	return 0;
}

static int load_head(struct heads *hs, uint32_t id, const struct head_rec *rec)
{
	_cleanup_base_ struct base base = { 0 };
	struct record_key names, links;
	struct head *h;
	int r = head_new(hs, rec, &h);

	if (r < 0)
		return r;
	h->id = id;
	h->view.base.id = rec->base;
	h->committed = rec->committed;
	h->top = rec->top;
	h->frozen.count = rec->frozen_count;
	memcpy(h->frozen.id, rec->frozen, sizeof(h->frozen.id[0]) * rec->frozen_count);
	h->next_age = h->ages_end = rec->ages;
	names = key_prefix_head('n', id);
	links = key_prefix_head('L', id);
	h->has_exceptions = has_any(hs, &names) || has_any(hs, &links);
	if (rec->base_object.len > 0 && base_load(&rec->base, rec->base_object, &base) == 0)
		view_swap_base(&h->view, &base);
	else if (rec->base_object.len > 0)
		log_warning("%s/%s: the commit kept in the state directory is damaged; it is "
			    "fetched again",
			    h->view.repo_name, h->branch_name);
	list_append(h->is_private ? &hs->privates : &hs->heads, &h->link);
	return load_pending(h);
}

static int load_heads(struct heads *hs)
{
	struct record_key prefix = key_prefix(0, 'h'), from = prefix;
	_cleanup_buf_ struct buf key = { 0 }, value = { 0 };
	int r;

	while ((r = table_next(hs->table, key_span(&prefix), key_span(&from), &key, &value)) == 0) {
		struct span rest = key_rest(buf_span(&key), prefix.len);
		struct head_rec rec;
		uint32_t id;

		if (rest.len != sizeof(id))
			return -EBADMSG;
		memcpy(&id, rest.data, sizeof(id));
		id = be32toh(id);
		r = head_rec_read(buf_span(&value), &rec);
		if (r == 0)
			r = load_head(hs, id, &rec);
		if (r < 0)
			return r;
		/* A record that was put when nothing was counted may be of a later one. */
		hs->counters.next_head = MAX(hs->counters.next_head, id + 1);
		from = key_head(id + 1);
	}
	return r == -ENOENT ? 0 : r;
}

/* Files that had no name and were open when the last process ended. */
static int reap_orphans(struct head *h)
{
	struct record_key prefix = key_prefix_head('z', h->id);
	_cleanup_buf_ struct buf key = { 0 }, value = { 0 };
	int r;

	while ((r = table_next(h->heads->table, key_span(&prefix), key_span(&prefix), &key,
			       &value)) == 0) {
		r = orphan_remove(h, key_u64_at(buf_span(&key), prefix.len));
		if (r < 0)
			return r;
	}
	return r == -ENOENT ? 0 : r;
}

static int recover_layer(struct heads *hs, uint32_t layer)
{
	struct record_key prefix = key_prefix(layer, 'x');
	_cleanup_buf_ struct buf key = { 0 }, value = { 0 };
	int r;

	while ((r = table_step(hs->table, key_span(&prefix), &key, &value)) == 0) {
		struct extent x;

		r = extent_rec_read(buf_span(&value), 0, &x);
		if (r == 0 && x.source == EXTENT_STAGED)
			r = staging_recover(hs->staging, x.place, x.len);
		if (r < 0)
			return r;
	}
	return r == -ENOENT ? 0 : r;
}

static int recover_heads(struct heads *hs, struct list *heads)
{
	list_for_each (h, heads, struct head, link) {
		struct layers l = head_layers(h);
		int r = reap_orphans(h);

		for (unsigned i = 0; r == 0 && i < l.count; i++)
			r = recover_layer(hs, l.id[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

static int recover(struct heads *hs)
{
	int r = recover_heads(hs, &hs->heads);

	if (r == 0)
		r = recover_heads(hs, &hs->privates);
	return r < 0 ? r : staging_recover_end(hs->staging);
}

int heads_open(const struct heads_options *o, struct heads **ret)
{
	_cleanup_(heads_freep) struct heads *hs = new0(struct heads, 1);
	_cleanup_table_batch_ struct table_batch batch = { 0 };
	struct table_options to = { .memory_bytes = o->table_bytes };
	int fd = o->store->state_fd, r;

	if (!hs)
		return -ENOMEM;
	hs->opts = *o;
	hs->store = o->store;
	hs->vnodes = o->vnodes;
	hs->lock_fd = -1;
	pthread_mutex_init(&hs->counting, NULL);
	pthread_mutex_init(&hs->lock, NULL);
	pthread_cond_init(&hs->settled, NULL);
	list_init(&hs->heads);
	list_init(&hs->privates);

	r = lock_state(fd);
	if (r < 0)
		return r;
	hs->lock_fd = r;
	r = check_owner(fd, &o->store->format.store_id);
	if (r < 0)
		return r;
	to.dirfd = fd;
	to.hooks = (struct table_hooks){
		.begin = sync_begin, .sync_data = sync_data, .synced = synced, .ctx = hs
	};
	r = table_open(&to, &hs->table);
	if (r < 0)
		return log_errno(r,
				 "the uncommitted changes in the state directory cannot be read");
	r = read_counters(hs);
	if (r == 0)
		r = staging_open(fd, o->disk_bytes, hs->counters.files_end, &hs->staging);
	if (r == 0)
		r = load_heads(hs);
	if (r == 0)
		r = recover(hs);
	if (r < 0)
		return log_errno(r, "the state directory cannot be used");
	r = counters_apply(hs, &batch);
	if (r < 0)
		return log_errno(r, "the state directory cannot be written");
	*ret = TAKE_PTR(hs);
	return 0;
}

void heads_free(struct heads *hs)
{
	if (!hs)
		return;
	pthread_mutex_lock(&hs->lock);
	while (hs->aftermaths > 0)
		pthread_cond_wait(&hs->settled, &hs->lock);
	pthread_mutex_unlock(&hs->lock);
	table_free(hs->table);
	staging_free(hs->staging);
	list_for_each_safe (h, &hs->heads, struct head, link)
		head_free(h);
	list_for_each_safe (h, &hs->privates, struct head, link)
		head_free(h);
	if (hs->lock_fd >= 0)
		close(hs->lock_fd);
	pthread_cond_destroy(&hs->settled);
	pthread_mutex_destroy(&hs->lock);
	pthread_mutex_destroy(&hs->counting);
	free(hs);
}

int heads_sync(struct heads *h)
{
	return table_sync(h->table);
}

static struct refs_wait wait_of(const struct access *acc)
{
	return (struct refs_wait){ .may_wait = acc->may_wait, .deadline = acc->deadline };
}

/* Under the heads' lock: the head of a branch by its identity, or NULL. */
static struct head *find_locked(struct heads *hs, const struct id128 *repo,
				const struct id128 *branch)
{
	list_for_each (h, &hs->heads, struct head, link)
		if (!h->is_removed && id128_equal(&h->view.repo, repo) &&
		    id128_equal(&h->branch, branch))
			return h;
	return NULL;
}

static struct head *find_head(struct heads *hs, const struct id128 *repo,
			      const struct id128 *branch)
{
	WITH_LOCK(&hs->lock);

	return find_locked(hs, repo, branch);
}

/* Takes @h: the head that there is now, which may be one that somebody else has just added. */
static struct head *add_head(struct heads *hs, struct head *h)
{
	struct head *there;

	pthread_mutex_lock(&hs->lock);
	there = find_locked(hs, &h->view.repo, &h->branch);
	if (!there) {
		h->id = hs->counters.next_head++;
		list_append(&hs->heads, &h->link);
	}
	pthread_mutex_unlock(&hs->lock);
	if (!there)
		return h;
	head_free(h);
	return there;
}

/* @target: where the branch is; NULL: the head has a base, only not in memory. */
static int load_base(struct head *h, const struct repo_rec *repo, const struct oid *target,
		     struct access *acc)
{
	struct view *v = &h->view;
	_cleanup_base_ struct base base = { 0 };
	_cleanup_buf_ struct buf object = { 0 };
	struct refs_wait w = wait_of(acc);
	struct oid id;
	int r = 0;

	pthread_mutex_lock(&v->lock);
	id = target ? *target : v->base.id;
	pthread_mutex_unlock(&v->lock);
	if (!oid_is_null(&id)) {
		r = refs_commit(v->store->refs, &v->repo, &id, &w, &object);
		if (r == 0)
			r = base_load(&id, buf_span(&object), &base);
	}
	if (r < 0)
		return r;
	if (oid_is_null(&id))
		base.root = (struct inode){
			.type = FT_DIR,
			.mode = repo->root_mode,
			.uid = repo->root_uid,
			.gid = repo->root_gid,
			.mtime = repo->created,
			.ctime = repo->created,
		};
	WITH_LOCK(&v->lock);

	if (v->base.root.type)
		return 0;
	view_swap_base(v, &base);
	if (target)
		head_of(v)->committed = id;
	return 0;
}

static bool is_loaded(struct head *h)
{
	WITH_LOCK(&h->view.lock);

	return h->view.base.root.type;
}

int head_load(struct head *h, struct access *acc)
{
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct refs_wait w = wait_of(acc);
	int r;

	if (is_loaded(h))
		return 0;
	r = refs_repo(h->view.store->refs, h->view.repo_name, &w, &rec);
	return r < 0 ? r : load_base(h, &rec, NULL, acc);
}

/* A head without a branch. */
static int left_over(struct heads *hs, const struct repo_rec *rec, const char *branch,
		     struct access *acc, struct view **ret)
{
	struct head *h = find_by_name(hs, &rec->id, branch);
	int r = h ? 0 : -ENOENT;

	if (r == 0 && !is_loaded(h))
		r = load_base(h, rec, NULL, acc);
	return r < 0 ? r : get_left_over(h, ret);
}

int heads_get(struct heads *hs, const char *repo, const char *branch, struct access *acc,
	      struct view **ret)
{
	struct refs_wait w = wait_of(acc);
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	_cleanup_ref_ struct ref ref = { 0 };
	struct etag tag;
	struct head *h;
	bool is_new;
	int r;

	r = heads_repo(hs, repo, &w, &rec);
	if (r < 0)
		return r;
	r = refs_get(hs->store->refs, &rec.id, REF_BRANCH, branch, &w, &ref, &tag);
	if (r == -ENOENT)
		return left_over(hs, &rec, branch, acc, ret);
	if (r < 0)
		return r;
	clear_name(hs, &rec.id, &ref.branch, branch);
	h = find_head(hs, &rec.id, &ref.branch);
	is_new = !h;
	if (h)
		follow_name(h, branch);
	if (is_new) {
		r = head_new(hs,
			     &(struct head_rec){
				     .repo = rec.id,
				     .branch = ref.branch,
				     .repo_name = span_str(repo),
				     .branch_name = span_str(branch),
				     .numbers = ref.branch,
			     },
			     &h);
		if (r < 0)
			return r;
		r = load_base(h, &rec, &ref.target, acc);
		if (r < 0) {
			head_free(h);
			return r;
		}
		h = add_head(hs, h);
	} else if (!is_loaded(h)) {
		r = load_base(h, &rec, NULL, acc);
		if (r < 0)
			return r;
	}
	*ret = view_ref(&h->view);
	return 0;
}

void heads_stats(struct heads *hs, struct heads_stats *ret)
{
	struct heads_stats s = { 0 };
	struct staging_stats st;
	struct table_stats tb;

	staging_stats(hs->staging, &st);
	table_stats(hs->table, &tb);
	s.staged = st.used;
	s.waiting = st.waiting;
	s.budget = st.budget;
	s.journal_bytes = tb.journal_bytes;
	s.memory_bytes = tb.memory_bytes;
	s.checkpoints = tb.checkpoints;
	s.syncs = tb.syncs;
	for (struct head *h = next_head(hs, NULL); h; h = next_head(hs, h)) {
		WITH_LOCK(&h->view.lock);

		s.heads += !h->is_removed;
		s.dirty += is_uncommitted(h);
	}
	*ret = s;
}
