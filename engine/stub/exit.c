/* SPDX-License-Identifier: MIT */
/*
 * exit.c - a program's own way out, made short: docs/adaptor.md, "Exit".
 *
 * The hooks are written through /proc/self/mem, which the kernel lets write to
 * private read-only text (FOLL_FORCE) without two mprotect calls and the split
 * mappings that they leave; where it does not (proc_mem.force_override=never),
 * mprotect it is.
 */
#include "engine/stub/stub.h"

#include <linux/fcntl.h>
#include <linux/mman.h>
#include <sys/syscall.h>

static long write_text(int fd, uint64_t addr, const uint8_t *bytes, uint32_t len)
{
	uint64_t start = addr & ~(stub_data.page_size - 1);
	uint64_t size = ((addr + len + stub_data.page_size - 1) & ~(stub_data.page_size - 1)) - start;
	long r;

	if (fd >= 0 && SYSCALL4(SYS_pwrite64, fd, bytes, len, addr) == (long)len)
		return 0;
	r = SYSCALL3(SYS_mprotect, start, size, PROT_READ | PROT_WRITE | PROT_EXEC);
	if (r < 0)
		return r;
	memcpy((void *)addr, bytes, len);
	return SYSCALL3(SYS_mprotect, start, size, PROT_READ | PROT_EXEC);
}

long stub_hooks(struct stub_process *p, int exits, int back)
{
	const struct stub_hook *hooks = stub_at(p->hooks);
	struct stub_exit *e = &p->exit;
	long fd, r = 0;

	if (!p->nhooks)
		return 0;
	e->restored = (uint32_t)back;
	fd = SYSCALL4(SYS_openat, AT_FDCWD, "/proc/self/mem", O_RDWR | O_CLOEXEC, 0);
	for (uint32_t i = 0; i < p->nhooks && r == 0; i++) {
		const struct stub_hook *h = hooks + i;

		if (h->kind >= STUB_HOOK_MADVISE ? back : !exits)
			continue;
		if (h->kind >= STUB_HOOK_READLINK && p->exe_right)
			continue;
		r = write_text((int)fd, h->addr, back ? h->original : h->bytes, h->len);
	}
	if (fd >= 0)
		SYSCALL1(SYS_close, fd);
	return r;
}

static uint64_t hook_at(struct stub_process *p, unsigned int index)
{
	return ((const struct stub_hook *)stub_at(p->hooks))[index].addr;
}

typedef void *call_fn(uint64_t object, void *args);
typedef long value_fn(void *object);
typedef void exit_fn(int status);
typedef int fflush_fn(void *stream);

struct stub_decision stub_exit_decide(unsigned int index)
{
	struct stub_process *p = stub_self();
	struct stub_exit *e = &p->exit;
	struct stub_decision d = { .function = hook_at(p, index) };

	if (!e->done) {
		void *object = ((call_fn *)e->call)(e->arg, NULL);
		long value = object ? ((value_fn *)e->value)(object) : -1;

		e->done = value >= 1 && value <= 3 ? (uint32_t)value : 4;
		if (e->done == 3 || e->done == 4)
			stub_hooks(p, 1, 1);
	}
	d.value = e->done == 4 ? -1000 : e->done == 2 ? -1 : 0;
	return d;
}

void stub_exit_now(int status, long failed)
{
	struct stub_process *p = stub_self();
	((exit_fn *)p->exit.libc_exit)(failed ? 120 : status);
	__builtin_unreachable();
}

/*
 * exit(3). Handlers of C and destructors of a hundred libraries write to
 * as many pages as they like to free; when the program's adaptor has said that all is done
 * (DONE), what is left of value is stdio. Otherwise the original.
 */
uint64_t stub_exit_final(unsigned int index, int status)
{
	struct stub_process *p = stub_self();
	struct stub_exit *e = &p->exit;

	stub_learn(p);
	if (e->done == 1 || e->done == 2) {
		((fflush_fn *)e->libc_fflush)(NULL);
		for (;;)
			SYSCALL1(SYS_exit_group, status);
	}
	if (!e->restored)
		stub_hooks(p, 1, 1);
	return hook_at(p, index);
}
