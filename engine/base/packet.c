/* SPDX-License-Identifier: MIT */
#include "engine/base/packet.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>

union control {
	char space[CMSG_SPACE(sizeof(int) * PACKET_MAX_FDS)];
	struct cmsghdr align;
};

int packet_send(int sock, const struct iovec *pieces, size_t n, const int *fds, size_t nfds, int flags)
{
	union control control;
	struct msghdr msg = { .msg_iov = (struct iovec *)pieces, .msg_iovlen = n };

	if (nfds > PACKET_MAX_FDS)
		return -E2BIG;
	if (nfds) {
		struct cmsghdr *c;

		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * nfds);
	}
	while (sendmsg(sock, &msg, MSG_NOSIGNAL | flags) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

int packet_receive_once(int sock, void *buf, size_t size, struct packet *ret, int flags)
{
	union control control;
	struct iovec piece = { buf, size };
	struct msghdr msg = {
		.msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	ssize_t n;

	ret->nfds = 0;
	n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC | flags);
	if (n < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		size_t more = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
		    more > PACKET_MAX_FDS - ret->nfds)
			continue;
		memcpy(ret->fds + ret->nfds, CMSG_DATA(c), more * sizeof(int));
		ret->nfds += more;
	}
	ret->len = (size_t)n;
	if (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		packet_close_fds(ret);
		return -EBADMSG;
	}
	return 0;
}

int packet_receive(int sock, void *buf, size_t size, struct packet *ret, int flags)
{
	int r;

	do
		r = packet_receive_once(sock, buf, size, ret, flags);
	while (r == -EINTR);
	return r;
}

void packet_close_fds(struct packet *p)
{
	while (p->nfds)
		close(p->fds[--p->nfds]);
}
