/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Who signs. The first of these that says anything: the file that the store's URL or pfs's own
 * configuration names (which must be its owner's alone, 0600), and in it the URL's profile, else
 * "default"; if the URL names no profile, AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY and
 * AWS_SESSION_TOKEN; the profile (the URL's, else AWS_PROFILE, else "default") in
 * AWS_SHARED_CREDENTIALS_FILE (~/.aws/credentials), then in AWS_CONFIG_FILE (~/.aws/config, where
 * it is called "profile NAME"). A named file and profile must be there.
 *
 * Files are read again when the server refuses what is known, and when they have changed. If they
 * are no good then, that is logged and what is known goes on: they may be half written.
 *
 * Threads: all functions from any thread.
 */
#pragma once

#include "base/defs.h"

struct s3_credentials; /* where they come from, and what was read */

struct s3_keys {
	char *access_key; /* owned, as all below */
	char *secret_key; /* wiped when released */
	char *session_token; /* NULL: none */
};
void s3_keys_release(struct s3_keys *k);
#define _cleanup_s3_keys_ _cleanup_(s3_keys_release)

/* @file, @profile: NULL: not said. Nothing is read yet. 0 or -ENOMEM. */
int s3_credentials_new(const char *file, const char *profile, struct s3_credentials **ret);
void s3_credentials_free(struct s3_credentials *c);
DEFINE_CLEANUP(struct s3_credentials *, s3_credentials_free)

/* A copy of what is to be used now. 0; -EACCES (there are none, or others may read the file: the
 * sentence is logged and says where was looked); -EINVAL (a file that cannot be understood, by name
 * and line); -ENOMEM. */
int s3_credentials_get(struct s3_credentials *c, struct s3_keys *ret);

/* Where what get() gave last was found, for people: "the environment", or the path of a file.
 * malloc'ed; NULL: nowhere, or no memory. */
char *s3_credentials_source(struct s3_credentials *c);

/* The server refused what get() gave: reads files anew. True if what came of it differs. */
bool s3_credentials_refused(struct s3_credentials *c, const struct s3_keys *former);
