/* SPDX-License-Identifier: MIT */
/* x86-64: the stub's first instruction, thread creation, timed calls that go on */

#include "engine/stub/hook_entries.h"

	.section .text.entry, "ax"
	.globl	stub_entry
/* jumped to with rdi = struct stub_launch; the stack is put right below it */
stub_entry:
	mov	%rdi, %rsp
	and	$-16, %rsp
	xor	%ebp, %ebp
	call	stub_main
	ud2

/*
 * The table of addresses that the planner needs, at fixed places behind the
 * entry: offsets from the start of the text.
 */
	.balign	64
	.globl	stub_table
stub_table:
	.quad	stub_hooks_return - stub_entry
	.quad	stub_hooks_exit - stub_entry
	.quad	stub_resume_timed - stub_entry
	.quad	stub_hooks_final - stub_entry
	.quad	stub_madvise - stub_entry
	.quad	stub_mremap - stub_entry
	.quad	stub_readlink - stub_entry
	.quad	stub_readlinkat - stub_entry
	.quad	stub_resume_leave - stub_entry

	.section .text, "ax"
/* long stub_clone_thread(flags rdi, stack rsi, parent_tid rdx, child_tid rcx, tls r8, fn r9, arg 8(%rsp)) */
	.globl	stub_clone_thread
	.hidden	stub_clone_thread
stub_clone_thread:
	mov	8(%rsp), %rax
	and	$-16, %rsi
	sub	$16, %rsi
	mov	%r9, (%rsi)
	mov	%rax, 8(%rsi)
	mov	%rcx, %r10
	mov	$56, %eax		/* clone */
	syscall
	test	%eax, %eax
	jz	1f
	ret
1:	xor	%ebp, %ebp
	pop	%rax
	pop	%rdi
	call	*%rax
	ud2

/*
 * A call with a relative time-out (nanosleep, poll, futex..) that the
 * checkpoint interrupted. The kernel would go on with restart_syscall(2) and
 * what is left of the time; a clone makes the call again with that time, from
 * here: the frame's registers hold the call, with pointers into the stub's
 * data, and its stack pointer stands below the red zone, at
 *	rdi, rdx, r10 and rip of the program.
 * System calls clobber rcx and r11 alone, so rcx may carry the way back.
 */
	.globl	stub_resume_timed
	.hidden	stub_resume_timed
stub_resume_timed:
	syscall
	mov	0(%rsp), %rdi		/* the program's own first, third and fourth argument */
	mov	8(%rsp), %rdx
	mov	16(%rsp), %r10
	mov	24(%rsp), %rcx
	lea	32+128(%rsp), %rsp
	jmp	*%rcx

/*
 * A function that the main thread was called away for has returned to here. The frame has all registers of what the
 * thread did before.
 */
	.globl	stub_resume_leave
	.hidden	stub_resume_leave
stub_resume_leave:
	and	$-16, %rsp
	call	stub_left
	mov	%rax, %rsp
	mov	$15, %eax		/* rt_sigreturn */
	syscall
	ud2

/*
 * Exit hooks: the first bytes of a function of the program are replaced by a
 * jump to entry i of one of these tables, 16 bytes each (plan_tables.c: put_exit()). stub_exit_decide(i)
 * returns the value in rax and the function's own address in rdx.
 */
	.balign	16
	.globl	stub_hooks_return
	.hidden	stub_hooks_return
stub_hooks_return:
	.set	i, 0
	.rept	STUB_HOOK_ENTRIES
	.balign	16
	mov	$i, %r11d
	jmp	hook_return
	.set	i, i + 1
	.endr

	.balign	16
	.globl	stub_hooks_exit
	.hidden	stub_hooks_exit
stub_hooks_exit:
	.set	i, 0
	.rept	STUB_HOOK_ENTRIES
	.balign	16
	mov	$i, %r11d
	jmp	hook_exit
	.set	i, i + 1
	.endr

	.balign	16
	.globl	stub_hooks_final
	.hidden	stub_hooks_final
stub_hooks_final:
	.set	i, 0
	.rept	STUB_HOOK_ENTRIES
	.balign	16
	mov	$i, %r11d
	jmp	hook_final
	.set	i, i + 1
	.endr

	.balign	16
/* in place of int f(void) */
hook_return:
	sub	$8, %rsp
	mov	%r11d, %edi
	call	stub_exit_decide
	add	$8, %rsp
	cmp	$-1000, %rax
	je	2f
	ret
2:	jmp	*%rdx

/* in place of void f(int status), which does not return */
hook_exit:
	push	%rdi
	mov	%r11d, %edi
	call	stub_exit_decide
	pop	%rdi
	cmp	$-1000, %rax
	je	2b
	sub	$8, %rsp
	mov	%rax, %rsi
	call	stub_exit_now
	ud2

/* in place of exit(3) */
hook_final:
	push	%rdi
	mov	%edi, %esi
	mov	%r11d, %edi
	call	stub_exit_final
	pop	%rdi
	jmp	*%rax

	.section .note.GNU-stack, "", @progbits
