/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The frozen table of the gear hash (FORMAT.md, section 8.4): a random number for each byte.
 */
#pragma once

#include "base/defs.h"

extern const uint64_t chunk_gear[256];
