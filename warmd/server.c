/* SPDX-License-Identifier: MIT */
/* server.c - connections, and the answer to a run message */
#include "warmd/server.h"

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
#include "warmd/backoff.h"
#include "warmd/pool/hot.h"
#include "warmd/kept.h"
#include "warmd/pool/lease.h"
#include "warmd/memory.h"
#include "warmd/oom_score.h"
#include "warmd/peer.h"
#include "warmd/pool/pool.h"
#include "warmd/rights.h"
#include "warmd/pool/terminal.h"

#define NAMED_WAIT_NS	  (10 * NS_PER_S) /* launches wait for it */
#define ACCEPT_PAUSE_USEC 50000 /* without descriptors or memory for one more connection */

void connection_close(struct connection *c)
{
	struct server *s = c->server;

	build_forget_waiter(s, c);
	launch_forget(s, c);
	lease_forget(s, c);
	kept_forget(s, c);
	clone_hangup(s, c);
	terminal_leave(c);
	for (struct connection **p = &s->connections; *p; p = &(*p)->next) {
		if (*p == c) {
			*p = c->next;
			s->nconnections--;
			break;
		}
	}
	sd_event_source_disable_unref(c->source);
	fd_close(c->fd);
	connection_drop_outgoing(c);
	free(c);
}

void connection_end(struct connection *c)
{
	c->dead = true;
	shutdown(c->fd, SHUT_RDWR);
}

static int send_packet(int fd, const void *packet, size_t len, const int *fds, size_t nfds)
{
	struct iovec piece = { (void *)packet, len };

	return packet_send(fd, &piece, 1, fds, nfds, MSG_DONTWAIT);
}

void template_describe(const struct template *t, struct wire_run_reply *reply)
{
	*reply = (struct wire_run_reply){
		.header = { .magic = WIRE_MAGIC,
			    .version = WIRE_VERSION_NUMBER,
			    .type = WIRE_RUN_REPLY,
			    .size = sizeof(*reply) },
		.stub_base = t->result->stub_base,
		.text_size = t->result->text_size,
		.data_size = t->result->data_size,
		.args_base = t->result->args_base,
		.context_max = t->result->context_max,
		.template_id = t->id,
		.learn_key = t->learn_key,
	};
}

int template_send(int fd, struct wire_run_reply *reply, const struct template *t)
{
	struct wire_header more = { .magic = WIRE_MAGIC,
				    .version = WIRE_VERSION_NUMBER,
				    .type = WIRE_RUN_REPLY,
				    .size = sizeof(more) };
	uint32_t at = t->nfds < WIRE_MAX_FDS ? t->nfds : WIRE_MAX_FDS;
	int r;

	reply->nfds = t->nfds;
	r = send_packet(fd, reply, sizeof(*reply), t->fds, at);
	while (r == 0 && at < t->nfds) {
		uint32_t n = t->nfds - at < WIRE_MAX_FDS ? t->nfds - at : WIRE_MAX_FDS;

		r = send_packet(fd, &more, sizeof(more), t->fds + at, n);
		at += n;
	}
	return r;
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
	r = t && descriptors ? template_send(c->fd, &reply, t)
			     : send_packet(c->fd, &reply, sizeof(reply), NULL, 0);
	if (r < 0)
		connection_close(c);
}

void server_note_launch(struct server *s, uint32_t pid, const struct request *req, uint32_t status,
			const char *reason, uint64_t start_ns)
{
	struct recent_launch *l = &s->recent[s->nrecent++ % RECENT_LAUNCHES];
	size_t n = 0;

	metrics_answer(s, req, status, clock_ns(CLOCK_MONOTONIC) - start_ns);
	memset(l, 0, sizeof(*l));
	l->pid = pid;
	l->status = status;
	l->when_ns = clock_ns(CLOCK_REALTIME);
	if (req->run.header.type == WIRE_LAUNCH)
		n = (size_t)snprintf(l->what, sizeof(l->what), "%s", req->name);
	for (uint32_t i = 0; i < req->run.argc && n < sizeof(l->what) - 1; i++)
		n += (size_t)snprintf(l->what + n, sizeof(l->what) - n, "%s%s", n ? " " : "", req->argv[i]);
	snprintf(l->reason, sizeof(l->reason), "%s", reason);
}

static bool wants_build(uint32_t status)
{
	return status == WIRE_COLD_NONE || status == WIRE_COLD_STALE || status == WIRE_COLD_MISMATCH;
}

/* Return: true: warmd launches it, and request and descriptors are taken over */
static bool launch_by_pool(struct connection *c, struct request *req, struct packet *caller,
			   struct template *t, uint64_t start_ns)
{
	struct server *s = c->server;
	struct pool *p = pool_get(s, t);
	char reason[256];
	struct launch *l;

	if (!p)
		return false;
	if (!pool_ready(p)) {
		/* become is sooner there than a skeleton */
		pool_keep(p, p->size);
		return false;
	}
	if (peer_launcher(c, NULL) < 0)
		return false;
	l = launch_new(c, req, caller, start_ns);
	if (!l)
		return true;
	l->oom_score_adj = c->oom_score_adj;
	memcpy(l->hard_limits, c->hard_limits, sizeof(l->hard_limits));
	if (order_refusal(s, t, l, reason, sizeof(reason))) {
		/* become has the caller's own */
		log_debug("run '%s' not by the pool: %s", req->argv[0], reason);
		l->request = NULL;
		launch_free(l);
		return false;
	}
	launch_on(s, t, l);
	return true;
}

/*
 * What a run without a template has built: with the options that the command was given. When it has a name, and no
 * template of that name is there, it is that one: it may serve the next run, and launches by its name wait for it.
 */
static void build_for_run(struct server *s, struct request *req)
{
	const struct request *promised = promise_of_command(s->store->promises, req);
	struct request *other = NULL;

	if (promised && promised->name[0] && !req->name[0] && !store_find(s->store, promised->name)) {
		if (build_pending_name(s, promised->name)) {
			request_free(req);
			return;
		}
		other = request_copy(promised);
		if (other)
			other->promised = true;
	} else if (promised) {
		other = request_with(req, promised->ready,
				     strcmp(promised->name, req->name) == 0 ? promised->run.pool : 0);
	}
	if (other) {
		request_free(req);
		req = other;
	}
	build_request(s, req, NULL);
}

/* nothing is looked at for one who is not as warmd is: not even whether there is a template */
static bool may_ask(struct connection *c, const struct request *req, uint64_t start_ns)
{
	struct error err = { 0 };

	if (peer_check(c, &err) == 0)
		return true;
	log_debug("run '%s' of process %u: cold: %s", req->argv[0], c->pid, err.text);
	if (!(req->run.flags & WIRE_RUN_EXPLAIN))
		server_note_launch(c->server, c->pid, req, WIRE_COLD_RIGHTS, err.text, start_ns);
	connection_reply(c, WIRE_COLD_RIGHTS, NULL, false, 0, err.text);
	return false;
}

/* Return: false when the request was taken over */
static bool answer_run(struct connection *c, struct request *req, struct packet *caller, uint64_t start_ns,
		       bool may_wait)
{
	struct server *s = c->server;
	uint32_t status = WIRE_COLD_DISABLED, flags = req->run.flags;
	char reason[256] = "the configuration disables it";
	struct template *t = NULL;
	uint64_t wait_ns;

	if (!may_ask(c, req, start_ns))
		return true;
	if (flags & WIRE_RUN_LOAD) {
		kept_load_folder(c, req);
		return false;
	}
	if (!config_disables(s->config, req->argv[0])) {
		/* what happened before this request is known after this */
		watch_drain(s->store->watch);
		store_match(s->store, req, &t, &status, reason, sizeof(reason));
		if (may_wait && wants_build(status) && !(flags & WIRE_RUN_REBUILD) &&
		    kept_hold(c, req, caller, start_ns))
			return false;
		if (wants_build(status) && build_pending(s, req)) {
			status = WIRE_COLD_BUILDING;
			snprintf(reason, sizeof(reason), "its template is being built");
		} else if (wants_build(status) && !(flags & WIRE_RUN_BUILD) &&
			   store_waits(s->store, req, &wait_ns, reason, sizeof(reason))) {
			status = WIRE_COLD_WAITS;
			if (!(flags & (WIRE_RUN_EXPLAIN | WIRE_RUN_NO_BUILD)))
				backoff_deferred(s->store->backoff);
		}
	}
	if (flags & WIRE_RUN_BUILD) {
		/* launches by the name have its arguments: one that serves the command need not be built with them */
		bool serves = status == WIRE_WARM && !(flags & WIRE_RUN_REBUILD) &&
			      (!req->name[0] || request_same_command(t->request, req));

		if (status == WIRE_COLD_DISABLED || serves) {
			if (t)
				promise_keep(&s->store->promises, req);
			if (t && req->run.pool) {
				struct pool *p = pool_get(s, t);

				if (p)
					pool_keep(p, req->run.pool);
			}
			connection_reply(c, status, t, false, 0, reason);
			return true;
		}
		if (t) {
			kept_drop_of(s->kept, t, "another is built in its place");
			store_remove(s->store, t);
		}
		build_request(s, req, c);
		return false;
	}
	if ((flags & WIRE_RUN_POOL) && status == WIRE_WARM && !(flags & WIRE_RUN_EXPLAIN) &&
	    launch_by_pool(c, req, caller, t, start_ns))
		return false;
	if (!(flags & WIRE_RUN_EXPLAIN)) {
		s->ways[WIRE_WAY_BECOME] += status == WIRE_WARM;
		/* who has a child connect says so itself; it is for lists alone */
		server_note_launch(s, !(flags & WIRE_RUN_POOL) && req->run.tag ? req->run.tag : c->pid, req,
				   status, reason, start_ns);
		s->recent[(s->nrecent - 1) % RECENT_LAUNCHES].template_id = t ? t->id : 0;
		log_debug("run '%s': %s (%s)", req->argv[0], status == WIRE_WARM ? "warm" : "cold", reason);
	}
	if (status == WIRE_WARM && !(flags & WIRE_RUN_EXPLAIN)) {
		t->launches++;
		t->last_used_ns = clock_ns(CLOCK_REALTIME);
	}
	connection_reply(c, status, t, status == WIRE_WARM && !(flags & WIRE_RUN_EXPLAIN),
			 t ? template_stdio_changes(t, req) : 0, reason);
	if (wants_build(status) && !(flags & (WIRE_RUN_NO_BUILD | WIRE_RUN_EXPLAIN))) {
		build_for_run(s, req);
		return false;
	}
	return true;
}

void server_run(struct connection *c, struct request *req, struct packet *caller, uint64_t start_ns,
		bool may_wait)
{
	if (answer_run(c, req, caller, start_ns, may_wait))
		request_free(req);
}

static int handle_run(struct connection *c, const void *packet, size_t len, struct packet *caller)
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
	    !(req->run.flags & WIRE_RUN_BUILD) && !launch_is_whole(req, caller)) {
		log_warning("process %u: %zu descriptors came, others were announced", c->pid, caller->nfds);
		request_free(req);
		return -EBADMSG;
	}
	if (req->run.header.type == WIRE_LAUNCH)
		launch_request(c, req, caller, start_ns);
	else
		server_run(c, req, caller, start_ns, true);
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
		send_packet(c->fd, &h, sizeof(h), NULL, 0);
		return -EPROTONOSUPPORT;
	}
	/* commands are answered: they show who has all the connections */
	if (c->guest && h.type != WIRE_CONTROL)
		return guest_answer(c, packet, len);
	switch (h.type) {
	case WIRE_RUN:
	case WIRE_LAUNCH:
		return handle_run(c, packet, len, caller);
	case WIRE_TAKEN:
		return lease_taken(c, packet, len);
	case WIRE_LOOK:
		/* who is refused is told so in the answer to what comes next */
		peer_check(c, NULL);
		return len == sizeof(h) ? 0 : -EBADMSG;
	case WIRE_LEARN:
		return hot_take(c->server->store, packet, len);
	case WIRE_ATTACH:
		return attach_request(c, packet, len, caller);
	case WIRE_DETACH:
		return detach_request(c, packet, len);
	case WIRE_CONTROL:
		return control_handle(c, (const uint8_t *)packet + sizeof(h), len - sizeof(h));
	default:
		return -EBADMSG;
	}
}

static bool alive(const struct server *s, const struct connection *c)
{
	for (const struct connection *o = s->connections; o; o = o->next)
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
bool server_pause_accepting(struct server *s, sd_event_source *listener, int code)
{
	if (code != EMFILE && code != ENFILE && code != ENOBUFS && code != ENOMEM)
		return false;
	s->accept_failures++;
	if (!s->accept_pauses)
		log_warning("no connection can be accepted: %s; %u are open", strerror(code),
			    s->nconnections);
	s->accept_pauses = true;
	if (sd_event_add_time_relative(s->event, NULL, CLOCK_MONOTONIC, ACCEPT_PAUSE_USEC, 0, on_accept_again,
				       listener) >= 0)
		sd_event_source_set_enabled(listener, SD_EVENT_OFF);
	return true;
}

static int on_connect(sd_event_source *source, int fd, uint32_t events, void *data)
{
	struct server *s = data;
	_cleanup_close_ int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred cred;
	socklen_t len = sizeof(cred);
	struct connection *c;

	(void)events;
	if (peer < 0) {
		if (!server_pause_accepting(s, source, errno))
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
	c->fd = TAKE_FD(peer);
	c->outgoing_end = &c->outgoing;
	c->pid = (uint32_t)cred.pid;
	if (sd_event_add_io(s->event, &c->source, c->fd, EPOLLIN, on_readable, c) < 0) {
		fd_close(c->fd);
		free(c);
		return 0;
	}
	guest_admit(c);
	c->next = s->connections;
	s->connections = c;
	s->nconnections++;
	s->accepted++;
	/* the request is usually there already: one turn of the loop saved */
	return on_readable(c->source, c->fd, EPOLLIN, c);
}

static int on_watch(sd_event_source *source, int fd, uint32_t events, void *data)
{
	struct server *s = data;

	(void)source;
	(void)fd;
	(void)events;
	watch_drain(s->store->watch);
	return 0;
}

static void tick_pools(struct server *s)
{
	bool pools = false;

	for (struct template *t = s->store->list; t; t = t->next)
		pools |= t->pool != NULL;
	s->short_of_memory = pools && memory_is_short(&memory_of_system, s->config->memory_reserve);
	for (struct template *t = s->store->list; t; t = t->next)
		if (t->pool)
			pool_tick(t->pool, s->short_of_memory);
	clone_reap_unknown(s);
}

/* a name may have been given to another command meanwhile, or taken away */
static bool still_named(const struct server *s, const struct template *t)
{
	const struct request *promised = promise_of_name(s->store->promises, t->request->name);

	return promised && request_same_command(promised, t->request);
}

/*
 * What launches name is wanted again. Built ahead of the next launch is what the last template's launches speak for, as
 * long as it pays: else a file that changes all the time would have builds run for nobody. The next launch has it built
 * (build_promised() of launch.c), and waits.
 */
static void on_gone(void *data, const struct template *t)
{
	struct server *s = data;
	/* one that was refused has no pool, but may have been built for one */
	bool pool = t->pool || (t->state == TEMPLATE_REFUSED && (t->request->run.flags & WIRE_RUN_POOL));
	bool wanted = t->request->name[0] ? still_named(s, t) : pool;
	bool awaited = launch_waits_for(s, t->label), waits;
	char words[256];
	uint64_t ns;
	struct request *again;

	kept_drop_of(s->kept, t, "its template is stale, or too old");
	if (t->state == TEMPLATE_READY && !t->launches && !awaited)
		wanted = false;
	again = wanted ? request_copy(t->request) : NULL;
	if (!again)
		return;
	again->promised = true;
	again->run.flags = pool ? WIRE_RUN_POOL : 0;
	again->run.pool = t->pool ? t->pool->size : t->request->run.pool;
	waits = store_waits(s->store, again, &ns, words, sizeof(words));
	/* what was refused is tried again at each edit, but not without end by something that changes all the time */
	if (waits && t->state == TEMPLATE_REFUSED) {
		build_request_later(s, again, ns < NAMED_WAIT_NS ? ns : NAMED_WAIT_NS);
	} else if (waits && !awaited) {
		backoff_deferred(s->store->backoff);
		request_free(again);
	} else {
		build_request(s, again, NULL);
	}
}

static int on_second(sd_event_source *source, uint64_t usec, void *data)
{
	struct server *s = data;
	uint64_t idle = s->config->idle_exit_ns;

	(void)usec;
	log_flush();
	store_expire(s->store, clock_ns(CLOCK_BOOTTIME));
	tick_pools(s);
	kept_tick(s->kept);
	if (idle && !s->nconnections && !s->builds && !s->nclones &&
	    clock_ns(CLOCK_MONOTONIC) - s->last_request_ns > idle) {
		log_info("idle for %llu s: stopping", (unsigned long long)(idle / 1000000000u));
		return sd_event_exit(s->event, 0);
	}
	sd_event_source_set_time_relative(source, 1000000);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int server_new(struct server **ret, sd_event *event, const struct config *config, int listen_fd,
	       struct error *err)
{
	struct server *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return error_set(err, ENOMEM, "no memory");
	s->event = event;
	s->config = config;
	s->listen_fd = listen_fd;
	s->started_ns = clock_ns(CLOCK_REALTIME);
	s->started_boot_ns = clock_ns(CLOCK_BOOTTIME);
	s->last_request_ns = clock_ns(CLOCK_MONOTONIC);
	r = store_new(&s->store, config, err);
	if (r < 0) {
		free(s);
		return r;
	}
	r = kept_new(&s->kept, s);
	if (r < 0) {
		store_free(s->store);
		free(s);
		return error_errno(err, r, "what is kept on disk");
	}
	s->store->on_gone = on_gone;
	s->store->on_gone_data = s;
	launch_own_context(&s->own);
	rights_prepare();
	oom_score_read(getpid(), &s->own_oom_score_adj);
	/* sources without a handle float: they live as long as the loop */
	r = sd_event_add_io(event, NULL, listen_fd, EPOLLIN, on_connect, s);
	if (r >= 0)
		r = sd_event_add_io(event, NULL, watch_fd(s->store->watch), EPOLLIN, on_watch, s);
	if (r >= 0 && watch_mounts_fd(s->store->watch) >= 0)
		r = sd_event_add_io(event, NULL, watch_mounts_fd(s->store->watch), EPOLLPRI, on_watch, s);
	if (r >= 0)
		r = sd_event_add_time_relative(event, NULL, CLOCK_MONOTONIC, 1000000, 500000, on_second, s);
	if (r < 0) {
		kept_free(s->kept);
		store_free(s->store);
		free(s);
		return error_errno(err, r, "setting up the event loop");
	}
	*ret = s;
	return 0;
}

void server_free(struct server *s)
{
	if (!s)
		return;
	build_stop_all(s);
	/* clones outlive the daemon: no hang-up */
	clone_forget_all(s);
	lease_forget_all(s);
	while (s->connections)
		connection_close(s->connections);
	while (s->waiting) {
		struct launch *l = s->waiting;

		s->waiting = l->next;
		launch_free(l);
	}
	kept_free(s->kept);
	store_free(s->store);
	/* the pools' clones, which their ends would have freed */
	clone_forget_all(s);
	while (s->terminals)
		terminal_free(s->terminals);
	fd_close(s->listen_fd);
	free(s);
}
