/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Verbs for repos.
 */
#include <stdio.h>

#include "base/log.h"
#include "head/autocommit.h"
#include "service/address.h"
#include "service/names.h"
#include "service/verbs.h"

static void put_chunk(struct answer *a, const struct chunk_params *p)
{
	struct answer c = answer_new();

	answer_number(&c, "min", p->min);
	answer_number(&c, "avg", p->avg);
	answer_number(&c, "max", p->max);
	answer_object(a, "chunk", &c);
}

static int answer_repo(struct request *q, const char *name, const struct repo_rec *rec)
{
	_cleanup_answer_ struct answer a = answer_new();
	struct answer settings = answer_new();
	char id[ID128_HEX], mode[8];

	snprintf(mode, sizeof(mode), "%04o", rec->root_mode & 07777);
	answer_text(&a, "repo", name);
	answer_text(&a, "id", id128_hex(&rec->id, id));
	answer_text(&a, "default_branch", rec->default_branch);
	answer_time(&a, "created", rec->created.sec, rec->created.nsec);
	answer_number(&a, "uid", rec->root_uid);
	answer_number(&a, "gid", rec->root_gid);
	answer_text(&a, "mode", mode);
	put_chunk(&a, &rec->chunk);
	for (size_t i = 0; i < rec->setting_count; i++)
		answer_text(&settings, rec->settings[i].key, rec->settings[i].value);
	answer_object(&a, "settings", &settings);
	return request_answer(q, &a);
}

/*
 * repos		every repo, by name
 *
 *	repo?: only this one
 *
 * Lines: {repo, id, default_branch, created, uid, gid, mode: "0755", chunk: {min, avg, max},
 * settings: {key: value}}.
 */
int verb_repos(struct request *q)
{
	_cleanup_names_ struct names names = { 0 };
	const char *only;
	int r = request_optional_string(q, "repo", &only), damaged = 0;

	if (r == 0)
		r = only ? names_add(only, &names) : names_of_repos(q, &names);
	for (size_t i = 0; r == 0 && i < names.count; i++) {
		_cleanup_repo_rec_ struct repo_rec rec = { 0 };
		struct refs_wait w = request_wait(q);

		if (only)
			r = address_repo(q, only, &rec);
		else
			r = refs_repo(q->service->store->refs, names.items[i], &w, &rec);
		if (r == 0)
			r = answer_repo(q, names.items[i], &rec);
		else if (r == -ENOENT && !only)
			r = 0; /* it went meanwhile */
		else if (r < 0 && !only)
			r = names_pass_over(names.items[i], r, &damaged);
	}
	if (r == 0)
		r = damaged;
	return r < 0 ? request_fail(r, "the repos cannot be listed") : 0;
}

/* What a request says about chunks: `chunk` is the average, or an object. */
static int read_chunk(struct request *q, struct chunk_params *p)
{
	const json_t *j = json_object_get(q->fields, "chunk");
	json_int_t avg;

	if (!j)
		return 0;
	avg = json_integer_value(j);
	if (!json_is_integer(j) || avg < 4 * CHUNK_MIN_LEAST || avg > CHUNK_LIMIT / 4)
		return log_fail(-EINVAL, "an average chunk has %d bytes to %d MiB",
				4 * CHUNK_MIN_LEAST, CHUNK_LIMIT / 4 >> 20);
	*p = (struct chunk_params){ .min = (uint32_t)(avg / 4),
				    .avg = (uint32_t)avg,
				    .max = (uint32_t)(avg * 4) };
	return chunk_params_are_valid(p) ? 0
					 : log_fail(-EINVAL, "an average chunk's size must be a "
							     "power of two");
}

/* "mode": octal digits. */
static int read_mode(struct request *q, uint16_t *ret)
{
	const char *text;
	char *end;
	unsigned long mode;
	int r = request_optional_string(q, "mode", &text);

	if (r < 0 || !text)
		return r;
	mode = strtoul(text, &end, 8);
	if (*text < '0' || *text > '7' || *end || mode > 07777)
		return log_fail(-EINVAL, "`%s` is not a mode in octal digits", text);
	*ret = (uint16_t)mode;
	return 0;
}

/* May the caller make directories in the mount's root? Everybody may where root serves. */
static bool may_create(const struct request *q)
{
	return q->who->is_owner || geteuid() == 0;
}

/*
 * repo-create		a repo with its default branch
 *
 *	repo, default_branch?: "main", chunk?: the average in bytes, mode?: "0755"
 *
 * One line as of repos.
 */
int verb_repo_create(struct request *q)
{
	_cleanup_repo_rec_ struct repo_rec rec = { 0 }, made = { 0 };
	struct deadline dl = request_deadline(q, CHANGE_TIMEOUT_MS);
	const char *name, *branch;
	int r = request_string(q, "repo", &name);

	rec.chunk = CHUNK_PARAMS_DEFAULT;
	rec.root_mode = 0755;
	rec.root_uid = q->who->uid;
	rec.root_gid = q->who->gid;
	if (r == 0)
		r = request_optional_string(q, "default_branch", &branch);
	if (r == 0)
		r = read_chunk(q, &rec.chunk);
	if (r == 0)
		r = read_mode(q, &rec.root_mode);
	if (r < 0)
		return r;
	if (!may_create(q))
		return log_fail(-EACCES, "only who mounted the store may make repos here");
	snprintf(rec.default_branch, sizeof(rec.default_branch), "%s", branch ?: "main");
	if (!object_name_is_valid(name) || !object_name_is_valid(branch ?: "main"))
		return names_refuse(object_name_is_valid(name) ? branch : name);
	r = refs_create_repo(q->service->store->refs, name, &rec, &dl);
	if (r == -EEXIST)
		return log_fail(r, "there is a repo `%s` already", name);
	if (r < 0)
		return request_fail(r, "the repo %s cannot be made", name);
	r = address_repo(q, name, &made);
	return r < 0 ? r : answer_repo(q, name, &made);
}

/* -ENOTEMPTY, with a sentence, while there are commits. */
static int check_empty(struct request *q, const char *name, const struct repo_rec *rec)
{
	_cleanup_names_ struct names commits = { 0 };
	int r = names_of_commits(q, &rec->id, &commits);

	if (r == 0 && commits.count > 0)
		return log_fail(-ENOTEMPTY, "%s has commits", name);
	return r;
}

static int remove_repo(const struct service *s, const char *name, const struct repo_rec *rec,
		       const struct deadline *dl)
{
	return s->heads ? heads_remove_repo(s->heads, &rec->id, name, dl)
			: refs_remove_repo(s->store->refs, name, dl);
}

/*
 * repo-remove		takes a repo without commits away
 *
 *	repo
 */
int verb_repo_remove(struct request *q)
{
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	struct deadline dl = request_deadline(q, CHANGE_TIMEOUT_MS);
	const char *name;
	int r = request_string(q, "repo", &name);

	if (r == 0)
		r = address_repo(q, name, &rec);
	if (r == 0)
		r = permit_repo_owner(q, name, &rec);
	if (r == 0)
		r = check_empty(q, name, &rec);
	if (r == 0)
		r = remove_repo(q->service, name, &rec, &dl);
	if (r == -ENOTEMPTY && !complaint()[0])
		return log_fail(r, "%s has commits, or uncommitted changes", name);
	return r < 0 ? request_fail(r, "the repo %s cannot be removed", name) : 0;
}

/* What repo-config asks for. */
struct config_change {
	struct request *q;
	const char *default_branch;
	json_t *set; /* key: string, or null to remove */
};

static int cmp_settings(const void *a, const void *b)
{
	return strcmp(((const struct repo_setting *)a)->key, ((const struct repo_setting *)b)->key);
}

static int set_one(struct repo_rec *rec, const char *key, const char *value)
{
	struct repo_setting *s = NULL;
	char *copy;

	for (size_t i = 0; i < rec->setting_count; i++)
		if (strcmp(rec->settings[i].key, key) == 0)
			s = &rec->settings[i];
	if (!value) {
		if (!s)
			return 0;
		free(s->key);
		free(s->value);
		*s = rec->settings[--rec->setting_count];
		return 0;
	}
	copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	if (s) {
		free(s->value);
		s->value = copy;
		return 0;
	}
	s = reallocarray(rec->settings, rec->setting_count + 1u, sizeof(*s));
	if (s) {
		rec->settings = s;
		s += rec->setting_count;
		*s = (struct repo_setting){ .key = strdup(key), .value = copy };
	}
	if (!s || !s->key) {
		free(copy);
		return -ENOMEM;
	}
	rec->setting_count++;
	return 0;
}

static int apply_config(struct repo_rec *rec, void *ctx)
{
	const struct config_change *c = ctx;
	const char *key;
	json_t *value;
	int r;

	if (c->default_branch)
		snprintf(rec->default_branch, sizeof(rec->default_branch), "%s", c->default_branch);
	r = read_chunk(c->q, &rec->chunk);
	if (r == 0)
		r = read_mode(c->q, &rec->root_mode);
	if (r < 0)
		return r;
	json_object_foreach (c->set, key, value) {
		if (rec->setting_count == UINT16_MAX)
			return -E2BIG;
		r = set_one(rec, key, json_string_value(value));
		if (r < 0)
			return r;
	}
	if (rec->setting_count > 0)
		qsort(rec->settings, rec->setting_count, sizeof(*rec->settings), cmp_settings);
	return 0;
}

/* What pfs itself looks for must be what it knows. */
static int check_setting(const char *key, const char *value)
{
	struct autocommit a;

	if (!value || strcmp(key, AUTOCOMMIT_SETTING) != 0 || autocommit_parse(value, &a) == 0)
		return 0;
	return log_fail(-EINVAL,
			"`%s` does not say when to commit; off, idle=30s or every=10m would",
			value);
}

/* A default branch must be there. */
static int check_branch(struct request *q, const char *repo, const struct repo_rec *rec,
			const char *branch)
{
	struct resolved what;
	int r;

	if (!branch)
		return 0;
	r = address_resolve(q, repo, rec, branch, &what);
	if (r == 0 && !what.is_branch)
		return log_fail(-ENOENT, "%s has no branch `%s`", repo, branch);
	return r;
}

/*
 * repo-config		changes what a repo is set to
 *
 *	repo, default_branch?, chunk?: the average in bytes, for what is written from now on,
 *	mode?: "0755", set?: {key: value, or null to remove}; of the keys `autocommit` must have a
 *	value that head/autocommit.h knows
 *
 * One line as of repos.
 */
int verb_repo_config(struct request *q)
{
	_cleanup_repo_rec_ struct repo_rec rec = { 0 }, now = { 0 };
	struct deadline dl = request_deadline(q, CHANGE_TIMEOUT_MS);
	struct config_change c = { .q = q, .set = json_object_get(q->fields, "set") };
	const char *name, *key;
	json_t *value;
	int r = request_string(q, "repo", &name);

	if (r == 0)
		r = request_optional_string(q, "default_branch", &c.default_branch);
	if (r < 0)
		return r;
	if (c.set && !json_is_object(c.set))
		return log_fail(-EINVAL, "the request's field `set` is not an object");
	json_object_foreach (c.set, key, value) {
		if (!json_is_string(value) && !json_is_null(value))
			return log_fail(-EINVAL, "the setting `%s` is not a string", key);
		r = check_setting(key, json_string_value(value));
		if (r < 0)
			return r;
	}
	r = address_repo(q, name, &rec);
	if (r == 0)
		r = permit_repo_owner(q, name, &rec);
	if (r == 0)
		r = check_branch(q, name, &rec, c.default_branch);
	if (r == 0)
		r = refs_change_repo(q->service->store->refs, name, apply_config, &c, &dl);
	if (r == 0)
		r = address_repo(q, name, &now);
	if (r < 0)
		return request_fail(r, "the repo %s cannot be changed", name);
	return answer_repo(q, name, &now);
}
