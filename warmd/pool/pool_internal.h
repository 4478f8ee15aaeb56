/* SPDX-License-Identifier: MIT */
/* pool_internal.h - between the pool*.c; nobody else includes it */
#ifndef WARM_WARMD_POOL_POOL_INTERNAL_H
#define WARM_WARMD_POOL_POOL_INTERNAL_H

#include "warmd/pool/pool.h"

#define FAILURES_MAX 3 /* in a row: then there is something wrong with the template */

/* --- pool.c --- */

/** pool_refill() - ask for clones, if there are too few and it is in nobody's way */
void pool_refill(struct pool *p);
int pool_on_refill(sd_event_source *source, uint64_t usec, void *data);
/** pool_retire() - a new one has come: one of those that it replaces goes */
void pool_retire(struct pool *p);
/** pool_shrink() - keep no more than @to parked */
void pool_shrink(struct pool *p, unsigned int to);
/** pool_serve_waiting() - clones for launches that wait, as far as there are any */
void pool_serve_waiting(struct pool *p);
/** pool_drop_clones() - all of a list end, and are reaped by whoever comes by: clone_reap_unknown() */
void pool_drop_clones(struct clone **list, unsigned int *n);

/* --- pool_clones.c --- */

/** pool_take() - @cl out of @list. Return: NULL: it is not there */
struct clone *pool_take(struct clone **list, unsigned int *n, struct clone *cl);
/** pool_find() - one that is being made, by its number */
struct clone *pool_find(struct pool *p, uint64_t id);
/** pool_ask() - ask the skeleton for one more. @l: NULL, or the launch it is for. Return: NULL: it cannot be asked */
struct clone *pool_ask(struct pool *p, struct launch_request *l);
/**
 * pool_give_order() - launch @l with @cl
 * The answer goes first, and without one there is no order: `warm run` runs the program cold when none comes in time, and
 * a clone that begins, while warmd is killed, would be one that nobody follows, and that its caller may launch again.
 * Return: true: the launch is the clone's, or has been answered; false: the clone is dead
 */
bool pool_give_order(struct pool *p, struct clone *cl, struct launch_request *l, uint32_t way);
/** pool_is_used() - @cl is for one launch, or has something of one already: no other may have it */
bool pool_is_used(const struct clone *cl);
/** pool_is_stopped() - did somebody stop it (SIGSTOP)? An order would wait for SIGCONT, and its launch with it */
bool pool_is_stopped(const struct clone *cl);
/** pool_replace() - one that is stopped ends, and others come in its place */
void pool_replace(struct pool *p, struct clone *cl);
/** pool_give_back() - @cl ends: nobody wants it */
void pool_give_back(struct pool *p, struct clone *cl);
/** pool_answer() - the answer to @l: struct pools_hooks */
void pool_answer(struct pool *p, struct launch_request *l, uint32_t status, struct clone *cl,
		 const char *reason);
/** pool_refuse() - @l is answered, and freed */
void pool_refuse(struct pool *p, struct launch_request *l, uint32_t status, const char *words);
/** pool_wait_first() - @l is the next that gets a clone */
void pool_wait_first(struct pool *p, struct launch_request *l);
void pool_count_launch(struct pool *p, uint32_t way);

/* --- pool_notes.c --- */

int pool_on_notes(sd_event_source *source, int fd, uint32_t events, void *data);

/* --- pool_starved.c --- */

/** pool_is_shortage() - is @code, a negative errno, one of those that pass by themselves? */
bool pool_is_shortage(int code);
/** pool_is_starved() - was there a shortage just now, so that nothing is tried? */
bool pool_is_starved(const struct pool *p);
/**
 * pool_starve() - a fork, or a skeleton's start, failed with @code, a shortage: the next try comes by itself
 * @what: "forked", say. Launches that have waited for long are refused
 */
void pool_starve(struct pool *p, const char *what, int code);
/** pool_fed() - it works again */
void pool_fed(struct pool *p);

/* --- pool_skeleton.c --- */

/** pool_want_skeleton() - at once, but one that dies as soon as it is there is not made at full speed */
void pool_want_skeleton(struct pool *p);
void pool_stop_skeleton(struct pool *p);
/** pool_skeleton_gone() - it ended, or is of no use: clones that have no order yet go with it */
void pool_skeleton_gone(struct pool *p, const char *why);
/** pool_fail_waiting() - launches that wait are answered with the pool's reason */
void pool_fail_waiting(struct pool *p);

#endif
