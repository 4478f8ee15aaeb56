/* SPDX-License-Identifier: MIT */
/* pool_skeleton.c - a template's skeleton, from its start to its end: pool.h */
#include "warmd/pool/pool_internal.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "warmd/pool/skeleton.h"

#define SKELETON_USEC 20000 /* from one skeleton's start to the next */
#define START_SECONDS 10 /* for a skeleton */
#define RETRY_NS      NS_PER_S /* after three failures in a row; it doubles with every such three */
#define RETRY_MAX_NS  (30 * NS_PER_S)

void pool_stop_skeleton(struct pool *p)
{
	int status = 0;

	p->io = sd_event_source_disable_unref(p->io);
	p->timer = sd_event_source_disable_unref(p->timer);
	p->sock = fd_close(p->sock);
	/* its end is seen by the end of file on its socket; clone_reap_unknown() collects what is not there yet */
	if (p->pid > 0) {
		kill(p->pid, SIGKILL);
		if (waitpid(p->pid, &status, WNOHANG) == p->pid)
			log_debug("skeleton %d has ended: wait status %#x", p->pid, (unsigned int)status);
	}
	p->pid = 0;
}

static int on_start_timeout(sd_event_source *source, uint64_t usec, void *data)
{
	(void)source;
	(void)usec;
	pool_skeleton_gone(data, "it did not become ready in time");
	return 0;
}

static bool may_try_again(const struct pool *p)
{
	uint64_t wait = RETRY_NS;

	for (unsigned int i = 1; i < p->breaks && wait < RETRY_MAX_NS; i++)
		wait *= 2;
	return clock_ns(CLOCK_MONOTONIC) - p->skeleton_ns >= (wait < RETRY_MAX_NS ? wait : RETRY_MAX_NS);
}

static void start_skeleton(struct pool *p)
{
	struct error err = { 0 };
	sd_event *event = p->pools->event;
	int r;

	if (p->state == SKELETON_BROKEN && !may_try_again(p))
		return;
	p->state = SKELETON_NONE;
	p->skeleton_ns = clock_ns(CLOCK_MONOTONIC);
	/* of a refill, or of the start that is made now */
	p->timer = sd_event_source_disable_unref(p->timer);
	r = skeleton_start(p->template, &p->pid, &p->sock, &err);
	if (r == 0) {
		p->state = SKELETON_STARTING;
		p->skeletons++;
		p->pools->metrics->skeletons++;
		r = sd_event_add_io(event, &p->io, p->sock, EPOLLIN, pool_on_notes, p);
		/* what a clone says, why it fails above all, is heard before its end is */
		if (r >= 0)
			r = sd_event_source_set_priority(p->io, SD_EVENT_PRIORITY_IMPORTANT);
		if (r >= 0)
			r = sd_event_add_time_relative(event, &p->timer, CLOCK_MONOTONIC,
						       START_SECONDS * 1000000ull, 0, on_start_timeout, p);
		if (r < 0)
			error_errno(&err, r, "watching a skeleton");
	}
	if (r < 0 && p->state == SKELETON_NONE && pool_is_shortage(r))
		pool_starve(p, "forked", r);
	else if (r < 0)
		pool_skeleton_gone(p, err.text);
}

void pool_want_skeleton(struct pool *p)
{
	uint64_t since = clock_ns(CLOCK_MONOTONIC) - p->skeleton_ns;

	if ((p->state != SKELETON_NONE && p->state != SKELETON_BROKEN) || (!p->want && !p->waiting) ||
	    pool_is_starved(p))
		return;
	if (p->skeletons == 0 || since > SKELETON_USEC * NS_PER_US)
		start_skeleton(p);
	else if (!p->timer)
		sd_event_add_time_relative(p->pools->event, &p->timer, CLOCK_MONOTONIC,
					   SKELETON_USEC - since / NS_PER_US + 1, 100, pool_on_refill, p);
}

void pool_fail_waiting(struct pool *p)
{
	struct launch_request *l;
	char words[256];

	snprintf(words, sizeof(words), "no clone can be made: %.160s", p->why);
	while ((l = p->waiting)) {
		p->waiting = l->next;
		pool_answer(p, l, WIRE_COLD_ERROR, NULL, words);
		launch_request_free(l);
	}
	p->waiting_end = &p->waiting;
}

void pool_skeleton_gone(struct pool *p, const char *why)
{
	bool was_ready = p->state == SKELETON_READY;

	log_info("the skeleton of '%s' is gone: %s", p->template->label, why);
	if (why != p->why)
		snprintf(p->why, sizeof(p->why), "%s", why);
	pool_stop_skeleton(p);
	p->state = SKELETON_NONE;
	/* clones that were asked for, and of which nothing is known: their launches go on with the next skeleton */
	for (struct clone *cl = p->making; cl; cl = cl->next) {
		if (cl->launch) {
			cl->launch->next = p->waiting;
			p->waiting = cl->launch;
			cl->launch = NULL;
		}
	}
	for (p->waiting_end = &p->waiting; *p->waiting_end; p->waiting_end = &(*p->waiting_end)->next)
		;
	pool_drop_clones(&p->making, &p->nmaking);
	if (!was_ready)
		p->failures++;
	if (p->failures >= FAILURES_MAX) {
		log_warning("template '%s' cannot be forked: %s", p->template->label, p->why);
		p->state = SKELETON_BROKEN;
		p->breaks++;
		p->failures = 0;
		pool_fail_waiting(p);
		return;
	}
	pool_want_skeleton(p);
}
