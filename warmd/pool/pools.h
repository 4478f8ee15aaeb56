/* SPDX-License-Identifier: MIT */
/*
 * pool/ - clones that warmd launches: those that wait, those that run, and what they are forked from.
 *
 * In: a template (warmd/template/) and a launch request with its caller's descriptors. Out: a running clone, whose end is
 * told to the client. What is decided above (answers to clients, builds) is asked for by struct pools_hooks; nothing here
 * includes anything of the server.
 *
 *	pools.h		all pools of a warmd, and what they need of the server
 *	pool.h, pool_*.c	the pool of one template: its skeleton, its parked clones, launches that wait for one
 *	launch_request.h	a launch until it has a clone
 *	clone.h		a clone from its PID to its end
 *	order.h		what a clone is told of its launch
 *	skeleton.h	the process that clones are forked from
 *	terminal.h, attach.h	clones' terminals, and who looks at them
 *	lease.h		parked clones that clients launch without asking
 *	hot.h		pages that are made ahead
 *	census.h	a list of all these processes
 */
#ifndef WARM_WARMD_POOL_POOLS_H
#define WARM_WARMD_POOL_POOLS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "launcher/wire/protocol.h"
#include "warmd/config/config.h"
#include "warmd/connection/connection.h"
#include "warmd/metrics/metrics.h"
#include "warmd/template/store.h"

struct clone;
struct terminal;
struct launch_request;

/* what pools have the server do; all are set. @data: pools.hooks_data */
struct pools_hooks {
	/**
	 * the client of @l gets its answer, if it is still there
	 * @status: enum wire_status; @cl: the clone of WIRE_LAUNCHED, else NULL; @reason: words, or the template's name
	 */
	void (*answer)(void *data, struct launch_request *l, uint32_t status, struct clone *cl,
		       const char *reason);
	/** the template that @l waited for is gone: it waits for the next one, or is answered; taken over */
	void (*stale)(void *data, struct launch_request *l);
	/** is @pid, a child of this process, the process of a build, and reaped by whoever started that? */
	bool (*is_build)(void *data, pid_t pid);
};

struct pools {
	sd_event *event;
	const struct config *config;
	struct store *store;
	struct metrics *metrics;
	struct connections *connections;
	const struct pools_hooks *hooks;
	void *hooks_data;
	struct clone *running; /* they have their orders */
	unsigned int nrunning;
	struct clone *leaving; /* they were told to end */
	struct clone *leased; /* clients may launch them: lease.h */
	uint64_t next_clone, next_model; /* the last numbers that were given */
	sd_event_source *reaper; /* clone.c */
	struct terminal *terminals;
	struct wire_run own; /* limits and such of this process, which a clone has from it */
	int own_oom_score_adj;
	bool short_of_memory; /* as of the last pools_tick() */
};

/**
 * pools_init() - no clones yet; @all->event, ->config, ->store, ->metrics, ->connections and the hooks are set, and outlive it
 *
 * The store's listener is added: a template that leaves takes its pool along.
 */
void pools_init(struct pools *all);
/** pools_tick() - once a second: each pool looks after its clones, and children that nobody knows are reaped */
void pools_tick(struct pools *all);
/** pools_done() - what is left of clones and terminals, once the store is gone */
void pools_done(struct pools *all);
/** pools_own_context() - limits, nice value, scheduling and capabilities of this process */
void pools_own_context(struct wire_run *own);

#endif
