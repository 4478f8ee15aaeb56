/* SPDX-License-Identifier: MIT */
#include "regs.h"

#include <cpuid.h>
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include "engine/stub/x86_64/arch.h"

/* results that never reach a program: include/linux/errno.h */
#define ERESTARTSYS	      512
#define ERESTARTNOINTR	      513
#define ERESTARTNOHAND	      514
#define ERESTART_RESTARTBLOCK 516

#define SYSCALL_INSN_LEN 2

int arch_get_regs(pid_t tid, arch_regs *r)
{
	return ptrace(PTRACE_GETREGS, tid, 0, r) < 0 ? -errno : 0;
}

int arch_set_regs(pid_t tid, const arch_regs *r)
{
	return ptrace(PTRACE_SETREGS, tid, 0, r) < 0 ? -errno : 0;
}

static int poke_debug(pid_t tid, int reg, uint64_t value)
{
	return ptrace(PTRACE_POKEUSER, tid, offsetof(struct user, u_debugreg) + 8 * (size_t)reg, value) < 0
		       ? -errno
		       : 0;
}

static int peek_debug(pid_t tid, int reg, uint64_t *value)
{
	errno = 0;
	*value = (uint64_t)ptrace(PTRACE_PEEKUSER, tid, offsetof(struct user, u_debugreg) + 8 * (size_t)reg,
				  0);
	return -errno;
}

int arch_set_breakpoint(pid_t tid, int slot, uint64_t addr)
{
	uint64_t control;
	int r = peek_debug(tid, 7, &control);

	if (r < 0)
		return r;
	/* disable first: the kernel checks the pair when either changes */
	control &= ~(3ull << (2 * slot));
	control &= ~(15ull << (16 + 4 * slot)); /* execute, length 1 */
	r = poke_debug(tid, 7, control);
	if (r < 0 || !addr)
		return r;
	r = poke_debug(tid, slot, addr);
	if (r < 0)
		return r;
	return poke_debug(tid, 7, control | 1ull << (2 * slot));
}

int arch_hit_breakpoint(pid_t tid)
{
	uint64_t status;

	if (peek_debug(tid, 6, &status) < 0 || !(status & 15))
		return -1;
	poke_debug(tid, 6, 0);
	return __builtin_ctzll(status & 15);
}

void arch_syscall_args(const arch_regs *r, long *nr, uint64_t args[6])
{
	*nr = (long)r->orig_rax;
	args[0] = r->rdi;
	args[1] = r->rsi;
	args[2] = r->rdx;
	args[3] = r->r10;
	args[4] = r->r8;
	args[5] = r->r9;
}

void arch_prepare_syscall(arch_regs *r, uint64_t insn, long nr, const uint64_t args[6])
{
	r->rip = insn;
	r->rax = (unsigned long long)nr;
	r->orig_rax = (unsigned long long)-1; /* no restart of the call it was in */
	r->rdi = args[0];
	r->rsi = args[1];
	r->rdx = args[2];
	r->r10 = args[3];
	r->r8 = args[4];
	r->r9 = args[5];
}

void arch_prepare_call(arch_regs *r, uint64_t fn, const uint64_t args[3], uint64_t *ret_slot)
{
	/* below the red zone, aligned as the ABI has it at a function's entry */
	r->rsp = ((r->rsp - 256) & ~15ull) - 8;
	*ret_slot = r->rsp;
	r->rip = fn;
	r->rdi = args[0];
	r->rsi = args[1];
	r->rdx = args[2];
	r->rax = 0;
	r->orig_rax = (unsigned long long)-1;
}

ssize_t arch_find_syscall(const uint8_t *code, size_t len)
{
	for (size_t i = 0; i + 1 < len; i++)
		if (code[i] == 0x0f && code[i + 1] == 0x05)
			return (ssize_t)i;
	return -1;
}

#define XSAVE_HEADER_END   576
#define SW_BYTES	   464
#define XFEATURE_XTILECFG  17
#define XFEATURE_XTILEDATA 18

int arch_read_xstate(pid_t tid, void **ret, size_t *ret_len, bool *ret_amx)
{
	size_t size = 65536, used = XSAVE_HEADER_END;
	struct iovec iov;
	uint64_t bv;
	char *buf = calloc(1, size);

	if (!buf)
		return -ENOMEM;
	iov.iov_base = buf;
	iov.iov_len = size;
	if (ptrace(PTRACE_GETREGSET, tid, NT_X86_XSTATE, &iov) < 0) {
		int r = -errno;

		free(buf);
		return r;
	}
	memcpy(&bv, buf + 512, 8);
	/* components that are in their initial state need no room: a frame of the size of what is used is valid */
	for (unsigned int i = 2; i < 63; i++) {
		unsigned int a, b, c, d;

		if (!(bv & 1ull << i))
			continue;
		__cpuid_count(0xd, i, a, b, c, d);
		if (b + a > used)
			used = b + a;
	}
	if (used > iov.iov_len)
		used = iov.iov_len;
	*ret = buf;
	*ret_len = used;
	*ret_amx = (bv >> XFEATURE_XTILEDATA & 1) || (bv >> XFEATURE_XTILECFG & 1);
	return 0;
}

enum arch_restart arch_fix_restart(arch_regs *r)
{
	if ((int64_t)r->orig_rax < 0)
		return ARCH_NOT_IN_CALL;
	switch (-(int64_t)r->rax) {
	case ERESTARTSYS:
		arch_make_again(r);
		return ARCH_RESTART;
	case ERESTARTNOHAND:
		arch_make_again(r);
		return ARCH_RESTART_NOHAND;
	case ERESTARTNOINTR:
		arch_make_again(r);
		return ARCH_RESTART_NOINTR;
	case ERESTART_RESTARTBLOCK:
		return ARCH_RESTART_TIMED;
	default:
		return ARCH_RETURNED;
	}
}

void arch_make_again(arch_regs *r)
{
	r->rax = r->orig_rax;
	r->rip -= SYSCALL_INSN_LEN;
}

/* System V ABI: the fourth argument is in rcx for a function, in r10 for the kernel */
bool arch_is_wrapper(const uint8_t *text, size_t len)
{
	static const uint8_t endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa }, fourth[] = { 0x49, 0x89, 0xca };
	const uint8_t *end = text + len;

	if (end - text >= 4 && memcmp(text, endbr64, sizeof(endbr64)) == 0)
		text += sizeof(endbr64);
	if (end - text >= 3 && memcmp(text, fourth, sizeof(fourth)) == 0)
		text += sizeof(fourth);
	/* mov $nr, %eax; syscall */
	return end - text == 7 && text[0] == 0xb8 && text[5] == 0x0f && text[6] == 0x05;
}

void arch_wrap_call(arch_regs *r, uint64_t fn)
{
	if (!fn)
		return;
	r->rcx = r->r10;
	r->rip = fn;
}

void arch_end_call(arch_regs *r)
{
	r->rax = (unsigned long long)-EINTR;
	r->rip += SYSCALL_INSN_LEN;
}

#define RED_ZONE     128
#define RETIME_WORDS 4

uint64_t arch_retime_slot(const arch_regs *r)
{
	return r->rsp - RED_ZONE - RETIME_WORDS * 8;
}

int arch_retime_call(arch_regs *r, int arg, uint64_t value, uint64_t by, uint64_t saved[4])
{
	saved[0] = r->rdi;
	saved[1] = r->rdx;
	saved[2] = r->r10;
	saved[3] = r->rip + SYSCALL_INSN_LEN;
	switch (arg) {
	case 0:
		r->rdi = value;
		break;
	case 2:
		r->rdx = value;
		break;
	case 3:
		r->r10 = value;
		break;
	default:
		return -EINVAL;
	}
	r->rsp = arch_retime_slot(r);
	r->rip = by;
	return 0;
}

static size_t fp_offset(void)
{
	return (sizeof(struct stub_ucontext) + 63) & ~63ul;
}

size_t arch_frame_size(size_t xstate_len)
{
	return fp_offset() + xstate_len + 4;
}

void arch_write_frame(void *frame, uint64_t at, const arch_regs *r, const void *xstate, size_t xstate_len,
		      uint64_t sigmask, const uint64_t ss[3])
{
	struct stub_ucontext *uc = frame;
	char *fp = (char *)frame + fp_offset();
	const uint32_t magic1 = 0x46505853, magic2 = 0x46505845; /* asm/sigcontext.h */
	uint32_t extended = (uint32_t)xstate_len + 4, size = (uint32_t)xstate_len;
	uint64_t xfeatures, bv;

	memset(uc, 0, sizeof(*uc));
	uc->flags = 1 | 2 | 4; /* UC_FP_XSTATE, UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS */
	uc->ss_sp = ss[0];
	uc->ss_flags = (int32_t)ss[1];
	uc->ss_size = ss[2];
	uc->r8 = r->r8;
	uc->r9 = r->r9;
	uc->r10 = r->r10;
	uc->r11 = r->r11;
	uc->r12 = r->r12;
	uc->r13 = r->r13;
	uc->r14 = r->r14;
	uc->r15 = r->r15;
	uc->di = r->rdi;
	uc->si = r->rsi;
	uc->bp = r->rbp;
	uc->bx = r->rbx;
	uc->dx = r->rdx;
	uc->ax = r->rax;
	uc->cx = r->rcx;
	uc->sp = r->rsp;
	uc->ip = r->rip;
	uc->eflags = r->eflags & ~(1ull << 16); /* RF was the breakpoint's */
	uc->cs = (uint16_t)r->cs;
	uc->gs = (uint16_t)r->gs;
	uc->fs = (uint16_t)r->fs;
	uc->ss = (uint16_t)r->ss;
	uc->fpstate = at + fp_offset();
	uc->sigmask = sigmask;
	memcpy(fp, xstate, xstate_len);
	/* xcr0 as ptrace tells it, limited to what the frame has room for: bits of xstate_bv and x87, SSE */
	memcpy(&bv, (const char *)xstate + 512, 8);
	xfeatures = bv | 3;
	memset(fp + SW_BYTES, 0, 48);
	memcpy(fp + SW_BYTES, &magic1, 4);
	memcpy(fp + SW_BYTES + 4, &extended, 4);
	memcpy(fp + SW_BYTES + 8, &xfeatures, 8);
	memcpy(fp + SW_BYTES + 16, &size, 4);
	memcpy(fp + xstate_len, &magic2, 4);
}

size_t arch_jump_patch(uint8_t bytes[16], uint64_t to)
{
	static const uint8_t jump[] = { 0xff, 0x25, 0, 0, 0, 0 }; /* jmp *0(%rip) */

	memcpy(bytes, jump, sizeof(jump));
	memcpy(bytes + sizeof(jump), &to, 8);
	return sizeof(jump) + 8;
}
