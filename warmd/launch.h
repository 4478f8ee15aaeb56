/* SPDX-License-Identifier: MIT */
/*
 * launch.h - launches that clients have warmd make: the template that a name means, launches that wait for a build, and
 * the answer. How a clone is made is the pool's part (warmd/pool/).
 */
#ifndef WARM_WARMD_LAUNCH_H
#define WARM_WARMD_LAUNCH_H

#include "warmd/pool/launch_request.h"
#include "warmd/server.h"

/**
 * launch_handle() - WIRE_LAUNCH
 * @req, @caller: taken over
 */
void launch_handle(struct connection *c, struct request *req, struct packet *caller, uint64_t start_ns);
/**
 * launch_take_descriptors() - the caller's, of a message that is a launch, out of the basket that came with it
 * @packet: as it came; its descriptors are the caller's then
 * Return: 0, also for what is no launch; -ECANCELED: its client has given up; -EBADMSG
 */
int launch_take_descriptors(const void *message, struct packet *packet);
/**
 * launch_new() - a launch that @c has asked for, with what its clone takes from the client's process
 * @req, @caller: taken over
 * Return: NULL when there is no memory: the connection is closed
 */
struct launch_request *launch_new(struct connection *c, struct request *req, struct packet *caller,
				  uint64_t start_ns);
/** launch_on() - @l of a known template; taken over */
void launch_on(struct server *s, struct template *t, struct launch_request *l);
/** launch_waits_for() - does a launch wait for a template of this name, or label? */
bool launch_waits_for(const struct server *s, const char *name);
/** launch_stale() - the template that @l waited for is gone: it waits for the next one, or is answered; taken over */
void launch_stale(struct server *s, struct launch_request *l);
/** launch_answer() - the client of @l gets its answer. @cl: the clone of WIRE_LAUNCHED, else NULL */
void launch_answer(struct server *s, struct launch_request *l, uint32_t status, struct clone *cl,
		   const char *reason);
/**
 * launch_retry() - a build or a load has ended: launches that waited for it are tried again
 *
 * Not at once, but by the event loop: whoever ends a build may be in the middle of a launch.
 */
void launch_retry(struct server *s);
/** launch_forget() - the connection is going away: its launches go on without it, if they are detached */
void launch_forget(struct server *s, const struct connection *c);
/** launch_free_waiting() - warmd ends: launches that wait for a build are not answered any more */
void launch_free_waiting(struct server *s);

#endif
