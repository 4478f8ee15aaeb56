/* SPDX-License-Identifier: MIT */
/* regs.h - x86-64: registers, debug registers, frames. ptrace(2), arch/x86/kernel/ptrace.c */
#ifndef WARM_ENGINE_ARCH_X86_64_REGS_H
#define WARM_ENGINE_ARCH_X86_64_REGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

typedef struct user_regs_struct arch_regs;

#define ARCH_AUDIT 0xc000003eu /* AUDIT_ARCH_X86_64 */

int arch_get_regs(pid_t tid, arch_regs *r);
int arch_set_regs(pid_t tid, const arch_regs *r);
/** arch_set_breakpoint() - slot 0..3; addr 0 clears. Return: 0 or negative errno */
int arch_set_breakpoint(pid_t tid, int slot, uint64_t addr);
/** arch_hit_breakpoint() - which slot stopped it (and acknowledge). Return: slot, or -1 */
int arch_hit_breakpoint(pid_t tid);

static inline uint64_t arch_pc(const arch_regs *r)
{
	return r->rip;
}
static inline void arch_set_pc(arch_regs *r, uint64_t pc)
{
	r->rip = pc;
}
/** arch_is_native() - does it run 64-bit code? Calls of a 32-bit program have other numbers */
static inline bool arch_is_native(const arch_regs *r)
{
	return r->cs == 0x33; /* __USER_CS */
}
static inline uint64_t arch_sp(const arch_regs *r)
{
	return r->rsp;
}
static inline void arch_set_sp(arch_regs *r, uint64_t sp)
{
	r->rsp = sp;
}
static inline uint64_t arch_call_arg(const arch_regs *r, int i)
{
	return i == 0 ? r->rdi : i == 1 ? r->rsi : i == 2 ? r->rdx : r->rcx;
}
static inline uint64_t arch_result(const arch_regs *r)
{
	return r->rax;
}
static inline void arch_set_result(arch_regs *r, int64_t value)
{
	r->rax = (unsigned long long)value;
}

/* a system call's arguments at its entry stop */
void arch_syscall_args(const arch_regs *r, long *nr, uint64_t args[6]);
/** arch_prepare_syscall() - registers that make call @nr at a syscall instruction at @insn */
void arch_prepare_syscall(arch_regs *r, uint64_t insn, long nr, const uint64_t args[6]);
/** arch_prepare_call() - registers that call function @fn with @args; *ret_slot is to be written with the address that it is to return to */
void arch_prepare_call(arch_regs *r, uint64_t fn, const uint64_t args[3], uint64_t *ret_slot);
/** arch_find_syscall() - offset of a system call instruction in @code, or -1 */
ssize_t arch_find_syscall(const uint8_t *code, size_t len);

/* the register set of ptrace(2) that has all extended state, for PTRACE_GETREGSET */
#define ARCH_XSTATE_NOTE NT_X86_XSTATE
/* an XSAVE area begins with 512 bytes for x87 and SSE, and a header of 64 (Intel SDM, 13.4); no processor has more than 16 KiB of it */
#define ARCH_XSTATE_MIN 576
#define ARCH_XSTATE_MAX 16384
/** arch_read_xstate() - extended state as XSAVE lays it, malloc'd, trimmed to what is in use */
int arch_read_xstate(pid_t tid, void **ret, size_t *ret_len, bool *ret_amx);

/* how an interrupted system call goes on in a clone */
enum arch_restart {
	ARCH_NOT_IN_CALL,
	ARCH_RESTART, /* the call is made again (registers changed so): ERESTARTSYS; a handler ends it with EINTR unless it has SA_RESTART */
	ARCH_RESTART_NOHAND, /* the same; any handler ends it with EINTR */
	ARCH_RESTART_NOINTR, /* the same; no handler ends it */
	ARCH_RESTART_TIMED, /* with what is left of its time: nr and args say which */
	ARCH_RETURNED, /* the call has its result */
};
enum arch_restart arch_fix_restart(arch_regs *r);
/** arch_make_again() - the call that @r is in will be made (again) when it goes on */
void arch_make_again(arch_regs *r);
/**
 * arch_is_wrapper() - is @text, @len bytes from the start of a C function to behind a system call's instruction, nothing but
 * the moves of arguments and number to where the call has them? arch_wrap_call() - the call that arch_make_again()
 * prepared is to be made by calling such a function, at @fn, again; 0: the call alone
 */
bool arch_is_wrapper(const uint8_t *text, size_t len);
void arch_wrap_call(arch_regs *r, uint64_t fn);
/** arch_end_call() - the call that arch_make_again() prepared has ended with EINTR instead */
void arch_end_call(arch_regs *r);
/** arch_leave_call() - the kernel is not to look at a system call when @r goes on */
static inline void arch_leave_call(arch_regs *r)
{
	r->orig_rax = (unsigned long long)-1;
}
/** arch_retime_slot() - where arch_retime_call() keeps its four words: below the red zone */
uint64_t arch_retime_slot(const arch_regs *r);
/**
 * arch_retime_call() - a call that arch_make_again() prepared is made by the stub with another time
 * @arg: index of the argument that is replaced by @value
 * @by: address of stub_resume_timed
 * @saved: to be written at arch_retime_slot() of the registers as they were
 * Return: 0, or -EINVAL for an argument that stub_resume_timed does not restore
 */
int arch_retime_call(arch_regs *r, int arg, uint64_t value, uint64_t by, uint64_t saved[4]);

/**
 * arch_frame_size(), arch_write_frame() - what rt_sigreturn(2) reads
 * @frame: where it will be written, in the builder; @at: its address in the clone, 64-byte aligned
 * @ss: sp, flags, size of the alternate stack
 */
size_t arch_frame_size(size_t xstate_len);
void arch_write_frame(void *frame, uint64_t at, const arch_regs *r, const void *xstate, size_t xstate_len,
		      uint64_t sigmask, const uint64_t ss[3]);

/** arch_jump_patch() - bytes of a jump to @to, for the start of a function. Return: their number (at most 16) */
size_t arch_jump_patch(uint8_t bytes[16], uint64_t to);

#endif
