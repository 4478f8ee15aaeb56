/* SPDX-License-Identifier: MIT */
/*
 * doctor_arch.h - what doctor's probes must know of the processor.
 *
 * doctor_set_breakpoint() - an execution breakpoint at @address in the stopped thread @pid.
 * Return: 0, or -1 with errno.
 */
#ifndef WARM_LAUNCHER_DOCTOR_ARCH_H
#define WARM_LAUNCHER_DOCTOR_ARCH_H

#include <stddef.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/user.h>

#if defined(__x86_64__)

/* DR0 holds the address; DR7 bit 0 enables it locally, R/W0 = LEN0 = 0 mean execution */
static inline int doctor_set_breakpoint(pid_t pid, uintptr_t address)
{
	if (ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[0]), address) < 0)
		return -1;
	return (int)ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[7]), 1ul);
}

#elif defined(__aarch64__)

#include <elf.h>
#include <sys/uio.h>

#include <asm/ptrace.h>

/* DBGBCR: enabled, EL0, all four bytes of the instruction */
static inline int doctor_set_breakpoint(pid_t pid, uintptr_t address)
{
	struct user_hwdebug_state state = { 0 };
	struct iovec iov = { &state, offsetof(struct user_hwdebug_state, dbg_regs[1]) };

	state.dbg_regs[0].addr = address;
	state.dbg_regs[0].ctrl = 0xf << 5 | 2 << 1 | 1;
	return (int)ptrace(PTRACE_SETREGSET, pid, NT_ARM_HW_BREAK, &iov);
}

#else
#error "doctor_arch.h: unknown architecture"
#endif

#endif
