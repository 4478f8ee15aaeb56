/* SPDX-License-Identifier: MIT */
/* call.h - system calls and entry without a libc (arm64) */
#ifndef WARM_BENCH_CALL_H
#define WARM_BENCH_CALL_H

static inline long arch_call(long number, long a, long b, long c, long d, long e)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;

	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
	return x0;
}

/* _start: calls start(stack), where argc, argv and envp lie as execve(2) left them */
#define ARCH_START                                                                                           \
	__asm__(".globl _start\n_start: mov x0, sp\n bl start\n brk #0\n"                                    \
		".section .note.GNU-stack,\"\",%progbits\n.text\n")

#endif
