/* SPDX-License-Identifier: MIT */
/* fd_timerfd.c - timerfd_create(2): time that is left goes on in a clone */
#include "snapshot/kinds/fd.h"

#include <stdio.h>
#include <string.h>

static bool is(const struct fd_source *s)
{
	return s->dup_of < 0 && strcmp(s->link, "anon_inode:[timerfd]") == 0;
}

/* "it_value: (1, 500)": seconds and nanoseconds. Return: nanoseconds; 0 if it is not there */
static uint64_t info_time(const struct fd_source *s, const char *key)
{
	const char *p = strstr(s->fdinfo, key);
	uint64_t sec, nsec;

	if (!p || sscanf(p + strlen(key), " (%lu, %lu)", &sec, &nsec) != 2)
		return 0;
	return sec * 1000000000u + nsec;
}

static int dump(const struct fd_source *s, struct model_description *d)
{
	d->timerfd.clock = (uint32_t)fd_info_number(s, "clockid: ", 10);
	d->timerfd.value_ns = info_time(s, "it_value:");
	d->timerfd.interval_ns = info_time(s, "it_interval:");
	if (fd_info_number(s, "ticks: ", 10))
		return fd_refuse(s, "a timerfd that has expired");
	return 0;
}

static void plan(const struct model_description *d, struct stub_description *ret, struct fd_bytes *ret_data)
{
	(void)ret_data;
	ret->a = d->timerfd.clock;
	ret->b = d->timerfd.value_ns;
	ret->c = d->timerfd.interval_ns;
}

const struct fd_kind fd_kind_TIMERFD = { .is = is, .dump = dump, .plan = plan };
