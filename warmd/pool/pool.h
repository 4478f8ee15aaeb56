/* SPDX-License-Identifier: MIT */
/*
 * pool.h - the pool of one template: its skeleton, its parked clones, and launches that wait for one.
 *
 * In: launches (launch_request.h). Out: a running clone, and an answer to whoever asked for it.
 *
 *	launch ──► parked clone there?  yes: it gets the order		(WIRE_WAY_PARKED)
 *	                                no: the skeleton forks one	(WIRE_WAY_FORK)
 *	           no skeleton: it is made first, from the template's memfds
 *
 * A clone that has not got an order ends by itself when its channel is closed, so
 * taking back a clone is closing its channel. All of them are children of warmd (skeleton.c: CLONE_PARENT).
 */
#ifndef WARM_WARMD_POOL_POOL_H
#define WARM_WARMD_POOL_POOL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/stub/image.h"
#include "engine/stub/order.h"
#include "warmd/pool/clone.h"
#include "warmd/pool/launch_request.h"
#include "warmd/pool/pools.h"

enum skeleton_state { SKELETON_NONE, SKELETON_STARTING, SKELETON_READY, SKELETON_BROKEN };

struct pool {
	struct pools *pools;
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
	unsigned int nmaking, nparked, nleased; /* nleased: in pools.leased */
	unsigned int
		hot; /* lists of pages to be made ahead so far: those made with an older one go as new ones come */
	bool listed; /* the skeleton has the control file's list */
	unsigned int want, size; /* parked clones: now, and while there are launches */
	struct launch_request *waiting, **waiting_end;
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
struct pool *pool_get(struct pools *all, struct template *t);

/** pool_free() - parked clones and skeleton go; launches that wait are answered; running clones stay */
void pool_free(struct pool *p);

/** pool_keep() - have @want clones parked from now on */
void pool_keep(struct pool *p, unsigned int want);

/**
 * pool_launch() - launch a clone
 * @l: taken over; its connection is answered, now or later
 */
void pool_launch(struct pool *p, struct launch_request *l);

/** pool_ready() - would a launch be served at once? */
bool pool_ready(const struct pool *p);

/**
 * pool_new_hot() - the control file has a new list, for clones made from here on
 * @replace: those without it go, as others come
 */
void pool_new_hot(struct pool *p, bool replace);

/** pool_lost() - a clone that had no order has ended: one of a pool's, or one that was released */
void pool_lost(struct clone *cl);

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

#endif
