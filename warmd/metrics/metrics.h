/* SPDX-License-Identifier: MIT */
/*
 * metrics/ - what warmd counts and measures of launches, and the last ones of them.
 *
 * In: one call where something happened, at the price of a clock read and a store. Out: quantiles over the last samples of
 * each phase (control_stats.c), numbers (metrics_text.c), and the last launches for `warm explain PID`.
 */
#ifndef WARM_WARMD_METRICS_METRICS_H
#define WARM_WARMD_METRICS_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "launcher/wire/protocol.h"
#include "launcher/wire/request.h"

#define RECENT_LAUNCHES 256
#define LATENCY_SAMPLES 512 /* of each phase */

/* parts of launches; metrics_phases[] has their names */
enum metrics_phase {
	METRICS_BECOME_ANSWER, /* the request came; the answer is ready to be sent */
	METRICS_COLD_ANSWER,
	METRICS_PARKED_ORDER, /* the request came; the clone has its order */
	METRICS_PARKED_ANSWER, /* the request came; the caller has its answer, and next the clone its order */
	METRICS_PARKED_LIFE, /* it has its order; it has ended */
	METRICS_FORK_ORDER,
	METRICS_FORK_ANSWER,
	METRICS_FORK_LIFE,
	METRICS_FORK, /* the skeleton was asked; the PID is known */
	METRICS_PARK, /* the skeleton was asked; the clone is parked */
	METRICS_SKELETON, /* started; ready */
	METRICS_PHASES
};

struct metrics_name {
	const char *way, *phase;
};
extern const struct metrics_name metrics_phases[METRICS_PHASES];

struct latency {
	uint64_t ns[LATENCY_SAMPLES]; /* a ring */
	uint64_t count, sum_ns; /* of all that ever were */
};

struct recent_launch { /* for `warm explain PID` */
	uint32_t pid, status; /* the client's PID, or of the process that it launched; enum wire_status */
	uint64_t when_ns; /* CLOCK_REALTIME */
	char what[96], reason[160];
	/* WIRE_LAUNCHED: what became of it; order_ns: from the request to the clone's order, a duration */
	uint32_t clone, way;
	int32_t wstatus;
	uint64_t template_id, order_ns, ended_ns; /* ended_ns: CLOCK_REALTIME, 0: not yet */
};

struct metrics {
	struct latency phases[METRICS_PHASES];
	uint64_t launches[WIRE_STATUS_COUNT]; /* requests that were answered so */
	uint64_t refused[WIRE_STATUS_COUNT]; /* launches by name that were not made, by the answer */
	uint64_t ways[WIRE_WAY_COUNT]; /* launches that were made, by the way */
	uint64_t direct; /* launches from leases */
	uint64_t pool_hits, pool_misses, skeletons; /* of all pools, those that are gone too */
	struct recent_launch recent[RECENT_LAUNCHES]; /* a ring: recent_launch_last() */
	uint64_t nrecent; /* launches that ever were noted in it */
};

static inline void latency_add(struct latency *l, uint64_t ns)
{
	l->ns[l->count++ % LATENCY_SAMPLES] = ns;
	l->sum_ns += ns;
}

struct quantiles {
	uint64_t p50_ns, p90_ns, p99_ns, max_ns;
};

/** latency_quantiles() - over the samples that are kept. Return: false: there are none */
bool latency_quantiles(const struct latency *l, struct quantiles *ret);

/** metrics_since() - @phase began at @start_ns (CLOCK_MONOTONIC) and ends now */
void metrics_since(struct metrics *m, enum metrics_phase phase, uint64_t start_ns);

/**
 * metrics_answer() - a request is answered: it is counted, and noted among the last launches
 * @pid: the client's, or the one that it says it launches for
 * @reason: words of the answer, or the template's name
 * @start_ns: CLOCK_MONOTONIC, when the request came
 */
void metrics_answer(struct metrics *m, uint32_t pid, const struct request *req, uint32_t status,
		    const char *reason, uint64_t start_ns);

/** recent_launch_last() - the one that was noted last; its number is m->nrecent */
struct recent_launch *recent_launch_last(struct metrics *m);
/** recent_launch_by_number() - @number: m->nrecent when it was the last. Return: NULL: others have taken its place */
struct recent_launch *recent_launch_by_number(struct metrics *m, uint64_t number);

#endif
