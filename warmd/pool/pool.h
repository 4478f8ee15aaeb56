/* SPDX-License-Identifier: MIT */
/*
 * pool.h - clones that warmd launches: a template's skeleton, its parked
 * clones, and those that run.
 *
 * In: launches (a request with its caller's descriptors). Out: an answer on the
 * caller's connection, a running clone, and later word of its end.
 *
 *	launch ──► parked clone there?  yes: it gets the order		(WIRE_WAY_PARKED)
 *	                                no: the skeleton forks one	(WIRE_WAY_FORK)
 *	           no skeleton: it is made first, from the template's memfds
 *
 * States of a clone; only RUNNING ones have anything of their caller:
 *
 *	FORKING   the skeleton was asked; the PID is not known
 *	MAKING    forked; it makes its descriptors, memory and threads. An order may be sent already
 *	PARKED    waits for its order
 *	LEASED    the same, and a client may give it: lease.h
 *	RUNNING   has its order; listed by `warm ps`
 *
 * A clone that has not got an order ends by itself when its channel is closed, so
 * taking back a clone is closing its channel. All of them are children of warmd (skeleton.c: CLONE_PARENT).
 */
#ifndef WARM_WARMD_POOL_POOL_H
#define WARM_WARMD_POOL_POOL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/base/packet.h"
#include "engine/stub/image.h"
#include "engine/stub/order.h"
#include "warmd/server.h"

enum clone_state { CLONE_FORKING, CLONE_MAKING, CLONE_PARKED, CLONE_LEASED, CLONE_RUNNING };

/* a launch that has no clone yet; afterwards the clone has all that is needed of it */
struct launch {
	struct launch *next;
	struct request *request; /* owned */
	struct packet
		caller; /* descriptors, owned: in the order of request's inherited_fds, then directory, cgroup */
	struct connection *connection; /* NULL: gone; the launch goes on only if detached */
	uint64_t start_ns; /* CLOCK_MONOTONIC, when the request came */
	bool by_name; /* WIRE_LAUNCH; else WIRE_RUN */
	unsigned int built_for; /* how often a template of that name was built for it */
	uint64_t built_stale; /* how many templates had gone stale when it was */
	uint64_t
		starved_ns; /* CLOCK_MONOTONIC, since when it waits in a shortage: pool_starved.c; 0: it does not */
	int oom_score_adj; /* the caller's; it may be gone when the clone is made */
	uint64_t hard_limits[WIRE_RLIMITS]; /* and these */
};

struct clone {
	struct clone *next;
	struct server *server;
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
	uint64_t recent; /* 1 + its number among the server's recent launches; 0: not among them */
	struct connection *connection;
	uint32_t tag, way;
	bool detached;
	/* LEASED: label, template_id and connection are set; pool: NULL when it was revoked */
	uint64_t model;
	unsigned int misses; /* launches that the connection asked warmd for nevertheless */
	bool ended; /* and reaped: wstatus */
	int wstatus;
	/* FORKING, MAKING: whose launch it is for, when it is for one */
	struct launch *launch;
};

enum skeleton_state { SKELETON_NONE, SKELETON_STARTING, SKELETON_READY, SKELETON_BROKEN };

struct pool {
	struct server *server;
	struct template *template;
	enum skeleton_state state;
	pid_t pid;
	int sock;
	sd_event_source *io, *timer;
	struct stub_data head; /* of the control file */
	struct stub_process root; /* the first of its processes, which takes the launch context */
	char *prefix; /* the strings that the program's argv begins with */
	size_t prefix_len;
	char *build_argv, *build_env; /* what the build had, as in the control file */
	struct clone *making, *parked;
	unsigned int nmaking, nparked, nleased; /* nleased: in server.leased */
	unsigned int
		hot; /* lists of pages to be made ahead so far: those made with an older one go as new ones come */
	bool listed; /* the skeleton has the control file's list */
	unsigned int want, size; /* parked clones: now, and while there are launches */
	struct launch *waiting, **waiting_end;
	uint64_t last_launch_ns, skeleton_ns;
	sd_event_source *hungry; /* in a shortage: until the next try; NULL: there is none */
	unsigned int starvations; /* tries that failed so, one after the other */
	uint64_t heard_ns; /* CLOCK_MONOTONIC, when the skeleton or a clone last said something */
	bool terminals; /* clones that are made ahead get a terminal */
	unsigned int without_terminal; /* launches, since the last with one */
	unsigned int failures; /* one after the other */
	unsigned int breaks; /* how often it was BROKEN, since the last clone that could be made */
	uint64_t hits, misses, skeletons;
	char why[160]; /* BROKEN */
};

/**
 * pool_get() - the pool of a template, made when there is none
 * Return: NULL when there is no memory, or its control file cannot be read
 */
struct pool *pool_get(struct server *s, struct template *t);

/** pool_free() - parked clones and skeleton go; launches that wait are answered; running clones stay */
void pool_free(struct pool *p);

/** pool_keep() - have @want clones parked from now on */
void pool_keep(struct pool *p, unsigned int want);

/**
 * pool_launch() - launch a clone
 * @l: taken over; its connection is answered, now or later
 */
void pool_launch(struct pool *p, struct launch *l);

/** pool_ready() - would a launch be served at once? */
bool pool_ready(const struct pool *p);

/**
 * pool_new_hot() - the control file has a new list, for clones made from here on
 * @replace: those without it go, as others come
 */
void pool_new_hot(struct pool *p, bool replace);

/** pool_tick() - once a second: replace what hangs; shrink what is idle, or all when memory is short */
void pool_tick(struct pool *p, bool short_of_memory);

/**
 * pool_settle_oom_score() - give @cl its caller's
 * @value: oom_score_adj; one that the program has set itself stands
 * Return: 0 or a negative errno with *err set: it would be lower than the clone may have
 */
int pool_settle_oom_score(const struct pool *p, struct clone *cl, int value, struct error *err);

/** pool_lend() - @cl is not parked any more but leased */
void pool_lend(struct pool *p, struct clone *cl);
/** pool_lent_is_gone() - one that was leased will not be launched */
void pool_lent_is_gone(struct pool *p);
/** pool_lent_was_used() - one that was leased was launched */
void pool_lent_was_used(struct pool *p);

/* --- orders: order.c --- */

struct order {
	struct stub_order head;
	struct iovec pieces[4];
	size_t npieces;
	int fds[PACKET_MAX_FDS];
	size_t nfds;
	int json; /* the context's descriptor, owned; -EBADF */
};

/** order_fill() - what a launch tells its clone @cl. @o points into @l and @p. Return: 0 or a negative errno with *err set */
int order_fill(struct order *o, const struct pool *p, const struct clone *cl, const struct launch *l,
	       struct error *err);

/** order_refusal() - why warmd cannot launch this: limits and such that a child of it cannot have. Return: false: it can */
bool order_refusal(const struct server *s, const struct template *t, const struct launch *l, char *reason,
		   size_t size);

/** order_scheduling_refusal() - the part of it that is about nice value, processors, policies: @own: warmd's. Return: as above */
bool order_scheduling_refusal(const struct wire_run *own, const struct wire_run *a, char *reason,
			      size_t size);

/* --- launches: launch.c --- */

/**
 * launch_request() - WIRE_LAUNCH
 * @req, @caller: taken over
 */
void launch_request(struct connection *c, struct request *req, struct packet *caller, uint64_t start_ns);
/**
 * launch_take_descriptors() - the caller's, of a message that is a launch, out of the basket that came with it
 * @packet: as it came; its descriptors are the caller's then
 * Return: 0, also for what is no launch; -ECANCELED: its client has given up; -EBADMSG
 */
int launch_take_descriptors(const void *message, struct packet *packet);
/** launch_is_whole() - did the descriptors come that the request announces? */
bool launch_is_whole(const struct request *req, const struct packet *caller);
/** launch_new() - @req and @caller are taken over. Return: NULL when there is no memory: the connection is closed */
struct launch *launch_new(struct connection *c, struct request *req, struct packet *caller,
			  uint64_t start_ns);
/** launch_on() - @l of a known template */
void launch_on(struct server *s, struct template *t, struct launch *l);
/** launch_waits_for() - does a launch wait for a template of this name, or label? */
bool launch_waits_for(const struct server *s, const char *name);
/** launch_stale() - the template that @l waited for is gone: the next one, or an answer */
void launch_stale(struct server *s, struct launch *l);
/** launch_wanted() - is there still somebody who wants it? */
bool launch_wanted(const struct launch *l);
/** launch_own_context() - limits, nice value and such of this process, which a clone has from it */
void launch_own_context(struct wire_run *own);
void launch_free(struct launch *l);
/** launch_directory() - the directory that a launch brought. Return: 0, or a negative errno: it has no path, say */
int launch_directory(const struct launch *l, char *ret, size_t size);
/**
 * launch_command() - what a client of WIRE_LAUNCH_COLD runs instead of a clone
 * @had: what the template was built for
 * @ret: malloc'd
 * Return: 0; -EXDEV: it means something else in the launch's directory; another negative errno
 */
int launch_command(const struct launch *l, const struct request *had, struct wire_command **ret);
/** launch_answer() - the answer; @cl: the clone of WIRE_LAUNCHED, else NULL */
void launch_answer(struct launch *l, uint32_t status, struct clone *cl, const char *reason);
/** launch_retry() - a build has ended: launches that waited for it are tried again */
void launch_retry(struct server *s);
/** launch_forget() - the connection is going away */
void launch_forget(struct server *s, const struct connection *c);

/* --- running clones: clone.c --- */

/** clone_adopt() - the PID is known: watch it. Return: 0 or a negative errno */
int clone_adopt(struct clone *cl, pid_t pid);
/** clone_adopt_program() - the PID of a program whose session's leader was adopted. Return: 0 or a negative errno */
int clone_adopt_program(struct clone *cl, pid_t pid);
/** clone_run() - it has its order and belongs to the server's list from here on; @l is freed */
void clone_run(struct clone *cl, struct launch *l, uint32_t way);
/** clone_begin() - the same where all but the state is filled in; it is in no list */
void clone_begin(struct clone *cl);
/** clone_ended() - one that ran, and was reaped: told to its client, and freed */
void clone_ended(struct clone *cl, int wstatus);
void clone_free(struct clone *cl);
void clone_unlink(struct clone **list, struct clone *cl);
/** clone_release() - one without an order: its channel is closed, it ends, and is reaped then */
void clone_release(struct clone *cl);
/** pool_lost() - a clone that had no order has ended: one of a pool's, or one that was released */
void pool_lost(struct clone *cl);
/** clone_reap_unknown() - children that nobody knows: holders (engine/stub/holder.c), and clones of a skeleton that died before it could tell */
void clone_reap_unknown(struct server *s);
/** clone_hangup() - the connection is going away: SIGHUP to those that it launched */
void clone_hangup(struct server *s, const struct connection *c);
/** clone_forget_all() - warmd ends: its clones go on without it */
void clone_forget_all(struct server *s);

#endif
