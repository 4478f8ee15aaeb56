/* SPDX-License-Identifier: MIT */
/* leave.c - behind the readiness point, back to where the program was called away from: warmd/build/builder_boundary.c */
#include "engine/stub/stub.h"

#include <sys/syscall.h>

#include "arch.h"

typedef void restore_fn(uint64_t type, uint64_t value, uint64_t traceback);
typedef void release_fn(int gil_state);

/* Return: the frame that rt_sigreturn(2) is to take */
uint64_t stub_left(void)
{
	struct stub_process *p = stub_self();
	const struct stub_leave *l = &p->leave;
	const uint64_t *exception = (const uint64_t *)l->exception;
	struct stub_ucontext *frame = (struct stub_ucontext *)l->frame;
	uint64_t mask;

	((restore_fn *)l->restore)(exception[0], exception[1], exception[2]);
	((release_fn *)l->release)((int)l->gil_state);
	/* the mask that the launch gave; the C library's own two signals as they were: pthread_create(3) blocks them for a moment */
	if (SYSCALL4(SYS_rt_sigprocmask, 0, 0, &mask, sizeof(mask)) == 0)
		frame->sigmask = mask | (frame->sigmask & 3ull << 31);
	return l->frame;
}
