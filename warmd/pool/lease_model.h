/* SPDX-License-Identifier: MIT */
/*
 * lease_model.h - what a client needs to know of a launch that warmd made, so that it can tell that another one is like it
 * and write its order itself: struct wire_model.
 */
#ifndef WARM_WARMD_POOL_LEASE_MODEL_H
#define WARM_WARMD_POOL_LEASE_MODEL_H

#include "warmd/pool/order.h"

/**
 * lease_send_model() - send the model of a launch to its client
 * @o: the order that the launch's clone got
 * @id: the model's number
 * Return: 0. -E2BIG, -EOPNOTSUPP: there is no model of it, and nothing was sent. Another negative errno: the connection is
 * of no use
 */
int lease_send_model(const struct pool *p, const struct launch_request *l, const struct order *o,
		     uint64_t id);

#endif
