/* SPDX-License-Identifier: MIT */
/* packet.h - packets with descriptors on unix sockets: sendmsg(2), unix(7) */
#ifndef WARM_ENGINE_BASE_PACKET_H
#define WARM_ENGINE_BASE_PACKET_H

#include <stddef.h>
#include <sys/uio.h>

#define PACKET_MAX_FDS 253 /* SCM_MAX_FD */

/**
 * packet_send() - one packet of @n pieces, with @nfds descriptors (they stay the caller's)
 * @flags: MSG_DONTWAIT or 0; SIGPIPE is never raised
 * Return: 0; -EPIPE, -ECONNRESET: nobody reads; -EAGAIN
 */
int packet_send(int sock, const struct iovec *pieces, size_t n, const int *fds, size_t nfds, int flags);

struct packet {
	size_t len; /* also set when it was cut (-EBADMSG) */
	int fds[PACKET_MAX_FDS]; /* close-on-exec; the caller's to close */
	size_t nfds;
};

/**
 * packet_receive() - one packet of at most @size bytes
 * @flags: MSG_DONTWAIT or 0
 * @ret: set on success; len 0: end of file
 * Return: 0; -EBADMSG: it, or its descriptors, did not fit, and nothing is left open; other negative errno
 */
int packet_receive(int sock, void *buf, size_t size, struct packet *ret, int flags);

/** packet_receive_once() - the same, but -EINTR is returned: for those that have a deadline */
int packet_receive_once(int sock, void *buf, size_t size, struct packet *ret, int flags);

void packet_close_fds(struct packet *p);

#endif
