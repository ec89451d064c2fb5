/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Commits and files as JSON.
 */
#include "service/describe.h"

#include <stdio.h>

#include "base/log.h"

#define META_BRANCH "pfs.branch"

static json_t *list_of_parents(const struct commit *c)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < c->parent_count; i++) {
		char hex[OID_HEX];

		if (json_array_append_new(list, json_string(oid_hex(&c->parents[i], hex))) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *list_of_names(const struct oid *id, const struct name_map *names)
{
	const struct named_commit *n = name_map_find(names, id), *end = names->items + names->count;
	json_t *list = json_array();

	for (; n && n < end && oid_equal(&n->id, id); n++) {
		if (json_array_append_new(list, json_string(n->name)) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

void answer_short_id(struct request *q, struct answer *a, const struct id128 *repo,
		     const struct oid *id)
{
	char hex[OID_HEX];

	oid_hex(id, hex);
	hex[refs_short_id(q->service->store->refs, repo, id)] = '\0';
	answer_text(a, "short_id", oid_is_null(id) ? NULL : hex);
}

void answer_commit(struct request *q, struct answer *a, const struct oid *id,
		   const struct commit *c, const struct name_map *names)
{
	struct answer meta = answer_new();
	const struct commit_meta *branch = NULL;

	for (unsigned i = 0; i < c->meta_count; i++) {
		if (span_equal(c->meta[i].key, span_str(META_BRANCH)))
			branch = &c->meta[i];
		else
			answer_keyed(&meta, c->meta[i].key, c->meta[i].value);
	}
	answer_oid(a, "id", id);
	answer_short_id(q, a, &c->repo, id);
	answer_json(a, "parents", list_of_parents(c));
	answer_number(a, "generation", c->generation);
	answer_time(a, "time", c->time.sec, c->time.nsec);
	answer_bytes(a, "author", c->author);
	answer_bytes(a, "machine", c->machine);
	answer_bytes(a, "message", c->message);
	if (branch)
		answer_bytes(a, "branch", branch->value);
	else
		answer_text(a, "branch", NULL);
	answer_json(a, "names", list_of_names(id, names));
	answer_object(a, "meta", &meta);
	answer_number(a, "files", c->root.dir.sum.files);
	answer_number(a, "bytes", c->root.dir.sum.bytes);
}

const char *type_text(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "file";
	case S_IFDIR:
		return "directory";
	case S_IFLNK:
		return "symlink";
	case S_IFIFO:
		return "fifo";
	case S_IFCHR:
		return "char";
	case S_IFBLK:
		return "block";
	default:
		return "socket";
	}
}

void answer_stat(struct answer *a, const struct stat *st)
{
	char mode[8];

	snprintf(mode, sizeof(mode), "%04o", st->st_mode & 07777u);
	answer_text(a, "type", type_text(st->st_mode));
	answer_text(a, "mode", mode);
	answer_number(a, "uid", st->st_uid);
	answer_number(a, "gid", st->st_gid);
	answer_number(a, "size", S_ISDIR(st->st_mode) ? 0 : (uint64_t)st->st_size);
	answer_time(a, "mtime", st->st_mtim.tv_sec, (uint32_t)st->st_mtim.tv_nsec);
}

int commit_load(struct request *q, const struct id128 *repo, const struct oid *id,
		struct loaded *ret)
{
	struct refs_wait w = request_wait(q);
	char hex[OID_HEX];
	int r = refs_load_commit(q->service->store->refs, repo, id, &w, ret);

	if (r == -ENOENT)
		return log_fail(-EIO, "the commit %s is missing", oid_hex(id, hex));
	return r < 0 ? request_fail(r, "the commit %s cannot be read", oid_hex(id, hex)) : 0;
}
