/* SPDX-License-Identifier: MIT */
/* x86-64: system calls and the last steps of a thread, syscall(2) and arch/x86/entry/entry_64.S */
#ifndef WARM_ENGINE_STUB_X86_64_ARCH_H
#define WARM_ENGINE_STUB_X86_64_ARCH_H

#include <stdint.h>

static inline long stub_syscall(long nr, long a, long b, long c, long d, long e, long f)
{
	long ret;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

static inline void stub_copy(void *to, const void *from, uint64_t n)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

#define STUB_ARCH_SET_GS	 0x1001
#define STUB_ARCH_SET_FS	 0x1002
#define STUB_ARCH_REQ_XCOMP_PERM 0x1023
#define STUB_XFEATURE_XTILE_DATA 18
#define STUB_NR_MSEAL		 462

/*
 * struct ucontext of the kernel (arch/x86/include/uapi/asm/ucontext.h); what
 * rt_sigreturn(2) reads: registers, extended state, altstack and mask.
 */
struct stub_ucontext {
	uint64_t flags, link;
	uint64_t ss_sp;
	int32_t ss_flags, pad;
	uint64_t ss_size;
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15, di, si, bp, bx, dx, ax, cx, sp, ip, eflags;
	uint16_t cs, gs, fs, ss;
	uint64_t err, trapno, oldmask, cr2, fpstate, reserved[8];
	uint64_t sigmask;
};

static inline void stub_set_result(struct stub_ucontext *uc, uint64_t value)
{
	uc->ax = value;
}

static inline void stub_set_main_args(struct stub_ucontext *uc, uint64_t argc, uint64_t argv, uint64_t envp)
{
	uc->di = argc;
	uc->si = argv;
	uc->dx = envp;
}

/* the kernel finds the frame 8 bytes (the return address it would have pushed) below sp */
static inline void __attribute__((noreturn)) stub_sigreturn(struct stub_ucontext *uc)
{
	__asm__ volatile("mov %0, %%rsp\n\t"
			 "mov $15, %%eax\n\t" /* rt_sigreturn */
			 "syscall\n\t"
			 "ud2"
			 :
			 : "r"(uc)
			 : "memory");
	__builtin_unreachable();
}

long stub_clone_thread(unsigned long flags, void *stack, uint64_t parent_tid, uint64_t child_tid,
		       uint64_t tls, void (*fn)(void *), void *arg);

#endif
