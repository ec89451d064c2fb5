/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Keeps the mount within its bounds, some times a second: nodes that the kernel knows, disk shared
 * by staged data and the cache. And has heads follow that could not before.
 */
#pragma once

#include "fs.h"

int keeper_new(struct fs *fs, struct keeper **ret);
void keeper_free(struct keeper *k);
DEFINE_CLEANUP(struct keeper *, keeper_free)
