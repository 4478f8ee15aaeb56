/* SPDX-License-Identifier: MIT */
/*
 * x86-64 registers: a traced child's state is read, made a frame of, and another
 * process returns into that frame; calls that go on with another time; patches. All executed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <cpuid.h>
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "engine/base/clock.h"
#include "engine/stub/x86_64/arch.h"
#include "regs.h"

#define RED_ZONE 128

extern const char blob_stub[], blob_stub_end[];

/* what arrives: rax rcx rdx rbx rsp rbp rsi rdi r8..r15 rflags, then 16 ymm registers */
struct seen {
	uint64_t gpr[16], flags, pad;
	uint8_t ymm[16][32];
};

/* used by the assembly below */
struct seen test_seen;
uint8_t test_ymm[16][32];
uint64_t test_avx;
char test_stack[65536] __attribute__((aligned(64)));
char test_own_stack[262144] __attribute__((aligned(64)));
void test_load(void) __attribute__((noreturn));
void test_landing(void);
void test_landed(void) __attribute__((noreturn));

#define PATTERN(n) (0x1111111111111111ull * (n) + 0x0123456789abcdefull)

__asm__(".text\n"
	".globl test_load\n"
	"test_load:\n\t"
	"lea	test_ymm(%rip), %rax\n\t"
	"cmpq	$0, test_avx(%rip)\n\t"
	"je	1f\n\t"
	".set i, 0\n\t"
	".irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\t"
	"vmovdqu 32*\\r(%rax), %ymm\\r\n\t"
	".endr\n\t"
	"jmp	2f\n"
	"1:\n\t"
	".irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\t"
	"movdqu 32*\\r(%rax), %xmm\\r\n\t"
	".endr\n"
	"2:\n\t"
	"fninit\n\t"
	"fldpi\n\t"
	"lea	test_stack+32768(%rip), %rsp\n\t"
	"movabs	$0x0123456789abcdef, %rbx\n\t"
	"movabs	$0x1111111111111111, %rax\n\t"
	".irp r, rcx,rdx,rbp,rsi,rdi,r8,r9,r10,r11,r12,r13,r14,r15\n\t"
	"add	%rax, %rbx\n\t"
	"mov	%rbx, %\\r\n\t"
	".endr\n\t"
	"stc\n\t"
	"std\n\t"
	"int3\n\t"
	"ud2\n"
	".globl test_landing\n"
	"test_landing:\n\t"
	"mov	%rax, test_seen(%rip)\n\t"
	"lea	test_seen(%rip), %rax\n\t"
	"mov	%rcx, 8(%rax)\n\t"
	"mov	%rdx, 16(%rax)\n\t"
	"mov	%rbx, 24(%rax)\n\t"
	"mov	%rsp, 32(%rax)\n\t"
	"mov	%rbp, 40(%rax)\n\t"
	"mov	%rsi, 48(%rax)\n\t"
	"mov	%rdi, 56(%rax)\n\t"
	".irp r, 8,9,10,11,12,13,14,15\n\t"
	"mov	%r\\r, 8*\\r(%rax)\n\t"
	".endr\n\t"
	"pushfq\n\t"
	"popq	128(%rax)\n\t"
	"cld\n\t"
	"cmpq	$0, test_avx(%rip)\n\t"
	"je	1f\n\t"
	".irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\t"
	"vmovdqu %ymm\\r, 144+32*\\r(%rax)\n\t"
	".endr\n\t"
	"jmp	2f\n"
	"1:\n\t"
	".irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\t"
	"movdqu %xmm\\r, 144+32*\\r(%rax)\n\t"
	".endr\n"
	"2:\n\t"
	"lea	test_own_stack+262144-64(%rip), %rsp\n\t"
	"call	test_landed\n\t"
	"ud2\n");

static struct {
	arch_regs regs;
	uint64_t mask, ss[3];
	uint64_t result; /* rax */
	uint64_t start_ns, min_ns;
	bool whole; /* flags, x87 and vector registers too */
} expected;

static void say_and_leave(const char *what, uint64_t is, uint64_t should)
{
	fprintf(stderr, "%s is %llx, should be %llx\n", what, (unsigned long long)is,
		(unsigned long long)should);
	_exit(1);
}

static void same(const char *what, uint64_t is, uint64_t should)
{
	if (is != should)
		say_and_leave(what, is, should);
}

/* in the process that returned into the frame */
void test_landed(void)
{
	const arch_regs *r = &expected.regs;
	const struct seen *s = &test_seen;
	uint64_t mask = 0, spent = clock_ns(CLOCK_MONOTONIC) - expected.start_ns;
	stack_t ss;

	same("rax", s->gpr[0], expected.result);
	same("rbx", s->gpr[3], r->rbx);
	same("rdx", s->gpr[2], r->rdx);
	same("rsp", s->gpr[4], r->rsp);
	same("rbp", s->gpr[5], r->rbp);
	same("rsi", s->gpr[6], r->rsi);
	same("rdi", s->gpr[7], r->rdi);
	same("r8", s->gpr[8], r->r8);
	same("r9", s->gpr[9], r->r9);
	same("r10", s->gpr[10], r->r10);
	same("r12", s->gpr[12], r->r12);
	same("r13", s->gpr[13], r->r13);
	same("r14", s->gpr[14], r->r14);
	same("r15", s->gpr[15], r->r15);
	syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, 8);
	same("mask", mask, expected.mask);
	sigaltstack(NULL, &ss);
	same("altstack", (uint64_t)ss.ss_sp, expected.ss[0]);
	same("altstack flags", (uint64_t)(unsigned int)ss.ss_flags, expected.ss[1]);
	same("altstack size", ss.ss_size, expected.ss[2]);
	if (spent < expected.min_ns || spent > expected.min_ns + 20000000000ull)
		say_and_leave("time", spent, expected.min_ns);
	if (expected.whole) {
		long double pi;
		size_t width = test_avx ? 32 : 16;

		same("rcx", s->gpr[1], r->rcx);
		same("r11", s->gpr[11], r->r11);
		same("carry and direction", s->flags & 0x401, 0x401);
		for (int i = 0; i < 16; i++)
			if (memcmp(s->ymm[i], test_ymm[i], width) != 0)
				say_and_leave("vector register", s->ymm[i][0], test_ymm[i][0]);
		__asm__ volatile("fstpt %0" : "=m"(pi));
		if (pi < 3.14L || pi > 3.15L)
			say_and_leave("x87", 0, 3);
	}
	_exit(0);
}

/* a stopped child's registers with values in all of them */
static void capture(arch_regs *regs, void **xstate, size_t *len)
{
	unsigned int a, b, c, d;
	bool amx = true;
	int status;
	pid_t pid;

	__cpuid(1, a, b, c, d);
	test_avx = __builtin_cpu_supports("avx") != 0;
	for (int i = 0; i < 16; i++)
		for (int j = 0; j < 32; j++)
			test_ymm[i][j] = (uint8_t)(i * 32 + j + 1);
	pid = fork();
	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		test_load();
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
	assert_int_equal(arch_get_regs(pid, regs), 0);
	assert_int_equal(arch_read_xstate(pid, xstate, len, &amx), 0);
	assert_false(amx);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_int_equal(regs->rcx, PATTERN(1));
	assert_int_equal(regs->r15, PATTERN(13));
	assert_int_equal(arch_sp(regs), (uint64_t)test_stack + 32768);
	assert_int_equal(arch_call_arg(regs, 0), regs->rdi);
	/* trimmed: the legacy part, the header, and the upper halves where there are any */
	assert_true(*len >= 576 + (test_avx ? 256 : 0) && *len < 65536);
}

static void *frame_of(const arch_regs *regs, const void *xstate, size_t len)
{
	size_t size = (arch_frame_size(len) + 63) & ~63ul;
	void *frame = aligned_alloc(64, size);

	assert_non_null(frame);
	memset(frame, 0xee, size);
	arch_write_frame(frame, (uint64_t)frame, regs, xstate, len, expected.mask, expected.ss);
	return frame;
}

static void return_into(void *frame)
{
	int status;
	pid_t pid;

	expected.start_ns = clock_ns(CLOCK_MONOTONIC);
	pid = fork();
	if (pid == 0)
		stub_sigreturn(frame);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	free(frame);
}

static int setup(void **state)
{
	static char altstack[65536];

	(void)state;
	memset(&expected, 0, sizeof(expected));
	expected.mask = 1ull << (SIGUSR1 - 1) | 1ull << (SIGRTMAX - 1);
	expected.ss[0] = (uint64_t)altstack;
	expected.ss[2] = sizeof(altstack);
	return 0;
}

static void whole_state(void **state)
{
	arch_regs regs;
	void *xstate;
	size_t len;

	(void)state;
	capture(&regs, &xstate, &len);
	regs.rip = (uint64_t)test_landing;
	expected.regs = regs;
	expected.result = regs.rax;
	expected.whole = true;
	return_into(frame_of(&regs, xstate, len));
	/* no alternate stack, nothing blocked */
	expected.mask = 0;
	memset(expected.ss, 0, sizeof(expected.ss));
	expected.ss[1] = SS_DISABLE;
	return_into(frame_of(&regs, xstate, len));
	free(xstate);
}

static void frame_layout(void **state)
{
	arch_regs regs;
	void *xstate, *frame;
	size_t len;
	struct stub_ucontext *uc;

	(void)state;
	capture(&regs, &xstate, &len);
	regs.eflags |= 1 << 16; /* resume flag, set by a breakpoint's stop */
	frame = frame_of(&regs, xstate, len);
	uc = frame;
	assert_int_equal(uc->fpstate % 64, 0);
	assert_true(uc->fpstate >= (uint64_t)frame + sizeof(*uc));
	assert_true(uc->fpstate + len + 4 <= (uint64_t)frame + arch_frame_size(len));
	assert_false(uc->eflags & 1 << 16);
	stub_set_result(uc, 77);
	assert_int_equal(uc->ax, 77);
	stub_set_main_args(uc, 1, 2, 3);
	assert_true(uc->di == 1 && uc->si == 2 && uc->dx == 3);
	free(frame);
	free(xstate);
}

/* --- interrupted system calls ---------------------------------------------------------------- */

static void restarts(void **state)
{
	static const int codes[] = { 512, 513, 514 };
	static const enum arch_restart how[] = { ARCH_RESTART, ARCH_RESTART_NOINTR, ARCH_RESTART_NOHAND };
	arch_regs r;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		r = (arch_regs){ .orig_rax = SYS_read, .rax = (unsigned long long)-codes[i], .rip = 0x1002 };
		assert_int_equal(arch_fix_restart(&r), how[i]);
		assert_int_equal(r.rax, SYS_read);
		assert_int_equal(r.rip, 0x1000);
		arch_end_call(&r);
		assert_int_equal((int64_t)r.rax, -EINTR);
		assert_int_equal(r.rip, 0x1002);
	}
	r = (arch_regs){ .orig_rax = SYS_nanosleep, .rax = (unsigned long long)-516, .rip = 0x1002 };
	assert_int_equal(arch_fix_restart(&r), ARCH_RESTART_TIMED);
	assert_int_equal(r.rip, 0x1002);
	arch_make_again(&r);
	assert_int_equal(r.rax, SYS_nanosleep);
	assert_int_equal(r.rip, 0x1000);
	r = (arch_regs){ .orig_rax = SYS_read, .rax = 5, .rip = 0x1002 };
	assert_int_equal(arch_fix_restart(&r), ARCH_RETURNED);
	assert_int_equal(r.rip, 0x1002);
	r.rax = (unsigned long long)-EINTR;
	assert_int_equal(arch_fix_restart(&r), ARCH_RETURNED);
	assert_int_equal((int64_t)arch_result(&r), -EINTR);
	/* outside of a call the same number is only a number */
	r = (arch_regs){ .orig_rax = (unsigned long long)-1, .rax = (unsigned long long)-512, .rip = 0x1002 };
	assert_int_equal(arch_fix_restart(&r), ARCH_NOT_IN_CALL);
	assert_int_equal(r.rip, 0x1002);
	r.orig_rax = SYS_read;
	arch_leave_call(&r);
	assert_int_equal(arch_fix_restart(&r), ARCH_NOT_IN_CALL);
}

static void arguments(void **state)
{
	const uint64_t args[6] = { 1, 2, 3, 4, 5, 6 };
	uint64_t got[6], slot;
	arch_regs r = { .orig_rax = SYS_read, .rsp = 0x7000 };
	long nr;

	(void)state;
	arch_prepare_syscall(&r, 0x4000, SYS_openat, args);
	assert_int_equal(arch_pc(&r), 0x4000);
	assert_int_equal(r.rax, SYS_openat);
	assert_int_equal(arch_fix_restart(&r), ARCH_NOT_IN_CALL);
	r.orig_rax = SYS_openat;
	arch_syscall_args(&r, &nr, got);
	assert_int_equal(nr, SYS_openat);
	assert_memory_equal(got, args, sizeof(args));
	for (uint64_t sp = 0x7000; sp < 0x7010; sp++) {
		r.rsp = sp;
		arch_prepare_call(&r, 0x5000, (const uint64_t[3]){ 8, 9, 10 }, &slot);
		/* at a function's entry, and clear of the red zone */
		assert_int_equal(r.rsp % 16, 8);
		assert_int_equal(slot, r.rsp);
		assert_true(slot + 8 <= sp - RED_ZONE);
		assert_int_equal(arch_call_arg(&r, 0), 8);
		assert_int_equal(arch_call_arg(&r, 1), 9);
		assert_int_equal(arch_call_arg(&r, 2), 10);
	}
}

/* a call that was to take forever goes on with 50 ms, and the program's registers come back */
static void go_on(long nr, const uint64_t args[6], int arg, uint64_t value, uint64_t result)
{
	const uint64_t *table = (const uint64_t *)(blob_stub + 64);
	size_t size = (size_t)(blob_stub_end - blob_stub);
	char *text = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	arch_regs regs;
	uint64_t saved[4];
	void *xstate;
	size_t len;

	assert_true(text != MAP_FAILED);
	memcpy(text, blob_stub, size);
	assert_int_equal(mprotect(text, size, PROT_READ | PROT_EXEC), 0);
	capture(&regs, &xstate, &len);
	regs.eflags &= ~0x400ull;
	regs.orig_rax = (unsigned long long)nr;
	regs.rax = (unsigned long long)-516;
	regs.rdi = args[0];
	regs.rsi = args[1];
	regs.rdx = args[2];
	regs.r10 = args[3];
	regs.r8 = args[4];
	regs.r9 = args[5];
	regs.rip = (uint64_t)test_landing; /* behind its syscall instruction */
	expected.regs = regs;
	expected.result = result;
	expected.min_ns = 50000000;
	assert_int_equal(arch_fix_restart(&regs), ARCH_RESTART_TIMED);
	arch_make_again(&regs);
	assert_true(arch_retime_slot(&regs) + sizeof(saved) <= regs.rsp - RED_ZONE);
	memset(saved, 0, sizeof(saved));
	{
		uint64_t slot = arch_retime_slot(&regs);

		assert_int_equal(arch_retime_call(&regs, arg, value, (uint64_t)text + table[2], saved), 0);
		memcpy((void *)slot, saved, sizeof(saved));
	}
	return_into(frame_of(&regs, xstate, len));
	munmap(text, size);
	free(xstate);
}

static struct timespec forever = { .tv_sec = 1000000 }, rest = { .tv_nsec = 50000000 };

static void timed_nanosleep(void **state)
{
	(void)state;
	go_on(SYS_nanosleep, (const uint64_t[6]){ (uint64_t)&forever, 0, 11, 22, 33, 44 }, 0, (uint64_t)&rest,
	      0);
}

static void timed_clock_nanosleep(void **state)
{
	(void)state;
	go_on(SYS_clock_nanosleep, (const uint64_t[6]){ CLOCK_MONOTONIC, 0, (uint64_t)&forever, 0, 33, 44 },
	      2, (uint64_t)&rest, 0);
}

static void timed_futex(void **state)
{
	static uint32_t word;

	(void)state;
	go_on(SYS_futex, (const uint64_t[6]){ (uint64_t)&word, FUTEX_WAIT, 0, (uint64_t)&forever, 0, 0 }, 3,
	      (uint64_t)&rest, (uint64_t)-ETIMEDOUT);
}

static void timed_poll(void **state)
{
	(void)state;
	go_on(SYS_poll, (const uint64_t[6]){ 0, 0, 1000000, 22, 33, 44 }, 2, 51, 0);
}

static void not_retimed(void **state)
{
	arch_regs r = { .rsp = 0x10000 };
	uint64_t saved[4];

	(void)state;
	assert_int_equal(arch_retime_call(&r, 1, 0, 0, saved), -EINVAL);
	assert_int_equal(arch_retime_call(&r, 4, 0, 0, saved), -EINVAL);
}

/* --- text --------------------------------------------------------------------------------------- */

static int answer(void)
{
	return 42;
}

static void jump_patch(void **state)
{
	uint8_t bytes[16] = { 0 };
	size_t n = arch_jump_patch(bytes, (uint64_t)answer);
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_true(n > 0 && n <= sizeof(bytes));
	assert_true(page != MAP_FAILED);
	/* nothing behind it is executed, and no alignment is needed */
	for (size_t at = 0; at < 16; at++) {
		assert_int_equal(mprotect(page, 4096, PROT_READ | PROT_WRITE), 0);
		memset(page, 0x0b, 4096);
		memcpy(page + at, bytes, n);
		assert_int_equal(mprotect(page, 4096, PROT_READ | PROT_EXEC), 0);
		assert_int_equal(((int (*)(void))(uintptr_t)(page + at))(), 42);
	}
	munmap(page, 4096);
}

static void find_syscall(void **state)
{
	static const uint8_t code[] = { 0x90, 0x0f, 0x0f, 0x05, 0xc3 };

	(void)state;
	assert_int_equal(arch_find_syscall(code, sizeof(code)), 2);
	assert_int_equal(arch_find_syscall(code, 3), -1);
	assert_int_equal(arch_find_syscall(code, 0), -1);
}

/* readlink() and readlinkat() of the C library, whose calls a hook at their start hides */
static void wrappers(void **state)
{
	static const uint8_t plain[] = { 0xb8, 0x59, 0, 0, 0, 0x0f, 0x05 },
			     fourth[] = { 0x49, 0x89, 0xca, 0xb8, 0x0b, 1, 0, 0, 0x0f, 0x05 },
			     marked[] = { 0xf3, 0x0f, 0x1e, 0xfa, 0xb8, 0x59, 0, 0, 0, 0x0f, 0x05 },
			     pushes[] = { 0x53, 0xb8, 0x59, 0, 0, 0, 0x0f, 0x05 };
	arch_regs r = { .rip = 0x1007, .orig_rax = 0x59, .rcx = 0x1007, .r10 = 4 };

	(void)state;
	assert_true(arch_is_wrapper(plain, sizeof(plain)));
	assert_true(arch_is_wrapper(fourth, sizeof(fourth)));
	assert_true(arch_is_wrapper(marked, sizeof(marked)));
	assert_false(arch_is_wrapper(pushes, sizeof(pushes)));
	assert_false(arch_is_wrapper(plain, sizeof(plain) - 1));
	assert_false(arch_is_wrapper(plain, 2));
	arch_make_again(&r);
	arch_wrap_call(&r, 0x1000);
	assert_int_equal(r.rip, 0x1000);
	assert_int_equal(r.rcx, 4);
}

#define T(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(whole_state),		  T(frame_layout), T(restarts),	  T(arguments),	  T(timed_nanosleep),
		T(timed_clock_nanosleep), T(timed_futex),  T(timed_poll), T(not_retimed), T(jump_patch),
		T(find_syscall),	  T(wrappers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
