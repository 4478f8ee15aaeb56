/* SPDX-License-Identifier: MIT */
/*
 * clone.h - a clone that warmd has forked, from its PID to its end.
 *
 * States of a clone; only RUNNING ones have anything of their caller:
 *
 *	FORKING   the skeleton was asked; the PID is not known
 *	MAKING    forked; it makes its descriptors, memory and threads. An order may be sent already
 *	PARKED    waits for its order
 *	LEASED    waits for its order as a parked one does, and a client may give it: lease.h
 *	RUNNING   has its order; listed by `warm ps`
 */
#ifndef WARM_WARMD_POOL_CLONE_H
#define WARM_WARMD_POOL_CLONE_H

#include "warmd/pool/launch_request.h"
#include "warmd/pool/pools.h"

struct pool;

enum clone_state { CLONE_FORKING, CLONE_MAKING, CLONE_PARKED, CLONE_LEASED, CLONE_RUNNING };

struct clone {
	struct clone *next;
	struct pools *pools;
	struct pool *pool; /* until it runs; NULL afterwards */
	enum clone_state state;
	uint64_t id;
	pid_t pid; /* the program's */
	int channel; /* -EBADF once it has its order */
	int pidfd;
	pid_t leader; /* of its session, and our child, when it has a terminal: engine/stub/session.c; else 0 */
	int leader_pidfd;
	struct terminal *terminal;
	sd_event_source *child; /* pidfd's, or leader_pidfd's */
	uint64_t made_ns; /* CLOCK_MONOTONIC */
	bool cgroup; /* forked into the one that its launch asked for */
	unsigned int hot; /* its pool's, when it was asked for */
	bool parks; /* forked for the pool: says when it is made */
	int starved; /* a negative errno: it could not be made for want of processes */
	bool scored; /* has its launch's oom_score_adj */
	/* RUNNING */
	char *label;
	uint64_t template_id, started_ns; /* started_ns: CLOCK_REALTIME */
	uint64_t order_ns; /* CLOCK_MONOTONIC, when it got its order; 0: it has none yet */
	uint64_t recent; /* its number among the last launches, for recent_launch_by_number(); 0: none */
	struct connection *connection;
	uint32_t tag, way;
	bool detached;
	/* LEASED: label, template_id and connection are set; pool: NULL when it was revoked */
	uint64_t model;
	unsigned int misses; /* launches that the connection asked warmd for nevertheless */
	bool ended; /* and reaped: wstatus */
	int wstatus;
	/* FORKING, MAKING: whose launch it is for, when it is for one */
	struct launch_request *launch;
};

/** clone_adopt() - the PID is known: watch it. Return: 0 or a negative errno */
int clone_adopt(struct clone *cl, pid_t pid);
/** clone_adopt_program() - the PID of a program whose session's leader was adopted. Return: 0 or a negative errno */
int clone_adopt_program(struct clone *cl, pid_t pid);
/**
 * clone_told() - the caller has its answer, and the launch that was noted last is that of @cl: it is about to get its order
 * @start_ns: CLOCK_MONOTONIC, when the request came
 */
void clone_told(struct clone *cl, uint64_t start_ns);
/** clone_ordered() - @cl has just got its order; @start_ns as above */
void clone_ordered(struct clone *cl, uint64_t start_ns);
/** clone_over() - @cl, which had an order, has ended. @wstatus: as wait(2) has it */
void clone_over(const struct clone *cl, int wstatus);
/**
 * clone_run() - @cl has its order: it is one of all->running from here on, and is counted
 * @l: its launch, which stays the caller's; @way: enum wire_way
 */
void clone_run(struct clone *cl, struct launch_request *l, uint32_t way);
/** clone_begin() - as clone_run(), of a leased clone: what a launch request would tell of it is filled in already */
void clone_begin(struct clone *cl);
/** clone_ended() - one that ran, and was reaped: told to its client, and freed */
void clone_ended(struct clone *cl, int wstatus);
/** clone_free() - one that is in no list; its process, if there is one, is left alone */
void clone_free(struct clone *cl);
/** clone_unlink() - @cl out of @list, if it is there */
void clone_unlink(struct clone **list, struct clone *cl);
/** clone_release() - one without an order: its channel is closed, it ends, and is reaped then */
void clone_release(struct clone *cl);
/** clone_reap_unknown() - children that nobody knows: holders (engine/stub/holder.c), and clones of a skeleton that died before it could tell */
void clone_reap_unknown(struct pools *all);
/** clone_hangup() - the connection is going away: SIGHUP to those that it launched */
void clone_hangup(struct pools *all, const struct connection *c);
/** clone_forget_all() - warmd ends: its clones go on without it */
void clone_forget_all(struct pools *all);

#endif
