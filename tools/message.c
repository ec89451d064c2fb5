/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Options of commits.
 */
#include "message.h"

#include "format/commit.h"
#include "record/json_bytes.h"

void message_release(struct message *m)
{
	json_decref(m->meta);
	*m = (struct message){ 0 };
}

static void add_meta(struct message *m, const struct command *c, const char *arg)
{
	const char *eq = strchr(arg, '=');
	_cleanup_free_ char *key = eq ? strndup(arg, (size_t)(eq - arg)) : NULL;

	if (!key || !*key)
		exit(cli_usage(c, "`%s` is not KEY=VALUE", arg));
	if (strncmp(key, META_OWN, strlen(META_OWN)) == 0)
		exit(cli_usage(c, "--meta %s= is for pfs itself to say", key));
	if (!m->meta)
		m->meta = json_object();
	if (json_object_get(m->meta, key))
		exit(cli_usage(c, "--meta %s= is given twice", key));
	if (json_object_set_new(m->meta, key, json_string(eq + 1)) < 0)
		exit(cli_usage(c, "`%s` is not UTF-8", arg));
}

void message_option(struct message *m, const struct command *c, int option, const char *arg)
{
	switch (option) {
	case 'm':
		m->text = arg;
		break;
	case 'n':
		m->name = arg;
		break;
	case OPT_AUTHOR:
		m->author = arg;
		break;
	case OPT_META:
		add_meta(m, c, arg);
		break;
	}
}

void message_put(const struct message *m, json_t *request)
{
	if (m->text)
		json_object_set_new(request, "message", json_of_bytes(span_str(m->text)));
	if (m->author)
		json_object_set_new(request, "author", json_of_bytes(span_str(m->author)));
	if (m->name)
		json_object_set_new(request, "name", json_of_bytes(span_str(m->name)));
	if (m->meta)
		json_object_set(request, "meta", m->meta);
}
