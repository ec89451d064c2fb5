/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The authorities that certificates of servers are held against, for s3/http.c: read once and
 * shared by all connections. (libcurl reads the system's for each multi handle, which takes 30 ms
 * and a megabyte.)
 *
 * Threads: use from any thread.
 */
#pragma once

#include <curl/curl.h>
#include <pthread.h>

#include "base/defs.h"

struct trust {
	char *file; /* owned; NULL: the system's */
	pthread_mutex_t lock;
	void *store; /* guarded by lock; NULL: not read yet; OpenSSL's X509_STORE, owned */
};

/* 0 or -ENOMEM. @t is to be released in either case. */
int trust_init(struct trust *t, const char *file);
void trust_release(struct trust *t);

/* Tells an easy handle to use them until trust_done(), with *@ret_held. 0; -EKEYREJECTED (the file
 * cannot be read; a later call tries again) and a sentence in @text; -ENOMEM. */
int trust_use(struct trust *t, CURL *easy, char text[CURL_ERROR_SIZE], void **ret_held);
void trust_done(void *held); /* NULL is fine */

/* By what libcurl says of a handshake that failed: was it answered, and what was said will be said
 * again? Else the connection ended, which may be otherwise next time. */
bool trust_is_refused(const char *text);

/* A server was not believed: the file is read anew for the next, it may have changed. */
void trust_doubt(struct trust *t);
