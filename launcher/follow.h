/* SPDX-License-Identifier: MIT */
/*
 * follow.h - a launcher that stands for a clone which is not its child: signals go there,
 * its terminal's bytes go both ways, its end comes here. Static launcher only.
 */
#ifndef WARM_LAUNCHER_FOLLOW_H
#define WARM_LAUNCHER_FOLLOW_H

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/base/error.h"
#include "launcher/terminal.h"

struct follow {
	int signal_fd; /* signals that came before the clone was known wait in it */
	sigset_t before;
	int conn; /* to warmd, which tells of the end; if it is lost, the pidfd does. Not owned */
	int pidfd; /* not owned */
	pid_t pid;
	bool attached; /* did not launch it: signals that end this process leave the clone alone */
	struct relayed_terminal terminal;
};

enum follow_result {
	FOLLOW_ENDED, /* wstatus is set */
	FOLLOW_LEFT, /* the detach keys */
	FOLLOW_HANGUP, /* the caller's terminal is gone */
	FOLLOW_SIGNAL, /* attached: by which signal this process was told to end, in wstatus */
};

/**
 * follow_begin() - from here on signals wait; before the launch is asked for
 * @ignored: signals that this process ignores (bit n-1: signal n): they are not passed on
 */
int follow_begin(struct follow *f, uint64_t ignored, struct error *err);

/** follow_end() - signals do again what they did; those that waited come now. The terminal is given back */
void follow_end(struct follow *f);

/**
 * follow_clone() - pass signals on, and relay the terminal, until the clone has ended
 * @ret_wstatus: as of wait(2)
 *
 * SIGINT, SIGQUIT, SIGHUP, SIGTSTP, SIGWINCH of a terminal go to the clone's process group, as a terminal would
 * send them; signals of kill(2) go to the clone. Without a terminal of the clone's this process stops after SIGTSTP;
 * with one, when the clone does.
 *
 * Return: enum follow_result; -ECONNRESET: the clone has ended, and nobody knows how (kernels before 6.15 without warmd).
 */
int follow_clone(struct follow *f, int *ret_wstatus, struct error *err);

/** follow_exit() - end as the clone did. Return: an exit status; does not return for a signal */
int follow_exit(int wstatus);

#endif
