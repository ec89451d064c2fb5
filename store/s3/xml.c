/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * S3's XML documents, of s3/xml.h.
 *
 * A document is walked once. What a reader wants of it is a table of paths of local names
 * ("ListBucketResult/Contents/Key"; servers differ in namespaces, not in names); all else is passed
 * over, but must be well-formed and not too deep. A document type is refused where it begins, so
 * no entity can be declared. A value that is wanted holds text alone.
 *
 * Threads: none of its own; nothing is shared.
 */
#include "s3/xml.h"

#include <expat.h>
#include <stdio.h>

#include "base/text.h"

enum {
	DOC_MAX = 64 << 20, /* a thousand keys of 1 KiB, escaped, are a tenth of it */
	DEPTH_MAX = 16,
	TEXT_MAX = 4096,
	LOCAL_MAX = 63, /* no name that is wanted is as long */
};

static const char SEPARATOR = '\n'; /* between a name's namespace and itself */

/* What to tell of. */
struct want {
	const char *path;
	bool is_group; /* told when it ends, without text: it holds elements */
};

struct doc {
	XML_Parser parser; /* owned */
	const struct want *wants; /* borrowed */
	size_t want_count;
	/* 0, or what to refuse the document with */
	int (*tell)(void *ctx, size_t which, const char *text);
	void *ctx;
	char path[DEPTH_MAX * (LOCAL_MAX + 1) + 1];
	size_t starts[DEPTH_MAX]; /* lengths of the path before each element */
	unsigned depth;
	bool in_leaf;
	struct buf text; /* of the leaf; owned */
	int r; /* why it was stopped */
};

static void doc_release(struct doc *d)
{
	if (d->parser)
		XML_ParserFree(d->parser);
	buf_release(&d->text);
}

static void stop(struct doc *d, int r)
{
	if (d->r == 0)
		d->r = r;
	XML_StopParser(d->parser, XML_FALSE);
}

/* The current path's place among those wanted; the count if it is not. */
static size_t find_want(const struct doc *d)
{
	for (size_t i = 0; i < d->want_count; i++)
		if (strcmp(d->wants[i].path, d->path) == 0)
			return i;
	return d->want_count;
}

static void on_start(void *ctx, const XML_Char *name, const XML_Char **attributes)
{
	struct doc *d = ctx;
	const char *local = strrchr(name, SEPARATOR);
	size_t len = strlen(d->path), which;

	if (d->r != 0)
		return;
	if (d->depth == DEPTH_MAX || d->in_leaf) {
		stop(d, -EBADMSG);
		return;
	}
	local = local ? local + 1 : name;
	if (strlen(local) > LOCAL_MAX)
		local = "?"; /* which is no name */
	d->starts[d->depth++] = len;
	snprintf(d->path + len, sizeof(d->path) - len, "%s%s", len > 0 ? "/" : "", local);
	which = find_want(d);
	d->in_leaf = which < d->want_count && !d->wants[which].is_group;
	buf_clear(&d->text);
}

static void on_text(void *ctx, const XML_Char *text, int len)
{
	struct doc *d = ctx;

	if (d->r != 0 || !d->in_leaf)
		return;
	if ((size_t)len > TEXT_MAX - d->text.len)
		stop(d, -EBADMSG);
	else
		buf_put(&d->text, text, (size_t)len);
}

static void on_end(void *ctx, const XML_Char *name)
{
	struct doc *d = ctx;
	size_t which = find_want(d);
	int r = 0;

	if (d->r != 0)
		return;
	if (d->in_leaf) {
		buf_put_u8(&d->text, '\0');
		r = buf_failed(&d->text) ? -ENOMEM
					 : d->tell(d->ctx, which, (const char *)d->text.data);
	} else if (which < d->want_count) {
		r = d->tell(d->ctx, which, NULL);
	}
	if (r < 0)
		stop(d, r);
	d->in_leaf = false;
	d->path[d->starts[--d->depth]] = '\0';
}

static void on_doctype(void *ctx, const XML_Char *name, const XML_Char *system,
		       const XML_Char *public, int has_subset)
{
	stop(ctx, -EBADMSG);
}

/* Blanks, which a server sends to keep a connection alive, may precede even the declaration. */
static struct span without_blanks(struct span s)
{
	while (s.len > 0 && memchr(" \t\r\n", *s.data, 4)) {
		s.data++;
		s.len--;
	}
	return s;
}

/* Tells of all that is wanted, in the document's order. 0, -EBADMSG, -ENOMEM. */
static int walk(struct span xml, const struct want *wants, size_t count,
		int (*tell)(void *ctx, size_t which, const char *text), void *ctx)
{
	_cleanup_(doc_release) struct doc d = {
		.wants = wants,
		.want_count = count,
		.tell = tell,
		.ctx = ctx,
	};

	xml = without_blanks(xml);
	if (xml.len == 0 || xml.len > DOC_MAX)
		return -EBADMSG;
	d.parser = XML_ParserCreateNS("UTF-8", SEPARATOR);
	if (!d.parser)
		return -ENOMEM;
	XML_SetUserData(d.parser, &d);
	XML_SetElementHandler(d.parser, on_start, on_end);
	XML_SetCharacterDataHandler(d.parser, on_text);
	XML_SetStartDoctypeDeclHandler(d.parser, on_doctype);
	if (XML_Parse(d.parser, (const char *)xml.data, (int)xml.len, XML_TRUE) == XML_STATUS_OK)
		return d.r;
	if (d.r != 0)
		return d.r;
	return XML_GetErrorCode(d.parser) == XML_ERROR_NO_MEMORY ? -ENOMEM : -EBADMSG;
}

/* Has none but printable ASCII, no blanks, and at least one. */
static bool is_word(const char *s)
{
	const char *p = s;

	while (*p > ' ' && *p < 0x7f)
		p++;
	return p > s && *p == '\0';
}

/* For a terminal: what might do more than show there becomes '?'. */
static void copy_message(char *to, size_t size, const char *text)
{
	size_t n = 0;

	for (; *text && n + 1 < size; text++) {
		unsigned char c = (unsigned char)*text;

		if (c >= 0x80 && c < 0xc0)
			continue; /* one '?' for a character of several bytes */
		if (c == '\n' || c == '\r' || c == '\t')
			c = ' ';
		to[n++] = (char)(c < 0x20 || c >= 0x7f ? '?' : c);
	}
	to[n] = '\0';
}

void s3_xml_escape(struct buf *out, const char *s)
{
	for (; *s; s++) {
		if (strchr("<>&\"'", *s))
			buf_printf(out, "&#%d;", *s);
		else
			buf_put_u8(out, (uint8_t)*s);
	}
}

/* --- errors --- */

enum {
	ERROR_CODE,
	ERROR_MESSAGE,
	ERROR_END,
	COMPLETE_ETAG,
	COMPLETE_END,
};

static const struct want complete_wants[] = {
	[ERROR_CODE] = { .path = "Error/Code" },
	[ERROR_MESSAGE] = { .path = "Error/Message" },
	[ERROR_END] = { .path = "Error", .is_group = true },
	[COMPLETE_ETAG] = { .path = "CompleteMultipartUploadResult/ETag" },
	[COMPLETE_END] = { .path = "CompleteMultipartUploadResult", .is_group = true },
};

struct outcome {
	bool seen[ARRAY_SIZE(complete_wants)];
	struct s3_error error;
	char etag[68];
};

static int outcome_add(void *ctx, size_t which, const char *text)
{
	struct outcome *o = ctx;

	if (o->seen[which])
		return -EBADMSG;
	o->seen[which] = true;
	if (which == ERROR_CODE && *text) {
		if (!is_word(text) || strlen(text) >= sizeof(o->error.code))
			return -EBADMSG;
		snprintf(o->error.code, sizeof(o->error.code), "%s", text);
	} else if (which == ERROR_MESSAGE) {
		copy_message(o->error.message, sizeof(o->error.message), text);
	} else if (which == COMPLETE_ETAG && is_word(text) && strlen(text) < sizeof(o->etag)) {
		snprintf(o->etag, sizeof(o->etag), "%s", text);
	}
	return 0;
}

int s3_error_parse(struct span xml, struct s3_error *ret)
{
	struct outcome o = { 0 };
	int r;

	r = walk(xml, complete_wants, COMPLETE_ETAG, outcome_add, &o);
	if (r < 0)
		return r;
	if (!o.seen[ERROR_END])
		return -EBADMSG;
	*ret = o.error;
	return 0;
}

int s3_complete_parse(struct span xml, char ret_etag[68], struct s3_error *ret_error)
{
	struct outcome o = { 0 };
	int r;

	r = walk(xml, complete_wants, ARRAY_SIZE(complete_wants), outcome_add, &o);
	if (r < 0)
		return r;
	if (o.seen[ERROR_END]) {
		*ret_error = o.error;
		return -EIO;
	}
	if (!o.seen[COMPLETE_END])
		return -EBADMSG;
	memcpy(ret_etag, o.etag, sizeof(o.etag));
	return 0;
}

/* --- an upload's id --- */

static const struct want upload_wants[] = {
	{ .path = "InitiateMultipartUploadResult/UploadId" },
};

static int upload_id_add(void *ctx, size_t which, const char *text)
{
	char **id = ctx;

	if (*id || !is_word(text))
		return -EBADMSG;
	*id = strdup(text);
	return *id ? 0 : -ENOMEM;
}

int s3_upload_id_parse(struct span xml, char **ret)
{
	_cleanup_free_ char *id = NULL;
	int r;

	r = walk(xml, upload_wants, ARRAY_SIZE(upload_wants), upload_id_add, &id);
	if (r < 0)
		return r;
	if (!id)
		return -EBADMSG;
	*ret = TAKE_PTR(id);
	return 0;
}

/* --- listings --- */

enum {
	LIST_KEY,
	LIST_SIZE,
	LIST_ETAG,
	LIST_CONTENTS,
	LIST_TRUNCATED,
	LIST_TOKEN,
	LIST_ENCODING,
	LIST_END,
};

static const struct want list_wants[] = {
	[LIST_KEY] = { .path = "ListBucketResult/Contents/Key" },
	[LIST_SIZE] = { .path = "ListBucketResult/Contents/Size" },
	[LIST_ETAG] = { .path = "ListBucketResult/Contents/ETag" },
	[LIST_CONTENTS] = { .path = "ListBucketResult/Contents", .is_group = true },
	[LIST_TRUNCATED] = { .path = "ListBucketResult/IsTruncated" },
	[LIST_TOKEN] = { .path = "ListBucketResult/NextContinuationToken" },
	[LIST_ENCODING] = { .path = "ListBucketResult/EncodingType" },
	[LIST_END] = { .path = "ListBucketResult", .is_group = true },
};

/* Keys are gathered first: a document that is refused at its end must not have told of any. */
struct gathering {
	bool seen[ARRAY_SIZE(list_wants)]; /* of key, size and tag: in this Contents */
	struct s3_listing listing;
	struct buf items; /* owned: for each a u64, the key and the tag with their NULs */
	size_t key_at; /* in items: the key that is being read */
	size_t former_at; /* the key before it; 0: none */
	uint64_t size;
	char etag[68];
};

static void gathering_release(struct gathering *g)
{
	s3_listing_release(&g->listing);
	buf_release(&g->items);
}

static int gather_key(struct gathering *g, const char *key)
{
	if (!*key)
		return -EBADMSG;
	buf_put_u64(&g->items, 0); /* its size is set when it is known */
	g->key_at = g->items.len;
	buf_put(&g->items, key, strlen(key) + 1);
	return buf_failed(&g->items) ? -ENOMEM : 0;
}

static int gather_object(struct gathering *g)
{
	const char *items = (const char *)g->items.data;

	if (!g->seen[LIST_KEY] || !g->seen[LIST_SIZE])
		return -EBADMSG;
	if (g->former_at > 0 && strcmp(items + g->former_at, items + g->key_at) >= 0)
		return -EBADMSG;
	memcpy(g->items.data + g->key_at - sizeof(g->size), &g->size, sizeof(g->size));
	buf_put(&g->items, g->etag, strlen(g->etag) + 1);
	g->etag[0] = '\0';
	g->former_at = g->key_at;
	g->listing.count++;
	g->seen[LIST_KEY] = g->seen[LIST_SIZE] = g->seen[LIST_ETAG] = g->seen[LIST_CONTENTS] =
		false;
	return buf_failed(&g->items) ? -ENOMEM : 0;
}

static int gather(void *ctx, size_t which, const char *text)
{
	struct gathering *g = ctx;

	if (g->seen[which])
		return -EBADMSG;
	g->seen[which] = true;
	switch (which) {
	case LIST_KEY:
		return gather_key(g, text);
	case LIST_SIZE:
		return parse_u64(text, &g->size) < 0 ? -EBADMSG : 0;
	case LIST_ETAG:
		if (is_word(text) && strlen(text) < sizeof(g->etag))
			snprintf(g->etag, sizeof(g->etag), "%s", text);
		return 0;
	case LIST_CONTENTS:
		return gather_object(g);
	case LIST_TRUNCATED:
		g->listing.is_truncated = strcmp(text, "true") == 0;
		return g->listing.is_truncated || strcmp(text, "false") == 0 ? 0 : -EBADMSG;
	case LIST_TOKEN:
		if (!*text)
			return 0;
		g->listing.token = strdup(text);
		return g->listing.token ? 0 : -ENOMEM;
	case LIST_ENCODING:
		return *text ? -EBADMSG : 0; /* nobody asked for it: keys would not be keys */
	default:
		return 0;
	}
}

static int tell_keys(const struct gathering *g, s3_listed_fn fn, void *ctx)
{
	const uint8_t *p = g->items.data;

	for (size_t i = 0; i < g->listing.count; i++) {
		const char *key = (const char *)p + sizeof(uint64_t);
		const char *etag = key + strlen(key) + 1;
		uint64_t size;
		int r;

		memcpy(&size, p, sizeof(size));
		r = fn(key, size, etag, ctx);
		if (r != 0)
			return r;
		p = (const uint8_t *)etag + strlen(etag) + 1;
	}
	return 0;
}

int s3_listing_parse(struct span xml, s3_listed_fn fn, void *ctx, struct s3_listing *ret)
{
	_cleanup_(gathering_release) struct gathering g = { 0 };
	int r;

	r = walk(xml, list_wants, ARRAY_SIZE(list_wants), gather, &g);
	if (r < 0)
		return r;
	/* Without these a listing might pass for whole that is not. */
	if (!g.seen[LIST_END] || !g.seen[LIST_TRUNCATED] ||
	    (g.listing.is_truncated && !g.listing.token))
		return -EBADMSG;
	r = tell_keys(&g, fn, ctx);
	if (r != 0)
		return r;
	*ret = g.listing;
	g.listing.token = NULL;
	return 0;
}

void s3_listing_release(struct s3_listing *l)
{
	free(l->token);
	*l = (struct s3_listing){ 0 };
}
