/* SPDX-License-Identifier: MIT */
/*
 * fd_tty.c - what the program opened by a name that stands for something of its caller's: its terminal (/dev/tty, /dev/pts/3), or
 * what a standard descriptor is (/dev/stdout, /proc/self/fd/1). A clone opens its own caller's there.
 */
#include "snapshot/kinds/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static bool is_terminal(const struct fd_source *s)
{
	return S_ISCHR(s->st.st_mode) && (fd_link_is(s, "/dev/pts/") || strcmp(s->link, "/dev/tty") == 0 ||
					  strcmp(s->link, "/dev/ptmx") == 0);
}

static bool is(const struct fd_source *s)
{
	return s->dup_of < 0 && (s->same_as >= 0 || is_terminal(s));
}

/* of a file that is not appended to, the offset and what O_TRUNC did would be the stand-in's */
static int check_standard(const struct fd_source *s, const struct model_description *d)
{
	if (S_ISFIFO(s->st.st_mode) || d->flags & O_APPEND)
		return 0;
	return fd_refuse(
		s,
		"one of its standard descriptors, opened by name, which is a file (appending would be the same in each launch)");
}

static int dump(const struct fd_source *s, struct model_description *d)
{
	bool by_name = strcmp(s->link, "/dev/tty") == 0;
	int r = s->same_as >= 0 ? check_standard(s, d) : 0;

	if (r < 0)
		return r;
	if (s->same_as >= 0) {
		d->outside.of = s->same_as;
	} else {
		if (!s->terminal || (!by_name && s->st.st_rdev != s->terminal))
			return fd_refuse(s, "a terminal that it opened itself");
		d->outside.of = by_name ? MODEL_DEV_TTY : s->terminal_of;
		d->flags |= O_NOCTTY;
	}
	d->flags &= ~(uint32_t)(O_CREAT | O_EXCL | O_TRUNC);
	d->outside.path = strdup(s->link);
	return d->outside.path ? 0 : -ENOMEM;
}

static void plan(const struct model_description *d, struct stub_description *ret, struct fd_bytes *ret_data)
{
	(void)ret_data;
	ret->a = d->outside.of == MODEL_DEV_TTY ? UINT64_MAX : (uint64_t)d->outside.of;
}

const struct fd_kind fd_kind_TTY = { .is = is, .dump = dump, .plan = plan };
