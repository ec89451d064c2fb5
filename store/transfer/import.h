/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Inside an import: what import.c, which prepares and publishes it, shares with the files that read
 * what is imported.
 */
#pragma once

#include "transfer/linkmap.h"
#include "transfer/place.h"
#include "transfer/report.h"

struct import {
	struct store *store; /* borrowed, as @req */
	const struct import_request *req;
	struct report report;
	struct repo_rec repo;
	struct oid base; /* null: none */
	struct id128 branch; /* its identity */
	struct place place; /* where it goes */
	struct linkmap links;
	struct session *session; /* owned; NULL until it is begun */
	/* The session's, for those who use session_store(); set before import_begin(). */
	int (*stored)(void *ctx, uint64_t tag, const struct content *c);
};

/* Begins the session. @bytes: how much is likely to come. */
int import_begin(struct import *im, uint64_t bytes);

/* Reads the request's source into the session, from import_begin() to linkmap_finish(). */
int import_local(struct import *im);
int import_tar(struct import *im);

/* What is there goes, with all below it: its hard links lose these names. */
int import_lose(struct import *im, const struct dirent_rec *there);
