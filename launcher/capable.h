/* SPDX-License-Identifier: MIT */
/*
 * capable.h - the file capability that `warm` may have (docs/security.md, "The capability variant").
 *
 * It is for one call of a launch by become. warmd, which may not look at a process with more rights than its own, must see a
 * process without it: all other commands drop it, and `warm run` has a child connect.
 */
#ifndef WARM_LAUNCHER_CAPABLE_H
#define WARM_LAUNCHER_CAPABLE_H

#include <stdbool.h>
#include <sys/types.h>

#include "engine/base/error.h"

/** capable() - has this process capabilities of its file's? */
bool capable(void);

/** capable_drop() - be as a process is whose file has none */
void capable_drop(void);

/**
 * capable_open() - client_open(1, ...) by a child without capabilities
 * @ret_child: the process that has connected, which waits; set on success
 *
 * Return: a descriptor, or a negative errno with *err set
 */
int capable_open(unsigned int timeout_ms, pid_t *ret_child, struct error *err);

/** capable_done() - warmd has answered: the child goes */
void capable_done(pid_t child);

#endif
