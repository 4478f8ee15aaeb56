/* SPDX-License-Identifier: MIT */
/*
 * backoff.h - programs whose builds bring nothing, and when the next one may be made.
 *
 * In: how each build of a program ended and what it cost; what became of its templates. Out: may a run have a build made
 * behind it now, and if not, why and until when.
 *
 *	FAILED	the program ended, or hung, on its way to the readiness point. The build may be the cause (a program that does not
 *		bear a tracer), or something that is so at this moment only (a server that it needs is down). Each failure in a row
 *		doubles the wait. The failures are forgotten when a build succeeds, or when a file that the failed build had read is
 *		edited, as that may be the repair.
 *	CHURN	templates went stale, whatever it was that changed, before they had served as many launches as pay for their builds
 *		(BACKOFF_WORTH): a program that writes what it reads, or puts a new file into a folder that it lists. The wait is a
 *		multiple of what a build costs, and doubles with each such template. All is forgotten when a template has served
 *		enough launches. The count that the wait doubles with is halved by a template that goes stale long after the one
 *		before (measured by the cost of builds), so that edits by hand do not add up.
 *
 * `warm build` asks nobody, and has all of a program forgotten. What is kept is kept by program, for as many programs as
 * there is room for, those that had a build last. Nothing here reads a clock: times are CLOCK_MONOTONIC in ns, and given.
 */
#ifndef WARM_WARMD_BACKOFF_H
#define WARM_WARMD_BACKOFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "launcher/wire/request.h"

#define BACKOFF_PROGRAMS  256
#define BACKOFF_FAILED_NS (10 * 1000000000ull) /* after the first failure */
#define BACKOFF_CHURN_NS                                                                                     \
	(1 * 1000000000ull) /* at least, from BACKOFF_CHURN_FREE such templates in a row on */
#define BACKOFF_CHURN_FREE 2
#define BACKOFF_COST_TIMES 8 /* and this many times a build's processor time */
#define BACKOFF_APART_TIMES                                                                                  \
	2 /* so many times the shortest wait, and the wait that there was: that far apart builds cost little */
#define BACKOFF_WORTH                                                                                        \
	4 /* launches that pay for a build: with a tracer it takes about as long as so many cold runs */
#define BACKOFF_MAX_NS (3600 * 1000000000ull)

enum backoff_outcome { BACKOFF_BUILT, BACKOFF_REFUSED, BACKOFF_FAILED };

struct backoff;

struct backoff_totals {
	uint64_t programs; /* whose next build waits now */
	uint64_t deferred; /* builds that were not made, so far */
	uint64_t build_cpu_ns; /* processor time of all builds, so far */
};

/** backoff_new() - NULL when there is no memory */
struct backoff *backoff_new(void);
void backoff_free(struct backoff *b);

/**
 * backoff_program() - a number for the program of a command, whatever its arguments are
 * It is told by the name and readiness point, the words that request_program() counts, and the directory where these say
 * nothing without it.
 */
uint64_t backoff_program(const struct request *req);

/** backoff_built() - a build has ended. @why: words, for FAILED */
void backoff_built(struct backoff *b, uint64_t program, enum backoff_outcome outcome, uint64_t cpu_ns,
		   const char *why, uint64_t now_ns);
/**
 * backoff_stale() - a template is stale, or a refusal does not stand any more: @path changed
 * @launches: that it has served
 */
void backoff_stale(struct backoff *b, uint64_t program, const char *path, uint64_t launches, uint64_t now_ns);
/** backoff_forget() - somebody asked for a build */
void backoff_forget(struct backoff *b, uint64_t program);

/**
 * backoff_waits() - is it too early for a build?
 * @ret_left_ns: until it is not; @words: why, @size bytes
 */
bool backoff_waits(const struct backoff *b, uint64_t program, uint64_t now_ns, uint64_t *ret_left_ns,
		   char *words, size_t size);
/** backoff_deferred() - a build was not made, as backoff_waits() said so */
void backoff_deferred(struct backoff *b);
void backoff_totals(const struct backoff *b, uint64_t now_ns, struct backoff_totals *ret);

#endif
