/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Showing differences.
 */
#include "differences.h"

#include "cli.h"
#include "present.h"

struct showing {
	const struct differences_view *view;
	struct json_list list;
	json_t *summary; /* owned */
	bool is_begun; /* in JSON */
};

/* Not before there is an answer: what fails at once prints nothing. */
static void begin_json(struct showing *s)
{
	if (!s->view->json || s->is_begun)
		return;
	s->is_begun = true;
	fputs("{", stdout);
	if (s->view->commit) {
		fputs("\n  \"commit\": ", stdout);
		json_dumpf(s->view->commit, stdout, JSON_COMPACT);
		fputs(",", stdout);
	}
	fputs("\n  \"changes\": ", stdout);
}

static void end_json(struct showing *s)
{
	if (!s->is_begun)
		return;
	json_list_end(&s->list);
	if (s->summary) {
		fputs(",\n  \"summary\": ", stdout);
		json_dumpf(s->summary, stdout, JSON_COMPACT);
	}
	fputs("\n}\n", stdout);
}

static int show(json_t *line, void *ctx)
{
	struct showing *s = ctx;
	json_t *summary = json_object_get(line, "summary");

	begin_json(s);
	if (summary)
		s->summary = json_incref(summary);
	else if (s->view->json)
		json_list_add(&s->list, line);
	else
		print_difference(line, s->view->stat);
	return 0;
}

int differences_show(const struct differences_view *v, struct client *c, json_t *request)
{
	struct showing s = { .view = v, .list.indent = "  " };
	uint64_t hidden;
	int r;

	if (v->stat)
		json_object_set_new(request, "stat", json_true());
	r = client_ask(c, request, show, &s);
	end_json(&s);
	if (r == 0 && v->stat && !v->json)
		print_summary(s.summary);
	hidden = field_number(s.summary, "hidden");
	json_decref(s.summary);
	if (r != 0)
		return cli_exit_code(r);
	if (hidden == 0)
		return EXIT_DONE;
	cli_error("more differs in directories that you may not read");
	return EXIT_FAILED;
}
