/* SPDX-License-Identifier: MIT */
/* fd_signalfd.c - signalfd(2): the signals that wait for it are the process's and its threads' */
#include "snapshot/kinds/fd.h"

#include <string.h>

static bool is(const struct fd_source *s)
{
	return s->dup_of < 0 && strcmp(s->link, "anon_inode:[signalfd]") == 0;
}

static int dump(const struct fd_source *s, struct model_description *d)
{
	d->signalfd.mask = fd_info_number(s, "sigmask:\t", 16);
	return 0;
}

static void plan(const struct model_description *d, struct stub_description *ret, struct fd_bytes *ret_data)
{
	(void)ret_data;
	ret->a = d->signalfd.mask;
}

const struct fd_kind fd_kind_SIGNALFD = { .is = is, .dump = dump, .plan = plan };
