/* SPDX-License-Identifier: MIT */
/* launch_request.h - a launch that has no clone yet; afterwards the clone has all that is needed of it */
#ifndef WARM_WARMD_POOL_LAUNCH_REQUEST_H
#define WARM_WARMD_POOL_LAUNCH_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/packet.h"
#include "launcher/wire/protocol.h"
#include "launcher/wire/request.h"

struct connection;

struct launch_request {
	struct launch_request *next;
	struct request *request; /* owned */
	/* descriptors, owned: in the order of request's inherited_fds, then directory, cgroup */
	struct packet caller;
	struct connection *connection; /* NULL: gone; the launch goes on only if detached */
	uint64_t start_ns; /* CLOCK_MONOTONIC, when the request came */
	bool by_name; /* WIRE_LAUNCH; else WIRE_RUN */
	unsigned int built_for; /* how often a template of that name was built for it */
	uint64_t built_stale; /* how many templates had gone stale when it was */
	/* CLOCK_MONOTONIC, since when it waits in a shortage: pool_starved.c; 0: it does not */
	uint64_t starved_ns;
	int oom_score_adj; /* the caller's, which may be gone when the clone is made */
	uint64_t hard_limits[WIRE_RLIMITS]; /* the caller's, for the same reason */
};

/**
 * launch_request_new() - a launch that @c has asked for
 * @req, @caller: taken over; on failure they are freed and closed
 * Return: NULL when there is no memory
 */
struct launch_request *launch_request_new(struct connection *c, struct request *req, struct packet *caller,
					  uint64_t start_ns);
/** launch_request_free() - with its request and its descriptors. NULL is taken */
void launch_request_free(struct launch_request *l);
/** launch_request_wanted() - is there still somebody who wants it? */
bool launch_request_wanted(const struct launch_request *l);
/** launch_request_is_whole() - did the descriptors come that the request announces? */
bool launch_request_is_whole(const struct request *req, const struct packet *caller);
/** launch_request_directory() - the directory that a launch brought. Return: 0, or a negative errno: it has no path, say */
int launch_request_directory(const struct launch_request *l, char *ret, size_t size);

#endif
