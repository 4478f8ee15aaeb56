/* SPDX-License-Identifier: MIT */
#include "engine/base/basket.h"

#include <errno.h>
#include <unistd.h>
#include <sys/socket.h>

int basket_fill(const int *fds, size_t n)
{
	struct iovec piece = { (char[]){ 'b' }, 1 };
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	r = packet_send(pair[0], &piece, 1, fds, n, MSG_DONTWAIT);
	/* what was sent stays in the other end's queue */
	close(pair[0]);
	if (r < 0) {
		close(pair[1]);
		return r;
	}
	return pair[1];
}

int basket_take(int basket, struct packet *ret)
{
	char byte;
	int r = packet_receive(basket, &byte, 1, ret, MSG_DONTWAIT);

	if (r < 0)
		return r;
	return ret->len == 1 ? 0 : -ECANCELED;
}

bool basket_take_back(int basket)
{
	struct packet packet;

	if (basket_take(basket, &packet) < 0)
		return false;
	packet_close_fds(&packet);
	return true;
}
