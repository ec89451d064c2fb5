/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What is known of the server behind a store: does it keep the conditions that refs rely on?
 *
 * That it does is noted in the state directory, so that not every start has to ask again; that it
 * does not never is, since servers are mended.
 *
 * Threads: trust_of() from any thread.
 */
#pragma once

#include "object/store.h"

/* What the file is called that the note is in. */
#define TRUST_FILE "server"

/* Notes in @dirfd that the server of the store @url was probed now and keeps conditions. */
void trust_note(int dirfd, const char *url);

/* Is that noted there, of late? */
bool trust_is_noted(int dirfd, const char *url);

/*
 * Puts a layer over the store's backend that sees to it, if it takes one (backend/guard.h). @noted:
 * the note is somewhere. @is_served: as the backend itself says, below all layers. 0 or -ENOMEM.
 */
int trust_guard(struct store *s, bool is_served, bool single_writer, bool noted);

/* In a word: "local", "proved", "unproved", "single writer", "read-only". */
const char *trust_word(const struct store *s);
