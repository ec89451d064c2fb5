/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How /pfs/.pfs/control is asked in a read-only mount, where the kernel lets nothing be opened for
 * writing: ioctl(fd, CONTROL_ASK(len), request), with the @len bytes that would have been written.
 */
#pragma once

#include <linux/ioctl.h>

#define CONTROL_ASK(len) _IOC(_IOC_WRITE, 'p', 1, (len))

/* The longest request that can be asked so. */
enum {
	CONTROL_ASK_MAX = _IOC_SIZEMASK
};
