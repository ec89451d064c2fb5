/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a commit owes to directories that are being listed.
 */
#pragma once

#include "head/overlay.h"

/* Under view->lock, before the frozen layer is dropped: hands the ages of its names to the open
 * directories. 0 or -errno. */
int dir_handles_keep(struct head *head);
