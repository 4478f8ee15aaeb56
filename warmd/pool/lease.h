/* SPDX-License-Identifier: MIT */
/*
 * lease.h - parked clones that a client may give their orders itself, so that a launch does not wait for warmd.
 *
 * In: a launch by name that warmd just made, of a client that takes leases (wire_run.leases). Out: a *model*, which is all
 * that the client needs to know that another launch is like that one and to write its order, and a *lease*: the
 * order channel and pidfd of one parked clone. What is not like the model comes to warmd as ever.
 *
 *	PARKED ──granted──► LEASED ──WIRE_TAKEN──► RUNNING, and the next lease is granted
 *	                      │ revoked, returned, or the connection ended without an order: it ends
 *
 * Revoking is shutdown(2) of the channel's writing side, which client and warmd share: the client's order was queued
 * before, and the launch counts, or its send fails, and it asks warmd. The record stays until the
 * client said which, or is gone. A lease counts as parked.
 *
 * No stale launch: revoking happens within watch_drain(). A client that finds no unread event (FIONREAD of the inotify
 * descriptor) and then finds that warmd is not within watch_drain() (struct wire_drain) has a template that is as
 * valid as if warmd had looked. Templates with dependencies that no event tells of get no leases.
 */
#ifndef WARM_WARMD_POOL_LEASE_H
#define WARM_WARMD_POOL_LEASE_H

#include "warmd/pool/order.h"
#include "warmd/pool/pool.h"

/** lease_offer() - @l was launched with the order @o: may its client have a clone for the next? */
void lease_offer(struct pool *p, const struct launch_request *l, const struct order *o);
/** lease_taken() - WIRE_TAKEN: the client of @c has launched a leased clone, or gives it back. Return: 0 or -EBADMSG */
int lease_taken(struct pools *all, struct connection *c, const void *packet, size_t len);
/** lease_ended() - a leased clone has ended */
void lease_ended(struct clone *cl, int wstatus);
/** lease_revoke() - clients cannot use the leases of @p any more; NULL: those of all pools */
void lease_revoke(struct pools *all, const struct pool *p);
/** lease_forget() - the connection is going away: its leases end, and those with an order get SIGHUP */
void lease_forget(struct pools *all, const struct connection *c);
/** lease_forget_all() - warmd ends: clones with an order go on without it */
void lease_forget_all(struct pools *all);

#endif
