/* SPDX-License-Identifier: MIT */
/* launch.c - launches that warmd makes: from the message to the pool, and the answer */
#include "warmd/launch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/basket.h"
#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "warmd/build_queue.h"
#include "warmd/connection/peer.h"
#include "warmd/kept.h"
#include "warmd/launch_command.h"
#include "warmd/launch_match.h"
#include "warmd/pool/order.h"
#include "warmd/pool/pool.h"
#include "warmd/pool/terminal.h"
#include "warmd/serve.h"
#include "warmd/variant.h"
#include "warmd/template/match.h"

#define BUILDS_FOR_ONE 8 /* of a template whose inputs change all the time */

/* what the client runs cold; it runs where it is, so a template that is for another directory has none */
static struct wire_command *find_command(struct server *s, const struct launch_request *l, char *reason,
					 size_t size)
{
	struct template *t = l->by_name ? store_find(s->store, l->request->name) : NULL;
	struct wire_command *command = NULL;
	char ignored[256];
	int r;

	if (!t)
		return NULL;
	r = launch_directory_differs(t, l, ignored, sizeof(ignored))
		    ? -EXDEV
		    : launch_command(l, t->request, &command);
	if (r == -EXDEV && !strstr(reason, "launch it in ")) {
		size_t n = strlen(reason);

		snprintf(reason + n, size - n, "; launch it in %.100s, where its command can run cold",
			 t->request->cwd);
	}
	return command;
}

void launch_answer(struct server *s, struct launch_request *l, uint32_t status, struct clone *cl,
		   const char *reason)
{
	struct wire_run_reply reply = {
		.header = { .magic = WIRE_MAGIC,
			    .version = WIRE_VERSION_NUMBER,
			    .type = WIRE_RUN_REPLY,
			    .size = sizeof(reply) },
		.status = status,
		.tag = l->request->run.tag,
		.nfds = cl ? 1 : 0,
	};
	_cleanup_free_ struct wire_command *command = NULL;
	struct connection *c = l->connection;
	int fds[1 + WIRE_TERMINAL_FDS], r;

	if (!c)
		return;
	snprintf(reply.reason, sizeof(reply.reason), "%s", reason);
	if (!cl && (l->request->run.flags & WIRE_LAUNCH_COLD) && c->checked)
		command = find_command(s, l, reply.reason, sizeof(reply.reason));
	reply.command = command ? command->header.size : 0;
	if (cl) {
		reply.template_id = cl->template_id;
		reply.pid = (uint32_t)cl->pid;
		reply.way = cl->way;
		fds[0] = cl->pidfd;
		if (terminal_wanted(l) && cl->terminal->writer == c) {
			reply.terminal = 1;
			reply.nfds += (uint32_t)terminal_descriptors(cl->terminal, true, fds + 1);
		}
	}
	metrics_answer(&s->metrics, c->pid, l->request, status, reason, l->start_ns);
	r = connection_send(c, &reply, sizeof(reply), fds, reply.nfds);
	if (r == 0 && command)
		r = connection_send(c, command, command->header.size, NULL, 0);
	if (cl)
		clone_told(cl, l->start_ns);
	if (r < 0) {
		log_debug("process %u is not answered: %s", c->pid, strerror(-r));
		connection_end(c);
	}
}

/* a stale template is built anew behind the launches that named it: they wait for that */
static void wait_for_build(struct server *s, struct launch_request *l)
{
	struct launch_request **end = &s->waiting;

	while (*end)
		end = &(*end)->next;
	l->next = NULL;
	*end = l;
	build_awaited(s, l->request->name);
}

/* a program that failed in its build, whose wait is over. Return: true: it is built */
static bool may_build_again(struct server *s, const struct template *t)
{
	struct request *again;
	char words[256];
	uint64_t ns;

	if (t->state != TEMPLATE_REFUSED || !t->result->failed ||
	    store_waits(s->store, t->request, &ns, words, sizeof(words)))
		return false;
	again = request_copy(t->request);
	if (again)
		build_request(s, again, NULL);
	/* it may have been dropped: for want of memory, or as one too many */
	return again && build_pending_name(s, t->label);
}

/* once is enough, unless a template went stale meanwhile: it may be the one that was built */
static bool may_have_built(const struct server *s, const struct launch_request *l)
{
	return !l->built_for || (l->built_for < BUILDS_FOR_ONE && l->built_stale != s->store->dropped_stale);
}

/*
 * The name was given to a command, and its template is gone: for want of memory, of age, its build failed, or it went
 * stale and nobody was known to want the next one (on_gone() of server.c).
 */
static bool build_promised(struct server *s, struct launch_request *l)
{
	const struct request *promised = promise_of_label(s->store->promises, l->request->name);
	struct request *copy = promised && may_have_built(s, l) ? request_copy(promised) : NULL;

	if (!copy)
		return false;
	l->built_for++;
	l->built_stale = s->store->dropped_stale;
	copy->promised = true;
	build_request(s, copy, NULL);
	return build_pending_name(s, l->request->name);
}

static void refuse(struct server *s, struct launch_request *l, uint32_t status, const char *reason)
{
	launch_answer(s, l, status, NULL, reason);
	launch_request_free(l);
}

static void by_name(struct server *s, struct launch_request *l)
{
	const struct request *req = l->request;
	char reason[256];
	struct template *t;
	bool fits, own;

	watch_drain(s->store->watch);
	t = launch_find_template(s, l, &fits, &own, reason, sizeof(reason));
	if (t && t->state == TEMPLATE_READY && !store_check(t))
		t = NULL;
	if (t && may_build_again(s, t))
		t = NULL;
	if ((!t || (!fits && !own)) &&
	    (kept_awaited(s, req->name) || build_pending_name(s, req->name) || build_promised(s, l))) {
		wait_for_build(s, l);
		return;
	}
	if (!t) {
		snprintf(reason, sizeof(reason), "there is no template '%.100s' ('warm ls' lists them)",
			 req->name);
		return refuse(s, l, WIRE_COLD_NONE, reason);
	}
	if (t->state == TEMPLATE_REFUSED) {
		snprintf(reason, sizeof(reason), "it cannot be a template: %.200s", t->result->message);
		return refuse(s, l, WIRE_COLD_REFUSED, reason);
	}
	if (!fits) {
		variant_note(s, t, l);
		return refuse(s, l, WIRE_COLD_MISMATCH, reason);
	}
	if (launch_directory_differs(t, l, reason, sizeof(reason)) ||
	    template_arguments_differ(t, req, reason, sizeof(reason)) ||
	    order_refusal(&s->pools, t, l, reason, sizeof(reason)))
		return refuse(s, l, WIRE_COLD_MISMATCH, reason);
	launch_on(s, t, l);
}

void launch_on(struct server *s, struct template *t, struct launch_request *l)
{
	struct pool *p = pool_get(&s->pools, t);

	if (!p) {
		launch_answer(s, l, WIRE_COLD_ERROR, NULL, "no memory for its pool");
		launch_request_free(l);
		return;
	}
	t->launches++;
	t->last_used_ns = clock_ns(CLOCK_REALTIME);
	pool_launch(p, l);
}

struct launch_request *launch_new(struct connection *c, struct request *req, struct packet *caller,
				  uint64_t start_ns)
{
	struct launch_request *l = launch_request_new(c, req, caller, start_ns);

	if (!l) {
		connection_close(c);
		return NULL;
	}
	l->oom_score_adj = c->oom_score_adj;
	memcpy(l->hard_limits, c->hard_limits, sizeof(l->hard_limits));
	return l;
}

void launch_handle(struct connection *c, struct request *req, struct packet *caller, uint64_t start_ns)
{
	struct server *s = c->server;
	struct error err = { 0 };
	int r = peer_launcher(c, s->pools.own_oom_score_adj, &err);
	struct launch_request *l = launch_new(c, req, caller, start_ns);

	if (!l)
		return;
	l->by_name = true;
	if (r < 0)
		refuse(s, l, WIRE_COLD_RIGHTS, err.text);
	else
		by_name(s, l);
}

static bool is_launch(const struct wire_run *run, size_t len)
{
	return len >= sizeof(*run) && (run->header.type == WIRE_LAUNCH ||
				       (run->header.type == WIRE_RUN && (run->flags & WIRE_RUN_POOL) &&
					!(run->flags & WIRE_RUN_BUILD)));
}

int launch_take_descriptors(const void *message, struct packet *packet)
{
	struct packet inner;
	int basket, r;

	if (!is_launch(message, packet->len))
		return 0;
	if (packet->nfds != 1)
		return -EBADMSG;
	basket = packet->fds[0];
	packet->nfds = 0;
	r = basket_take(basket, &inner);
	fd_close(basket);
	if (r < 0)
		return r == -ECANCELED ? r : -EBADMSG;
	memcpy(packet->fds, inner.fds, inner.nfds * sizeof(*inner.fds));
	packet->nfds = inner.nfds;
	return 0;
}

void launch_stale(struct server *s, struct launch_request *l)
{
	if (l->by_name && (build_pending_name(s, l->request->name) || build_promised(s, l))) {
		wait_for_build(s, l);
		return;
	}
	launch_answer(s, l, WIRE_COLD_STALE, NULL, "its template is gone");
	launch_request_free(l);
}

bool launch_waits_for(const struct server *s, const char *name)
{
	for (const struct launch_request *l = s->waiting; l; l = l->next)
		if (strcmp(l->request->name, name) == 0 && launch_request_wanted(l))
			return true;
	return false;
}

static int on_retry(sd_event_source *source, void *data)
{
	struct server *s = data;
	struct launch_request *l = s->waiting;

	(void)source;
	s->waiting = NULL;
	while (l) {
		struct launch_request *next = l->next;

		l->next = NULL;
		if (launch_request_wanted(l))
			by_name(s, l);
		else
			launch_request_free(l);
		l = next;
	}
	return 0;
}

void launch_retry(struct server *s)
{
	if (s->waiting)
		sd_event_add_defer(s->event, NULL, on_retry, s);
}

static void forget(struct launch_request *l, const struct connection *c)
{
	for (; l; l = l->next)
		if (l->connection == c)
			l->connection = NULL;
}

void launch_forget(struct server *s, const struct connection *c)
{
	forget(s->waiting, c);
	for (struct template *t = s->store->list; t; t = t->next) {
		if (!t->pool)
			continue;
		forget(t->pool->waiting, c);
		for (struct clone *cl = t->pool->making; cl; cl = cl->next)
			forget(cl->launch, c);
	}
}

void launch_free_waiting(struct server *s)
{
	while (s->waiting) {
		struct launch_request *l = s->waiting;

		s->waiting = l->next;
		launch_request_free(l);
	}
}
