/* SPDX-License-Identifier: MIT */
#include "snapshot/kinds/unix_diag.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/fd.h"

/* attributes behind the message, @len bytes of them. Return: 0, or -ENODATA: the kernel left out what it always has */
static int take_attributes(struct rtattr *a, int len, struct unix_diag *ret)
{
	bool shutdown = false;
	unsigned char bits;

	for (; RTA_OK(a, len); a = RTA_NEXT(a, len)) {
		if (a->rta_type == UNIX_DIAG_PEER && RTA_PAYLOAD(a) >= sizeof(ret->peer)) {
			memcpy(&ret->peer, RTA_DATA(a), sizeof(ret->peer));
			ret->connected = true;
		} else if (a->rta_type == UNIX_DIAG_SHUTDOWN && RTA_PAYLOAD(a) >= sizeof(bits)) {
			memcpy(&bits, RTA_DATA(a), sizeof(bits));
			ret->shutdown = bits;
			shutdown = true;
		}
	}
	/* since Linux 3.8 it is always there */
	return shutdown ? 0 : -ENODATA;
}

static int take_answer(struct nlmsghdr *h, size_t len, uint32_t inode, struct unix_diag *ret)
{
	const struct unix_diag_msg *m = NLMSG_DATA(h);
	int rest;

	if (!NLMSG_OK(h, len))
		return -EBADMSG;
	if (h->nlmsg_type == NLMSG_ERROR) {
		const struct nlmsgerr *e = NLMSG_DATA(h);

		return h->nlmsg_len < NLMSG_LENGTH(sizeof(*e)) || !e->error ? -EBADMSG : e->error;
	}
	if (h->nlmsg_type != SOCK_DIAG_BY_FAMILY || h->nlmsg_len < NLMSG_LENGTH(sizeof(*m)) ||
	    m->udiag_ino != inode)
		return -EBADMSG;
	rest = (int)(h->nlmsg_len - NLMSG_LENGTH(sizeof(*m)));
	return take_attributes((struct rtattr *)((char *)m + NLMSG_ALIGN(sizeof(*m))), rest, ret);
}

int unix_diag(uint64_t inode, struct unix_diag *ret)
{
	struct {
		struct nlmsghdr head;
		struct unix_diag_req req;
	} question = {
		.head = { .nlmsg_len = sizeof(question),
			  .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			  .nlmsg_flags = NLM_F_REQUEST },
		.req = { .sdiag_family = AF_UNIX,
			 .udiag_states = ~0u,
			 .udiag_ino = (uint32_t)inode,
			 .udiag_show = UDIAG_SHOW_PEER,
			 .udiag_cookie = { ~0u, ~0u } }, /* INET_DIAG_NOCOOKIE */
	};
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	union {
		struct nlmsghdr head;
		char bytes[4096];
	} answer;
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	struct unix_diag found = { 0 };
	ssize_t n;
	int r;

	/* the kernel's own numbers have 32 bits: get_next_ino() */
	if (inode == 0 || inode > UINT32_MAX)
		return -ENOENT;
	if (fd < 0)
		return -errno;
	if (sendto(fd, &question, sizeof(question), 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		return -errno;
	/* answered within the call above */
	n = recv(fd, &answer, sizeof(answer), MSG_DONTWAIT | MSG_TRUNC);
	if (n < 0)
		return -errno;
	if ((size_t)n > sizeof(answer))
		return -EMSGSIZE;
	r = take_answer(&answer.head, (size_t)n, (uint32_t)inode, &found);
	if (r == 0)
		*ret = found;
	return r;
}
