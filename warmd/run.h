/* SPDX-License-Identifier: MIT */
/* run.h - the answer to `warm run` and `warm build`: a template to become, a clone of a pool, or cold with a reason */
#ifndef WARM_WARMD_RUN_H
#define WARM_WARMD_RUN_H

#include "engine/base/packet.h"
#include "launcher/wire/request.h"
#include "warmd/server.h"

/**
 * run_answer() - WIRE_RUN
 * @caller: descriptors of a client that lets warmd launch (WIRE_RUN_POOL); taken over with the request
 * @start_ns: CLOCK_MONOTONIC, when the request came
 * @may_wait: for a template that is loaded from disk; false: it has waited
 *
 * The connection may be closed and freed afterwards, when its answer could not be sent.
 *
 * Return: false when the request was taken over, true when it is still the caller's
 */
bool run_answer(struct connection *c, struct request *req, struct packet *caller, uint64_t start_ns,
		bool may_wait);

#endif
