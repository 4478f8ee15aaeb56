/* SPDX-License-Identifier: MIT */
/*
 * fd_socket.c - sockets that were made, and perhaps given options, but neither bound nor connected: the call that comes next
 * is one that no build makes, so templates stand right in front of it.
 *
 * Such a socket is its domain, type and protocol, and the options in which it is different from a new one. Memberships in multicast
 * groups cannot be asked for; a socket that has joined one without being bound loses it.
 */
#include "snapshot/kinds/fd.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "engine/base/fd.h"
#include "snapshot/kinds/socket.h"
#include "snapshot/kinds/unix_diag.h"

/* the stub gets the options as the model has them */
_Static_assert(sizeof(struct model_option) == sizeof(struct stub_option) &&
		       offsetof(struct model_option, level) == offsetof(struct stub_option, level) &&
		       offsetof(struct model_option, name) == offsetof(struct stub_option, name) &&
		       offsetof(struct model_option, len) == offsetof(struct stub_option, len) &&
		       offsetof(struct model_option, value) == offsetof(struct stub_option, value),
	       "struct stub_option is struct model_option");

/* is its own name none at all, and has nobody ever been at its other end? */
static bool is_unnamed(int fd, int domain, uint64_t inode)
{
	struct sockaddr_storage name = { 0 };
	socklen_t len = sizeof(name);
	struct unix_diag diag;

	if (getsockname(fd, (struct sockaddr *)&name, &len) < 0)
		return false;
	switch (domain) {
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

static bool is(const struct fd_source *s)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer);

	if (s->dup_of >= 0 || !S_ISSOCK(s->st.st_mode) || socket_int(s->fd, SO_ACCEPTCONN) != 0 ||
	    socket_int(s->fd, SO_TYPE) < 0 || socket_int(s->fd, SO_PROTOCOL) < 0 || socket_has_filter(s->fd))
		return false;
	if (getpeername(s->fd, (struct sockaddr *)&peer, &len) == 0 || errno != ENOTCONN)
		return false;
	return is_unnamed(s->fd, socket_int(s->fd, SO_DOMAIN), s->st.st_ino);
}

static int dump(const struct fd_source *s, struct model_description *d)
{
	_cleanup_close_ int fresh = -EBADF;
	int r;

	d->socket.domain = (uint32_t)socket_int(s->fd, SO_DOMAIN);
	d->socket.type = (uint32_t)socket_int(s->fd, SO_TYPE);
	d->socket.protocol = (uint32_t)socket_int(s->fd, SO_PROTOCOL);
	fresh = socket((int)d->socket.domain, (int)d->socket.type | SOCK_CLOEXEC, (int)d->socket.protocol);
	r = fresh < 0 ? -errno : socket_options(s->fd, fresh, &d->socket.options, &d->socket.noptions);
	return r == -EOPNOTSUPP ? fd_refuse(s, "a socket") : r;
}

static void plan(const struct model_description *d, struct stub_description *ret, struct fd_bytes *ret_data)
{
	ret->a = d->socket.domain;
	ret->b = d->socket.type;
	ret->c = d->socket.protocol;
	*ret_data = (struct fd_bytes){ d->socket.options, d->socket.noptions * sizeof(*d->socket.options) };
}

const struct fd_kind fd_kind_SOCKET = { .is = is, .dump = dump, .plan = plan };
