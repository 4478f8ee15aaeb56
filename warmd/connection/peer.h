/* SPDX-License-Identifier: MIT */
/*
 * peer.h - who is at the other end of a connection: decided by what the kernel says of that process, never by what
 * its messages say.
 */
#ifndef WARM_WARMD_CONNECTION_PEER_H
#define WARM_WARMD_CONNECTION_PEER_H

#include <stdbool.h>
#include <sys/types.h>

#include "engine/base/error.h"

struct connection;

/**
 * peer_compare() - may the process that connected to a unix socket do all that this process may, and nothing else?
 * @sock: an accepted socket
 *
 * All of its threads are looked at (rights.h). Return: 0. A negative errno with *err set: it may not, or it cannot be told.
 */
int peer_compare(int sock, struct error *err);

/**
 * peer_check() - peer_compare() for a connection, once in its life: what its process was allowed then it may keep
 * Return: as peer_compare()
 */
int peer_check(struct connection *c, struct error *err);

/**
 * peer_launcher() - may it have clones launched by warmd?
 * @own_oom_score_adj: warmd's, which stands for a client's that cannot be read
 *
 * As peer_check(), and reads what such clones take from their caller: c->hard_limits, c->oom_score_adj.
 */
int peer_launcher(struct connection *c, int own_oom_score_adj, struct error *err);

/**
 * peer_holds() - does the process @pid hold the other end of the unix socket @sock?
 *
 * For kernels before 6.5, without SO_PEERPIDFD: there the number alone may be somebody else's by now.
 */
bool peer_holds(int sock, pid_t pid);

#endif
