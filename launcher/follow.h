/* SPDX-License-Identifier: MIT */
/*
 * follow.h - a launcher that stands for a clone which is not its child: signals go there,
 * its end comes here. Static launcher only.
 */
#ifndef WARM_LAUNCHER_FOLLOW_H
#define WARM_LAUNCHER_FOLLOW_H

#include <signal.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/base/error.h"

struct follow {
	int signal_fd; /* signals that came before the clone was known wait in it */
	sigset_t before;
};

/**
 * follow_begin() - from here on signals wait; before the launch is asked for
 * @ignored: signals that this process ignores (bit n-1: signal n): they are not passed on
 */
int follow_begin(struct follow *f, uint64_t ignored, struct error *err);

/** follow_end() - signals do again what they did; those that waited come now */
void follow_end(struct follow *f);

/**
 * follow_clone() - pass signals on until the clone has ended
 * @conn: connection to warmd, which tells of the end; if it is lost, the pidfd does
 * @ret_wstatus: as of wait(2)
 *
 * SIGINT, SIGQUIT, SIGHUP, SIGTSTP, SIGWINCH of a terminal go to the clone's process group, as a terminal would
 * send them; signals of kill(2) go to the clone. After SIGTSTP this process stops too.
 *
 * Return: 0; -ECONNRESET: the clone has ended, and nobody knows how (kernels before 6.15 without warmd).
 */
int follow_clone(struct follow *f, int conn, pid_t pid, int pidfd, int *ret_wstatus, struct error *err);

/** follow_exit() - end as the clone did. Return: an exit status; does not return for a signal */
int follow_exit(int wstatus);

#endif
