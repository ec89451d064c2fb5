/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Findings, of object/finding.h.
 */
#include "object/finding.h"

#include <stdio.h>

#include "base/log.h"
#include "format/key.h"
#include "format/name.h"

enum {
	LACKING_MAX = 16, /* that a listing may lack and each is asked for */
};

static struct finding *finding_new(enum finding_kind kind)
{
	struct finding *f = new0(struct finding, 1);

	if (f) {
		f->refs = 1;
		f->kind = (uint8_t)kind;
	}
	return f;
}

struct finding *finding_ref(struct finding *f)
{
	f->refs++;
	return f;
}

void finding_unref(struct finding *f)
{
	if (!f || --f->refs > 0)
		return;
	switch ((enum finding_kind)f->kind) {
	case FINDING_REPO:
		repo_rec_release(&f->repo);
		break;
	case FINDING_REF:
		ref_release(&f->ref);
		break;
	case FINDING_COMMIT:
		buf_release(&f->object);
		break;
	case FINDING_NAMES:
		buf_release(&f->names.text);
		break;
	case FINDING_COMMITS:
		free(f->commits.ids);
		break;
	}
	free(f);
}

int finding_of_absence(enum finding_kind kind, struct finding **ret)
{
	struct finding *f = finding_new(kind);

	if (!f)
		return -ENOMEM;
	f->is_absent = true;
	*ret = f;
	return 0;
}

/* The last part of a key. */
static const char *last_part(const char *key)
{
	const char *slash = strrchr(key, '/');

	return slash ? slash + 1 : key;
}

static int commit_take(struct finding *f, const char *key, struct span object)
{
	struct oid wanted, id;
	int r;

	r = oid_parse(span_str(last_part(key)), &wanted);
	if (r < 0)
		return r;
	r = commit_id_of(object, &id);
	if (r < 0)
		return r;
	if (!oid_equal(&id, &wanted))
		return -EBADMSG;
	buf_put(&f->object, object.data, object.len);
	return buf_failed(&f->object) ? -ENOMEM : 0;
}

int finding_of_object(enum finding_kind kind, const char *key, struct span object,
		      const struct etag *tag, struct finding **ret)
{
	_cleanup_(finding_unrefp) struct finding *f = finding_new(kind);
	uint8_t ref_kind = strncmp(key, "heads/", 6) == 0 ? REF_BRANCH : REF_NAME;
	int r;

	if (!f)
		return -ENOMEM;
	f->tag = *tag;
	if (kind == FINDING_COMMIT)
		r = commit_take(f, key, object);
	else if (kind == FINDING_REPO)
		r = repo_read(object, &f->repo);
	else
		r = ref_read(object, &f->ref);
	if (r == 0 && kind == FINDING_REF && f->ref.kind != ref_kind)
		r = -EBADMSG;
	if (r < 0)
		return r;
	*ret = TAKE_PTR(f);
	return 0;
}

static int add_commit(struct finding *f, const struct oid *id)
{
	if (f->commits.count == f->commits.cap) {
		size_t cap = MAX(f->commits.cap + f->commits.cap / 2, (size_t)16);
		struct oid *more = reallocarray(f->commits.ids, cap, sizeof(more[0]));

		if (!more)
			return -ENOMEM;
		f->commits.ids = more;
		f->commits.cap = cap;
	}
	f->commits.ids[f->commits.count++] = *id;
	return 0;
}

static int add_name(struct finding *f, const char *name)
{
	buf_put(&f->names.text, name, strlen(name) + 1);
	f->names.count++;
	return buf_failed(&f->names.text) ? -ENOMEM : 0;
}

static int add_listed(const char *key, uint64_t size, const struct etag *tag, void *ctx)
{
	const char *name = last_part(key);
	struct finding *f = ctx;
	struct oid id;

	if (f->kind == FINDING_COMMITS)
		return oid_parse(span_str(name), &id) < 0 ? 0 : add_commit(f, &id);
	return ref_size_is_live(size) && object_name_is_valid(name) ? add_name(f, name) : 0;
}

int finding_of_list(enum finding_kind kind, struct backend *b, const char *prefix,
		    const struct deadline *dl, struct finding **ret)
{
	_cleanup_(finding_unrefp) struct finding *f = finding_new(kind);
	int r;

	if (!f)
		return -ENOMEM;
	r = b->ops->list(b, prefix, NULL, add_listed, f, dl);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(f);
	return 0;
}

static struct span list_bytes(const struct finding *f)
{
	if (f->kind == FINDING_COMMITS)
		return span_of(f->commits.ids, f->commits.count * sizeof(f->commits.ids[0]));
	return buf_span(&f->names.text);
}

int finding_list_write(const struct finding *f, struct buf *ret)
{
	struct span s = list_bytes(f);

	buf_clear(ret);
	buf_put(ret, s.data, s.len);
	return buf_failed(ret) ? -ENOMEM : 0;
}

int finding_list_read(enum finding_kind kind, struct span raw, struct finding **ret)
{
	_cleanup_(finding_unrefp) struct finding *f = finding_new(kind);
	struct cursor c = cursor_of(raw);
	int r = 0;

	if (!f)
		return -ENOMEM;
	while (r == 0 && cursor_left(&c) > 0) {
		if (kind == FINDING_COMMITS) {
			struct oid id = rd_oid(&c);

			r = cursor_failed(&c) ? -EBADMSG : add_commit(f, &id);
		} else {
			const uint8_t *end = memchr(c.p, '\0', cursor_left(&c));
			struct span name;

			if (!end)
				return -EBADMSG;
			name = rd_bytes(&c, (size_t)(end - c.p) + 1);
			r = add_name(f, (const char *)name.data);
		}
	}
	if (r < 0)
		return r;
	*ret = TAKE_PTR(f);
	return 0;
}

bool finding_lists_are_equal(const struct finding *a, const struct finding *b)
{
	return span_equal(list_bytes(a), list_bytes(b));
}

size_t finding_commit_place(const struct finding *list, const struct oid *id)
{
	size_t lo = 0, hi = list->commits.count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (oid_cmp(&list->commits.ids[mid], id) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int commits_with(const struct finding *list, const struct oid *id, bool is_there,
			struct finding *out)
{
	size_t at = finding_commit_place(list, id), n = list->commits.count;
	bool is_in = at < n && oid_equal(&list->commits.ids[at], id);
	size_t skip = is_in ? 1 : 0;

	out->commits.ids = reallocarray(NULL, n + 1, sizeof(list->commits.ids[0]));
	if (!out->commits.ids)
		return -ENOMEM;
	out->commits.cap = n + 1;
	for (size_t i = 0; i < at; i++)
		add_commit(out, &list->commits.ids[i]);
	if (is_there)
		add_commit(out, id);
	for (size_t i = at + skip; i < n; i++)
		add_commit(out, &list->commits.ids[i]);
	return 0;
}

static int names_with(const struct finding *list, const char *name, bool is_there,
		      struct finding *out)
{
	const char *p = (const char *)list->names.text.data;
	int r = 0;

	for (size_t i = 0; r == 0 && i < list->names.count; i++, p += strlen(p) + 1) {
		int c = strcmp(p, name);

		if (c >= 0 && is_there)
			r = add_name(out, name);
		if (c >= 0)
			is_there = false;
		if (r == 0 && c != 0)
			r = add_name(out, p);
	}
	return r == 0 && is_there ? add_name(out, name) : r;
}

int finding_with(const struct finding *list, const char *name, bool is_there, struct finding **ret)
{
	_cleanup_(finding_unrefp) struct finding *f = finding_new(list->kind);
	struct oid id;
	int r;

	if (!f)
		return -ENOMEM;
	if (list->kind == FINDING_COMMITS) {
		r = oid_parse(span_str(name), &id);
		if (r == 0)
			r = commits_with(list, &id, is_there, f);
	} else {
		r = names_with(list, name, is_there, f);
	}
	if (r < 0)
		return r;
	*ret = TAKE_PTR(f);
	return 0;
}

bool finding_is_live(const struct finding *f)
{
	if (f->is_absent)
		return false;
	if (f->kind == FINDING_REPO)
		return f->repo.state == REF_LIVE;
	return f->kind != FINDING_REF || f->ref.state == REF_LIVE;
}

const struct id128 *finding_nonce(const struct finding *f)
{
	return f->kind == FINDING_REPO ? &f->repo.nonce : &f->ref.nonce;
}

size_t finding_cost(const struct finding *f)
{
	size_t cost = sizeof(*f);

	if (f->is_absent)
		return cost;
	switch ((enum finding_kind)f->kind) {
	case FINDING_REPO:
		return cost + f->repo.setting_count * (size_t)128;
	case FINDING_REF:
		return cost + f->ref.commit.cap;
	case FINDING_COMMIT:
		return cost + f->object.cap;
	case FINDING_NAMES:
		return cost + f->names.text.cap;
	case FINDING_COMMITS:
		return cost + f->commits.cap * sizeof(struct oid);
	}
	return cost;
}

/* What a listing lacks, one after another. */
struct lack {
	const struct finding *former, *list;
	size_t i, j; /* of commits; of names, where they are in the text */
	char name[OBJECT_NAME_MAX + OID_HEX];
};

static bool next_lacking_commit(struct lack *l)
{
	const struct oid *a = l->former->commits.ids, *b = l->list->commits.ids;

	for (; l->i < l->former->commits.count; l->i++) {
		while (l->j < l->list->commits.count && oid_cmp(&b[l->j], &a[l->i]) < 0)
			l->j++;
		if (l->j == l->list->commits.count || !oid_equal(&b[l->j], &a[l->i])) {
			oid_hex(&a[l->i++], l->name);
			return true;
		}
	}
	return false;
}

static bool next_lacking_name(struct lack *l)
{
	const struct buf *a = &l->former->names.text, *b = &l->list->names.text;

	while (l->i < a->len) {
		const char *name = (const char *)a->data + l->i;
		int c = 1;

		while (l->j < b->len && (c = strcmp((const char *)b->data + l->j, name)) < 0)
			l->j += strlen((const char *)b->data + l->j) + 1;
		l->i += strlen(name) + 1;
		if (c != 0 || l->j >= b->len) {
			snprintf(l->name, sizeof(l->name), "%s", name);
			return true;
		}
	}
	return false;
}

static bool next_lacking(struct lack *l)
{
	return l->former->kind == FINDING_COMMITS ? next_lacking_commit(l) : next_lacking_name(l);
}

/* Is there a commit, or a live ref or record, all the same? 1, 0, or the backend's errors. */
static int is_there(struct backend *b, const char *prefix, const struct lack *l,
		    const struct deadline *dl)
{
	const char *slash = strrchr(prefix, '/');
	char key[KEY_MAX + 1];
	uint64_t size;
	int n, r;

	n = snprintf(key, sizeof(key), "%.*s%s", slash ? (int)(slash - prefix) + 1 : 0, prefix,
		     l->name);
	if (n < 0 || (size_t)n >= sizeof(key))
		return 0;
	r = b->ops->head(b, key, dl, &size);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	return l->former->kind == FINDING_COMMITS || ref_size_is_live(size);
}

int finding_check_list(struct backend *b, const char *prefix, const struct finding *former,
		       const struct deadline *dl, struct finding **list)
{
	struct lack l = { .former = former, .list = *list };
	size_t count = 0, found = 0;

	while (count < LACKING_MAX && next_lacking(&l))
		count++;
	l = (struct lack){ .former = former, .list = *list };
	for (size_t i = 0; i < count && next_lacking(&l); i++) {
		struct finding *more;
		int r = is_there(b, prefix, &l, dl);

		if (r <= 0) {
			if (r < 0)
				return r;
			continue;
		}
		found++;
		if (count == LACKING_MAX)
			return log_fail(-EIO, "%s: the listing of %s lacks what is there", b->url,
					prefix);
		r = finding_with(*list, l.name, true, &more);
		if (r < 0)
			return r;
		finding_unref(*list);
		l.list = *list = more;
	}
	if (found > 0)
		log_warning("%s: the listing of %s lacks what is there", b->url, prefix);
	return 0;
}
