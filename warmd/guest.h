/* SPDX-License-Identifier: MIT */
/*
 * guest.h - connections beyond CONNECTIONS_MAX: they are told why nothing is launched for them, where one that was closed
 * without words would look like a warmd that died. Commands (list, stop..) are answered as ever, because somebody has to
 * find out who has all the connections.
 */
#ifndef WARM_WARMD_GUEST_H
#define WARM_WARMD_GUEST_H

#include "warmd/server.h"

#define CONNECTIONS_MAX 1024

/** guest_admit() - @c, which is not in the list yet, may be one too many: then it is a guest */
void guest_admit(struct connection *c);
/** guest_answer() - the answer to a launch of a guest: there is none. Return: 0, or -EBADMSG and such: end the connection */
int guest_answer(struct connection *c, const void *packet, size_t len);

#endif
