/* SPDX-License-Identifier: MIT */
/* worker.h - processes that do for warmd what takes long: they make templates, or load them */
#ifndef WARM_WARMD_WORKER_H
#define WARM_WARMD_WORKER_H

#include <sys/types.h>

/**
 * worker_start() - fork one
 * @run: called in it with @data and its end of a SOCK_SEQPACKET; its result is the exit status
 * @ret_pid, @ret_sock: set on success; both the caller's
 *
 * It has no other descriptor of warmd's, blocks no signal, and ends with warmd.
 * Return: 0 or a negative errno
 */
int worker_start(int (*run)(void *data, int sock), void *data, pid_t *ret_pid, int *ret_sock);

#endif
