/* SPDX-License-Identifier: MIT */
/* pool_notes.c - what skeletons and clones that are being made say: struct stub_note, engine/stub/order.h */
#include "warmd/pool/pool_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "warmd/pool/terminal.h"

void pool_lost(struct clone *cl)
{
	struct pool *p = cl->pool;
	struct launch_request *l = cl->launch;
	int starved = cl->starved;

	if (!p) { /* given back: clone_release() */
		clone_unlink(&cl->pools->leaving, cl);
		clone_free(cl);
		return;
	}
	/* killed while it was parked is no fault of the template's, and a shortage neither */
	if (cl->state != CLONE_PARKED && !starved)
		p->failures++;
	pool_take(&p->making, &p->nmaking, cl);
	pool_take(&p->parked, &p->nparked, cl);
	cl->launch = NULL;
	clone_free(cl);
	if (l)
		pool_wait_first(p, l);
	if (starved)
		pool_starve(p, "made", starved);
	if (p->failures >= FAILURES_MAX) {
		pool_skeleton_gone(p, p->why[0] ? p->why : "clones die while they are made");
		return;
	}
	pool_serve_waiting(p);
	pool_refill(p);
}

/* a file that the program has open is not where it was: what no watch could see (/dev/shm, for one) */
static bool misses_file(const struct stub_note *n)
{
	return strcmp(n->what, "making one of the program's descriptors") == 0 &&
	       (n->value == -ENOENT || n->value == -ENOTDIR || n->value == -EACCES || n->value == -ELOOP);
}

/* one of the clone's own processes or threads could not be made */
static bool is_fork(const struct stub_note *n)
{
	return (n->value == -EAGAIN || n->value == -ENOMEM) &&
	       (strcmp(n->what, "making a thread") == 0 ||
		strcmp(n->what, "forking below the session's leader") == 0);
}

static void on_failed(struct pool *p, struct clone *cl, const struct stub_note *n)
{
	log_warning("a clone of '%s' could not be made: %.47s: %s", p->template->label, n->what,
		    strerror(-n->value));
	snprintf(p->why, sizeof(p->why), "%.47s: %s", n->what, strerror(-n->value));
	/* it ends, and pool_lost() sees to its launch */
	if (cl && is_fork(n))
		cl->starved = n->value;
	if (misses_file(n))
		store_unusable(p->pools->store, p->template, "a file that it has open"); /* may free @p */
}

/* the control group's fault, not the template's: the pool stays as it was */
static void refused_by_cgroup(struct pool *p, struct clone *cl, int code)
{
	char words[256];

	snprintf(words, sizeof(words), "it cannot start in that control group: %s%s", strerror(-code),
		 code == -EBADF ? " (it takes a directory of cgroup2)" : "");
	log_info("a clone of '%s': %s", p->template->label, words);
	if (cl->launch)
		pool_refuse(p, cl->launch, WIRE_COLD_ERROR, words);
	cl->launch = NULL;
	pool_give_back(p, cl);
}

/* its launch, if it is for one, waits */
static void starved(struct pool *p, struct clone *cl, int code)
{
	struct launch_request *l = cl->launch;

	pool_take(&p->making, &p->nmaking, cl);
	cl->launch = NULL;
	clone_free(cl);
	if (l)
		pool_wait_first(p, l);
	pool_starve(p, "forked", code);
}

static void on_forked(struct pool *p, struct clone *cl, int pid)
{
	struct launch_request *l = cl->launch;
	int r;

	if (pid < 0 && cl->cgroup) {
		refused_by_cgroup(p, cl, pid);
		pool_serve_waiting(p);
		return;
	}
	if (pool_is_shortage(pid)) {
		starved(p, cl, pid);
		return;
	}
	pool_fed(p);
	r = pid < 0 ? pid : clone_adopt(cl, pid);
	if (r < 0) {
		log_warning("a clone of '%s' could not be forked: %s", p->template->label, strerror(-r));
		snprintf(p->why, sizeof(p->why), "fork: %s", strerror(-r));
		pool_lost(cl); /* its channel is closed, so one that was forked ends */
		return;
	}
	cl->state = CLONE_MAKING;
	/* who it is is not known yet: its session's leader was forked */
	if (cl->terminal)
		return;
	cl->launch = NULL;
	if (l && !launch_request_wanted(l)) {
		launch_request_free(l);
		if (pool_is_used(cl))
			pool_give_back(p, cl);
	} else if (l && !pool_give_order(p, cl, l, WIRE_WAY_FORK)) {
		cl->launch = l; /* pool_lost() will find it */
	}
	pool_serve_waiting(p);
}

/* the launch that it was made for, and its PID, are there */
static void launch_with_terminal(struct pool *p, struct clone *cl)
{
	struct launch_request *l = cl->launch;

	cl->launch = NULL;
	if (!launch_request_wanted(l)) {
		launch_request_free(l);
		pool_give_back(p, cl);
	} else if (!pool_give_order(p, cl, l, WIRE_WAY_FORK)) {
		cl->launch = l; /* pool_lost() will find it */
	}
}

/* the program is made, and waits for its order */
static void on_parked(struct pool *p, struct clone *cl, pid_t pid)
{
	if (cl->terminal && clone_adopt_program(cl, pid) < 0) {
		pool_lost(cl); /* its launch goes to another */
		return;
	}
	if (cl->launch) {
		launch_with_terminal(p, cl);
		return;
	}
	pool_take(&p->making, &p->nmaking, cl);
	cl->state = CLONE_PARKED;
	metrics_since(p->pools->metrics, METRICS_PARK, cl->made_ns);
	cl->next = p->parked;
	p->parked = cl;
	p->nparked++;
	p->failures = p->breaks = 0;
	pool_retire(p);
	pool_serve_waiting(p);
	pool_refill(p);
}

static void on_note(struct pool *p, const struct stub_note *n)
{
	struct clone *cl = pool_find(p, n->id);

	p->heard_ns = clock_ns(CLOCK_MONOTONIC);
	switch (n->kind) {
	case STUB_NOTE_READY:
		p->state = SKELETON_READY;
		p->timer = sd_event_source_disable_unref(p->timer);
		metrics_since(p->pools->metrics, METRICS_SKELETON, p->skeleton_ns);
		log_debug("skeleton %d of '%s' is ready after %llu us", p->pid, p->template->label,
			  (unsigned long long)(clock_ns(CLOCK_MONOTONIC) - p->skeleton_ns) / 1000);
		pool_serve_waiting(p);
		pool_refill(p);
		break;
	case STUB_NOTE_FORKED:
		if (!cl || cl->state != CLONE_FORKING)
			break;
		on_forked(p, cl, n->value);
		cl = pool_find(p, n->id);
		/* its program was sooner */
		if (cl && cl->terminal && cl->pid)
			on_parked(p, cl, cl->pid);
		break;
	case STUB_NOTE_PARKED:
		/* the child may have been sooner than its skeleton, which alone says what its leader's PID is */
		if (cl && cl->state == CLONE_FORKING && cl->terminal) {
			cl->pid = n->value;
			break;
		}
		if (cl && cl->state == CLONE_FORKING)
			on_forked(p, cl, n->value);
		cl = pool_find(p, n->id);
		/* one with an order is the server's by now */
		if (cl && (!cl->launch || cl->terminal))
			on_parked(p, cl, n->value);
		break;
	case STUB_NOTE_FAILED:
		on_failed(p, cl, n);
		break;
	default:
		log_warning("the skeleton of '%s' says %u, which is unknown", p->template->label, n->kind);
	}
}

int pool_on_notes(sd_event_source *source, int fd, uint32_t events, void *data)
{
	struct pool *p = data;
	struct stub_note note;
	struct packet packet;
	int r = packet_receive(fd, &note, sizeof(note), &packet, MSG_DONTWAIT);

	(void)source;
	(void)events;
	if (r == -EAGAIN)
		return 0;
	if (r == 0 && packet.len == sizeof(note)) {
		packet_close_fds(&packet);
		note.what[sizeof(note.what) - 1] = '\0';
		on_note(p, &note);
		return 0;
	}
	pool_skeleton_gone(p, r < 0 ? strerror(-r) : "it ended");
	return 0;
}
