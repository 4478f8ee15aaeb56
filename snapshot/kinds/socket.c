/* SPDX-License-Identifier: MIT */
#include "snapshot/kinds/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "engine/base/array.h"
#include "engine/base/fd.h"

/*
 * All that can be set and read: socket(7), unix(7), tcp(7), udp(7), ip(7), ipv6(7), include/uapi/asm-generic/socket.h. Some are
 * newer than the headers: SO_PASSPIDFD 76, SO_RCVMARK 75, SO_TXREHASH 74, SO_RESERVE_MEM 73, SO_BUF_LOCK 72,
 * SO_PREFER_BUSY_POLL 69, SO_PASSRIGHTS 83, and 63 to 65 are SO_TIMESTAMP_NEW, SO_TIMESTAMPNS_NEW and SO_TIMESTAMPING_NEW
 */
static const struct {
	int level, name;
} options[] = {
	{ SOL_SOCKET, SO_DEBUG },
	{ SOL_SOCKET, SO_REUSEADDR },
	{ SOL_SOCKET, SO_DONTROUTE },
	{ SOL_SOCKET, SO_BROADCAST },
	{ SOL_SOCKET, SO_SNDBUF },
	{ SOL_SOCKET, SO_RCVBUF },
	{ SOL_SOCKET, SO_KEEPALIVE },
	{ SOL_SOCKET, SO_OOBINLINE },
	{ SOL_SOCKET, SO_PRIORITY },
	{ SOL_SOCKET, SO_LINGER },
	{ SOL_SOCKET, SO_REUSEPORT },
	{ SOL_SOCKET, SO_PASSCRED },
	{ SOL_SOCKET, SO_RCVLOWAT },
	{ SOL_SOCKET, SO_RCVTIMEO },
	{ SOL_SOCKET, SO_SNDTIMEO },
	{ SOL_SOCKET, SO_TIMESTAMP },
	{ SOL_SOCKET, SO_PASSSEC },
	{ SOL_SOCKET, SO_MARK },
	{ SOL_SOCKET, SO_TIMESTAMPING },
	{ SOL_SOCKET, SO_RXQ_OVFL },
	{ SOL_SOCKET, SO_PEEK_OFF },
	{ SOL_SOCKET, SO_NOFCS },
	{ SOL_SOCKET, SO_SELECT_ERR_QUEUE },
	{ SOL_SOCKET, SO_BUSY_POLL },
	{ SOL_SOCKET, SO_MAX_PACING_RATE },
	{ SOL_SOCKET, SO_ZEROCOPY },
	{ SOL_SOCKET, SO_TXTIME },
	{ SOL_SOCKET, SO_TIMESTAMPNS },
	{ SOL_SOCKET, SO_BINDTOIFINDEX },
	{ SOL_SOCKET, 69 },
	{ SOL_SOCKET, 72 },
	{ SOL_SOCKET, 73 },
	{ SOL_SOCKET, 74 },
	{ SOL_SOCKET, 75 },
	{ SOL_SOCKET, 76 },
	{ SOL_SOCKET, 83 },
	{ SOL_SOCKET, 63 },
	{ SOL_SOCKET, 64 },
	{ SOL_SOCKET, 65 },
	{ IPPROTO_TCP, TCP_NODELAY },
	{ IPPROTO_TCP, TCP_CORK },
	{ IPPROTO_TCP, TCP_KEEPIDLE },
	{ IPPROTO_TCP, TCP_KEEPINTVL },
	{ IPPROTO_TCP, TCP_KEEPCNT },
	{ IPPROTO_TCP, TCP_SYNCNT },
	{ IPPROTO_TCP, TCP_LINGER2 },
	{ IPPROTO_TCP, TCP_DEFER_ACCEPT },
	{ IPPROTO_TCP, TCP_WINDOW_CLAMP },
	{ IPPROTO_TCP, TCP_USER_TIMEOUT },
	{ IPPROTO_TCP, TCP_CONGESTION },
	{ IPPROTO_TCP, TCP_FASTOPEN },
	{ IPPROTO_TCP, TCP_FASTOPEN_CONNECT },
	{ IPPROTO_TCP, TCP_NOTSENT_LOWAT },
	{ IPPROTO_UDP, 1 /* UDP_CORK */ },
	{ IPPROTO_UDP, 103 /* UDP_SEGMENT */ },
	{ IPPROTO_UDP, 104 /* UDP_GRO */ },
	{ IPPROTO_IP, IP_TOS },
	{ IPPROTO_IP, IP_TTL },
	{ IPPROTO_IP, IP_MULTICAST_TTL },
	{ IPPROTO_IP, IP_MULTICAST_LOOP },
	{ IPPROTO_IP, IP_PKTINFO },
	{ IPPROTO_IP, IP_RECVERR },
	{ IPPROTO_IP, IP_RECVTTL },
	{ IPPROTO_IP, IP_RECVTOS },
	{ IPPROTO_IP, IP_MTU_DISCOVER },
	{ IPPROTO_IP, IP_FREEBIND },
	{ IPPROTO_IP, IP_TRANSPARENT },
	{ IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT },
	{ IPPROTO_IPV6, IPV6_V6ONLY },
	{ IPPROTO_IPV6, IPV6_UNICAST_HOPS },
	{ IPPROTO_IPV6, IPV6_MULTICAST_HOPS },
	{ IPPROTO_IPV6, IPV6_MULTICAST_LOOP },
	{ IPPROTO_IPV6, IPV6_RECVPKTINFO },
	{ IPPROTO_IPV6, IPV6_RECVERR },
	{ IPPROTO_IPV6, IPV6_TCLASS },
	{ IPPROTO_IPV6, IPV6_MTU_DISCOVER },
	{ IPPROTO_IPV6, IPV6_RECVHOPLIMIT },
};

int socket_int(int fd, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &len) < 0 ? -errno : value;
}

/* Return: 1 with *ret filled: this option is another than in @fresh; 0: it is not; -EOPNOTSUPP: @fresh has no such option */
static int compare(int fd, int fresh, int level, int name, struct model_option *ret)
{
	struct model_option o = { .level = level, .name = name }, was = o;
	socklen_t len = sizeof(o.value), was_len = sizeof(was.value);
	bool has = getsockopt(fd, level, name, o.value, &len) == 0;
	int32_t half;

	if (getsockopt(fresh, level, name, was.value, &was_len) < 0)
		return has ? -EOPNOTSUPP : 0;
	if (!has || (len == was_len && memcmp(o.value, was.value, len) == 0))
		return 0;
	/* the kernel says twice what was asked for: socket(7) */
	if (level == SOL_SOCKET && (name == SO_SNDBUF || name == SO_RCVBUF)) {
		memcpy(&half, o.value, sizeof(half));
		half /= 2;
		memcpy(o.value, &half, sizeof(half));
	}
	o.len = len;
	*ret = o;
	return 1;
}

int socket_options(int fd, int fresh, struct model_option **ret, size_t *ret_n)
{
	bool local = socket_int(fd, SO_DOMAIN) == AF_UNIX;
	_cleanup_free_ struct model_option *list = NULL;
	struct model_option o, *more;
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		int r = local && options[i].level != SOL_SOCKET
				? 0
				: compare(fd, fresh, options[i].level, options[i].name, &o);

		if (r < 0)
			return r;
		if (r == 0)
			continue;
		more = array_append(&list, &n, sizeof(*list));
		if (!more)
			return -ENOMEM;
		*more = o;
	}
	*ret = TAKE_PTR(list);
	*ret_n = n;
	return 0;
}

/* SO_GET_FILTER with no room says how long one is: socket(7) */
bool socket_has_filter(int fd)
{
	socklen_t len = 0;

	return getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &len) == 0 && len > 0;
}

bool socket_carries(int level, int name)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (options[i].level == level && options[i].name == name)
			return true;
	return false;
}
