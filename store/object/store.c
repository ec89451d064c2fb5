/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Making and opening stores: the backend, the `format` object and what it asks of us, then the
 * layers above, each in its own directory below the state directory:
 *
 *	index/	cache/	format (a copy, to start without the store)	server (object/trust.h)
 */
#include "object/store.h"

#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/breaker.h"
#include "backend/count.h"
#include "backend/guard.h"
#include "backend/probe.h"
#include "base/fdio.h"
#include "base/log.h"
#include "base/text.h"
#include "format/key.h"
#include "index/index.h"
#include "object/cache.h"
#include "object/reader.h"
#include "object/refs.h"
#include "object/trust.h"

#define INDEX_MAP_BYTES (4 * GiB)
#define MEMORY_DEFAULT	(64 * MiB)

enum {
	REFRESH_MS = 2000,
	METADATA_MS = 10000,
	KNOWN_MS = 500, /* for a store that this machine knows */
	PROBE_MS = 60000,
	FETCHERS_LOCAL = 2,
	FETCHERS_REMOTE = 8,
	UPLOADERS = 3,
};

/* The state directory's copy of the store's `format`. */
#define FORMAT_COPY "format"

/* What this version knows. */
#define RO_COMPAT_KNOWN 0ull
#define INCOMPAT_KNOWN	0ull

/* What a probe has left is nothing. */
static int found_any(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	return strncmp(key, PROBE_PREFIX, strlen(PROBE_PREFIX)) != 0;
}

/* An error of a call that was quiet: what the backend has said of it, or @sentence. */
static int say(int r, const char *url, const char *sentence)
{
	_cleanup_free_ char *said = strdup(complaint());

	return said && *said ? log_fail(r, "%s", said) : log_errno(r, "%s %s", url, sentence);
}

/* Reads `format`; errors are only remembered. */
static int get_format(struct backend *b, const struct deadline *dl, struct buf *ret)
{
	bool was_quiet = log_set_quiet(true);
	struct etag tag;
	int r;

	complaint_clear();
	r = b->ops->get_all(b, FORMAT_KEY, FORMAT_OBJECT_MAX, NULL, dl, ret, &tag);
	log_set_quiet(was_quiet);
	return r;
}

/* Is the place free for a store? */
static int check_free(struct backend *b, const struct deadline *dl)
{
	_cleanup_buf_ struct buf object = { 0 };
	bool was_quiet;
	int r;

	r = get_format(b, dl, &object);
	if (r == 0 || r == -EFBIG)
		return log_fail(-EEXIST, "%s is a store already", b->url);
	if (r != -ENOENT)
		return say(r, b->url, "cannot be read");
	was_quiet = log_set_quiet(true);
	complaint_clear();
	r = b->ops->list(b, "", NULL, found_any, NULL, dl);
	log_set_quiet(was_quiet);
	if (r == 0 && b->ops->has_others)
		r = b->ops->has_others(b);
	if (r > 0)
		return log_fail(-ENOTEMPTY,
				"%s has other things in it; a store needs a place of its own",
				b->url);
	return r < 0 ? say(r, b->url, "cannot be listed") : 0;
}

/* Writes `format` if there is none; a lost reply is looked into. */
static int write_format(struct backend *b, const struct format_rec *f, const struct deadline *dl)
{
	_cleanup_buf_ struct buf ours = { 0 }, now = { 0 };
	struct etag tag;
	int r;

	r = format_write(f, &ours);
	if (r < 0)
		return r;
	r = b->ops->swap(b, FORMAT_KEY, NULL, buf_span(&ours), dl, &tag);
	if (r != -ESTALE && r != -EINPROGRESS)
		return r < 0 ? log_errno(r, "%s cannot be written to", b->url) : 0;
	r = b->ops->get_all(b, FORMAT_KEY, FORMAT_OBJECT_MAX, NULL, dl, &now, &tag);
	if (r == 0 && span_equal(buf_span(&ours), buf_span(&now)))
		return 0;
	if (r == 0)
		return log_fail(-EEXIST, "somebody else has just made a store of %s", b->url);
	return log_errno(r, "%s: it is not known whether there is a store now", b->url);
}

/* The user's directory for caches. */
static char *cache_home(void)
{
	const char *dir;

	if (geteuid() == 0)
		return strdup("/var/cache");
	dir = getenv("XDG_CACHE_HOME");
	if (dir && dir[0] == '/')
		return strdup(dir);
	dir = getenv("HOME");
	return dir && dir[0] == '/' ? strf("%s/.cache", dir) : NULL;
}

static int open_dir(const char *path)
{
	int r = mkdir_parents(path, 0700), fd;

	if (r < 0)
		return r;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* The user's directory for a store. -ENOENT: there is none, and it is not to be made. */
static int open_shared(const struct id128 *store, bool create)
{
	_cleanup_free_ char *home = cache_home(), *path = NULL;
	char hex[ID128_HEX];
	int fd;

	if (!home)
		return -ENOENT;
	path = strf("%s/pfs/%s", home, id128_hex(store, hex));
	if (!path)
		return -ENOMEM;
	fd = create || access(path, F_OK) == 0 ? open_dir(path) : -ENOENT;
	if (fd < 0)
		log_debug("%s cannot be used: %s", path, strerrordesc_np(-fd));
	return fd;
}

/* Probes the server, if there is one, before anything is made of it. It is left guarded where it
 * does not keep conditions. */
static int probe(struct backend **b, bool single_writer, bool *ret_kept)
{
	struct guard_options alone = { .single_writer = true };
	struct deadline dl = deadline_in_ms(PROBE_MS);
	struct backend *guard;
	int r;

	*ret_kept = false;
	if (!(*b)->is_served)
		return 0;
	r = backend_probe(*b, single_writer, &dl, ret_kept);
	if (r < 0 || *ret_kept)
		return r;
	r = guard_backend_new(*b, &alone, &guard);
	if (r == 0)
		*b = guard;
	return r;
}

int store_init(const char *url, bool single_writer)
{
	_cleanup_(backend_freep) struct backend *b = NULL;
	_cleanup_close_ int shared_fd = -1;
	struct backend_options o = { .create = true, .single_writer = single_writer };
	struct deadline dl = deadline_in_ms(METADATA_MS);
	struct format_rec f = {
		.store_id = id128_random(),
		.created = now_wall().tv_sec,
		.hash = OID_HASH_NAME,
	};
	bool kept;
	int r;

	r = backend_open(url, &o, &b);
	if (r == 0)
		r = check_free(b, &dl);
	if (r == 0)
		r = probe(&b, single_writer, &kept);
	if (r < 0)
		return r;
	dl = deadline_in_ms(METADATA_MS);
	r = write_format(b, &f, &dl);
	if (r < 0 || !kept)
		return r;
	shared_fd = open_shared(&f.store_id, true);
	if (shared_fd >= 0)
		trust_note(shared_fd, b->url);
	return 0;
}

/* May this version use such a store? */
static int judge_format(const struct format_rec *f, const char *url, bool read_only)
{
	uint64_t unknown = f->incompat & ~INCOMPAT_KNOWN;

	if (strcmp(f->hash, OID_HASH_NAME) != 0)
		return log_fail(-ENOTSUP, "%s uses the hash %s, which this version does not know",
				url, f->hash);
	if (f->id_key[0] != '\0')
		return log_fail(-ENOTSUP, "%s has keyed ids, which this version does not know",
				url);
	if (unknown)
		return log_fail(-ENOTSUP,
				"%s has features (%#llx) that this version does not know; a newer "
				"one can read it",
				url, (unsigned long long)unknown);
	unknown = f->ro_compat & ~RO_COMPAT_KNOWN;
	if (unknown && !read_only)
		return log_fail(-EROFS,
				"%s has features (%#llx) with which this version may only read; "
				"open it read-only",
				url, (unsigned long long)unknown);
	return 0;
}

static int parse_format(struct span object, const char *url, struct format_rec *ret)
{
	int r = format_read(object, ret);

	if (r == -EBADMSG)
		return log_fail(r, "%s: its `format` is damaged, or it is not a store", url);
	if (r == -ENOTSUP)
		return log_fail(r, "%s was made by a newer version of pfs", url);
	return r;
}

/* The state directory's copy. */
static bool read_copy(int state_fd, struct format_rec *ret)
{
	_cleanup_buf_ struct buf b = { 0 };

	return state_fd >= 0 && read_file(state_fd, FORMAT_COPY, FORMAT_OBJECT_MAX, &b) == 0 &&
	       format_read(buf_span(&b), ret) == 0;
}

/* Keeps a copy for the next start. */
static void copy_format(int state_fd, struct span object)
{
	_cleanup_buf_ struct buf b = { 0 };

	if (read_file(state_fd, FORMAT_COPY, FORMAT_OBJECT_MAX, &b) < 0 ||
	    !span_equal(buf_span(&b), object))
		write_file_atomic(state_fd, FORMAT_COPY, object, 0600);
}

/* The store answers, at last: is it the one whose copy was taken? */
static int confirm_format(struct backend *b, const struct deadline *dl, void *ctx)
{
	_cleanup_buf_ struct buf object = { 0 };
	struct store *s = ctx;
	struct format_rec now;
	int r = get_format(b, dl, &object);

	if (r == -EACCES)
		r = -EIO; /* keys can be mended, and then we shall see */
	if (r == 0)
		r = parse_format(buf_span(&object), b->url, &now);
	if (r == 0)
		r = judge_format(&now, b->url, s->read_only);
	if (r == 0 && !id128_equal(&now.store_id, &s->format.store_id))
		r = -ENOENT;
	if (r == 0)
		copy_format(s->state_fd, buf_span(&object));
	else if (r != -EIO && r != -ETIME && r != -ECANCELED)
		log_errno(r,
			  "%s is not the store any more that this machine knows, and nothing is "
			  "read from it or written to it until that one is back, or unmount it",
			  b->url);
	return r;
}

/* With what this machine knows of a store that does not answer (@error). */
static int go_on_with(struct store *s, const struct format_rec *copy, int error)
{
	s->format = *copy;
	log_warning("%s does not answer (%s); what is known of it is shown", s->backend->url,
		    strerrordesc_np(-error));
	return s->breaker ? breaker_open_unconfirmed(s->breaker, confirm_format, s) : 0;
}

/* @state_fd: where there may be a copy; -1: not known yet. */
static int load_format(struct store *s, int state_fd, struct buf *ret_object)
{
	struct format_rec copy;
	bool is_known = read_copy(state_fd, &copy);
	struct deadline dl = deadline_in_ms(is_known ? KNOWN_MS : METADATA_MS);
	struct backend *b = s->backend;
	int r;

	r = get_format(b, &dl, ret_object);
	switch (r) {
	case 0:
		return parse_format(buf_span(ret_object), b->url, &s->format);
	case -ENOENT:
		return log_fail(r,
				"%s is not a store: there is no `format` in it (pfs init "
				"makes one)",
				b->url);
	case -EFBIG:
		return log_fail(-EBADMSG, "%s is not a store: its `format` is too large", b->url);
	case -EIO:
	case -ETIME:
		if (is_known)
			return go_on_with(s, &copy, r);
		return say(r, b->url, "cannot be read");
	default:
		return say(r, b->url, "cannot be read");
	}
}

/* One that goes with the process, for who has no place for caches. */
static int open_temporary(struct store *s)
{
	const char *tmp = getenv("TMPDIR");

	s->temporary = strf("%s/pfs-XXXXXX", tmp && tmp[0] == '/' ? tmp : "/tmp");
	if (!s->temporary)
		return -ENOMEM;
	if (!mkdtemp(s->temporary)) {
		int r = -errno;

		free(s->temporary);
		s->temporary = NULL;
		return log_errno(r, "no place for a cache can be made");
	}
	return open_dir(s->temporary);
}

/* The user's directory for this store, or a temporary one. */
static int open_shared_state(struct store *s)
{
	int fd = open_shared(&s->format.store_id, true);

	return fd < 0 ? open_temporary(s) : fd;
}

static int open_below(int dirfd, const char *name)
{
	int fd;

	if (mkdirat(dirfd, name, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Without one the store works too. */
static void open_cache(struct store *s, uint64_t bytes)
{
	_cleanup_close_ int fd = -1;
	int r;

	if (bytes == 0)
		return;
	fd = open_below(s->state_fd, "cache");
	r = fd < 0 ? fd : cache_open(fd, s->index, bytes, &s->cache);
	if (r == -EBUSY)
		log_debug("another process has the disk cache");
	else if (r < 0)
		log_warning("there is no disk cache: %s", strerrordesc_np(-r));
}

static int open_objects(struct store *s, const struct store_options *o)
{
	uint64_t memory = o->memory_bytes ? o->memory_bytes : MEMORY_DEFAULT;
	_cleanup_close_ int index_fd = open_below(s->state_fd, "index");
	struct reader_options reader = {
		.backend = s->backend,
		.node_bytes = memory * 3 / 8,
		/* Transfers to and from elsewhere take memory too. */
		.chunk_bytes = s->backend->is_local ? memory / 2 : memory * 3 / 8,
		.fetch_threads = s->backend->is_local ? FETCHERS_LOCAL : FETCHERS_REMOTE,
	};
	struct refs_options refs = {
		.backend = s->backend,
		.refresh_ms = o->refresh_ms ? o->refresh_ms : REFRESH_MS,
		.writer = s->writer,
		.read_only = s->read_only,
	};
	int r;

	if (index_fd < 0)
		return index_fd;
	r = index_open(index_fd, &s->format.store_id, INDEX_MAP_BYTES, &s->index);
	if (r < 0)
		return r;
	open_cache(s, o->cache_bytes);
	reader.index = refs.index = s->index;
	reader.cache = s->cache;
	r = reader_new(&reader, &s->reader);
	if (r == 0)
		r = refs_new(&refs, &s->refs);
	if (r == 0)
		r = pool_new("work", o->threads ? o->threads : cpu_count(), &s->pool);
	if (r == 0)
		r = pool_new("upload", UPLOADERS, &s->uploads);
	return r;
}

/* The note may be this mount's, or that of whoever made the store on this machine. */
static int guard(struct store *s, const struct store_options *o, bool is_served)
{
	const char *url = s->backend->url;
	_cleanup_close_ int shared_fd = open_shared(&s->format.store_id, false);
	bool noted = trust_is_noted(s->state_fd, url) ||
		     (shared_fd >= 0 && trust_is_noted(shared_fd, url));

	return trust_guard(s, is_served, o->single_writer, noted);
}

/* Who we are, for the records. */
static void name_writer(struct store *s)
{
	struct passwd pw, *found = NULL;
	char buf[4096];

	if (gethostname(s->machine, sizeof(s->machine)) < 0)
		s->machine[0] = '\0';
	s->machine[sizeof(s->machine) - 1] = '\0';
	if (getpwuid_r(geteuid(), &pw, buf, sizeof(buf), &found) == 0 && found)
		snprintf(s->writer, sizeof(s->writer), "%.100s@%.150s", pw.pw_name, s->machine);
	else
		snprintf(s->writer, sizeof(s->writer), "%u@%.150s", geteuid(), s->machine);
}

/* The backend with its layers. */
static int open_backend(struct store *s, const char *url, const struct store_options *o,
			bool *ret_is_served)
{
	struct backend_options bo = {
		.single_writer = o->single_writer,
		.read_only = o->read_only,
	};
	struct backend *inner;
	int r;

	r = backend_open(url, &bo, &inner);
	if (r < 0)
		return r;
	r = count_backend_new(inner, &s->counted);
	if (r < 0) {
		backend_free(inner);
		return r;
	}
	*ret_is_served = inner->is_served;
	s->backend = s->counted;
	if (!s->backend->is_local) {
		r = breaker_backend_new(s->counted, FORMAT_KEY, &s->breaker);
		if (r < 0)
			return r;
		s->backend = s->breaker;
	}
	if (o->layer)
		s->backend = o->layer(s->backend);
	return 0;
}

int store_open(const char *url, const struct store_options *o, struct store **ret)
{
	_cleanup_(store_freep) struct store *s = new0(struct store, 1);
	_cleanup_buf_ struct buf object = { 0 };
	bool is_served;
	int r;

	if (!s)
		return -ENOMEM;
	s->state_fd = -1;
	s->read_only = o->read_only;
	name_writer(s);
	if (o->state_dir) {
		s->state_fd = open_dir(o->state_dir);
		if (s->state_fd < 0)
			return log_errno(s->state_fd, "the state directory %s cannot be used",
					 o->state_dir);
	}
	r = open_backend(s, url, o, &is_served);
	if (r < 0)
		return r;
	r = load_format(s, s->state_fd, &object);
	if (r == 0)
		r = judge_format(&s->format, s->backend->url, s->read_only);
	if (r < 0)
		return r;
	if (s->state_fd < 0) {
		r = open_shared_state(s);
		if (r < 0)
			return r;
		s->state_fd = r;
	}
	if (object.len > 0)
		copy_format(s->state_fd, buf_span(&object));
	r = guard(s, o, is_served);
	if (r == 0)
		r = open_objects(s, o);
	if (r == -EBUSY && o->state_dir)
		return log_fail(r, "the state directory %s is in use for another store",
				o->state_dir);
	if (r < 0)
		return log_errno(r, "the caches of %s cannot be opened%s%s", s->backend->url,
				 o->state_dir ? " in " : "", o->state_dir ?: "");
	*ret = TAKE_PTR(s);
	return 0;
}

void store_free(struct store *s)
{
	if (!s)
		return;
	refs_free(s->refs);
	reader_free(s->reader);
	cache_free(s->cache);
	index_free(s->index);
	pool_free(s->uploads);
	pool_free(s->pool);
	backend_free(s->backend);
	closep(&s->state_fd);
	if (s->temporary)
		remove_tree(AT_FDCWD, s->temporary);
	free(s->temporary);
	free(s);
}
