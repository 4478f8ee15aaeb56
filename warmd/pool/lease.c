/* SPDX-License-Identifier: MIT */
/* lease.c - parked clones that clients launch by themselves: lease.h */
#include "warmd/pool/lease.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "engine/base/pidfd.h"
#include "warmd/pool/hot.h"
#include "warmd/pool/lease_model.h"
#include "warmd/template/match.h"

#define MISSES_MAX 16 /* launches that were not like the model, one after the other: then another model */
#define LEASES_MAX 16 /* of a connection */
#define ARGV_MAX   16 /* arguments in WIRE_TAKEN */

#define OTHER_FLAGS                                                                                          \
	(uint32_t)(WIRE_LAUNCH_DETACH | WIRE_LAUNCH_CGROUP | WIRE_LAUNCH_TERMINAL | WIRE_LAUNCH_BACKGROUND)

/* --- who may have one ------------------------------------------------------------------ */

/* a client writes the limits into the order: one that has lower ones than warmd could give its clone more */
static bool may_raise_limits(const struct pools *all, const struct connection *c)
{
	for (unsigned int i = 0; i < WIRE_RLIMITS; i++)
		if (c->hard_limits[i] < all->own.rlimits[i][1])
			return true;
	return false;
}

static bool template_may(const struct template *t)
{
	/* the directory is a descriptor by then: nobody but warmd would look where it leads */
	bool directory = (t->result->keys & TEMPLATE_KEY_CWD) && !template_asks_for_context(t);

	/* what a client would have to read for each launch */
	for (size_t i = 0; i < t->result->n_facts; i++)
		if (t->result->facts[i]->path[0])
			return false;
	return !directory && !watch_has_unseen(t->watch) && drain_fd(t->watch) >= 0;
}

static bool has_spare(const struct pool *p)
{
	return p->nparked > 1 && p->nleased < p->want / 2 && !p->pools->short_of_memory;
}

static struct clone *spare(struct pool *p)
{
	for (struct clone *cl = p->parked; cl; cl = cl->next)
		if (!cl->terminal && !cl->cgroup)
			return cl;
	return NULL;
}

/* --- granting ----------------------------------------------------------------------------- */

static void grant(struct pool *p, struct connection *c, uint64_t model)
{
	struct clone *cl = spare(p);
	struct wire_lease m = {
		.header = { .magic = WIRE_MAGIC,
			    .version = WIRE_VERSION_NUMBER,
			    .type = WIRE_LEASE,
			    .size = sizeof(m) },
		.model = model,
	};
	char *label = cl ? strdup(p->template->label) : NULL;
	struct error err = { 0 };
	int fds[2];

	if (!label)
		return;
	pool_lend(p, cl);
	if (pool_settle_oom_score(p, cl, c->oom_score_adj, &err) < 0) {
		/* a launch through warmd says so in words */
		free(label);
		pool_lent_is_gone(p);
		clone_release(cl);
		return;
	}
	cl->state = CLONE_LEASED;
	cl->label = label;
	cl->template_id = p->template->id;
	cl->model = model;
	cl->misses = 0;
	cl->connection = c;
	cl->next = p->pools->leased;
	p->pools->leased = cl;
	m.clone = cl->id;
	m.pid = (uint32_t)cl->pid;
	m.generation = ++p->pools->store->generation;
	m.learn = hot_wanted(p->template);
	fds[0] = cl->channel;
	fds[1] = cl->pidfd;
	/* its end is noticed in the loop's next turn, and lease_forget() follows */
	if (connection_send(c, &m, sizeof(m), fds, 2) < 0)
		connection_end(c);
}

static void unlink_lease(struct clone *cl)
{
	clone_unlink(&cl->pools->leased, cl);
	cl->next = NULL;
	if (cl->pool)
		pool_lent_is_gone(cl->pool);
	cl->pool = NULL;
}

/* it has no order, or nobody knows of one */
static void drop(struct clone *cl)
{
	unlink_lease(cl);
	cl->connection = NULL;
	cl->state = CLONE_PARKED;
	if (cl->ended)
		clone_free(cl);
	else
		clone_release(cl);
}

static void recall(struct clone *cl)
{
	if (!cl->pool)
		return;
	shutdown(cl->channel, SHUT_WR);
	pool_lent_is_gone(cl->pool);
	cl->pool = NULL;
}

/* @c has one of this template already. A revoked one does not count */
static struct clone *has_lease(const struct connection *c, const struct pool *p, unsigned int *ret_all)
{
	struct clone *found = NULL;

	*ret_all = 0;
	for (struct clone *cl = p->pools->leased; cl; cl = cl->next) {
		if (cl->connection != c)
			continue;
		++*ret_all;
		if (cl->pool == p)
			found = cl;
	}
	return found;
}

void lease_offer(struct pool *p, const struct launch_request *l, const struct order *o)
{
	struct connection *c = l->connection;
	struct clone *cl;
	unsigned int n;
	uint64_t model;
	int r;

	if (!c || c->dead || !c->launcher || !l->request->run.leases || (l->request->run.flags & OTHER_FLAGS))
		return;
	/* one that learns is no model */
	if (o->head.flags & STUB_ORDER_LEARN)
		return;
	if (p->root.context_fd >= 0 || !has_spare(p) || !template_may(p->template) ||
	    may_raise_limits(p->pools, c))
		return;
	cl = has_lease(c, p, &n);
	if (cl && ++cl->misses < MISSES_MAX)
		return;
	if (cl)
		recall(cl);
	if (n >= LEASES_MAX)
		return;
	model = ++p->pools->next_model;
	r = lease_send_model(p, l, o, model);
	if (r == 0)
		grant(p, c, model);
	else if (r != -E2BIG && r != -EOPNOTSUPP)
		connection_end(c);
}

/* --- what becomes of it ----------------------------------------------------------------------- */

static void note(struct pools *all, struct clone *cl, const struct wire_taken *m, char **argv, uint32_t argc)
{
	uint64_t now = clock_ns(CLOCK_MONOTONIC);
	struct request req = {
		.run = { .header = { .type = WIRE_LAUNCH }, .argc = argc, .tag = m->tag },
		.name = cl->label,
		.argv = argv,
	};
	struct recent_launch *r;
	/* its word; a time to come would be a long life, and one before there was such a clone a long launch */
	bool sound = cl->made_ns <= m->start_ns && m->start_ns <= m->order_ns && m->order_ns <= now;
	uint64_t start = sound ? m->start_ns : now;

	metrics_answer(all->metrics, cl->connection->pid, &req, WIRE_LAUNCHED, cl->label, start);
	cl->order_ns = sound ? m->order_ns : now;
	all->metrics->direct++;
	latency_add(&all->metrics->phases[METRICS_PARKED_ORDER], cl->order_ns - start);
	cl->recent = all->metrics->nrecent;
	r = recent_launch_last(all->metrics);
	r->clone = (uint32_t)cl->pid;
	r->way = cl->way;
	r->template_id = cl->template_id;
	r->order_ns = cl->order_ns > start ? cl->order_ns - start : 1; /* 0 would be: none yet */
}

static void grant_next(struct pools *all, struct connection *c, uint64_t template_id, uint64_t model)
{
	for (struct template *t = all->store->list; t; t = t->next) {
		struct pool *p = t->pool;
		unsigned int n;

		if (t->id != template_id || !p)
			continue;
		if (!c->dead && has_spare(p) && template_may(t) && !has_lease(c, p, &n) && n < LEASES_MAX)
			grant(p, c, model);
		return;
	}
}

static void run(struct clone *cl)
{
	struct pool *p = cl->pool;

	clone_unlink(&cl->pools->leased, cl);
	if (p) {
		p->template->launches++;
		p->template->last_used_ns = clock_ns(CLOCK_REALTIME);
		pool_lent_was_used(p);
	}
	cl->pool = NULL;
	cl->way = WIRE_WAY_PARKED;
	clone_begin(cl);
}

/* the words behind the struct, as far as there are any */
static int take_words(const struct wire_taken *m, size_t len, char **argv)
{
	char *p = (char *)(m + 1), *end = (char *)m + len;

	if (m->argc > ARGV_MAX)
		return -EBADMSG;
	for (uint32_t i = 0; i < m->argc; i++) {
		char *nul = memchr(p, '\0', (size_t)(end - p));

		if (!nul)
			return -EBADMSG;
		argv[i] = p;
		p = nul + 1;
	}
	return p == end ? 0 : -EBADMSG;
}

int lease_taken(struct pools *all, struct connection *c, const void *packet, size_t len)
{
	const struct wire_taken *m = packet;
	struct clone *cl = all->leased;
	uint64_t template_id, model;
	char *argv[ARGV_MAX + 1] = { NULL };

	if (len < sizeof(*m) || take_words(m, len, argv) < 0)
		return -EBADMSG;
	while (cl && (cl->connection != c || cl->id != m->clone))
		cl = cl->next;
	if (!cl)
		return -EBADMSG;
	if (!m->tag) {
		drop(cl);
		return 0;
	}
	cl->tag = m->tag;
	template_id = cl->template_id;
	model = cl->model;
	run(cl);
	note(all, cl, m, argv, m->argc);
	if (cl->ended)
		clone_ended(cl, cl->wstatus);
	grant_next(all, c, template_id, model);
	return 0;
}

void lease_ended(struct clone *cl, int wstatus)
{
	/* with an order of which the client is about to tell; or without one, and the client will find that out */
	cl->ended = true;
	cl->wstatus = wstatus;
	cl->child = sd_event_source_disable_unref(cl->child);
	if (cl->pool)
		pool_lent_is_gone(cl->pool);
	cl->pool = NULL;
}

void lease_revoke(struct pools *all, const struct pool *p)
{
	for (struct clone *cl = all->leased; cl; cl = cl->next)
		if (!p || cl->pool == p)
			recall(cl);
}

/* with nobody left to send one, and the writing side shut */
static bool has_order(const struct clone *cl)
{
	struct pollfd p = { .fd = cl->channel }, end = { .fd = cl->pidfd, .events = POLLIN };
	int unread = 0;

	/* it may have had one, but of a clone that has ended nothing is to be done */
	if (poll(&end, 1, 0) > 0)
		return false;
	if (ioctl(cl->channel, SIOCOUTQ, &unread) == 0 && unread > 0)
		return true;
	/* a clone closes its channel when it has read its order; one that ended did not have one, or nobody cares */
	return poll(&p, 1, 0) > 0 && (p.revents & POLLHUP);
}

void lease_forget(struct pools *all, const struct connection *c)
{
	struct clone *next;

	for (struct clone *cl = all->leased; cl; cl = next) {
		next = cl->next;
		if (cl->connection != c)
			continue;
		shutdown(cl->channel, SHUT_WR);
		if (cl->ended || !has_order(cl)) {
			/* one that has just read its order, and not closed its channel yet, is hung up as well */
			if (!cl->ended)
				pidfd_kill(cl->pidfd, cl->pid, SIGHUP, true);
			drop(cl);
			continue;
		}
		/* clone_hangup() comes next */
		run(cl);
		cl->order_ns = clock_ns(CLOCK_MONOTONIC);
	}
}

void lease_forget_all(struct pools *all)
{
	while (all->leased) {
		struct clone *cl = all->leased;

		recall(cl);
		unlink_lease(cl);
		clone_free(cl);
	}
}
