/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A pty in the place of a terminal (run_pty.h).
 */
#include "run_pty.h"

#include <fcntl.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

enum {
	TTY_NAME = 64, /* "/dev/pts/N" */
};

int pty_open(int real, int *ret_from, int *ret_child, struct termios *ret_settings)
{
	struct winsize size;
	struct termios t;

	if (tcgetattr(real, &t) < 0)
		return -errno;
	/* The terminal itself does what is to be done with the bytes. */
	t.c_oflag &= ~(tcflag_t)OPOST;
	if (openpty(ret_from, ret_child, NULL, &t,
		    ioctl(real, TIOCGWINSZ, &size) == 0 ? &size : NULL) < 0)
		return -errno;
	fcntl(*ret_from, F_SETFD, FD_CLOEXEC);
	fcntl(*ret_child, F_SETFD, FD_CLOEXEC);
	*ret_settings = t;
	return 0;
}

/* Nothing is ever typed into our pty. */
bool pty_hide(int child, int real)
{
	char ours[TTY_NAME], name[TTY_NAME];

	return ttyname_r(child, ours, sizeof(ours)) == 0 &&
	       ttyname_r(real, name, sizeof(name)) == 0 &&
	       mount(name, ours, NULL, MS_BIND, NULL) == 0;
}

void pty_resize(int from, int real)
{
	struct winsize now;

	if (ioctl(real, TIOCGWINSZ, &now) == 0)
		ioctl(from, TIOCSWINSZ, &now);
}

static tcflag_t changed(tcflag_t real, tcflag_t before, tcflag_t now)
{
	return (real & ~(before ^ now)) | (now & (before ^ now));
}

/* Programs on a whole screen set the terminal that they write to, and read another. */
void pty_pass_settings(int from, int real, struct termios *settings)
{
	struct termios now, there;
	const struct termios *was = settings;

	if (tcgetattr(from, &now) < 0 || memcmp(&now, was, sizeof(now)) == 0 ||
	    tcgetattr(real, &there) < 0)
		return;
	there.c_iflag = changed(there.c_iflag, was->c_iflag, now.c_iflag);
	there.c_oflag = changed(there.c_oflag, was->c_oflag, now.c_oflag);
	there.c_lflag = changed(there.c_lflag, was->c_lflag, now.c_lflag);
	for (int i = 0; i < NCCS; i++)
		if (now.c_cc[i] != was->c_cc[i])
			there.c_cc[i] = now.c_cc[i];
	tcsetattr(real, TCSADRAIN, &there);
	/* As before, what is done with the bytes is done there. */
	if (now.c_oflag & OPOST) {
		now.c_oflag &= ~(tcflag_t)OPOST;
		tcsetattr(from, TCSANOW, &now);
	}
	*settings = now;
}
