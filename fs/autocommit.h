/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Commits heads by themselves, where their repo's setting says so (head/autocommit.h): unnamed
 * commits with the message "autocommit". Once a second it looks for heads whose time has come; what
 * fails is tried again, less and less often.
 */
#pragma once

#include "fs.h"

struct autocommitter;

int autocommitter_new(struct fs *fs, struct autocommitter **ret);
/* Cancels what is under way, as far as that can be. */
void autocommitter_free(struct autocommitter *a);
DEFINE_CLEANUP(struct autocommitter *, autocommitter_free)
