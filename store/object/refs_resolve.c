/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From what a user wrote to a branch or a commit, and from a commit to what a user sees.
 */
#include <ctype.h>
#include <stdio.h>

#include "base/moment.h"
#include "object/refs_parts.h"

enum {
	ID_DIGITS = OID_HEX - 1,
	PREFIX_MIN = 8,
	SHORT_MIN = 12,
	TIME_WORDS = 64,
};

static int resolve_ref(struct refs *r, const struct id128 *repo, enum ref_kind kind,
		       const char *name, const struct refs_wait *w, struct resolved *ret)
{
	_cleanup_(finding_unrefp) struct finding *f = NULL;
	int e;

	e = facts_get(r->facts, FINDING_REF, refs_key(kind, repo, name).s, w, &f);
	if (e < 0)
		return e;
	if (!finding_is_live(f))
		return -ENOENT;
	*ret = (struct resolved){
		.is_branch = kind == REF_BRANCH,
		.commit = f->ref.target,
		.branch = f->ref.branch,
	};
	return 0;
}

/* Is all that is known of it, perhaps from a process before, that it is a commit's name? */
static bool is_known_as_name(struct refs *r, const struct id128 *repo, const char *name)
{
	_cleanup_(finding_unrefp) struct finding *branch =
		facts_peek(r->facts, FINDING_REF, head_key(repo, name).s);
	_cleanup_(finding_unrefp) struct finding *named =
		facts_peek(r->facts, FINDING_REF, name_key(repo, name).s);

	return !branch && named && finding_is_live(named);
}

/* Mostly it is a branch: the name is asked for when it is not, which is a request less. */
static int resolve_name(struct refs *r, const struct id128 *repo, const char *name,
			const struct refs_wait *w, struct resolved *ret)
{
	struct deadline soon = deadline_in_ms(REFS_PATIENCE_MS);
	bool is_old_answer = !w->fresh && is_known_as_name(r, repo, name);
	struct refs_wait patience = *w;
	int e;

	if (is_old_answer)
		patience.deadline.at_ns = MIN(w->deadline.at_ns, soon.at_ns);
	e = resolve_ref(r, repo, REF_BRANCH, name, &patience, ret);
	if (e == -ENOENT || (is_old_answer && e < 0 && e != -EAGAIN && e != -ECANCELED))
		e = resolve_ref(r, repo, REF_NAME, name, w, ret);
	return e;
}

static int resolve_id(struct refs *r, const struct id128 *repo, const struct oid *id,
		      const struct refs_wait *w, struct resolved *ret)
{
	_cleanup_(finding_unrefp) struct finding *f = NULL;
	int e;

	e = facts_get(r->facts, FINDING_COMMIT, commit_key(repo, id).s, w, &f);
	if (e < 0)
		return e;
	if (f->is_absent)
		return -ENOENT;
	*ret = (struct resolved){ .commit = *id };
	return 0;
}

static int resolve_below(struct refs *r, struct key prefix, const char *digits,
			 const struct refs_wait *w, struct resolved *ret)
{
	_cleanup_(finding_unrefp) struct finding *f = NULL;
	int e;

	strncat(prefix.s, digits, sizeof(prefix.s) - 1 - strlen(prefix.s));
	e = facts_get(r->facts, FINDING_COMMITS, prefix.s, w, &f);
	if (e < 0)
		return e;
	if (f->commits.count == 0)
		return -ENOENT;
	if (f->commits.count > 1)
		return -ENOTUNIQ;
	*ret = (struct resolved){ .commit = f->commits.ids[0] };
	return 0;
}

/* Pins are seldom asked for, and then by what `pfs log` of a run's branch or a record says. */
static int resolve_prefix(struct refs *r, const struct id128 *repo, const char *digits,
			  const struct refs_wait *w, struct resolved *ret)
{
	int e = resolve_below(r, commit_prefix(repo), digits, w, ret);

	return e == -ENOENT ? resolve_below(r, pin_prefix(repo), digits, w, ret) : e;
}

/* "B@N": N when both could be names. */
static const char *name_behind_at(const char *text)
{
	char branch[OBJECT_NAME_MAX + 1];
	const char *at = strchr(text, '@');
	size_t n;

	if (!at)
		return NULL;
	n = (size_t)(at - text);
	if (n > OBJECT_NAME_MAX)
		return NULL;
	memcpy(branch, text, n);
	branch[n] = '\0';
	return object_name_is_valid(branch) && object_name_is_valid(at + 1) ? at + 1 : NULL;
}

bool refs_has_time(const char *text)
{
	const char *at = strstr(text, "@{");

	return at && at > text && text[strlen(text) - 1] == '}';
}

static bool is_younger(const struct commit *c, const struct timespec *than)
{
	return c->time.sec != than->tv_sec ? c->time.sec > than->tv_sec
					   : c->time.nsec > (uint64_t)than->tv_nsec;
}

/* A merge made for a commit that found its branch moved has what was on the branch first. */
static int go_back(struct refs *r, const struct id128 *repo, const struct timespec *to,
		   const struct refs_wait *w, struct oid *id)
{
	while (!oid_is_null(id)) {
		_cleanup_loaded_ struct loaded l = { 0 };
		int e = deadline_check(&w->deadline);

		if (e == 0)
			e = refs_load_commit(r, repo, id, w, &l);
		if (e < 0 || !is_younger(&l.commit, to))
			return e;
		*id = l.commit.parent_count > 0 ? l.commit.parents[0] : (struct oid){ 0 };
	}
	return -ENOENT;
}

/* "B@{TIME}". */
static int resolve_time(struct refs *r, const struct id128 *repo, const char *text,
			const struct refs_wait *w, struct resolved *ret)
{
	char branch[OBJECT_NAME_MAX + 1], when[TIME_WORDS];
	const char *at = strstr(text, "@{");
	size_t n = (size_t)(at - text), len = strlen(at + 2) - 1;
	struct refs_wait patient = *w;
	struct resolved what;
	struct timespec then;
	int e;

	if (n > OBJECT_NAME_MAX)
		return -ENOENT;
	snprintf(branch, sizeof(branch), "%.*s", (int)n, text);
	if (!object_name_is_valid(branch))
		return -ENOENT;
	if (len >= sizeof(when))
		return -EINVAL;
	snprintf(when, sizeof(when), "%.*s", (int)len, at + 2);
	e = moment_parse(when, now_wall(), &then);
	if (e == 0)
		e = resolve_ref(r, repo, REF_BRANCH, branch, w, &what);
	if (e < 0)
		return e;
	patient.fresh = false; /* commits do not change */
	e = go_back(r, repo, &then, &patient, &what.commit);
	if (e < 0)
		return e;
	*ret = (struct resolved){ .commit = what.commit };
	return 0;
}

int refs_resolve(struct refs *r, const struct id128 *repo, const char *text,
		 const struct refs_wait *w, struct resolved *ret)
{
	const char *behind = name_behind_at(text);
	char digits[ID_DIGITS + 1];
	struct oid id;
	int e = -ENOENT;

	if (refs_has_time(text))
		return resolve_time(r, repo, text, w, ret);
	if (behind)
		return resolve_ref(r, repo, REF_NAME, behind, w, ret);
	if (object_name_is_valid(text))
		e = resolve_name(r, repo, text, w, ret);
	if (e != -ENOENT || strlen(text) > ID_DIGITS)
		return e;

	for (size_t i = 0; i <= strlen(text); i++)
		digits[i] = (char)tolower((unsigned char)text[i]);
	if (oid_parse(span_str(digits), &id) == 0)
		return resolve_id(r, repo, &id, w, ret);
	return name_reads_as_id(digits) ? resolve_prefix(r, repo, digits, w, ret) : -ENOENT;
}

/* How many digits two ids have in common. */
static unsigned common_digits(const struct oid *a, const struct oid *b)
{
	unsigned i = 0;

	while (i < OID_SIZE && a->b[i] == b->b[i])
		i++;
	return i < OID_SIZE && (a->b[i] ^ b->b[i]) < 16 ? 2 * i + 1 : 2 * i;
}

unsigned refs_short_id(struct refs *r, const struct id128 *repo, const struct oid *id)
{
	_cleanup_(finding_unrefp) struct finding *f =
		facts_peek(r->facts, FINDING_COMMITS, commit_prefix(repo).s);
	unsigned digits = SHORT_MIN;
	char hex[OID_HEX];

	if (f) {
		size_t at = finding_commit_place(f, id);
		const struct oid *ids = f->commits.ids;

		if (at > 0)
			digits = MAX(digits, common_digits(&ids[at - 1], id) + 1);
		if (at < f->commits.count && oid_equal(&ids[at], id))
			at++;
		if (at < f->commits.count)
			digits = MAX(digits, common_digits(&ids[at], id) + 1);
	}
	/* Without a letter it would read as a name. */
	oid_hex(id, hex);
	while (digits < ID_DIGITS && strcspn(hex, "abcdef") >= digits)
		digits++;
	return MIN(digits, (unsigned)ID_DIGITS);
}
