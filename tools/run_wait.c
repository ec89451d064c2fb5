/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Waiting for a command (run_wait.h).
 *
 *	running --stopped--> we stop as well --continued--> running --ended--> draining --> done
 *
 * It is in our process group, so it has the terminal when we have.
 */
#include "run_wait.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "run_relay.h"

enum {
	SHOWN_WITHIN_MS = 500,
};

struct waiting {
	pid_t command;
	struct relay *relay;
	struct ended *ended;
	bool has_ended, is_stopped;
};

static const int passed_on[] = { SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGUSR1,
				 SIGUSR2, SIGALRM, SIGTSTP, SIGCONT, SIGWINCH };

int signals_take(struct signals *ret)
{
	static const struct sigaction by_default = { .sa_handler = SIG_DFL };
	sigset_t looked_at, blocked;

	sigemptyset(&looked_at);
	for (size_t i = 0; i < ARRAY_SIZE(passed_on); i++)
		sigaddset(&looked_at, passed_on[i]);
	sigaddset(&looked_at, SIGCHLD);
	blocked = looked_at;
	/* A terminal that we write to from the background must not stop us, and a pipe that nobody
	 * reads is the command's matter. */
	sigaddset(&blocked, SIGTTOU);
	sigaddset(&blocked, SIGPIPE);
	/* Ignored, it would take the command's end away. */
	if (sigaction(SIGCHLD, &by_default, &ret->on_child) < 0 ||
	    sigprocmask(SIG_BLOCK, &blocked, &ret->mask) < 0)
		return -errno;
	ret->fd = signalfd(-1, &looked_at, SFD_CLOEXEC | SFD_NONBLOCK);
	return ret->fd < 0 ? -errno : 0;
}

/* As the default action of @signal is, or ours would be without the command. */
static void stop_self(int signal)
{
	struct sigaction was, by_default = { .sa_handler = SIG_DFL };
	sigset_t one, mask;

	sigemptyset(&one);
	sigaddset(&one, signal);
	sigaction(signal, &by_default, &was);
	raise(signal);
	sigprocmask(SIG_UNBLOCK, &one, &mask);
	/* Stopped here, until we are continued. */
	sigprocmask(SIG_SETMASK, &mask, NULL);
	sigaction(signal, &was, NULL);
}

static void stop_with_command(struct waiting *w, int signal)
{
	struct pollfd p = { .fd = relay_drain(w->relay), .events = POLLIN };

	/* What it has shown so far comes before the shell's word. */
	poll(&p, 1, SHOWN_WITHIN_MS);
	relay_settings(w->relay);
	stop_self(signal);
	relay_stop(w->relay);
	relay_again(w->relay);
	relay_resize(w->relay);
	kill(w->command, SIGCONT);
}

static void look_at_command(struct waiting *w)
{
	struct rusage usage;
	int status;
	pid_t pid;

	while (!w->has_ended) {
		pid = wait4(w->command, &status, WNOHANG | WUNTRACED | WCONTINUED, &usage);
		if (pid < 0 && errno == EINTR)
			continue;
		if (pid <= 0)
			return;
		w->is_stopped = WIFSTOPPED(status);
		if (WIFEXITED(status) || WIFSIGNALED(status)) {
			w->has_ended = true;
			w->ended->status = status;
			w->ended->usage = usage;
		} else if (w->is_stopped && WSTOPSIG(status) != SIGSTOP) {
			/* The terminal's doing: the shell is to see it. One that was stopped by
			 * hand will be continued by hand. */
			stop_with_command(w, WSTOPSIG(status));
		}
	}
}

static void take_signal(struct waiting *w, const struct signalfd_siginfo *s)
{
	int signal = (int)s->ssi_signo;
	bool is_sent = s->ssi_code <= 0;

	switch (signal) {
	case SIGCHLD:
		break;
	case SIGWINCH:
		relay_resize(w->relay);
		/* It may have looked before we did. */
		kill(w->command, SIGWINCH);
		break;
	case SIGTSTP:
		if (is_sent)
			kill(w->command, SIGTSTP);
		else if (w->is_stopped)
			stop_with_command(w, SIGTSTP);
		break;
	default:
		/* What the command sends us it does not want back. */
		if (is_sent && (pid_t)s->ssi_pid != w->command)
			kill(w->command, signal);
	}
}

static bool asks_to_end(int signal)
{
	return signal == SIGHUP || signal == SIGINT || signal == SIGQUIT || signal == SIGTERM;
}

/* All that have come. */
static void take_signals(struct waiting *w, int fd)
{
	struct signalfd_siginfo s;

	while (read(fd, &s, sizeof(s)) == sizeof(s)) {
		if (!w->has_ended)
			take_signal(w, &s);
		else if (asks_to_end((int)s.ssi_signo))
			w->ended->signal = (int)s.ssi_signo;
	}
	look_at_command(w);
}

static double seconds_since(const struct timespec *began)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - began->tv_sec) + (double)(now.tv_nsec - began->tv_nsec) / 1e9;
}

int wait_for_command(pid_t command, const struct signals *s, struct relay *relay, struct ended *ret)
{
	struct waiting w = { .command = command, .relay = relay, .ended = ret };
	struct pollfd p[2] = { { .fd = s->fd, .events = POLLIN }, { .fd = -1, .events = POLLIN } };
	struct timespec began;

	*ret = (struct ended){ 0 };
	clock_gettime(CLOCK_MONOTONIC, &began);
	while (!w.has_ended) {
		if (poll(p, 1, -1) < 0 && errno != EINTR)
			return -errno;
		take_signals(&w, s->fd);
	}
	ret->seconds = seconds_since(&began);
	relay_settings(relay);
	p[1].fd = relay_drain(relay);
	while (ret->signal == 0) {
		if (poll(p, ARRAY_SIZE(p), -1) < 0 && errno != EINTR)
			return -errno;
		if (p[1].revents)
			break;
		take_signals(&w, s->fd);
	}
	return 0;
}

_Noreturn void end_by_signal(int signal)
{
	static const struct rlimit none = { 0 };
	static const struct sigaction by_default = { .sa_handler = SIG_DFL };
	sigset_t one;

	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0);
	sigemptyset(&one);
	sigaddset(&one, signal);
	sigaction(signal, &by_default, NULL);
	raise(signal);
	sigprocmask(SIG_UNBLOCK, &one, NULL);
	/* One that ends nothing by default. */
	_exit(128 + signal);
}
