/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A pty that stands in for a terminal as a command's output, and for that only: the command reads
 * the real one. It changes no byte, and what a program sets of it is set there.
 *
 * @from is the end that is read, @real the terminal. Threads: calls for one pty one at a time.
 */
#pragma once

#include <termios.h>

#include "base/defs.h"

/* As large as the terminal, and set as it is: both ends are the caller's to close. 0 or -errno. */
int pty_open(int real, int *ret_from, int *ret_child, struct termios *ret_settings);

/* In a mount namespace of its own: the pty's name means the terminal from here on, for programs
 * that look for their keyboard by the name of what they write to. */
bool pty_hide(int child, int real);

void pty_resize(int from, int real);

/* What is set of the pty now and was not in @settings is set of the terminal. */
void pty_pass_settings(int from, int real, struct termios *settings);
