/* SPDX-License-Identifier: MIT */
/*
 * rights.h - what a thread may do, as the kernel tells it, compared with what warmd may.
 *
 * In: a thread's folder in /proc, and a pidfd where it is a process' first thread. Out: "the same", or in which
 * word they differ. Compared are all uids and gids, all supplementary groups, the five capability sets, no_new_privs,
 * seccomp's mode and number of filters, the labels of security modules, the root directory with its mount, and all
 * namespaces, also those of children to come. What cannot be read counts as different.
 */
#ifndef WARM_WARMD_RIGHTS_H
#define WARM_WARMD_RIGHTS_H

#include <stdbool.h>

#include "engine/base/error.h"

/**
 * rights_prepare() - read what this process has, and keep its namespaces open; once, at its start
 *
 * Return: 0, or a negative errno: then every comparison fails, with words.
 */
int rights_prepare(void);

/**
 * rights_compare() - has a thread what this process has?
 * @proc: descriptor of /proc/PID or /proc/PID/task/TID
 * @pidfd: of the process, when the thread is its first; -EBADF otherwise
 * @who: who it is, for words: "the caller"
 * @ret_ended: the thread has ended, or ends, and runs nothing any more. Set when 0 is returned
 * @ret_threads: number of threads of its process. Set when 0 is returned
 *
 * Return: 0. -EACCES with *err set: they differ, or it cannot be told. Another negative errno with *err set: this
 * process' own cannot be read.
 */
int rights_compare(int proc, int pidfd, const char *who, bool *ret_ended, unsigned int *ret_threads,
		   struct error *err);

#endif
