/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The daemon without the command, for the mount tests:
 *
 *	pfs-fs-test init STORE
 *	pfs-fs-test STORE DIR [-b] [-a SPEED] [-o OPTIONS]...
 *
 * -b: in the background; -a: autocommit's clock goes so fast
 */
#include <stdio.h>
#include <stdlib.h>

#include "mount.h"
#include "object/store.h"

static int usage(void)
{
	fprintf(stderr,
		"usage: pfs-fs-test init STORE | STORE DIR [-b] [-a SPEED] [-o OPTIONS]...\n");
	return 2;
}

int main(int argc, char **argv)
{
	_cleanup_mount_options_ struct mount_options o = { 0 };
	int r = 0;

	if (argc < 3)
		return usage();
	if (strcmp(argv[1], "init") == 0)
		return store_init(argv[2], false) < 0;
	mount_options_init(&o);
	o.foreground = true;
	if (mount_options_set_places(&o, argv[1], argv[2]) < 0)
		return 1;
	for (int i = 3; r == 0 && i < argc; i++) {
		if (strcmp(argv[i], "-b") == 0)
			o.foreground = false;
		else if (strcmp(argv[i], "-a") == 0 && i + 1 < argc)
			o.autocommit_speed = (unsigned)atoi(argv[++i]);
		else if (strcmp(argv[i], "-o") == 0 && i + 1 < argc)
			r = mount_options_parse(&o, argv[++i]);
		else
			return usage();
	}
	if (r == 0)
		r = pfs_mount_run(&o);
	return r < 0;
}
