/* SPDX-License-Identifier: MIT */
/*
 * metrics.h - what warmd counts and measures, and its text for Prometheus.
 *
 * In: one call where something happened, at the price of a clock read and a store. Out: quantiles
 * over the last samples of each phase (control_stats.c), text (metrics_http.c).
 */
#ifndef WARM_WARMD_METRICS_H
#define WARM_WARMD_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define LATENCY_SAMPLES 512 /* of each phase */

struct server;
struct request;
struct clone;
struct launch;

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

struct metrics {
	struct latency phases[METRICS_PHASES];
	uint64_t refused[16]; /* launches by name that were not made: by enum wire_status */
	uint64_t direct; /* launches from leases */
	uint64_t pool_hits, pool_misses, skeletons; /* of all pools, those that are gone too */
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
void metrics_since(struct server *s, enum metrics_phase phase, uint64_t start_ns);
/** metrics_answer() - a request got its answer after @ns */
void metrics_answer(struct server *s, const struct request *req, uint32_t status, uint64_t ns);
/** metrics_order() - @cl has its order: it runs from here on */
void metrics_order(struct server *s, struct clone *cl, const struct launch *l);
/** metrics_told() - the caller of @l has the answer; the server's newest recent launch is @cl's */
void metrics_told(struct server *s, struct clone *cl, const struct launch *l);
/** metrics_end() - @cl, which ran, has ended. @wstatus: as wait(2) has it */
void metrics_end(struct server *s, const struct clone *cl, int wstatus);

/* --- text ---------------------------------------------------------------------- */

/** metrics_label() - @text as the value of a label, without its quotes: \\, \" and \n escaped, what is not UTF-8 as U+FFFD */
void metrics_label(FILE *out, const char *text);

/* pages that a process of a template has in memory, by /proc/PID/statm */
struct metrics_memory {
	uint64_t template_id;
	pid_t pid;
	bool measured;
	uint64_t private_bytes, mapped_bytes; /* of its own; of files and of the sealed memory */
};

/** metrics_statm() - @text of /proc/PID/statm (proc_pid_statm(5)). Return: false: it is not that */
bool metrics_statm(const char *text, uint64_t page_size, struct metrics_memory *ret);

/**
 * metrics_text() - all there is, in Prometheus' text exposition format 0.0.4
 * @memory: @n processes that were measured; those of templates that are gone count for none
 */
void metrics_text(struct server *s, const struct metrics_memory *memory, size_t n, FILE *out);

#endif
