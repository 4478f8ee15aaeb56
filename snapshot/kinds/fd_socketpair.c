/* SPDX-License-Identifier: MIT */
/*
 * fd_socketpair.c - pairs of unix stream sockets, as socketpair(2) makes them, whose both ends are the tree's own. All other
 * sockets that are in use are refused, here, as this kind is asked last of those of sockets.
 */
#include "snapshot/kinds/fd.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "engine/base/fd.h"
#include "snapshot/kinds/socket.h"
#include "snapshot/kinds/unix_diag.h"

#define CHUNK 65536

static bool is(const struct fd_source *s)
{
	return s->dup_of < 0 && S_ISSOCK(s->st.st_mode);
}

/* Return: 0; -EOPNOTSUPP: no end of a socketpair(2) that could be made again */
static int check_type(const struct fd_source *s)
{
	int domain = socket_int(s->fd, SO_DOMAIN);
	struct sockaddr_storage name;
	socklen_t len = sizeof(name);

	if (domain == AF_INET || domain == AF_INET6)
		return fd_refuse(s, "an internet socket");
	if (domain != AF_UNIX)
		return fd_refuse(s, "a socket");
	if (getsockname(s->fd, (struct sockaddr *)&name, &len) < 0 || len > sizeof(sa_family_t) ||
	    socket_int(s->fd, SO_ACCEPTCONN) != 0)
		return fd_refuse(s, "a unix socket with a name");
	if (socket_int(s->fd, SO_TYPE) != SOCK_STREAM)
		return fd_refuse(s, "a unix socket that keeps message boundaries");
	return 0;
}

/* Return: 0: it is as in a new pair */
static int check_options(const struct fd_source *s)
{
	_cleanup_free_ struct model_option *options = NULL;
	size_t n = 0;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	r = socket_options(s->fd, pair[0], &options, &n);
	close(pair[0]);
	close(pair[1]);
	if (r == -ENOMEM)
		return r;
	if (r < 0 || n || socket_has_filter(s->fd))
		return fd_refuse(s, "a unix socket with options (setsockopt)");
	return 0;
}

/* who is at the other end, and which way it is shut down */
static int dump_peer(const struct fd_source *s, struct model_description *d)
{
	struct unix_diag diag;
	int r = unix_diag(s->st.st_ino, &diag);

	if (r == -ENOENT)
		return fd_refuse(
			s, "a unix socket of another network namespace, or the kernel has no unix_diag");
	if (r < 0)
		return fd_refuse(s, "a unix socket whose other end the kernel does not tell (sock_diag)");
	if (!diag.connected)
		return fd_refuse(s, "a unix socket that is not connected");
	if (!diag.peer)
		return fd_refuse(s, "a unix socket whose other end is closed");
	d->pair.type = SOCK_STREAM;
	d->pair.shutdown = diag.shutdown;
	d->pair.inode = s->st.st_ino;
	d->pair.peer_inode = diag.peer;
	return 0;
}

/* the bytes that wait, as far as MSG_PEEK shows them. Return: 0 or -ENOMEM */
static int peek_bytes(int fd, struct model_description *d, bool *ret_in_flight)
{
	int peek_off = 0;
	size_t len = 0;
	ssize_t n;

	setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &peek_off, sizeof(peek_off));
	do {
		char *more = realloc(d->data, len + CHUNK);
		struct iovec iov = { more + len, CHUNK };
		struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

		if (!more)
			return -ENOMEM;
		d->data = more;
		n = recvmsg(fd, &msg, MSG_PEEK | MSG_DONTWAIT);
		if (n > 0)
			len += (size_t)n;
		/* no room was given for what comes beside the bytes */
		*ret_in_flight |= msg.msg_flags & MSG_CTRUNC;
	} while (n > 0);
	d->data_len = len;
	peek_off = -1;
	setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &peek_off, sizeof(peek_off));
	return 0;
}

/* what waits to be read, left where it is */
static int peek(const struct fd_source *s, struct model_description *d)
{
	bool in_flight = false;
	int waiting = 0, r = peek_bytes(s->fd, d, &in_flight);
	char urgent;

	if (r < 0)
		return r;
	if (in_flight)
		return fd_refuse(s, "a unix socket with descriptors or credentials in flight");
	if (ioctl(s->fd, SIOCINQ, &waiting) < 0 || (size_t)waiting != d->data_len)
		return fd_refuse(s, "a unix socket whose contents cannot be read");
	/* Linux 5.15; before, and where there is none, it fails */
	if (recv(s->fd, &urgent, 1, MSG_OOB | MSG_PEEK | MSG_DONTWAIT) > 0)
		return fd_refuse(s, "a unix socket with a byte out of band (MSG_OOB)");
	return 0;
}

static int dump(const struct fd_source *s, struct model_description *d)
{
	int r = check_type(s);

	if (r == 0)
		r = check_options(s);
	if (r == 0)
		r = dump_peer(s, d);
	return r < 0 ? r : peek(s, d);
}

static bool are_ends(const struct model_description *a, const struct model_description *b)
{
	return a != b && b->kind == MODEL_FD_SOCKETPAIR && b->pair.inode == a->pair.peer_inode &&
	       b->pair.peer_inode == a->pair.inode;
}

static int link_ends(struct model *m, const char **ret_refusal)
{
	for (size_t i = 0; i < m->ndescriptions; i++) {
		struct model_description *d = &m->descriptions[i];

		for (size_t j = 0; d->kind == MODEL_FD_SOCKETPAIR && d->peer < 0 && j < m->ndescriptions; j++)
			if (are_ends(d, &m->descriptions[j])) {
				d->peer = (int)j;
				m->descriptions[j].peer = (int)i;
			}
		if (d->kind == MODEL_FD_SOCKETPAIR && d->peer < 0) {
			*ret_refusal = "a unix socket connected to somebody outside";
			return -EOPNOTSUPP;
		}
	}
	return 0;
}

static void plan(const struct model_description *d, struct stub_description *ret, struct fd_bytes *ret_data)
{
	(void)ret_data;
	ret->a = d->pair.type;
	ret->b = d->pair.shutdown;
}

const struct fd_kind fd_kind_SOCKETPAIR = { is, dump, link_ends, plan };
