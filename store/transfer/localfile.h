/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A regular file of the local machine as a source of content, with its holes.
 *
 * The file may change while it is read. What counts is what it was when it was opened: a file that
 * has become shorter, or another, before its last byte was read fails with -ESTALE and can be tried
 * again; with @is_patient a change is let pass as long as there are bytes enough.
 */
#pragma once

#include <sys/stat.h>

#include "transfer/report.h"
#include "write/content.h"

struct localfile_options {
	int fd; /* taken */
	const struct stat *st; /* as it was opened; copied */
	bool is_patient;
	struct report *report; /* bytes that are read are added */
	/* Set when a call of the content's builder fails because of the file: what befell it. */
	int *error;
};

/* 0 or -ENOMEM (then @fd is closed as well). */
int localfile_source(const struct localfile_options *o, struct content_source **ret);
