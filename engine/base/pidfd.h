/* SPDX-License-Identifier: MIT */
/* pidfd.h - what pidfds can do, with what older kernels have instead */
#ifndef WARM_ENGINE_BASE_PIDFD_H
#define WARM_ENGINE_BASE_PIDFD_H

#include <stdbool.h>
#include <sys/types.h>

/** pidfd_open_process() - pidfd_open(2), close-on-exec. Return: a descriptor or a negative errno */
int pidfd_open_process(pid_t pid);

/**
 * pidfd_kill() - send @sig to the process, or to its process group
 * @pid: the process' id, which is also its group's
 *
 * Linux 6.9 knows PIDFD_SIGNAL_PROCESS_GROUP; before, the group is signalled by
 * number while the process is known to be there.
 */
int pidfd_kill(int pidfd, pid_t pid, int sig, bool group);

/** pidfd_exit_status() - of a process that has been reaped by somebody else (Linux 6.15, PIDFD_INFO_EXIT). Return: 0 or a negative errno */
int pidfd_exit_status(int pidfd, int *ret_wstatus);

/**
 * pidfd_zombie_status() - of one that has ended and that nobody has reaped yet, from /proc/PID/stat
 * @pid: its PID here
 * Return: 0. -ENODATA: it has not ended. -EACCES: it had other ids. -ESRCH, -ENOENT: it was reaped meanwhile
 */
int pidfd_zombie_status(int pidfd, pid_t pid, int *ret_wstatus);

#endif
