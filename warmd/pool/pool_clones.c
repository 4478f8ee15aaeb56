/* SPDX-License-Identifier: MIT */
/* pool_clones.c - clones without an order, and how they get one: pool.h */
#include "warmd/pool/pool_internal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "engine/base/pidfd.h"
#include "warmd/pool/lease.h"
#include "warmd/pool/order.h"
#include "warmd/connection/oom_score.h"
#include "warmd/pool/terminal.h"

struct clone *pool_take(struct clone **list, unsigned int *n, struct clone *cl)
{
	for (struct clone **q = list; *q; q = &(*q)->next) {
		if (*q == cl) {
			*q = cl->next;
			(*n)--;
			cl->next = NULL;
			return cl;
		}
	}
	return NULL;
}

struct clone *pool_find(struct pool *p, uint64_t id)
{
	for (struct clone *cl = p->making; cl; cl = cl->next)
		if (cl->id == id)
			return cl;
	return NULL;
}

/* a session of its own. Return: descriptors added to @fds */
static int add_terminal(struct clone *cl, struct stub_fork *fork, int *fds)
{
	int r = terminal_new(cl->pools, &cl->terminal);

	if (r < 0) {
		log_warning(
			"no terminal for a clone of '%s': %s (see /proc/sys/kernel/pty/max and ulimit -n)",
			cl->pool->template->label, strerror(-r));
		return 0;
	}
	fork->flags |= STUB_FORK_TERMINAL;
	fds[0] = cl->terminal->slave;
	fds[1] = cl->terminal->leader_end;
	return 2;
}

struct clone *pool_ask(struct pool *p, struct launch_request *l)
{
	struct stub_fork fork = { .size = sizeof(fork) };
	struct iovec piece = { &fork, sizeof(fork) };
	int pair[2], fds[5], r, n = 0;
	struct clone *cl = calloc(1, sizeof(*cl));

	if (!cl)
		return NULL;
	cl->pools = p->pools;
	cl->pool = p;
	cl->channel = cl->pidfd = cl->leader_pidfd = -EBADF;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		log_warning("no clone of '%s': %s", p->template->label, strerror(errno));
		free(cl);
		return NULL;
	}
	cl->channel = pair[0];
	cl->id = ++p->pools->next_clone;
	cl->made_ns = clock_ns(CLOCK_MONOTONIC);
	cl->hot = p->hot;
	cl->launch = l;
	fork.id = cl->id;
	cl->parks = !l;
	if (cl->parks)
		fork.flags |= STUB_FORK_PARK;
	fds[n++] = pair[1];
	if (!p->listed) {
		fork.flags |= STUB_FORK_CONTROL;
		fds[n++] = p->template->fds[0];
	}
	if (l && (l->request->run.flags & WIRE_LAUNCH_CGROUP)) {
		fork.flags |= STUB_FORK_CGROUP;
		cl->cgroup = true;
		fds[n++] = l->caller.fds[l->caller.nfds - 1];
	}
	if (l ? terminal_wanted(l) : p->terminals)
		n += add_terminal(cl, &fork, fds + n);
	r = packet_send(p->sock, &piece, 1, fds, (size_t)n, MSG_DONTWAIT);
	close(pair[1]);
	if (cl->terminal)
		cl->terminal->leader_end = fd_close(cl->terminal->leader_end);
	if (r < 0) {
		clone_free(cl);
		return NULL;
	}
	p->listed = true;
	cl->next = p->making;
	p->making = cl;
	p->nmaking++;
	return cl;
}

static bool is_dead(const struct clone *cl)
{
	struct pollfd p = { .fd = cl->channel };

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR));
}

bool pool_is_stopped(const struct clone *cl)
{
	siginfo_t si = { 0 };

	/* of children alone, and nothing is taken from whoever asks next */
	return cl->child &&
	       waitid(P_PIDFD, (id_t)(cl->leader ? cl->leader_pidfd : cl->pidfd), &si,
		      WSTOPPED | WNOHANG | WNOWAIT) == 0 &&
	       si.si_pid;
}

void pool_replace(struct pool *p, struct clone *cl)
{
	log_info("clone %d of '%s', which has no order, was stopped: it is replaced", cl->pid,
		 p->template->label);
	/* the end of file on its channel would not end it. Its session's leader takes it along */
	pidfd_kill(cl->leader ? cl->leader_pidfd : cl->pidfd, cl->leader ? cl->leader : cl->pid, SIGKILL,
		   false);
	pool_give_back(p, cl);
}

void pool_answer(struct pool *p, struct launch_request *l, uint32_t status, struct clone *cl,
		 const char *reason)
{
	p->pools->hooks->answer(p->pools->hooks_data, l, status, cl, reason);
}

void pool_refuse(struct pool *p, struct launch_request *l, uint32_t status, const char *words)
{
	pool_answer(p, l, status, NULL, words);
	launch_request_free(l);
}

void pool_give_back(struct pool *p, struct clone *cl)
{
	pool_take(&p->making, &p->nmaking, cl);
	pool_take(&p->parked, &p->nparked, cl);
	clone_release(cl);
}

/* the clone's terminal as the launch wants it. Return: 0 or a negative errno: this clone is of no use to anybody now */
static int settle_terminal(struct clone *cl, const struct launch_request *l)
{
	if (terminal_wanted(l)) /* -ENOSPC: add_terminal() could not, and has said so */
		return cl->terminal ? terminal_start(cl->terminal, cl, l) : -ENOSPC;
	if (cl->terminal)
		terminal_release(cl->terminal);
	cl->terminal = NULL;
	return 0;
}

int pool_settle_oom_score(const struct pool *p, struct clone *cl, int value, struct error *err)
{
	int r;

	if (p->root.oom_score_adj || value == p->pools->own_oom_score_adj)
		return 0;
	r = oom_score_write(cl->pid, value);
	cl->scored = r == 0;
	return r < 0 ? error_errno(err, r, "the caller's oom_score_adj %d, warmd has %d", value,
				   p->pools->own_oom_score_adj)
		     : 0;
}

bool pool_is_used(const struct clone *cl)
{
	return !cl->parks || cl->cgroup || cl->terminal || cl->scored;
}

void pool_count_launch(struct pool *p, uint32_t way)
{
	bool hit = way == WIRE_WAY_PARKED;

	p->hits += hit;
	p->misses += !hit;
	p->pools->metrics->pool_hits += hit;
	p->pools->metrics->pool_misses += !hit;
}

bool pool_give_order(struct pool *p, struct clone *cl, struct launch_request *l, uint32_t way)
{
	struct error err = { 0 };
	struct order o;
	int r;

	if (is_dead(cl))
		return false;
	r = settle_terminal(cl, l);
	if (r < 0) {
		error_errno(&err, r, "giving it a terminal (see /proc/sys/kernel/pty/max and ulimit -n)");
		pool_refuse(p, l, WIRE_COLD_ERROR, err.text);
		pool_give_back(p, cl);
		return true;
	}
	r = pool_settle_oom_score(p, cl, l->oom_score_adj, &err);
	if (r == 0)
		r = order_fill(&o, p, cl, l, &err);
	if (r < 0) {
		pool_refuse(p, l, WIRE_COLD_MISMATCH, err.text);
		if (pool_is_used(cl))
			pool_give_back(p, cl);
		return true;
	}
	cl->way = way;
	cl->template_id = p->template->id;
	pool_answer(p, l, WIRE_LAUNCHED, cl, p->template->label);
	if (!launch_request_wanted(l)) {
		fd_close(o.json);
		launch_request_free(l);
		cl->recent = 0;
		if (pool_is_used(cl))
			pool_give_back(p, cl);
		return true;
	}
	r = packet_send(cl->channel, o.pieces, o.npieces, o.fds, o.nfds, MSG_DONTWAIT);
	/* one that was answered, and died before its order, is told of by its end */
	if (r < 0)
		log_warning("clone %d of '%s' gets no order: %s", cl->pid, p->template->label, strerror(-r));
	pool_take(&p->making, &p->nmaking, cl);
	pool_take(&p->parked, &p->nparked, cl);
	p->failures = p->breaks = 0;
	pool_count_launch(p, way);
	clone_run(cl, l, way);
	if (l->by_name && r == 0)
		lease_offer(p, l, &o);
	fd_close(o.json);
	launch_request_free(l);
	return true;
}

void pool_wait_first(struct pool *p, struct launch_request *l)
{
	l->next = p->waiting;
	p->waiting = l;
	if (!l->next)
		p->waiting_end = &l->next;
}
