/* SPDX-License-Identifier: MIT */
/* frozen_internal.h - between the ways into a frozen process (frozen_seize.c, trace_freeze.c) and what all have (frozen.c) */
#ifndef WARM_ENGINE_FROZEN_INTERNAL_H
#define WARM_ENGINE_FROZEN_INTERNAL_H

#include "engine/frozen.h"

/** frozen_add_thread() - one more at the end, running. Return: it, or NULL with words */
struct frozen_thread *frozen_add_thread(struct frozen_process *p, pid_t tid, struct error *err);
void frozen_forget_thread(struct frozen_process *p, struct frozen_thread *t);
/** frozen_settle() - a thread has just stopped: it leaves a restartable sequence */
void frozen_settle(const struct frozen_process *p, const struct frozen_thread *t);
/** frozen_await_stop() - of an interrupted thread. Return: 1: it has stopped; 0: it is gone; -ETIMEDOUT */
int frozen_await_stop(struct frozen_thread *t, uint64_t deadline_ms);
/** frozen_end_calls() - all threads have their own mask and are where the kernel makes interrupted calls again; no scratch page is left */
void frozen_end_calls(struct frozen_process *p);
/** frozen_free() - @p and what it holds, but not what is traced */
void frozen_free(struct frozen_process *p);

#define FROZEN_SUSPEND_SECCOMP 0x00200000 /* PTRACE_O_SUSPEND_SECCOMP, Linux 4.3 */
/** frozen_filters() - how many seccomp filters a thread has; 1 where the kernel does not tell their number (before 5.9) */
long frozen_filters(pid_t pid, pid_t tid);

#endif
