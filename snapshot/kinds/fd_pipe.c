/* SPDX-License-Identifier: MIT */
/* fd_pipe.c - pipe(7): one end of it, and of the end that reads what is queued. The other end may have been closed */
#include "snapshot/kinds/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "engine/base/fd.h"

#define DEFAULT_ROOM 65536 /* bytes; pipe(7), since 2.6.11; with 4 KiB pages */

static bool is(const struct fd_source *s)
{
	return s->dup_of < 0 && S_ISFIFO(s->st.st_mode);
}

/* bytes waiting in a pipe, left where they are: tee(2) into another */
static int peek(const struct fd_source *s, struct model_description *d)
{
	_cleanup_close_ int out = -EBADF, in = -EBADF;
	int waiting = 0, ends[2];
	ssize_t n;

	if (ioctl(s->fd, FIONREAD, &waiting) < 0 || waiting == 0)
		return 0;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	out = ends[0];
	in = ends[1];
	fcntl(in, F_SETPIPE_SZ, fcntl(s->fd, F_GETPIPE_SZ));
	n = tee(s->fd, in, (size_t)waiting, SPLICE_F_NONBLOCK);
	if (n != waiting)
		return fd_refuse(s, "a pipe whose contents cannot be read");
	d->data = malloc((size_t)n);
	if (!d->data)
		return -ENOMEM;
	d->data_len = (size_t)n;
	return read_full(out, d->data, d->data_len);
}

static int dump(const struct fd_source *s, struct model_description *d)
{
	int room = fcntl(s->fd, F_GETPIPE_SZ);

	if (!fd_link_is(s, "pipe:"))
		return fd_refuse(s, "a FIFO");
	d->pipe.inode = s->st.st_ino;
	d->pipe.room = room == DEFAULT_ROOM || room < 0 ? 0 : (uint32_t)room;
	return (d->flags & O_ACCMODE) == O_RDONLY ? peek(s, d) : 0;
}

static bool are_ends(const struct model_description *a, const struct model_description *b)
{
	return a != b && b->kind == MODEL_FD_PIPE && b->peer < 0 && a->pipe.inode == b->pipe.inode &&
	       ((a->flags ^ b->flags) & O_ACCMODE);
}

static int link_ends(struct model *m, const char **ret_refusal)
{
	(void)ret_refusal;
	for (size_t i = 0; i < m->ndescriptions; i++) {
		struct model_description *d = &m->descriptions[i];

		for (size_t j = 0; d->kind == MODEL_FD_PIPE && d->peer < 0 && j < m->ndescriptions; j++) {
			if (!are_ends(d, &m->descriptions[j]))
				continue;
			d->peer = (int)j;
			m->descriptions[j].peer = (int)i;
		}
	}
	return 0;
}

static void plan(const struct model_description *d, struct stub_description *ret, struct fd_bytes *ret_data)
{
	(void)ret_data;
	ret->b = d->pipe.room;
}

const struct fd_kind fd_kind_PIPE = { is, dump, link_ends, plan };
