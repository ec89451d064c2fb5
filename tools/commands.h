/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The subcommands, one file each.
 */
#pragma once

#include "cli.h"

extern const struct command cmd_branch;
extern const struct command cmd_cache;
extern const struct command cmd_commit;
extern const struct command cmd_diff;
extern const struct command cmd_doctor;
extern const struct command cmd_export;
extern const struct command cmd_help;
extern const struct command cmd_import;
extern const struct command cmd_init;
extern const struct command cmd_log;
extern const struct command cmd_merge;
extern const struct command cmd_metric;
extern const struct command cmd_mount;
extern const struct command cmd_param;
extern const struct command cmd_pull;
extern const struct command cmd_push;
extern const struct command cmd_repo;
extern const struct command cmd_rerun;
extern const struct command cmd_restore;
extern const struct command cmd_run;
extern const struct command cmd_runs;
extern const struct command cmd_show;
extern const struct command cmd_stats;
extern const struct command cmd_status;
extern const struct command cmd_sync;
extern const struct command cmd_umount;
extern const struct command cmd_uses;
extern const struct command cmd_version;
extern const struct command cmd_why;

/* `mount.pfs STORE DIR [-sfnvN] [-o OPTIONS]`, as mount(8) calls it: an exit code. */
int run_mount_helper(int argc, char **argv);
