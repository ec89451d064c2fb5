/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A fingerprint of what a command depends on outside of the mount: its executable, and the packages
 * that are installed.
 *
 * Threads: the caller's.
 */
#pragma once

#include <jansson.h>

/*
 * Puts "environment" into @request as RUNS.md, section 2, has it, for the command @name as execvp()
 * would find it, and "packages": an object {NAME: text}, the lists themselves. What cannot be found out is left
 * out. An executable below @mount is one of the run's inputs, and is only named.
 */
void run_environment(json_t *request, const char *name, const char *mount);
