/* SPDX-License-Identifier: MIT */
#include "warmd/serve.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "warmd/build_queue.h"
#include "warmd/connection/peer.h"
#include "warmd/control.h"
#include "warmd/guest.h"
#include "warmd/kept.h"
#include "warmd/launch.h"
#include "warmd/pool/attach.h"
#include "warmd/pool/clone.h"
#include "warmd/pool/hot.h"
#include "warmd/pool/lease.h"
#include "warmd/pool/terminal.h"
#include "warmd/run.h"
#include "warmd/template/template_send.h"

#define ACCEPT_PAUSE_USEC 50000 /* without descriptors or memory for one more connection */

void connection_close(struct connection *c)
{
	struct server *s = c->server;

	build_forget_waiter(s, c);
	launch_forget(s, c);
	lease_forget(&s->pools, c);
	kept_forget(s, c);
	clone_hangup(&s->pools, c);
	terminal_leave(c);
	for (struct connection **p = &s->connections.list; *p; p = &(*p)->next) {
		if (*p == c) {
			*p = c->next;
			s->connections.n--;
			break;
		}
	}
	sd_event_source_disable_unref(c->source);
	fd_close(c->fd);
	connection_drop_outgoing(c);
	free(c);
}

static int send_packet(int fd, const void *packet, size_t len)
{
	struct iovec piece = { (void *)packet, len };

	return packet_send(fd, &piece, 1, NULL, 0, MSG_DONTWAIT);
}

void connection_reply(struct connection *c, uint32_t status, const struct template *t, bool descriptors,
		      uint32_t stdio_changed, const char *reason)
{
	struct wire_run_reply reply = {
		.header = { .magic = WIRE_MAGIC,
			    .version = WIRE_VERSION_NUMBER,
			    .type = WIRE_RUN_REPLY,
			    .size = sizeof(reply) },
		.status = status,
		.stdio_changed = stdio_changed,
	};
	int r;

	snprintf(reply.reason, sizeof(reply.reason), "%s", reason);
	if (t) {
		template_describe(t, &reply);
		reply.status = status;
		reply.stdio_changed = stdio_changed;
		snprintf(reply.reason, sizeof(reply.reason), "%s", reason);
		reply.generation = ++c->server->store->generation;
		reply.learn = descriptors ? hot_wanted(t) : 0;
	}
	r = t && descriptors ? template_send(c->fd, &reply, t) : send_packet(c->fd, &reply, sizeof(reply));
	if (r < 0)
		connection_close(c);
}

static int handle_request(struct connection *c, const void *packet, size_t len, struct packet *caller)
{
	uint64_t start_ns = clock_ns(CLOCK_MONOTONIC);
	struct error err = { 0 };
	struct request *req;
	int r = request_parse(packet, len, &req, &err);

	if (r < 0) {
		log_warning("process %u: %s", c->pid, err.text);
		return r;
	}
	if ((req->run.header.type == WIRE_LAUNCH || (req->run.flags & WIRE_RUN_POOL)) &&
	    !(req->run.flags & WIRE_RUN_BUILD) && !launch_request_is_whole(req, caller)) {
		log_warning("process %u: %zu descriptors came, others were announced", c->pid, caller->nfds);
		request_free(req);
		return -EBADMSG;
	}
	if (req->run.header.type == WIRE_LAUNCH)
		launch_handle(c, req, caller, start_ns);
	else if (run_answer(c, req, caller, start_ns, true))
		request_free(req);
	return 0;
}

/* Return: 0, or negative: end the connection. The connection may be gone after a reply that failed. */
static int handle_packet(struct connection *c, const void *packet, size_t len, struct packet *caller)
{
	struct wire_header h;

	if (len < sizeof(h))
		return -EBADMSG;
	memcpy(&h, packet, sizeof(h));
	if (h.magic != WIRE_MAGIC || h.size != len)
		return -EBADMSG;
	if (h.version != WIRE_VERSION_NUMBER) {
		h = (struct wire_header){ .magic = WIRE_MAGIC,
					  .version = WIRE_VERSION_NUMBER,
					  .type = WIRE_VERSION,
					  .size = sizeof(h) };
		send_packet(c->fd, &h, sizeof(h));
		return -EPROTONOSUPPORT;
	}
	/* commands are answered: they show who has all the connections */
	if (c->guest && h.type != WIRE_CONTROL)
		return guest_answer(c, packet, len);
	switch (h.type) {
	case WIRE_RUN:
	case WIRE_LAUNCH:
		return handle_request(c, packet, len, caller);
	case WIRE_TAKEN:
		return lease_taken(&c->server->pools, c, packet, len);
	case WIRE_LOOK:
		/* who is refused is told so in the answer to what comes next */
		peer_check(c, NULL);
		return len == sizeof(h) ? 0 : -EBADMSG;
	case WIRE_LEARN:
		return hot_take(c->server->store, packet, len);
	case WIRE_ATTACH:
		return attach_request(&c->server->pools, c, packet, len, caller);
	case WIRE_DETACH:
		return detach_request(&c->server->pools, c, packet, len);
	case WIRE_CONTROL:
		return control_handle(c, (const uint8_t *)packet + sizeof(h), len - sizeof(h));
	default:
		return -EBADMSG;
	}
}

static bool alive(const struct server *s, const struct connection *c)
{
	for (const struct connection *o = s->connections.list; o; o = o->next)
		if (o == c)
			return true;
	return false;
}

/* launches bring their caller's descriptors, somebody who attaches the terminal; nothing else brings any */
static bool may_bring_descriptors(const void *packet, size_t len)
{
	const struct wire_run *run = packet;

	if (len >= sizeof(run->header) && run->header.type == WIRE_ATTACH)
		return true;
	return len >= sizeof(*run) && (run->header.type == WIRE_LAUNCH ||
				       (run->header.type == WIRE_RUN && (run->flags & WIRE_RUN_POOL)));
}

static int on_readable(sd_event_source *source, int fd, uint32_t events, void *data)
{
	static uint64_t buf[WIRE_MAX_SIZE / 8];
	struct connection *c = data;
	struct server *s = c->server;
	struct packet packet;
	int r;

	(void)source;
	if ((events & EPOLLOUT) && connection_flush(c) < 0) {
		connection_close(c);
		return 0;
	}
	r = packet_receive(fd, buf, sizeof(buf), &packet, MSG_DONTWAIT);
	if (r == -EAGAIN)
		return 0;
	if ((r < 0 && r != -EBADMSG) || (r == 0 && packet.len == 0)) {
		if (r < 0)
			log_debug("connection of process %u: %s", c->pid, strerror(-r));
		if (r == 0)
			packet_close_fds(&packet);
		connection_close(c);
		return 0;
	}
	s->last_request_ns = clock_ns(CLOCK_MONOTONIC);
	if (r == 0 && packet.nfds && !may_bring_descriptors(buf, packet.len))
		r = -EBADMSG;
	if (r == 0)
		r = launch_take_descriptors(buf, &packet);
	if (r == 0)
		r = handle_packet(c, buf, packet.len, &packet);
	packet_close_fds(&packet);
	if (r == -ECANCELED) {
		log_debug("process %u has given up its launch", c->pid);
		return 0;
	}
	if (r == -EBADMSG) {
		s->bad_messages++;
		log_warning("a malformed message ends the connection");
	}
	if (r < 0 && alive(s, c))
		connection_close(c);
	return 0;
}

static int on_accept_again(sd_event_source *source, uint64_t usec, void *data)
{
	(void)source;
	(void)usec;
	return sd_event_source_set_enabled(data, SD_EVENT_ON);
}

/*
 * EMFILE, ENFILE, ENOBUFS and ENOMEM leave the connection in its queue (accept(2)), and the socket stays readable: asked
 * again at once, warmd would do nothing else. Clients wait meanwhile, or run without it.
 */
bool serve_pause_accepting(struct server *s, sd_event_source *listener, int code)
{
	if (code != EMFILE && code != ENFILE && code != ENOBUFS && code != ENOMEM)
		return false;
	s->accept_failures++;
	if (!s->accept_pauses)
		log_warning("no connection can be accepted: %s; %u are open", strerror(code),
			    s->connections.n);
	s->accept_pauses = true;
	if (sd_event_add_time_relative(s->event, NULL, CLOCK_MONOTONIC, ACCEPT_PAUSE_USEC, 0, on_accept_again,
				       listener) >= 0)
		sd_event_source_set_enabled(listener, SD_EVENT_OFF);
	return true;
}

int serve_on_connect(sd_event_source *source, int fd, uint32_t events, void *data)
{
	struct server *s = data;
	_cleanup_close_ int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred cred;
	socklen_t len = sizeof(cred);
	struct connection *c;

	(void)events;
	if (peer < 0) {
		if (!serve_pause_accepting(s, source, errno))
			log_debug("accept: %s", strerror(errno));
		return 0;
	}
	s->accept_pauses = false;
	/* the directory's mode keeps others out already; a descriptor that was passed on does not get in either */
	if (getsockopt(peer, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || cred.uid != geteuid()) {
		log_warning("a connection of uid %u was refused", cred.uid);
		return 0;
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		return 0;
	c->server = s;
	c->all = &s->connections;
	c->fd = TAKE_FD(peer);
	c->outgoing_end = &c->outgoing;
	c->pid = (uint32_t)cred.pid;
	if (sd_event_add_io(s->event, &c->source, c->fd, EPOLLIN, on_readable, c) < 0) {
		fd_close(c->fd);
		free(c);
		return 0;
	}
	guest_admit(c);
	c->next = s->connections.list;
	s->connections.list = c;
	s->connections.n++;
	s->accepted++;
	/* the request is usually there already: one turn of the loop saved */
	return on_readable(c->source, c->fd, EPOLLIN, c);
}
