/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * When a repo's heads are committed by themselves: its setting `autocommit`.
 *
 *	off		never
 *	idle=30s	so long after the last change and the last close of a file open for writing
 *	every=10m	so long after the first uncommitted change
 *
 * Times are 1 s to 365 d: "30s", "10m", "1h", "2d".
 */
#pragma once

#include "format/repo.h"

#define AUTOCOMMIT_SETTING "autocommit"

enum autocommit_when {
	AUTOCOMMIT_OFF,
	AUTOCOMMIT_IDLE,
	AUTOCOMMIT_EVERY,
};

struct autocommit {
	enum autocommit_when when;
	int64_t ns; /* 0: off */
};

/* 0, or -EINVAL: it is none of those. */
int autocommit_parse(const char *text, struct autocommit *ret);

/* What a repo is set to; off by default. The same. */
int autocommit_of(const struct repo_rec *repo, struct autocommit *ret);
