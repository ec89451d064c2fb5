/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * made-runs STORE COUNT: makes the repos "data" and "out" in a store, and that many runs, for
 * measuring.
 */
#include <time.h>

#include "check.h"
#include "madestore.h"

int main(int argc, char **argv)
{
	struct store_options o = { 0 };
	struct store *s;
	unsigned count = argc > 2 ? (unsigned)atoi(argv[2]) : 0;

	if (count == 0) {
		fprintf(stderr, "Usage: made-runs STORE COUNT\n");
		return 2;
	}
	assert_ok(store_open(argv[1], &o, &s));
	made_repo(s, "data");
	made_repo(s, "out");
	made_commit(s, "out", (struct made_file[MADE_FILES_MAX]){ { "f7", "output 7" } }, 0, NULL);
	made_runs(s, count, 4, (int64_t)time(NULL) - 3 * 86400 - count);
	store_free(s);
	return 0;
}
