/* SPDX-License-Identifier: MIT */
/*
 * restored.h - the process that a restored program is: a child that becomes it, and the parent that stands for it.
 *
 * In: what a launch needs, as warmd would send it. Out: a program that runs, or its end.
 */
#ifndef WARM_LAUNCHER_RESTORED_H
#define WARM_LAUNCHER_RESTORED_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "engine/base/error.h"
#include "launcher/wire/protocol.h"

struct restored {
	pid_t pid;
	sigset_t before; /* signals that were blocked before restored_begin() */
	struct sigaction child_before; /* what was done at SIGCHLD */
};

/* what is to be launched; all of it stays the caller's */
struct restored_launch {
	struct wire_run_reply reply; /* addresses and sizes */
	const int *fds; /* control, pages, files */
	unsigned int nfds;
	char *const *argv, *const *envp; /* the program's; argv has one at least */
	pid_t not_pid; /* the process id that the program had when the image was taken: its child has another */
	bool detach; /* in a session of its own */
};

/**
 * restored_begin() - make the process, and have it become the program
 * @ret: set on success. From then on signals that restored_follow() passes on are blocked
 *
 * Return: 0: it has its memory and descriptors, and runs. -ECANCELED: it could not, and has said why on standard
 * error; another negative errno with *err set
 */
int restored_begin(const struct restored_launch *l, struct restored *ret, struct error *err);

/**
 * restored_follow() - stand for the program: signals go there, and this process stops and goes on with it
 *
 * Signals of the terminal reach the program by themselves, as it is in this process's group.
 * Return: its status, as of wait(2); or a negative errno with *err set
 */
int restored_follow(struct restored *r, struct error *err);

#endif
