/* SPDX-License-Identifier: MIT */
/*
 * dump_socket_unused.c - sockets that were made, and perhaps given options, but neither bound nor connected: the call that comes next
 * is one that no build makes, so templates stand right in front of it.
 *
 * Such a socket is its domain, type and protocol, and the options in which it is different from a new one. Memberships in multicast
 * groups cannot be asked for; a socket that has joined one without being bound loses it.
 */
#include "snapshot/dump/dump_sockets.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>

#include "engine/base/array.h"
#include "engine/base/fd.h"
#include "snapshot/dump/unix_diag.h"

struct kind {
	int domain, type, protocol;
};

/* those of SOL_SOCKET are shared with pairs: dump_sockets.c. Levels: socket(7), tcp(7), udp(7), ip(7), ipv6(7) */
static const struct {
	int level, name;
} options[] = {
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

static int get_int(int fd, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &len) < 0 ? -errno : value;
}

/* is its own name none at all, and is nobody at its other end? */
static bool is_unused(int fd, const struct kind *k, uint64_t inode)
{
	struct sockaddr_storage name = { 0 }, peer;
	socklen_t len = sizeof(name), peer_len = sizeof(peer);
	struct unix_diag diag;

	if (getsockname(fd, (struct sockaddr *)&name, &len) < 0 || get_int(fd, SO_ACCEPTCONN) != 0 ||
	    getpeername(fd, (struct sockaddr *)&peer, &peer_len) == 0 || errno != ENOTCONN)
		return false;
	switch (k->domain) {
	case AF_UNIX:
		/* of a pair whose other end is closed there is a peer no more, but it was connected */
		return len <= sizeof(sa_family_t) && unix_diag(inode, &diag) == 0 && !diag.connected;
	case AF_INET:
		return ((struct sockaddr_in *)&name)->sin_port == 0;
	case AF_INET6:
		return ((struct sockaddr_in6 *)&name)->sin6_port == 0;
	default:
		return false;
	}
}

static int add_option(struct model_description *d, int fd, int fresh, int level, int name)
{
	struct model_option o = { .level = level, .name = name }, was = o, *added;
	socklen_t len = sizeof(o.value), was_len = sizeof(was.value);
	bool has = getsockopt(fd, level, name, o.value, &len) == 0;

	if (getsockopt(fresh, level, name, was.value, &was_len) < 0)
		return has ? -EOPNOTSUPP : 0;
	if (!has || (len == was_len && memcmp(o.value, was.value, len) == 0))
		return 0;
	/* the kernel says twice what was asked for: socket(7) */
	if (level == SOL_SOCKET && (name == SO_SNDBUF || name == SO_RCVBUF)) {
		int32_t half;

		memcpy(&half, o.value, sizeof(half));
		half /= 2;
		memcpy(o.value, &half, sizeof(half));
	}
	o.len = len;
	added = array_append(&d->socket.options, &d->socket.noptions, sizeof(*added));
	if (!added)
		return -ENOMEM;
	*added = o;
	return 0;
}

static int add_options(struct model_description *d, int fd, const struct kind *k)
{
	_cleanup_close_ int fresh = socket(k->domain, k->type | SOCK_CLOEXEC, k->protocol);
	size_t n;
	const int *common = dump_socket_options(&n);
	int r = fresh < 0 ? -errno : 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = add_option(d, fd, fresh, SOL_SOCKET, common[i]);
	for (size_t i = 0; i < ARRAY_SIZE(options) && r == 0 && k->domain != AF_UNIX; i++)
		r = add_option(d, fd, fresh, options[i].level, options[i].name);
	return r;
}

bool dump_socket_carries(int level, int name)
{
	size_t n;
	const int *common = dump_socket_options(&n);

	for (size_t i = 0; i < n && level == SOL_SOCKET; i++)
		if (common[i] == name)
			return true;
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (options[i].level == level && options[i].name == name)
			return true;
	return false;
}

int dump_socket_unused(struct model_description *d, int fd, uint64_t inode)
{
	const struct kind k = { get_int(fd, SO_DOMAIN), get_int(fd, SO_TYPE), get_int(fd, SO_PROTOCOL) };
	int r;

	if (k.domain < 0 || k.type < 0 || k.protocol < 0 || !is_unused(fd, &k, inode) ||
	    dump_socket_has_filter(fd))
		return 0;
	d->kind = MODEL_FD_SOCKET;
	d->socket.domain = (uint32_t)k.domain;
	d->socket.type = (uint32_t)k.type;
	d->socket.protocol = (uint32_t)k.protocol;
	r = add_options(d, fd, &k);
	return r < 0 ? r : 1;
}
