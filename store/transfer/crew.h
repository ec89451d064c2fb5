/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Several threads that wait for a store side by side, for many small things of one kind.
 */
#pragma once

#include "base/defs.h"

/*
 * Calls @fn for each number below @count, from up to @threads threads at a time, and returns when
 * all calls have. The first result other than 0 keeps calls from being begun, and is returned.
 */
int crew_run(unsigned threads, size_t count, int (*fn)(size_t i, void *ctx), void *ctx);
