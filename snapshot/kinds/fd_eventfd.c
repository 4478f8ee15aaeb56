/* SPDX-License-Identifier: MIT */
/* fd_eventfd.c - eventfd(2) */
#include "snapshot/kinds/fd.h"

#include <string.h>
#include <unistd.h>
#include <sys/eventfd.h>

static bool is(const struct fd_source *s)
{
	return s->dup_of < 0 && strcmp(s->link, "anon_inode:[eventfd]") == 0;
}

/* does a read take one from the count? The kernel says so since 6.5 or so; before, try and undo it */
static bool is_semaphore(const struct fd_source *s, uint64_t count)
{
	uint64_t v = 2;

	if (strstr(s->fdinfo, "eventfd-semaphore:"))
		return fd_info_number(s, "eventfd-semaphore:", 10);
	if (write(s->fd, &v, 8) != 8 || read(s->fd, &v, 8) != 8)
		return false;
	if (v == 1)
		return read(s->fd, &v, 8) == 8;
	if (count && write(s->fd, &count, 8) != 8)
		return false;
	return false;
}

static int dump(const struct fd_source *s, struct model_description *d)
{
	d->eventfd.count = fd_info_number(s, "eventfd-count:", 16);
	if (d->eventfd.count > UINT32_MAX)
		return fd_refuse(s, "an eventfd with a count beyond 32 bits");
	d->eventfd.semaphore = is_semaphore(s, d->eventfd.count);
	return 0;
}

static void plan(const struct model_description *d, struct stub_description *ret, struct fd_bytes *ret_data)
{
	(void)ret_data;
	ret->a = d->eventfd.count;
	ret->b = d->eventfd.semaphore ? EFD_SEMAPHORE : 0;
}

const struct fd_kind fd_kind_EVENTFD = { .is = is, .dump = dump, .plan = plan };
