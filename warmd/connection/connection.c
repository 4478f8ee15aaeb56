/* SPDX-License-Identifier: MIT */
/* connection.c - packets for clients that do not read: they wait in their order, and warmd never does */
#include "warmd/connection/connection.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "engine/base/packet.h"

#define FDS_MAX 8 /* a pidfd, and a terminal's */

struct outgoing {
	struct outgoing *next;
	int fds[FDS_MAX]; /* owned */
	size_t nfds, len;
	char bytes[];
};

void connection_end(struct connection *c)
{
	c->dead = true;
	shutdown(c->fd, SHUT_RDWR);
}

static int send_one(const struct connection *c, const void *bytes, size_t len, const int *fds, size_t nfds)
{
	struct iovec piece = { (void *)bytes, len };

	return packet_send(c->fd, &piece, 1, fds, nfds, MSG_DONTWAIT);
}

static void outgoing_free(struct outgoing *o)
{
	while (o->nfds)
		fd_close(o->fds[--o->nfds]);
	free(o);
}

size_t outgoing_max_fds(void)
{
	struct rlimit files;

	return getrlimit(RLIMIT_NOFILE, &files) < 0 ? 0 : (size_t)files.rlim_cur / 2;
}

static bool is_full(const struct connection *c, size_t len, size_t nfds)
{
	return c->noutgoing >= OUTGOING_MAX_PACKETS || c->outgoing_fds + nfds > outgoing_max_fds() ||
	       c->outgoing_bytes + sizeof(struct outgoing) + len > OUTGOING_MAX_BYTES;
}

static int keep(struct connection *c, const void *bytes, size_t len, const int *fds, size_t nfds)
{
	struct outgoing *o;

	if (is_full(c, len, nfds)) {
		log_warning("process %u does not read what it is sent: %zu packets wait, its connection ends",
			    c->pid, c->noutgoing);
		c->all->overfull++;
		connection_drop_outgoing(c);
		connection_end(c);
		return -ENOBUFS;
	}
	o = nfds <= FDS_MAX ? malloc(sizeof(*o) + len) : NULL;
	if (!o)
		return -ENOMEM;
	o->next = NULL;
	o->len = len;
	memcpy(o->bytes, bytes, len);
	for (o->nfds = 0; o->nfds < nfds; o->nfds++) {
		o->fds[o->nfds] = fcntl(fds[o->nfds], F_DUPFD_CLOEXEC, 3);
		if (o->fds[o->nfds] < 0) {
			int r = -errno;

			outgoing_free(o);
			return r;
		}
	}
	*c->outgoing_end = o;
	c->outgoing_end = &o->next;
	c->noutgoing++;
	c->outgoing_bytes += sizeof(*o) + len;
	c->outgoing_fds += nfds;
	return 0;
}

static void drop_first(struct connection *c)
{
	struct outgoing *o = c->outgoing;

	c->outgoing = o->next;
	if (!c->outgoing)
		c->outgoing_end = &c->outgoing;
	c->noutgoing--;
	c->outgoing_bytes -= sizeof(*o) + o->len;
	c->outgoing_fds -= o->nfds;
	outgoing_free(o);
}

int connection_send(struct connection *c, const void *bytes, size_t len, const int *fds, size_t nfds)
{
	int r;

	if (c->dead)
		return -EPIPE;
	r = c->outgoing ? -EAGAIN : send_one(c, bytes, len, fds, nfds);
	if (r != -EAGAIN)
		return r;
	r = keep(c, bytes, len, fds, nfds);
	return r < 0 ? r : sd_event_source_set_io_events(c->source, EPOLLIN | EPOLLOUT);
}

int connection_flush(struct connection *c)
{
	while (c->outgoing) {
		int r = send_one(c, c->outgoing->bytes, c->outgoing->len, c->outgoing->fds,
				 c->outgoing->nfds);

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
