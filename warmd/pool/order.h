/* SPDX-License-Identifier: MIT */
/* order.h - what a clone is told of its launch: struct stub_order, with its strings and descriptors */
#ifndef WARM_WARMD_POOL_ORDER_H
#define WARM_WARMD_POOL_ORDER_H

#include "engine/base/packet.h"
#include "engine/stub/order.h"
#include "warmd/pool/pool.h"

struct order {
	struct stub_order head;
	struct iovec pieces[4];
	size_t npieces;
	int fds[PACKET_MAX_FDS];
	size_t nfds;
	int json; /* the context's descriptor, owned; -EBADF */
};

/** order_fill() - what @cl is told of its launch @l. @o points into @l and @p, which outlive it. Return: 0 or a negative errno with *err set */
int order_fill(struct order *o, const struct pool *p, const struct clone *cl, const struct launch_request *l,
	       struct error *err);

/** order_refusal() - why warmd cannot launch this: limits and such that a child of it cannot have. Return: false: it can */
bool order_refusal(const struct pools *all, const struct template *t, const struct launch_request *l,
		   char *reason, size_t size);

/**
 * order_scheduling_refusal() - the part of order_refusal() that is about nice value, processors and policies
 * @own: what warmd has; @a: what the caller has
 * Return: false: a child of warmd can have it; true: words in @reason
 */
bool order_scheduling_refusal(const struct wire_run *own, const struct wire_run *a, char *reason,
			      size_t size);

#endif
