/* SPDX-License-Identifier: MIT */
/*
 * pool_starved.c - a shortage of processes, memory or descriptors: RLIMIT_NPROC, pids.max, RLIMIT_NOFILE
 *
 * It is not the template's fault, and passes: skeleton and parked clones stay, launches wait, and it is tried again, soon at
 * first and then less often. A launch that has waited for long is refused, and says why.
 */
#include "warmd/pool/pool_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"

#define FIRST_USEC  5000 /* from a failure to the next try; it doubles */
#define LAST_USEC   320000
#define PATIENCE_NS (3 * NS_PER_S) /* of a launch; a client gives up after 60 (launcher/launch.c) */

bool pool_is_shortage(int code)
{
	return code == -EAGAIN || code == -ENOMEM || code == -EMFILE || code == -ENFILE || code == -ENOBUFS;
}

bool pool_is_starved(const struct pool *p)
{
	return p->hungry != NULL;
}

static int on_hungry(sd_event_source *source, uint64_t usec, void *data)
{
	struct pool *p = data;

	(void)source;
	(void)usec;
	p->hungry = sd_event_source_disable_unref(p->hungry);
	pool_serve_waiting(p);
	pool_refill(p);
	return 0;
}

void pool_fed(struct pool *p)
{
	if (p->starvations)
		log_info("clones of '%s' can be forked again", p->template->label);
	p->starvations = 0;
	p->hungry = sd_event_source_disable_unref(p->hungry);
	for (struct launch_request *l = p->waiting; l; l = l->next)
		l->starved_ns = 0;
}

/* those that have waited for too long are answered */
static void refuse_old(struct pool *p, const char *words)
{
	uint64_t now = clock_ns(CLOCK_MONOTONIC);
	struct launch_request **at = &p->waiting;

	while (*at) {
		struct launch_request *l = *at;

		if (!l->starved_ns)
			l->starved_ns = now;
		if (now - l->starved_ns < PATIENCE_NS) {
			at = &l->next;
			continue;
		}
		*at = l->next;
		pool_refuse(p, l, WIRE_COLD_ERROR, words);
	}
	p->waiting_end = at;
}

void pool_starve(struct pool *p, const char *what, int code)
{
	uint64_t usec = FIRST_USEC;
	char words[200];

	snprintf(words, sizeof(words), "no clone can be %s: %s (see %s)", what, strerror(-code),
		 code == -EMFILE || code == -ENFILE ? "ulimit -n"
						    : "ulimit -u, and pids.max of the control group");
	if (!p->starvations)
		log_warning("template '%s': %s", p->template->label, words);
	for (unsigned int i = 0; i < p->starvations && usec < LAST_USEC; i++)
		usec *= 2;
	p->starvations++;
	if (!p->hungry)
		sd_event_add_time_relative(p->pools->event, &p->hungry, CLOCK_MONOTONIC, usec, 0, on_hungry,
					   p);
	refuse_old(p, words);
}
