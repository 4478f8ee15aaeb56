/* SPDX-License-Identifier: MIT */
/* fd_caller.c - dup(2) of a descriptor that the program has from its caller: in a clone it is one of that caller's */
#include "snapshot/kinds/fd.h"

static bool is(const struct fd_source *s)
{
	return s->dup_of >= 0;
}

static int dump(const struct fd_source *s, struct model_description *d)
{
	d->outside.of = s->dup_of;
	return 0;
}

static void plan(const struct model_description *d, struct stub_description *ret, struct fd_bytes *ret_data)
{
	(void)ret_data;
	ret->a = (uint64_t)d->outside.of;
}

const struct fd_kind fd_kind_CALLER = { .is = is, .dump = dump, .plan = plan };
