/* SPDX-License-Identifier: MIT */
#include "warmd/run.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "warmd/build_queue.h"
#include "warmd/connection/peer.h"
#include "warmd/kept.h"
#include "warmd/launch.h"
#include "warmd/pool/order.h"
#include "warmd/pool/pool.h"
#include "warmd/serve.h"
#include "warmd/template/backoff.h"
#include "warmd/template/match.h"

static bool wants_build(uint32_t status)
{
	return status == WIRE_COLD_NONE || status == WIRE_COLD_STALE || status == WIRE_COLD_MISMATCH;
}

/* Return: true: warmd launches it, and request and descriptors are taken over */
static bool launch_by_pool(struct connection *c, struct request *req, struct packet *caller,
			   struct template *t, uint64_t start_ns)
{
	struct server *s = c->server;
	struct pool *p = pool_get(&s->pools, t);
	char reason[256];
	struct launch_request *l;

	if (!p)
		return false;
	if (!pool_ready(p)) {
		/* become is sooner there than a skeleton */
		pool_keep(p, p->size);
		return false;
	}
	if (peer_launcher(c, s->pools.own_oom_score_adj, NULL) < 0)
		return false;
	l = launch_new(c, req, caller, start_ns);
	if (!l)
		return true;
	if (order_refusal(&s->pools, t, l, reason, sizeof(reason))) {
		/* become has the caller's own */
		log_debug("run '%s' not by the pool: %s", req->argv[0], reason);
		l->request = NULL;
		launch_request_free(l);
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
		metrics_answer(&c->server->metrics, c->pid, req, WIRE_COLD_RIGHTS, err.text, start_ns);
	connection_reply(c, WIRE_COLD_RIGHTS, NULL, false, 0, err.text);
	return false;
}

struct found {
	uint32_t status; /* enum wire_status */
	struct template *template; /* WIRE_WARM */
	char reason[256];
};

/* the template for a run, or why there is none */
static void look_up(struct server *s, const struct request *req, struct found *f)
{
	*f = (struct found){ .status = WIRE_COLD_DISABLED, .reason = "the configuration disables it" };
	if (config_disables(s->config, req->argv[0]))
		return;
	/* what happened before this request is known after this */
	watch_drain(s->store->watch);
	store_match(s->store, req, &f->template, &f->status, f->reason, sizeof(f->reason));
}

/* what becomes of a run for which there is none */
static void look_ahead(struct server *s, const struct request *req, struct found *f)
{
	uint32_t flags = req->run.flags;
	uint64_t wait_ns;

	if (wants_build(f->status) && build_pending(s, req)) {
		f->status = WIRE_COLD_BUILDING;
		snprintf(f->reason, sizeof(f->reason), "its template is being built");
	} else if (wants_build(f->status) && !(flags & WIRE_RUN_BUILD) &&
		   store_waits(s->store, req, &wait_ns, f->reason, sizeof(f->reason))) {
		f->status = WIRE_COLD_WAITS;
		if (!(flags & (WIRE_RUN_EXPLAIN | WIRE_RUN_NO_BUILD)))
			backoff_deferred(s->store->backoff);
	}
}

/* the answer to `warm build`, now or when it is built. Return: false when the request was taken over */
static bool answer_build(struct connection *c, struct request *req, const struct found *f)
{
	struct server *s = c->server;
	struct template *t = f->template;
	/* launches by the name have its arguments: one that serves the command need not be built with them */
	bool serves = f->status == WIRE_WARM && !(req->run.flags & WIRE_RUN_REBUILD) &&
		      (!req->name[0] || request_same_command(t->request, req));

	if (f->status != WIRE_COLD_DISABLED && !serves) {
		if (t) {
			kept_drop_of(s->kept, t, "another is built in its place");
			store_remove(s->store, t);
		}
		build_request(s, req, c);
		return false;
	}
	if (t)
		promise_keep(&s->store->promises, req);
	if (t && req->run.pool) {
		struct pool *p = pool_get(&s->pools, t);

		if (p)
			pool_keep(p, req->run.pool);
	}
	connection_reply(c, f->status, t, false, 0, f->reason);
	return true;
}

/* for the statistics, and `warm explain PID` */
static void note_run(struct connection *c, const struct request *req, const struct found *f,
		     uint64_t start_ns)
{
	struct metrics *m = &c->server->metrics;
	struct template *t = f->template;

	m->ways[WIRE_WAY_BECOME] += f->status == WIRE_WARM;
	/* who has a child connect says so itself; it is for lists alone */
	metrics_answer(m, !(req->run.flags & WIRE_RUN_POOL) && req->run.tag ? req->run.tag : c->pid, req,
		       f->status, f->reason, start_ns);
	recent_launch_last(m)->template_id = t ? t->id : 0;
	log_debug("run '%s': %s (%s)", req->argv[0], f->status == WIRE_WARM ? "warm" : "cold", f->reason);
	if (f->status == WIRE_WARM) {
		t->launches++;
		t->last_used_ns = clock_ns(CLOCK_REALTIME);
	}
}

bool run_answer(struct connection *c, struct request *req, struct packet *caller, uint64_t start_ns,
		bool may_wait)
{
	struct server *s = c->server;
	uint32_t flags = req->run.flags;
	bool explain = flags & WIRE_RUN_EXPLAIN;
	struct found f;

	if (!may_ask(c, req, start_ns))
		return true;
	if (flags & WIRE_RUN_LOAD) {
		kept_load_folder(c, req);
		return false;
	}
	look_up(s, req, &f);
	if (may_wait && wants_build(f.status) && !(flags & WIRE_RUN_REBUILD) &&
	    kept_hold(c, req, caller, start_ns))
		return false;
	look_ahead(s, req, &f);
	if (flags & WIRE_RUN_BUILD)
		return answer_build(c, req, &f);
	if ((flags & WIRE_RUN_POOL) && f.status == WIRE_WARM && !explain &&
	    launch_by_pool(c, req, caller, f.template, start_ns))
		return false;
	if (!explain)
		note_run(c, req, &f, start_ns);
	connection_reply(c, f.status, f.template, f.status == WIRE_WARM && !explain,
			 f.template ? template_stdio_changes(f.template, req) : 0, f.reason);
	if (wants_build(f.status) && !(flags & WIRE_RUN_NO_BUILD) && !explain) {
		build_for_run(s, req);
		return false;
	}
	return true;
}
