/* SPDX-License-Identifier: MIT */
/*
 * oom_score.h - who is killed first when memory runs out: /proc/PID/oom_score_adj. A clone by warmd would have
 * warmd's; it gets its caller's, which is read when the caller is checked (peer.c).
 */
#ifndef WARM_WARMD_OOM_SCORE_H
#define WARM_WARMD_OOM_SCORE_H

#include <sys/types.h>

/** oom_score_read() - Return: 0 with *ret set (-1000 to 1000), or a negative errno */
int oom_score_read(pid_t pid, int *ret);

/** oom_score_write() - Return: 0 or a negative errno. -EACCES: it would be lower than an unprivileged process may set it */
int oom_score_write(pid_t pid, int value);

#endif
