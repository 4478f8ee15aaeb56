/* SPDX-License-Identifier: MIT */
/* outgoing.c - packets for clients that do not read: they wait in their order, and warmd never does */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "engine/base/fd.h"
#include "engine/base/packet.h"
#include "warmd/server.h"

struct outgoing {
	struct outgoing *next;
	int fd; /* owned; -EBADF: none */
	size_t len;
	char bytes[];
};

static int send_one(const struct connection *c, const void *bytes, size_t len, int fd)
{
	struct iovec piece = { (void *)bytes, len };

	return packet_send(c->fd, &piece, 1, &fd, fd >= 0 ? 1 : 0, MSG_DONTWAIT);
}

static int keep(struct connection *c, const void *bytes, size_t len, int fd)
{
	struct outgoing *o = malloc(sizeof(*o) + len);

	if (!o)
		return -ENOMEM;
	o->next = NULL;
	o->len = len;
	memcpy(o->bytes, bytes, len);
	o->fd = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -EBADF;
	if (fd >= 0 && o->fd < 0) {
		free(o);
		return -errno;
	}
	*c->outgoing_end = o;
	c->outgoing_end = &o->next;
	return 0;
}

static void drop_first(struct connection *c)
{
	struct outgoing *o = c->outgoing;

	c->outgoing = o->next;
	if (!c->outgoing)
		c->outgoing_end = &c->outgoing;
	fd_close(o->fd);
	free(o);
}

int connection_send(struct connection *c, const void *bytes, size_t len, int fd)
{
	int r = c->outgoing ? -EAGAIN : send_one(c, bytes, len, fd);

	if (r != -EAGAIN)
		return r;
	r = keep(c, bytes, len, fd);
	return r < 0 ? r : sd_event_source_set_io_events(c->source, EPOLLIN | EPOLLOUT);
}

int connection_flush(struct connection *c)
{
	while (c->outgoing) {
		int r = send_one(c, c->outgoing->bytes, c->outgoing->len, c->outgoing->fd);

		if (r == -EAGAIN)
			return 0;
		if (r < 0)
			return r;
		drop_first(c);
	}
	return sd_event_source_set_io_events(c->source, EPOLLIN);
}

void connection_drop_outgoing(struct connection *c)
{
	while (c->outgoing)
		drop_first(c);
}
