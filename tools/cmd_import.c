/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pfs import
 */
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "bypass.h"
#include "commands.h"
#include "message.h"
#include "present.h"
#include "progress.h"

enum {
	FOLLOW_MS = 5000, /* how long a mount may take to show what was imported */
	LOOK_MS = 50,
};

struct import_args {
	struct import_request request;
	struct message message;
	struct transfer_options options;
	const char *store;
	bool json, quiet;
};

/* {"key": "value"} as an array, which borrows it. */
static int meta_of(const json_t *meta, struct import_request *r)
{
	struct commit_meta *m = new0(struct commit_meta, json_object_size(meta) + 1);
	const char *key;
	json_t *value;

	if (!m)
		return -ENOMEM;
	r->meta = m;
	json_object_foreach ((json_t *)meta, key, value)
		m[r->meta_count++] = (struct commit_meta){
			.key = span_str(key),
			.value = span_of(json_string_value(value), json_string_length(value)),
		};
	return 0;
}

/* A branch with uncommitted changes in the mount would diverge from what is imported. */
static bool is_clean(struct bypass *b)
{
	json_t *status = bypass_status(b);
	bool is_dirty = field_bool(status, "is_dirty");

	json_decref(status);
	if (is_dirty)
		cli_error("%s/%s has uncommitted changes in %s: commit them before", b->repo,
			  b->rev, b->target.mount);
	return !is_dirty;
}

/* Returns when the mount shows what is on the branch now. */
static void wait_for_mount(struct bypass *b)
{
	struct deadline dl = deadline_in_ms(FOLLOW_MS);

	while (b->mount && deadline_check(&dl) == 0) {
		json_t *status = bypass_status(b);
		bool is_there = status && !field_bool(status, "is_behind");

		json_decref(status);
		if (is_there)
			return;
		usleep(LOOK_MS * 1000);
	}
	if (b->mount)
		cli_note("%s does not show it yet: files in it are open.", b->target.mount);
}

static int end(struct import_args *a, struct bypass *b, const struct progress *p, int r,
	       const struct oid *id, bool is_new)
{
	unsigned long skipped = p->skipped;
	char hex[OID_HEX];

	oid_hex(id, hex);
	if (!oid_is_null(id) && (r == 0 || r == -EBUSY || r == -EREMOTEIO)) {
		if (a->json)
			printf("{\"id\": \"%s\", \"is_new\": %s}\n", hex,
			       is_new ? "true" : "false");
		else
			puts(hex);
	}
	if (r == -EBUSY) {
		cli_error(
			"%s/%s: somebody else has changed the same names meanwhile; what was imported "
			"is kept as a commit, but not on the branch",
			b->repo, b->rev);
		return EXIT_DIVERGED;
	}
	if (r == -ECANCELED)
		cli_error("stopped; nothing has changed");
	else if (r == -EREMOTEIO)
		cli_error("%lu file%s could not be taken along", skipped, skipped == 1 ? "" : "s");
	else if (r < 0 && !complaint()[0])
		cli_error("%s cannot be imported: %s", a->request.src, errno_text(r));
	if (r < 0)
		return EXIT_FAILED;
	if (!is_new)
		cli_note("Nothing has changed since that commit; no new one was made.");
	wait_for_mount(b);
	return EXIT_DONE;
}

static int import(struct import_args *a, const char *arg)
{
	_cleanup_bypass_ struct bypass b = { 0 };
	struct progress p;
	struct oid id = { 0 };
	bool is_new = false;
	int r = bypass_open(a->store, arg, CLIENT_CHANGES, &b);

	if (r < 0)
		return EXIT_FAILED;
	if (!b.rev) {
		cli_error("`%s` is not REPO/BRANCH", arg);
		return EXIT_USAGE;
	}
	if (!is_clean(&b))
		return EXIT_FAILED;
	a->request.repo = b.repo;
	a->request.branch = b.rev;
	a->request.path = b.path;
	a->request.name = a->message.name;
	a->request.author = a->message.author;
	a->request.message = a->message.text;
	r = meta_of(a->message.meta, &a->request);
	if (r == 0) {
		complaint_clear();
		progress_begin(&p, "imported", a->quiet, &a->options);
		r = transfer_import(client_store(b.store), &a->request, &a->options, &id, &is_new);
		progress_end(&p);
		r = end(a, &b, &p, r, &id, is_new);
	}
	free((void *)a->request.meta);
	return r;
}

static int run(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = { { "message", required_argument, NULL, 'm' },
					       { "name", required_argument, NULL, 'n' },
					       { "meta", required_argument, NULL, OPT_META },
					       { "author", required_argument, NULL, OPT_AUTHOR },
					       { "keep", no_argument, NULL, OPT_KEEP },
					       { "one-file-system", no_argument, NULL,
						 OPT_ONE_FILE_SYSTEM },
					       { "threads", required_argument, NULL, OPT_THREADS },
					       { "quiet", no_argument, NULL, 'q' },
					       LONG_JSON,
					       LONG_STORE,
					       LONG_HELP,
					       LONG_END };
	struct import_args a = { .request.fd = STDIN_FILENO };
	uint64_t threads = 0;
	char **args;
	int r;

	while ((r = cli_option(self, argc, argv, "hm:n:q", longs)) >= 0) {
		if (r == OPT_STORE)
			a.store = optarg;
		else if (r == OPT_JSON)
			a.json = true;
		else if (r == OPT_KEEP)
			a.request.keep = true;
		else if (r == OPT_ONE_FILE_SYSTEM)
			a.request.one_file_system = true;
		else if (r == 'q')
			a.quiet = true;
		else if (r != OPT_THREADS)
			message_option(&a.message, self, r, optarg);
		else if (parse_u64(optarg, &threads) < 0 || threads == 0 || threads > 256)
			return cli_usage(self, "`%s` is not a number of threads", optarg);
	}
	a.options.threads = (unsigned)threads;
	cli_arguments(self, argc, argv, 2, 2, &args);
	a.request.src = args[0];
	r = import(&a, args[1]);
	message_release(&a.message);
	return r;
}

const struct command cmd_import = {
	.name = "import",
	.summary = "commit a directory or tar stream as it is",
	.help = "Usage: pfs import [OPTION]... SOURCE REPO/BRANCH[/PATH]\n"
		"\n"
		"Makes SOURCE, a directory, a file or, as `-`, a tar stream on stdin, the content\n"
		"of the branch or of PATH in it, commits that, and prints the commit's id. The\n"
		"files do not go through the mount. Owners, modes, times, extended attributes,\n"
		"hard links and holes are taken along.\n"
		"\n"
		"  -m, --message TEXT   what it is about\n"
		"  -n, --name NAME      a name for the commit\n"
		"  --meta KEY=VALUE     something to keep with it; as often as wanted\n"
		"  --author TEXT        who made it; user@machine by default\n"
		"  --keep               what is there and not in SOURCE stays\n"
		"  --one-file-system    other filesystems mounted below SOURCE are left out\n"
		"  --threads NUMBER     one a processor by default\n"
		"  -q, --quiet          no bar\n"
		"  --json               one JSON value instead of the id\n"
		"  --store STORE        a store that is not mounted\n"
		"\n"
		"Exits with 3 when the branch was moved by somebody else meanwhile.\n"
		"\n"
		"Example:\n"
		"  pfs import -n raw /srv/measurements data/main/raw\n",
	.run = run,
};
