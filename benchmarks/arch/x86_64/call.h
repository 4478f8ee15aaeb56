/* SPDX-License-Identifier: MIT */
/* call.h - system calls and entry without a libc (x86-64) */
#ifndef WARM_BENCH_CALL_H
#define WARM_BENCH_CALL_H

static inline long arch_call(long number, long a, long b, long c, long d, long e)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return ret;
}

/* _start: calls start(stack), where argc, argv and envp lie as execve(2) left them */
#define ARCH_START                                                                                           \
	__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call start\n"                      \
		".section .note.GNU-stack,\"\",@progbits\n.text\n")

#endif
