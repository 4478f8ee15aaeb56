/* SPDX-License-Identifier: MIT */
/* builder_child.h - the program's start in the build: its context made as the caller's is */
#ifndef WARM_WARMD_BUILD_BUILDER_CHILD_H
#define WARM_WARMD_BUILD_BUILDER_CHILD_H

#include "launcher/wire/request.h"

struct builder_stdio {
	int inner[3]; /* for the program; -EBADF: closed */
	int outer[3]; /* our ends, kept open; -EBADF */
	int terminal; /* the first that is a terminal, -1: none; outer[terminal] is the pty's master */
	uint64_t terminal_device;
};

struct builder_child {
	const struct request *req;
	struct builder_stdio stdio;
	int warm_inner; /* the readiness socket's end for the program */
	int warm_fd; /* the number it gets */
	bool announce; /* put WARM_FD into the environment (readiness point call) */
};

/** builder_stdio_open() - stand-ins of the kinds that the request names */
int builder_stdio_open(const struct request *req, struct builder_stdio *ret, struct error *err);
void builder_stdio_close(struct builder_stdio *s);

/**
 * builder_child_session() - in the build's process, before the child is made: a session for it, and its terminal
 *
 * The program must not lead it: setpgrp(2) fails in a session's leader, and no shell or script starts a program as one.
 * With a terminal it leads a group, as a job of an interactive shell; without, it is a member of this process' group, as a
 * command in a script is.
 */
void builder_child_session(const struct builder_child *c);
/** builder_child_start() - in the child: set everything up and execute; returns an exit status when that fails */
int builder_child_start(void *child);

#endif
