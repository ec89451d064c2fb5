/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Keys of objects, of format/key.h.
 */
#include "format/key.h"

#include <stdio.h>

#include "base/text.h"

#define COMMITS "commits"
#define PINS	"pins"

enum {
	ID128_DIGITS = ID128_HEX - 1,
	TIER_DIGITS = 2,
};

struct key pack_key(const struct id128 *name)
{
	char hex[ID128_HEX];
	struct key k;

	id128_hex(name, hex);
	snprintf(k.s, sizeof(k.s), PACK_PREFIX "%.2s/%s", hex, hex);
	return k;
}

struct key segment_key(const struct segment_id *id)
{
	char hex[ID128_HEX];
	struct key k;

	snprintf(k.s, sizeof(k.s), SEGMENT_PREFIX "%02u-%s", id->tier, id128_hex(&id->name, hex));
	return k;
}

static struct key repo_part(const char *kind, const struct id128 *repo, const char *rest)
{
	char hex[ID128_HEX];
	struct key k;

	snprintf(k.s, sizeof(k.s), "%s/%s/%.100s", kind, id128_hex(repo, hex), rest);
	return k;
}

struct key commit_key(const struct id128 *repo, const struct oid *id)
{
	char hex[OID_HEX];

	return repo_part(COMMITS, repo, oid_hex(id, hex));
}

struct key pin_key(const struct id128 *repo, const struct oid *id)
{
	char hex[OID_HEX];

	return repo_part(PINS, repo, oid_hex(id, hex));
}

struct key key_as_pin(const char *commit_key)
{
	struct key k;

	snprintf(k.s, sizeof(k.s), PINS "%s", commit_key + strlen(COMMITS));
	return k;
}

struct key repo_key(const char *name)
{
	struct key k;

	snprintf(k.s, sizeof(k.s), REPO_PREFIX "%.100s", name);
	return k;
}

struct key head_key(const struct id128 *repo, const char *branch)
{
	return repo_part("heads", repo, branch);
}

struct key name_key(const struct id128 *repo, const char *name)
{
	return repo_part("names", repo, name);
}

struct key commit_prefix(const struct id128 *repo)
{
	return repo_part(COMMITS, repo, "");
}

struct key pin_prefix(const struct id128 *repo)
{
	return repo_part(PINS, repo, "");
}

struct key head_prefix(const struct id128 *repo)
{
	return repo_part("heads", repo, "");
}

struct key name_prefix(const struct id128 *repo)
{
	return repo_part("names", repo, "");
}

int pack_key_parse(const char *key, struct id128 *ret)
{
	const char *folder = key + strlen(PACK_PREFIX), *name = folder + 3;
	struct id128 id;

	if (strlen(key) != strlen(PACK_PREFIX) + 3 + ID128_DIGITS ||
	    strncmp(key, PACK_PREFIX, strlen(PACK_PREFIX)) != 0 || folder[2] != '/' ||
	    strncmp(folder, name, 2) != 0 || id128_parse(span_str(name), &id) < 0)
		return -EINVAL;
	*ret = id;
	return 0;
}

int segment_key_parse(const char *key, struct segment_id *ret)
{
	const char *tier = key + strlen(SEGMENT_PREFIX), *name = tier + TIER_DIGITS + 1;
	struct segment_id id;

	if (strlen(key) != strlen(SEGMENT_PREFIX) + TIER_DIGITS + 1 + ID128_DIGITS ||
	    strncmp(key, SEGMENT_PREFIX, strlen(SEGMENT_PREFIX)) != 0 || tier[0] < '0' ||
	    tier[0] > '9' || tier[1] < '0' || tier[1] > '9' || tier[2] != '-' ||
	    id128_parse(span_str(name), &id.name) < 0)
		return -EINVAL;
	id.tier = (uint32_t)((tier[0] - '0') * 10 + (tier[1] - '0'));
	*ret = id;
	return 0;
}
