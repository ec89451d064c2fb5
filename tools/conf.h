/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Stores by name, from /etc/pfs.conf and the user's ~/.config/pfs/config, whose word goes first:
 *
 *	[store lab]
 *	url = file:///srv/pfs
 *	mount = /pfs
 *	options = memory=512M,disk=20G
 *
 *	[default]
 *	store = lab
 *	run_env = PATH LANG MY_SETTING
 */
#pragma once

#include "base/defs.h"

struct store_conf {
	char *url; /* owned, as all here */
	char *mount; /* NULL: not said */
	char *options; /* of mount; NULL: none */
};
void store_conf_release(struct store_conf *c);
#define _cleanup_store_conf_ _cleanup_(store_conf_release)

/* The names that "run_env" in [default] lists, apart by spaces or commas; NULL: it is not said. Owned by
 * the caller. 0; -EINVAL and -errno, said. */
int conf_run_env(char **ret);

/*
 * What @text means: the name of a store, or a URL or path, which stands for itself and is made
 * absolute. NULL: $PFS_STORE, or else the default store. 0; -ENOENT (there is none to be meant),
 * -EINVAL (a configuration file is wrong), -errno; the sentence is said, and is another one when
 * there are several mounts to choose from.
 */
int store_conf_find(const char *text, bool several_mounted, struct store_conf *ret);
