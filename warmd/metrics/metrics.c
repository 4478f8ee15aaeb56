/* SPDX-License-Identifier: MIT */
#include "warmd/metrics/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"

#define ANSWER "request to answer"
#define ORDER  "request to order"
#define LIFE   "order to end"

const struct metrics_name metrics_phases[METRICS_PHASES] = {
	[METRICS_BECOME_ANSWER] = { "become", ANSWER },	   [METRICS_COLD_ANSWER] = { "cold", ANSWER },
	[METRICS_PARKED_ORDER] = { "parked", ORDER },	   [METRICS_PARKED_ANSWER] = { "parked", ANSWER },
	[METRICS_PARKED_LIFE] = { "parked", LIFE },	   [METRICS_FORK_ORDER] = { "fork", ORDER },
	[METRICS_FORK_ANSWER] = { "fork", ANSWER },	   [METRICS_FORK_LIFE] = { "fork", LIFE },
	[METRICS_FORK] = { "pool", "asked to forked" },	   [METRICS_PARK] = { "pool", "asked to parked" },
	[METRICS_SKELETON] = { "pool", "skeleton start" },
};

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

bool latency_quantiles(const struct latency *l, struct quantiles *ret)
{
	uint64_t sorted[LATENCY_SAMPLES];
	size_t n = l->count < LATENCY_SAMPLES ? l->count : LATENCY_SAMPLES;

	if (!n)
		return false;
	memcpy(sorted, l->ns, n * sizeof(*sorted));
	qsort(sorted, n, sizeof(*sorted), compare);
	*ret = (struct quantiles){
		.p50_ns = sorted[n / 2],
		.p90_ns = sorted[n * 9 / 10],
		.p99_ns = sorted[n * 99 / 100],
		.max_ns = sorted[n - 1],
	};
	return true;
}

void metrics_since(struct metrics *m, enum metrics_phase phase, uint64_t start_ns)
{
	latency_add(&m->phases[phase], clock_ns(CLOCK_MONOTONIC) - start_ns);
}

static void count(struct metrics *m, const struct request *req, uint32_t status, uint64_t ns)
{
	/* a launch that is not made does not run cold either */
	if (req->run.header.type == WIRE_LAUNCH && status != WIRE_LAUNCHED) {
		m->refused[status]++;
		return;
	}
	m->launches[status]++;
	if (status != WIRE_LAUNCHED)
		latency_add(&m->phases[status == WIRE_WARM ? METRICS_BECOME_ANSWER : METRICS_COLD_ANSWER],
			    ns);
}

void metrics_answer(struct metrics *m, uint32_t pid, const struct request *req, uint32_t status,
		    const char *reason, uint64_t start_ns)
{
	struct recent_launch *l = &m->recent[m->nrecent++ % RECENT_LAUNCHES];
	size_t n = 0;

	count(m, req, status, clock_ns(CLOCK_MONOTONIC) - start_ns);
	memset(l, 0, sizeof(*l));
	l->pid = pid;
	l->status = status;
	l->when_ns = clock_ns(CLOCK_REALTIME);
	if (req->run.header.type == WIRE_LAUNCH)
		n = (size_t)snprintf(l->what, sizeof(l->what), "%s", req->name);
	for (uint32_t i = 0; i < req->run.argc && n < sizeof(l->what) - 1; i++)
		n += (size_t)snprintf(l->what + n, sizeof(l->what) - n, "%s%s", n ? " " : "", req->argv[i]);
	snprintf(l->reason, sizeof(l->reason), "%s", reason);
}

struct recent_launch *recent_launch_last(struct metrics *m)
{
	return &m->recent[(m->nrecent - 1) % RECENT_LAUNCHES];
}

struct recent_launch *recent_launch_by_number(struct metrics *m, uint64_t number)
{
	if (!number || m->nrecent - number >= RECENT_LAUNCHES)
		return NULL;
	return &m->recent[(number - 1) % RECENT_LAUNCHES];
}
