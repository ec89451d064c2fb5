/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What reading, writing and reshaping of files share.
 */
#pragma once

#include "head/overlay.h"

/* The locks of a file's data, let go of by scope. */
struct data_lock {
	pthread_rwlock_t *gate, *file;
};
struct data_lock data_lock(struct vnode *n, struct live_file *file, bool is_exclusive);
void data_unlock(struct data_lock *l);
#define _cleanup_data_ _unused_ _cleanup_(data_unlock)

/* Under view->lock: how many bytes of [@off, @end) are data, holes and what is beyond the end not
 * counted. */
int data_in(struct head *h, uint64_t ino, const struct file *f, uint64_t off, uint64_t end,
	    uint64_t *ret);
