/* SPDX-License-Identifier: MIT */
/* vdso.h - the kernel's code in each process, which answers some system calls without the kernel: vdso(7) */
#ifndef WARM_ENGINE_VDSO_H
#define WARM_ENGINE_VDSO_H

#include <stdint.h>
#include <sys/types.h>

/**
 * vdso_show_clock() - have clock_gettime(2) of a traced process make its system call, where a tracer sees it
 * @pid: stopped behind its execve(2), before it has read a clock
 * @ret_start, @ret_end: the code that is another now, in that process alone; both 0: there was none to be changed
 *
 * The pages of the vDSO are private to a process once they are written to. Its children by fork(2) have it too, what
 * they execute has not.
 * Return: 0 or a negative errno: then reads of the clock cannot be seen
 */
int vdso_show_clock(pid_t pid, uint64_t *ret_start, uint64_t *ret_end);

#endif
