/* SPDX-License-Identifier: MIT */
/*
 * unix_diag.h - what the kernel says of a unix socket, by its inode number: sock_diag(7).
 *
 * getpeername(2) and /proc/net/unix do not say to which socket one of socketpair(2) is connected, and a netlink socket of
 * NETLINK_SOCK_DIAG does, in the network namespace that it was made in.
 */
#ifndef WARM_SNAPSHOT_KINDS_UNIX_DIAG_H
#define WARM_SNAPSHOT_KINDS_UNIX_DIAG_H

#include <stdbool.h>
#include <stdint.h>

struct unix_diag {
	bool connected;
	uint32_t peer; /* the inode number of the other end; 0: that is closed */
	unsigned int shutdown; /* bit 0: shut down for reading, bit 1: for writing */
};

/**
 * unix_diag() - look at a socket of this network namespace
 * Return: 0; -ENOENT: no such socket here, or the kernel has no unix_diag; another negative errno: it does not tell
 */
int unix_diag(uint64_t inode, struct unix_diag *ret);

#endif
