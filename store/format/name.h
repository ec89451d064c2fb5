/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What repos, branches and commits may be called (FORMAT.md, section 2).
 */
#pragma once

#include "base/defs.h"

bool object_name_is_valid(const char *name);

/* Would read as a commit's id or a prefix of one: 8 to 64 hex digits of either case, with a letter
 * among them. */
bool name_reads_as_id(const char *name);
