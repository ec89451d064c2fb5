/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The note of a run that repeats a former one (parts.h): all but the publication is done.
 */
#include "base/text.h"
#include "record/fields.h"
#include "run/memo.h"
#include "run/parts.h"

/* What a former run's end says of what it did, which this one would have done as well. */
static json_t *request_of(const json_t *end)
{
	static const char *const same[] = { "params", "metrics", "output" };
	json_t *q = json_pack("{s:i}", "exit", 0);

	for (size_t i = 0; q && i < ARRAY_SIZE(same); i++) {
		json_t *v = json_object_get(end, same[i]);

		if (v)
			json_object_set(q, same[i], v);
	}
	return q;
}

int run_note_repeat(struct run *run, const struct memo *m)
{
	const char *first = field_text(json_object_get(m->end, "memo"), "of");
	json_t *memo = json_pack("{s:o, s:s}", "key", json_of_oid(&run->memo), "of",
				 *first ? first : m->id.s);
	json_t *request = request_of(m->end);
	struct timespec now = now_wall();
	char text[TIME_TEXT];
	int r;

	run->note = json_pack("{s:s, s:s, s:o, s:o, s:O, s:O}", "status", "ok", "ended",
			      time_text(now.tv_sec, (uint32_t)now.tv_nsec, text), "memo", memo,
			      "request", request, "outputs", json_object_get(m->end, "outputs"),
			      "tree", json_object_get(m->end, "tree"));
	r = run->note ? run_file_write(run, "note", run->note) : -ENOMEM;
	run->is_noted = r == 0;
	return r;
}
