/* SPDX-License-Identifier: MIT */
/* attach.h - clients that come to a running clone's terminal, or read what it printed: WIRE_ATTACH */
#ifndef WARM_WARMD_POOL_ATTACH_H
#define WARM_WARMD_POOL_ATTACH_H

#include "engine/base/packet.h"
#include "warmd/pool/pools.h"

/** attach_request() - WIRE_ATTACH. @caller: perhaps the client's terminal. Return: 0, or -EBADMSG: the connection is to be ended */
int attach_request(struct pools *all, struct connection *c, const void *packet, size_t len,
		   struct packet *caller);
/** detach_request() - WIRE_DETACH */
int detach_request(struct pools *all, struct connection *c, const void *packet, size_t len);

#endif
