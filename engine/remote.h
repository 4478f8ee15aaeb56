/* SPDX-License-Identifier: MIT */
/*
 * remote.h - one stopped thread of another process is made to do a system call; memory of that process.
 *
 * The lowest of the three: trace.h and frozen.h are made of it. It knows threads by their ids only, and nothing of
 * signal masks, restarted calls or filters: those are frozen.h's.
 */
#ifndef WARM_ENGINE_REMOTE_H
#define WARM_ENGINE_REMOTE_H

#include <stddef.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/types.h>

#include "engine/base/error.h"
#include "regs.h" /* by architecture */

#ifndef PTRACE_EVENT_STOP
#define PTRACE_EVENT_STOP 128
#endif
#define REMOTE_SYSCALL_STOP (SIGTRAP | 0x80) /* with PTRACE_O_TRACESYSGOOD, which all our threads have */

struct remote_call {
	long nr;
	uint64_t args[6];
};

/** remote_find_insn() - *@ret: address of a system call instruction in the vDSO of @pid. Return: 0, or -ENOEXEC with words */
int remote_find_insn(pid_t pid, uint64_t *ret, struct error *err);

/**
 * remote_wait() - the next report of exactly this thread
 * Return: its wait status, which says that it is stopped; -ESRCH with words: it was killed
 */
int remote_wait(pid_t tid, struct error *err);

/**
 * remote_to_syscall_stop() - a stopped thread goes on to the next entry or exit of a system call
 * @held: set to a signal that was about to be delivered and is put off; else left alone
 */
int remote_to_syscall_stop(pid_t tid, int *held, struct error *err);

/**
 * remote_call() - a stopped thread makes a system call
 * @saved: its registers, which it has again afterwards
 * @insn: of remote_find_insn()
 * @ret: the result, negative errno included
 *
 * It is left behind the exit of that call, where the kernel does not look whether @saved say that a call is to be
 * made again: frozen_thaw() leads it to where it does.
 */
int remote_call(pid_t tid, uint64_t insn, const arch_regs *saved, const struct remote_call *call,
		int64_t *ret, int *held, struct error *err);

/** remote_read(), remote_write() - memory of a process, all of it or none that counts. Return: 0 or a negative errno */
int remote_read(pid_t pid, uint64_t addr, void *buf, size_t len);
int remote_write(pid_t pid, uint64_t addr, const void *buf, size_t len);

#endif
