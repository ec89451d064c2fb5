/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * pfs mount, and mount.pfs, which mount(8) runs.
 */
#include "base/log.h"
#include "commands.h"
#include "conf.h"
#include "mount.h"

enum {
	/* What mount(8) wants to be told. */
	HELPER_USAGE = 1,
	HELPER_FAILED = 32,
};

/* Where from, where to, and with what: the configuration's options go before @more. 0 or -errno,
 * said. */
static int prepare(const char *store, const char *dir, char *const *more, size_t more_count,
		   struct mount_options *o)
{
	_cleanup_store_conf_ struct store_conf c = { 0 };
	int r = store_conf_find(store, false, &c);

	if (r < 0)
		return r;
	dir = dir ?: c.mount;
	if (!dir) {
		cli_error("where? Neither an argument nor the configuration says where %s is to be "
			  "mounted",
			  store);
		return -EINVAL;
	}
	r = c.options ? mount_options_parse(o, c.options) : 0;
	for (size_t i = 0; r == 0 && i < more_count; i++)
		r = mount_options_parse(o, more[i]);
	return r < 0 ? r : mount_options_set_places(o, c.url, dir);
}

static int run(const struct command *self, int argc, char **argv)
{
	static const struct option longs[] = { { "foreground", no_argument, NULL, 'f' },
					       { "options", required_argument, NULL, 'o' },
					       LONG_HELP,
					       LONG_END };
	_cleanup_mount_options_ struct mount_options o = { 0 };
	_cleanup_free_ char **more = new0(char *, (size_t)argc);
	bool foreground = false;
	size_t count = 0;
	char **args;
	int r, n;

	if (!more)
		return EXIT_FAILED;
	mount_options_init(&o);
	while ((r = cli_option(self, argc, argv, "hfo:", longs)) >= 0) {
		if (r == 'f')
			foreground = true;
		else if (r == 'o')
			more[count++] = optarg;
	}
	n = cli_arguments(self, argc, argv, 1, 2, &args);
	r = prepare(args[0], n > 1 ? args[1] : NULL, more, count, &o);
	if (r < 0)
		return r == -EINVAL ? EXIT_USAGE : EXIT_FAILED;
	o.foreground |= foreground;
	return pfs_mount_run(&o) < 0 ? EXIT_FAILED : EXIT_DONE;
}

int run_mount_helper(int argc, char **argv)
{
	_cleanup_mount_options_ struct mount_options o = { 0 };
	_cleanup_free_ char **more = new0(char *, (size_t)argc + 1);
	bool is_fake = false;
	size_t count = 0;
	int r;

	if (!more)
		return HELPER_FAILED;
	log_set_name("mount.pfs");
	mount_options_init(&o);
	/* Behind or before the arguments, as mount(8) likes; -s, -n, -v and -t say nothing to us.
	 */
	while ((r = getopt(argc, argv, "sfnvrwt:o:")) >= 0) {
		if (r == 'f')
			is_fake = true;
		else if (r == 'r')
			o.read_only = true;
		else if (r == 'o')
			more[count++] = optarg;
		else if (r == '?')
			return HELPER_USAGE;
	}
	if (argc - optind != 2) {
		cli_error("usage: mount.pfs STORE DIR [-sfnvrw] [-o OPTIONS]");
		return HELPER_USAGE;
	}
	r = prepare(argv[optind], argv[optind + 1], more, count, &o);
	if (r < 0)
		return HELPER_USAGE;
	if (is_fake)
		return 0;
	return pfs_mount_run(&o) < 0 ? HELPER_FAILED : 0;
}

const struct command cmd_mount = {
	.name = "mount",
	.summary = "mount a store",
	.help = "Usage: pfs mount [-f] [-o OPTION[,OPTION]...]... STORE [DIR]\n"
		"\n"
		"Mounts a store at DIR and returns when it can be used. STORE is a directory, a\n"
		"URL, or a name from a configuration file, which can say DIR as well.\n"
		"\n"
		"  -f, --foreground      stay, and end when it is unmounted\n"
		"  -o, --options LIST    how: among others\n"
		"                          state=DIR     where uncommitted changes and caches are\n"
		"                                        kept\n"
		"                          memory=SIZE   memory for caches; 256M by default\n"
		"                          disk=SIZE     disk for uncommitted data and caches\n"
		"                          ro            nothing can be changed\n"
		"\n"
		"pfs-mount(8) tells of all options, of fstab and of systemd.\n"
		"\n"
		"Example:\n"
		"  pfs mount -o memory=1G /srv/pfs /pfs\n",
	.run = run,
};
