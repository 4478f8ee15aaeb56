/* SPDX-License-Identifier: MIT */
/* leave.c - behind the readiness point, back to where the program was called away from: warmd/builder_boundary.c */
#include "engine/stub/stub.h"

typedef void restore_fn(uint64_t type, uint64_t value, uint64_t traceback);
typedef void release_fn(int gil_state);

/* Return: the frame that rt_sigreturn(2) is to take */
uint64_t stub_left(void)
{
	const struct stub_leave *l = &stub_data.leave;
	const uint64_t *exception = (const uint64_t *)l->exception;

	((restore_fn *)l->restore)(exception[0], exception[1], exception[2]);
	((release_fn *)l->release)((int)l->gil_state);
	return l->frame;
}
