/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pfs export
 */
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "bypass.h"
#include "commands.h"
#include "object/refs.h"
#include "present.h"
#include "progress.h"

/* The commit that is meant: its object. 0 or -errno, said. */
static int find_commit(struct bypass *b, struct buf *ret)
{
	struct store *store = client_store(b->store);
	struct refs_wait w = { .may_wait = true, .deadline = DEADLINE_NEVER };
	_cleanup_repo_rec_ struct repo_rec rec = { 0 };
	json_t *q = request_new("show"), *line = NULL;
	const char *hex;
	struct oid id;
	int r;

	json_object_set_new(q, "path", json_sprintf("%s/%s", b->repo, b->rev ?: ""));
	r = client_ask_one(b->store, q, &line);
	if (r != 0)
		return r;
	hex = field_text(json_object_get(line, "commit"), "id");
	r = oid_parse(span_str(hex), &id);
	json_decref(line);
	if (r == 0)
		r = refs_repo(store->refs, b->repo, &w, &rec);
	if (r == 0)
		r = refs_commit(store->refs, &rec.id, &id, &w, ret);
	if (r < 0)
		cli_error("the commit of %s cannot be read: %s", b->repo, errno_text(r));
	return r;
}

static void warn_of_uncommitted(struct bypass *b)
{
	json_t *q, *status, *line = NULL;

	if (!b->mount)
		return;
	/* Only of a branch there is a status: a commit's is an error, which nobody wants to see. */
	q = request_new("show");
	json_object_set_new(q, "path", json_sprintf("%s/%s", b->repo, b->rev ?: ""));
	if (client_ask_one(b->mount, q, &line) != 0)
		return;
	if (*field_text(line, "branch")) {
		status = bypass_status(b);
		if (field_bool(status, "is_dirty"))
			cli_note("What is uncommitted in %s/%s is not exported.", b->repo,
				 field_text(line, "branch"));
		json_decref(status);
	}
	json_decref(line);
}

static int export(struct bypass *b, const char *dest, bool is_quiet,
		  struct transfer_options *options)
{
	_cleanup_buf_ struct buf object = { 0 };
	struct export_request q = { .path = b->path, .dest = dest, .fd = STDOUT_FILENO };
	struct progress p;
	int r = find_commit(b, &object);

	if (r != 0)
		return EXIT_FAILED;
	warn_of_uncommitted(b);
	q.commit = buf_span(&object);
	complaint_clear();
	progress_begin(&p, "exported", is_quiet, options);
	r = transfer_export(client_store(b->store), &q, options);
	progress_end(&p);
	if (r == -ECANCELED)
		cli_error("stopped; the same again goes on from here");
	else if (r == -EREMOTEIO)
		cli_error("%lu file%s could not be written", p.skipped, p.skipped == 1 ? "" : "s");
	else if (r < 0 && !complaint()[0])
		cli_error("%s cannot be written: %s",
			  strcmp(dest, "-") == 0 ? "the tar stream" : dest, errno_text(r));
	return r < 0 ? EXIT_FAILED : EXIT_DONE;
}

static int run(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = { { "threads", required_argument, NULL, OPT_THREADS },
					       { "quiet", no_argument, NULL, 'q' },
					       LONG_STORE,
					       LONG_HELP,
					       LONG_END };
	_cleanup_bypass_ struct bypass b = { 0 };
	struct transfer_options options = { 0 };
	const char *store = NULL;
	uint64_t threads = 0;
	bool is_quiet = false;
	char **args;
	int r;

	while ((r = cli_option(self, argc, argv, "hq", longs)) >= 0) {
		if (r == OPT_STORE)
			store = optarg;
		else if (r == 'q')
			is_quiet = true;
		else if (parse_u64(optarg, &threads) < 0 || threads == 0 || threads > 256)
			return cli_usage(self, "`%s` is not a number of threads", optarg);
	}
	options.threads = (unsigned)threads;
	cli_arguments(self, argc, argv, 2, 2, &args);
	if (strcmp(args[1], "-") == 0 && isatty(STDOUT_FILENO))
		return cli_usage(self, "a tar stream is not for a terminal");
	if (bypass_open(store, args[0], CLIENT_READS, &b) < 0)
		return EXIT_FAILED;
	return export(&b, args[1], is_quiet, &options);
}

const struct command cmd_export = {
	.name = "export",
	.summary = "write a commit's files to a directory or tar stream",
	.help = "Usage: pfs export [OPTION]... REPO/REV[/PATH] DEST\n"
		"\n"
		"Writes a commit, or a branch's last one, or PATH in it, to the directory DEST,\n"
		"or, as `-`, as a tar stream to stdout. The files do not go through the mount.\n"
		"When it was stopped, the same again completes it: files that are there whole are\n"
		"left. Other things in DEST stay.\n"
		"\n"
		"  --threads NUMBER   one a processor by default\n"
		"  -q, --quiet        no bar\n"
		"  --store STORE      a store that is not mounted\n"
		"\n"
		"Example:\n"
		"  pfs export data/first - | ssh host tar x -C /srv/data\n",
	.run = run,
};
