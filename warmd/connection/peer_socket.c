/* SPDX-License-Identifier: MIT */
/*
 * peer_socket.c - who holds the other end of a unix socket, on kernels that have no SO_PEERPIDFD.
 *
 * SO_PEERCRED is the number that the process had when it connected. If that process is gone and others have
 * kept the connection, the number can be given to a process that never heard of it, and whose rights are not theirs.
 * A process that does hold the other end has either connected itself, or was handed the connection by one that had.
 */
#include "warmd/connection/peer.h"

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>

#include "engine/base/fd.h"
#include "engine/base/proc_path.h"

struct question {
	struct nlmsghdr head;
	struct unix_diag_req body;
};

static uint32_t peer_of(struct nlmsghdr *h, size_t len)
{
	struct unix_diag_msg *m = NLMSG_DATA(h);
	int left = (int)h->nlmsg_len - (int)NLMSG_LENGTH(sizeof(*m));

	if (!NLMSG_OK(h, len) || h->nlmsg_type != SOCK_DIAG_BY_FAMILY || left < 0)
		return 0;
	for (struct rtattr *a = (struct rtattr *)(m + 1); RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == UNIX_DIAG_PEER && RTA_PAYLOAD(a) >= sizeof(uint32_t))
			return *(const uint32_t *)RTA_DATA(a);
	return 0;
}

/* Return: the inode of the other end's socket; 0 if the kernel does not say */
static uint32_t peer_inode(int sock)
{
	_cleanup_close_ int nl = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	struct question q = {
		.head = { .nlmsg_len = sizeof(q),
			  .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			  .nlmsg_flags = NLM_F_REQUEST },
		.body = { .sdiag_family = AF_UNIX,
			  .udiag_states = ~0u,
			  .udiag_show = UDIAG_SHOW_PEER,
			  .udiag_cookie = { ~0u, ~0u } },
	};
	union {
		struct nlmsghdr head;
		char space[4096];
	} answer;
	struct stat st;
	ssize_t n;

	if (nl < 0 || fstat(sock, &st) < 0)
		return 0;
	q.body.udiag_ino = (uint32_t)st.st_ino;
	if (send(nl, &q, sizeof(q), 0) < 0)
		return 0;
	n = recv(nl, &answer, sizeof(answer), 0);
	return n > 0 ? peer_of(&answer.head, (size_t)n) : 0;
}

bool peer_holds(int sock, pid_t pid)
{
	uint32_t inode = peer_inode(sock);
	const struct dirent *e;
	bool found = false;
	DIR *dir;

	dir = inode ? opendir(proc_path(pid, "fd").text) : NULL;
	while (dir && !found && (e = readdir(dir))) {
		struct stat st;

		found = e->d_name[0] != '.' && fstatat(dirfd(dir), e->d_name, &st, 0) == 0 &&
			S_ISSOCK(st.st_mode) && (uint32_t)st.st_ino == inode;
	}
	if (dir)
		closedir(dir);
	return found;
}
