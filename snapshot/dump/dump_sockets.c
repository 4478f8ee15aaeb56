/* SPDX-License-Identifier: MIT */
#include "snapshot/dump/dump_sockets.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "engine/base/fd.h"
#include "snapshot/dump/unix_diag.h"

#define OPTION_MAX 64 /* bytes of the longest value */
#define CHUNK	   65536

static int refuse(const char **ret_refusal, const char *words)
{
	*ret_refusal = words;
	return -EOPNOTSUPP;
}

/*
 * socket(7), unix(7) and include/uapi/asm-generic/socket.h: all that can be set and read. Some are newer than the headers:
 * SO_PASSPIDFD 76, SO_RCVMARK 75, SO_TXREHASH 74, SO_RESERVE_MEM 73, SO_BUF_LOCK 72, SO_PREFER_BUSY_POLL 69, SO_PASSRIGHTS 83,
 * and 63 to 65 are SO_TIMESTAMP_NEW, SO_TIMESTAMPNS_NEW and SO_TIMESTAMPING_NEW
 */
static const int options[] = {
	SO_DEBUG,
	SO_REUSEADDR,
	SO_DONTROUTE,
	SO_BROADCAST,
	SO_SNDBUF,
	SO_RCVBUF,
	SO_KEEPALIVE,
	SO_OOBINLINE,
	SO_PRIORITY,
	SO_LINGER,
	SO_REUSEPORT,
	SO_PASSCRED,
	SO_RCVLOWAT,
	SO_RCVTIMEO,
	SO_SNDTIMEO,
	SO_TIMESTAMP,
	SO_PASSSEC,
	SO_MARK,
	SO_TIMESTAMPING,
	SO_RXQ_OVFL,
	SO_PEEK_OFF,
	SO_NOFCS,
	SO_SELECT_ERR_QUEUE,
	SO_BUSY_POLL,
	SO_MAX_PACING_RATE,
	SO_ZEROCOPY,
	SO_TXTIME,
	SO_TIMESTAMPNS,
	SO_BINDTOIFINDEX,
	69,
	72,
	73,
	74,
	75,
	76,
	83,
	63,
	64,
	65,
};

static socklen_t option(int fd, int name, char *value)
{
	socklen_t len = OPTION_MAX;

	memset(value, 0, OPTION_MAX);
	return getsockopt(fd, SOL_SOCKET, name, value, &len) < 0 ? 0 : len;
}

/* filters have no value that could be compared; SO_GET_FILTER with no room says how long one is: socket(7) */
const int *dump_socket_options(size_t *ret_count)
{
	*ret_count = ARRAY_SIZE(options);
	return options;
}

bool dump_socket_has_filter(int fd)
{
	socklen_t len = 0;

	return getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &len) == 0 && len > 0;
}

/* Return: 1: one is not as in a new pair; 0; a negative errno */
static int has_options(int fd)
{
	char value[OPTION_MAX], other[OPTION_MAX];
	int pair[2], found = 0;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(options) && !found; i++)
		found = option(fd, options[i], value) != option(pair[0], options[i], other) ||
			memcmp(value, other, OPTION_MAX) != 0;
	close(pair[0]);
	close(pair[1]);
	return found || dump_socket_has_filter(fd);
}

/* what waits to be read, left where it is. Return: 0, -ENOMEM, or -EOPNOTSUPP with *ret_refusal set */
static int peek(struct model_description *d, int fd, const char **ret_refusal)
{
	int peek_off = 0, waiting = 0;
	bool in_flight = false;
	char urgent;
	size_t cap = 0;
	ssize_t n;

	setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &peek_off, sizeof(peek_off));
	do {
		char *more = realloc(d->data, cap + CHUNK);
		struct iovec iov = { more + cap, CHUNK };
		struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

		if (!more)
			return -ENOMEM;
		d->data = more;
		n = recvmsg(fd, &msg, MSG_PEEK | MSG_DONTWAIT);
		if (n > 0)
			cap += (size_t)n;
		/* no room was given for what comes beside the bytes */
		in_flight |= msg.msg_flags & MSG_CTRUNC;
	} while (n > 0);
	d->data_len = cap;
	peek_off = -1;
	setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &peek_off, sizeof(peek_off));
	if (in_flight)
		return refuse(ret_refusal, "a unix socket with descriptors or credentials in flight");
	if (ioctl(fd, SIOCINQ, &waiting) < 0 || (size_t)waiting != cap)
		return refuse(ret_refusal, "a unix socket whose contents cannot be read");
	/* Linux 5.15; before, and where there is none, it fails */
	if (recv(fd, &urgent, 1, MSG_OOB | MSG_PEEK | MSG_DONTWAIT) > 0)
		return refuse(ret_refusal, "a unix socket with a byte out of band (MSG_OOB)");
	return 0;
}

/* Return: 0, or -EOPNOTSUPP: no end of a socketpair(2) that could be made again */
static int check_kind(int fd, const char **ret_refusal)
{
	int domain = 0, type = 0, listening = 0;
	struct sockaddr_storage name;
	socklen_t len = sizeof(domain), name_len = sizeof(name);

	getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len);
	len = sizeof(type);
	getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len);
	len = sizeof(listening);
	getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len);
	if (domain == AF_INET || domain == AF_INET6)
		return refuse(ret_refusal, "an internet socket");
	if (domain != AF_UNIX)
		return refuse(ret_refusal, "a socket");
	if (getsockname(fd, (struct sockaddr *)&name, &name_len) < 0 || name_len > sizeof(sa_family_t) ||
	    listening)
		return refuse(ret_refusal, "a unix socket with a name");
	if (type != SOCK_STREAM)
		return refuse(ret_refusal, "a unix socket that keeps message boundaries");
	return 0;
}

int dump_socket(struct model_description *d, int fd, uint64_t inode, const char **ret_refusal)
{
	struct unix_diag diag;
	int r = dump_socket_unused(d, fd, inode);

	if (r == 0)
		r = check_kind(fd, ret_refusal);
	else if (r == 1)
		return 0;
	if (r < 0)
		return r;
	r = has_options(fd);
	if (r < 0)
		return r;
	if (r > 0)
		return refuse(ret_refusal, "a unix socket with options (setsockopt)");
	r = unix_diag(inode, &diag);
	if (r == -ENOENT)
		return refuse(ret_refusal,
			      "a unix socket of another network namespace, or the kernel has no unix_diag");
	if (r < 0)
		return refuse(ret_refusal,
			      "a unix socket whose other end the kernel does not tell (sock_diag)");
	if (!diag.connected)
		return refuse(ret_refusal, "a unix socket that is not connected");
	if (!diag.peer)
		return refuse(ret_refusal, "a unix socket whose other end is closed");
	d->kind = MODEL_FD_SOCKETPAIR;
	d->pair.type = SOCK_STREAM;
	d->pair.shutdown = diag.shutdown;
	d->pair.inode = inode;
	d->pair.peer_inode = diag.peer;
	return peek(d, fd, ret_refusal);
}

int dump_socket_pairs(struct model *m, const char **ret_refusal)
{
	for (size_t i = 0; i < m->ndescriptions; i++) {
		struct model_description *d = &m->descriptions[i];

		for (size_t j = 0; d->kind == MODEL_FD_SOCKETPAIR && d->peer < 0 && j < m->ndescriptions;
		     j++) {
			struct model_description *e = &m->descriptions[j];

			if (j == i || e->kind != MODEL_FD_SOCKETPAIR || e->pair.inode != d->pair.peer_inode ||
			    e->pair.peer_inode != d->pair.inode)
				continue;
			d->peer = (int)j;
			e->peer = (int)i;
		}
		if (d->kind == MODEL_FD_SOCKETPAIR && d->peer < 0)
			return refuse(ret_refusal, "a unix socket connected to somebody outside");
	}
	return 0;
}
