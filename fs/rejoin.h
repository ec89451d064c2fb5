/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Brings commits onto their branches that could not be before: when the store did not answer, or
 * somebody else has changed the same and gives way. One thread, that only tries again.
 */
#pragma once

#include "fs.h"

int rejoin_new(struct fs *fs, struct rejoin **ret);
void rejoin_free(struct rejoin *j);
DEFINE_CLEANUP(struct rejoin *, rejoin_free)
