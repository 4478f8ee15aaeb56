/* SPDX-License-Identifier: MIT */
/* server.c - a warmd's parts brought together, and what happens without anybody's asking */
#include "warmd/server.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "warmd/build_queue.h"
#include "warmd/connection/rights.h"
#include "warmd/kept.h"
#include "warmd/launch.h"
#include "warmd/pool/clone.h"
#include "warmd/pool/lease.h"
#include "warmd/pool/pool.h"
#include "warmd/serve.h"
#include "warmd/template/backoff.h"

#define NAMED_WAIT_NS (10 * NS_PER_S) /* launches wait for it */

static int on_watch(sd_event_source *source, int fd, uint32_t events, void *data)
{
	struct server *s = data;

	(void)source;
	(void)fd;
	(void)events;
	watch_drain(s->store->watch);
	return 0;
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
	pools_tick(&s->pools);
	kept_tick(s->kept);
	if (idle && !s->connections.n && !s->builds && !s->pools.nrunning &&
	    clock_ns(CLOCK_MONOTONIC) - s->last_request_ns > idle) {
		log_info("idle for %llu s: stopping", (unsigned long long)(idle / 1000000000u));
		return sd_event_exit(s->event, 0);
	}
	sd_event_source_set_time_relative(source, 1000000);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static void answer(void *data, struct launch_request *l, uint32_t status, struct clone *cl,
		   const char *reason)
{
	launch_answer(data, l, status, cl, reason);
}

static void stale(void *data, struct launch_request *l)
{
	launch_stale(data, l);
}

static bool is_build(void *data, pid_t pid)
{
	return build_is_process(data, pid) || kept_is_process(data, pid);
}

static const struct pools_hooks pools_hooks = { .answer = answer, .stale = stale, .is_build = is_build };

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
	store_listen(s->store, &(const struct store_listener){ .gone = on_gone, .data = s });
	s->pools = (struct pools){
		.event = event,
		.config = config,
		.store = s->store,
		.metrics = &s->metrics,
		.connections = &s->connections,
		.hooks = &pools_hooks,
		.hooks_data = s,
	};
	pools_init(&s->pools);
	r = kept_new(&s->kept, s);
	if (r < 0) {
		store_free(s->store);
		free(s);
		return error_errno(err, r, "what is kept on disk");
	}
	/* where it fails every comparison of rights fails too, with words */
	rights_prepare();
	/* sources without a handle float: they live as long as the loop */
	r = sd_event_add_io(event, NULL, listen_fd, EPOLLIN, serve_on_connect, s);
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
	clone_forget_all(&s->pools);
	lease_forget_all(&s->pools);
	while (s->connections.list)
		connection_close(s->connections.list);
	launch_free_waiting(s);
	kept_free(s->kept);
	store_free(s->store);
	pools_done(&s->pools);
	fd_close(s->listen_fd);
	free(s);
}
