/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Lists of installed packages, found without starting anything: a line each, "NAME VERSION", ascending.
 *
 * Threads: the caller's.
 */
#pragma once

#include "base/buf.h"

struct package_list {
	struct buf text;
	size_t count;
};
void package_list_release(struct package_list *l);

/* 0, -ENOENT (there is none, or @program is not of that kind), -errno; only then *@ret is to be
 * released. */
int packages_of_dpkg(struct package_list *ret);
/* Of the interpreter at @program, as found: that of a virtual environment has those of it. */
int packages_of_python(const char *program, struct package_list *ret);
/* Of $CONDA_PREFIX, or the environment that @program (may be NULL) lies in. */
int packages_of_conda(const char *program, struct package_list *ret);
int packages_of_r(const char *program, struct package_list *ret);
