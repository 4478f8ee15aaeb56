/* SPDX-License-Identifier: MIT */
/* clone.c - clones of warmd's own: from their PID to their end */
#include "warmd/pool/clone.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "engine/base/pidfd.h"
#include "warmd/pool/lease.h"
#include "warmd/pool/pool.h"
#include "warmd/pool/terminal.h"

/*
 * From a clone's end to the look for children that nobody knows: holders of large clones' memory (engine/stub/holder.c) end some
 * milliseconds later. Once for all clones that end meanwhile.
 */
#define REAP_USEC 20000

/* Return: 1: it has ended; 0: not yet */
static int reap(pid_t pid, int pidfd, int *ret_wstatus)
{
	siginfo_t si = { 0 };

	*ret_wstatus = 0;
	if (waitid(P_PIDFD, (id_t)pidfd, &si, WEXITED | WNOHANG) == 0) {
		if (!si.si_pid)
			return 0;
		*ret_wstatus = si.si_code == CLD_EXITED
				       ? (si.si_status & 0xff) << 8
				       : si.si_status | (si.si_code == CLD_DUMPED ? 0x80 : 0);
		return 1;
	}
	/* reaped by somebody else (clone_reap_unknown()): Linux 6.15 still knows */
	if (pidfd_exit_status(pidfd, ret_wstatus) < 0)
		log_warning("nobody knows how process %d ended", pid);
	return 1;
}

void clone_unlink(struct clone **list, struct clone *cl)
{
	for (struct clone **p = list; *p; p = &(*p)->next) {
		if (*p == cl) {
			*p = cl->next;
			return;
		}
	}
}

void clone_free(struct clone *cl)
{
	sd_event_source_disable_unref(cl->child);
	fd_close(cl->pidfd);
	fd_close(cl->leader_pidfd);
	fd_close(cl->channel);
	terminal_free(cl->terminal);
	free(cl->label);
	free(cl);
}

void clone_release(struct clone *cl)
{
	cl->channel = fd_close(cl->channel);
	cl->pool = NULL;
	/* not forked yet, as far as is known: clone_reap_unknown() */
	if (!cl->child) {
		clone_free(cl);
		return;
	}
	cl->next = cl->pools->leaving;
	cl->pools->leaving = cl;
}

static void reap_soon(struct pools *all);

static int on_end(sd_event_source *source, int fd, uint32_t events, void *data)
{
	struct clone *cl = data;
	int wstatus;

	(void)source;
	(void)events;
	if (!reap(cl->leader ? cl->leader : cl->pid, fd, &wstatus))
		return 0;
	reap_soon(cl->pools);
	if (cl->state == CLONE_LEASED) {
		lease_ended(cl, wstatus);
		return 0;
	}
	if (cl->state != CLONE_RUNNING) {
		/* without an order it was of no use to anybody */
		pool_lost(cl);
		return 0;
	}
	clone_ended(cl, wstatus);
	return 0;
}

static bool was_parked(const struct clone *cl)
{
	return cl->way == WIRE_WAY_PARKED;
}

void clone_told(struct clone *cl, uint64_t start_ns)
{
	struct metrics *m = cl->pools->metrics;
	struct recent_launch *r = recent_launch_last(m);

	/* it goes before the order: pool_give_order() */
	metrics_since(m, was_parked(cl) ? METRICS_PARKED_ANSWER : METRICS_FORK_ANSWER, start_ns);
	cl->recent = m->nrecent;
	r->clone = (uint32_t)cl->pid;
	r->way = cl->way;
	r->template_id = cl->template_id;
}

void clone_ordered(struct clone *cl, uint64_t start_ns)
{
	struct metrics *m = cl->pools->metrics;
	struct recent_launch *r = recent_launch_by_number(m, cl->recent);

	cl->order_ns = clock_ns(CLOCK_MONOTONIC);
	latency_add(&m->phases[was_parked(cl) ? METRICS_PARKED_ORDER : METRICS_FORK_ORDER],
		    cl->order_ns - start_ns);
	/* its caller had the answer before */
	if (r)
		r->order_ns = cl->order_ns - start_ns;
}

void clone_over(const struct clone *cl, int wstatus)
{
	struct metrics *m = cl->pools->metrics;
	struct recent_launch *r = recent_launch_by_number(m, cl->recent);

	if (cl->order_ns)
		metrics_since(m, was_parked(cl) ? METRICS_PARKED_LIFE : METRICS_FORK_LIFE, cl->order_ns);
	if (!r)
		return;
	r->wstatus = wstatus;
	r->ended_ns = clock_ns(CLOCK_REALTIME);
}

void clone_ended(struct clone *cl, int wstatus)
{
	struct pools *all = cl->pools;

	log_debug("clone %d of '%s' has ended", cl->pid, cl->label);
	clone_over(cl, wstatus);
	if (cl->connection) {
		struct wire_exited m = {
			.header = { .magic = WIRE_MAGIC,
				    .version = WIRE_VERSION_NUMBER,
				    .type = WIRE_EXITED,
				    .size = sizeof(m) },
			.pid = (uint32_t)cl->pid,
			.wstatus = wstatus,
			.tag = cl->tag,
		};

		/* a client that is gone is noticed by its end of file */
		if (connection_send(cl->connection, &m, sizeof(m), NULL, 0) < 0)
			log_debug("process %u does not hear of its clone's end", cl->connection->pid);
	}
	if (cl->terminal) {
		struct terminal *t = cl->terminal;

		cl->terminal = NULL;
		terminal_end(t, wstatus, cl->connection);
	}
	clone_unlink(&all->running, cl);
	all->nrunning--;
	clone_free(cl);
}

int clone_adopt(struct clone *cl, pid_t pid)
{
	int *pidfd = cl->terminal ? &cl->leader_pidfd : &cl->pidfd;

	if (cl->terminal)
		cl->leader = pid;
	else
		cl->pid = pid;
	*pidfd = pidfd_open_process(pid);
	if (*pidfd < 0)
		return *pidfd;
	/* not sd_event_add_child(3): a child that somebody else has reaped ends its event loop */
	return sd_event_add_io(cl->pools->event, &cl->child, *pidfd, EPOLLIN, on_end, cl);
}

int clone_adopt_program(struct clone *cl, pid_t pid)
{
	/* its leader, which reaps it, has not ended: the number is its own */
	cl->pidfd = pidfd_open_process(pid);
	cl->pid = pid;
	return cl->pidfd < 0 ? cl->pidfd : 0;
}

void clone_begin(struct clone *cl)
{
	struct pools *all = cl->pools;

	cl->state = CLONE_RUNNING;
	cl->channel = fd_close(cl->channel);
	cl->started_ns = clock_ns(CLOCK_REALTIME);
	cl->next = all->running;
	all->running = cl;
	all->nrunning++;
	all->metrics->ways[cl->way]++;
}

void clone_run(struct clone *cl, struct launch_request *l, uint32_t way)
{
	const struct template *t = cl->pool->template;

	if (cl->terminal)
		terminal_given(cl->terminal);
	cl->label = strdup(t->label);
	cl->template_id = t->id;
	cl->connection = l->connection;
	cl->tag = l->request->run.tag;
	cl->detached = l->request->run.flags & WIRE_LAUNCH_DETACH;
	cl->way = way;
	cl->launch = NULL;
	cl->pool = NULL;
	clone_begin(cl);
	clone_ordered(cl, l->start_ns);
}

void clone_hangup(struct pools *all, const struct connection *c)
{
	for (struct clone *cl = all->running; cl; cl = cl->next) {
		if (cl->connection != c)
			continue;
		cl->connection = NULL;
		if (cl->detached)
			continue;
		/* as a terminal that is closed: a stopped one shall notice too */
		if (cl->terminal) {
			terminal_hangup(cl->terminal);
			continue;
		}
		pidfd_kill(cl->pidfd, cl->pid, SIGHUP, true);
		pidfd_kill(cl->pidfd, cl->pid, SIGCONT, true);
	}
}

static bool clone_is(const struct clone *cl, pid_t child)
{
	return (cl->leader ? cl->leader : cl->pid) == child;
}

static bool known(const struct pools *all, pid_t pid)
{
	for (const struct clone *cl = all->running; cl; cl = cl->next)
		if (clone_is(cl, pid))
			return true;
	for (const struct clone *cl = all->leaving; cl; cl = cl->next)
		if (clone_is(cl, pid))
			return true;
	for (const struct clone *cl = all->leased; cl; cl = cl->next)
		if (!cl->ended && clone_is(cl, pid))
			return true;
	for (const struct template *t = all->store->list; t; t = t->next) {
		if (!t->pool)
			continue;
		if (t->pool->pid == pid)
			return true;
		for (const struct clone *cl = t->pool->making; cl; cl = cl->next)
			if (clone_is(cl, pid))
				return true;
		for (const struct clone *cl = t->pool->parked; cl; cl = cl->next)
			if (clone_is(cl, pid))
				return true;
	}
	return all->hooks->is_build(all->hooks_data, pid);
}

/* Return: is there one that is known? It has its own source, and hides those behind it until that has reaped it */
static bool reap_unknown(const struct pools *all)
{
	siginfo_t si = { 0 };

	while (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) == 0 && si.si_pid) {
		if (known(all, si.si_pid))
			return true;
		log_debug("process %d, which nobody waits for, has ended", si.si_pid);
		waitid(P_PID, (id_t)si.si_pid, &si, WEXITED | WNOHANG);
		si.si_pid = 0;
	}
	return false;
}

void clone_reap_unknown(struct pools *all)
{
	reap_unknown(all);
}

static int on_reap(sd_event_source *source, uint64_t usec, void *data)
{
	struct pools *all = data;

	(void)source;
	(void)usec;
	all->reaper = sd_event_source_disable_unref(all->reaper);
	if (reap_unknown(all))
		reap_soon(all);
	return 0;
}

static void reap_soon(struct pools *all)
{
	/* what is left out here is found in the next second */
	if (!all->reaper)
		sd_event_add_time_relative(all->event, &all->reaper, CLOCK_MONOTONIC, REAP_USEC, 0, on_reap,
					   all);
}

static void forget_all(struct clone **list)
{
	while (*list) {
		struct clone *cl = *list;

		*list = cl->next;
		clone_free(cl);
	}
}

void clone_forget_all(struct pools *all)
{
	forget_all(&all->running);
	forget_all(&all->leaving);
	all->nrunning = 0;
	all->reaper = sd_event_source_disable_unref(all->reaper);
}
