/* SPDX-License-Identifier: MIT */
/*
 * libwarm_lease.h - launches that do not wait for warmd: warmd/pool/lease.h says what leases are.
 *
 * In: models and leases that warmd sent. Out: orders to parked clones, and word of them to warmd. A launch that differs from
 * its model in anything that counts, or might, goes through warmd; so does one when warmd may have events to take
 * in. Everything here is called with warm.lock held.
 */
#ifndef WARM_LAUNCHER_LIBWARM_LEASE_H
#define WARM_LAUNCHER_LIBWARM_LEASE_H

#include "engine/base/packet.h"
#include "launcher/libwarm.h"

/**
 * lease_wanted() - a launch is about to go through warmd: may leases come of it?
 *
 * Not of a handle's first: many launch but once. Before the second the table of mounts begins to be watched: what changed
 * until then warmd knows before it grants a lease.
 */
bool lease_wanted(struct warm *w);

/**
 * lease_launch() - launch from a lease
 * @run: the launch, with its strings behind it
 * @fds: @nfds of them go with the order; they stay the caller's
 * @ret_pidfd: the caller's
 * Return: the clone, RUNNING (or further, for the lock may have been released); NULL: through warmd
 */
struct libwarm_clone *lease_launch(struct warm *w, const struct wire_run *run, const int *fds, size_t nfds,
				   int *ret_pidfd);

/**
 * lease_model(), lease_granted() - what came
 * @p: its descriptors are taken over
 * Return: 0; -EBADMSG: it makes no sense
 */
int lease_model(struct warm *w, struct libwarm_connection *conn, const void *packet, struct packet *p,
		bool fds_lost);
int lease_granted(struct warm *w, struct libwarm_connection *conn, const void *packet, struct packet *p,
		  bool fds_lost);

/** lease_answered() - warmd answered a launch: what it sends from here on it granted knowing of all that was before @tag's */
void lease_answered(struct libwarm_connection *conn, uint32_t tag);

/** lease_drop_all() - the connection is of no use any more */
void lease_drop_all(struct libwarm_connection *conn);

#endif
