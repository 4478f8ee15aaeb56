/* SPDX-License-Identifier: MIT */
/*
 * build_queue.h - which build comes next, and who waits for it.
 *
 * Whoever waits for a build (`warm build`, a launch by a name) gets his turn, however many there are, and before what runs
 * have built behind them: of those no more wait than BACKGROUND_MAX, and none that backoff.h advises against. One build
 * runs at a time, in a process of its own (build_process.h).
 */
#ifndef WARM_WARMD_BUILD_QUEUE_H
#define WARM_WARMD_BUILD_QUEUE_H

#include "warmd/server.h"

/**
 * build_request() - have a template built
 * @req: taken over
 * @waiter: gets the answer when it is done; NULL: nobody waits
 */
void build_request(struct server *s, struct request *req, struct connection *waiter);
/** build_request_later() - as build_request() after @ns, for nobody who waits. Until then build_pending_name() finds it */
void build_request_later(struct server *s, struct request *req, uint64_t ns);
/** build_pending() - is one for this command under way or waiting? */
bool build_pending(const struct server *s, const struct request *req);
/** build_pending_name() - is one under way, waiting or put off, whose template will have this name or label? */
bool build_pending_name(const struct server *s, const char *name);
/** build_awaited() - a launch waits for a template of this name or label: its build comes before those that nobody waits for */
void build_awaited(struct server *s, const char *name);
/** build_is_process() - is @pid the process of a build, which the queue reaps? */
bool build_is_process(const struct server *s, pid_t pid);
/** build_forget_waiter() - @c is going away: it waits for nothing any more, and what nobody else waits for and has not begun is not built */
void build_forget_waiter(struct server *s, const struct connection *c);
/** build_give_up() - builds that would make a template of this name, and for which nobody waits, are ended */
void build_give_up(struct server *s, const char *name);
/** build_stop_all() - warmd ends: no build goes on, and nobody is told */
void build_stop_all(struct server *s);

#endif
