/* SPDX-License-Identifier: MIT */
/* pool.c - launches, and how many clones are kept ready for them: pool.h */
#include "warmd/pool/pool_internal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "engine/base/pidfd.h"
#include "warmd/pool/lease.h"
#include "warmd/pool/terminal.h"

#define REFILL_USEC    1000 /* after the last launch: refilling would take the processor from the clones */
#define MAKING_MAX     4 /* clones that are being made at once, for the pool */
#define FORK_SECONDS   5 /* for a skeleton to answer, if it says nothing at all meanwhile */
#define MAKE_SECONDS   30 /* for a clone to be made; a launch is given up after 60 (launcher/launch.c) */
#define PLAIN_LAUNCHES 32 /* without a terminal, one after the other: then clones are made without */

static int read_strings(const struct pool *p, int control, uint64_t at, size_t len, char **ret)
{
	char *v = malloc(len + 1);
	int r;

	if (!v)
		return -ENOMEM;
	v[len] = '\0';
	r = pread_full(control, v, len, (off_t)(p->head.text_size + at));
	if (r < 0)
		free(v);
	else
		*ret = v;
	return r;
}

/* the strings of argv_prefix: their number is known, their end is where build_env begins (plan_tables.c) */
static int read_prefix(struct pool *p, int control)
{
	char *v;
	size_t len = 0;
	int r;

	if (!p->head.argv_prefix_n)
		return 0;
	if (p->head.build_env < p->head.argv_prefix)
		return -EBADMSG;
	r = read_strings(p, control, p->head.argv_prefix, p->head.build_env - p->head.argv_prefix, &v);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < p->head.argv_prefix_n; i++)
		len += strlen(v + len) + 1;
	p->prefix = v;
	p->prefix_len = len;
	return 0;
}

struct pool *pool_get(struct pools *all, struct template *t)
{
	struct pool *p = t->pool;
	int r;

	if (p)
		return p;
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->pools = all;
	p->template = t;
	p->sock = -EBADF;
	p->waiting_end = &p->waiting;
	for (int i = 0; i < 3; i++)
		p->terminals |= t->request->run.stdio[i] == WIRE_STDIO_TTY;
	p->size = p->want = t->request->run.pool ? t->request->run.pool : all->config->pool_size;
	r = pread_full(t->fds[0], &p->head, sizeof(p->head), (off_t)t->result->text_size);
	if (r == 0)
		r = pread_full(t->fds[0], &p->root, sizeof(p->root),
			       (off_t)(t->result->text_size + p->head.processes));
	if (r == 0)
		r = read_prefix(p, t->fds[0]);
	if (r == 0)
		r = read_strings(p, t->fds[0], p->head.build_env, p->head.build_env_len, &p->build_env);
	if (r == 0)
		r = read_strings(p, t->fds[0], p->head.build_argv, p->head.build_argv_len, &p->build_argv);
	t->pool = p;
	if (r < 0) {
		log_error("template '%s': its control file: %s", t->label, strerror(-r));
		pool_free(p);
		return NULL;
	}
	return p;
}

void pool_drop_clones(struct clone **list, unsigned int *n)
{
	while (*list) {
		struct clone *cl = *list;

		*list = cl->next;
		/* end of file on its channel ends it; reaped by whoever: see reap_orphan() */
		clone_release(cl);
	}
	*n = 0;
}

void pool_free(struct pool *p)
{
	if (!p)
		return;
	p->template->pool = NULL;
	for (struct clone *cl = p->making; cl; cl = cl->next) {
		if (cl->launch)
			p->pools->hooks->stale(p->pools->hooks_data, cl->launch);
		cl->launch = NULL;
	}
	while (p->waiting) {
		struct launch_request *l = p->waiting;

		p->waiting = l->next;
		p->pools->hooks->stale(p->pools->hooks_data, l);
	}
	pool_drop_clones(&p->making, &p->nmaking);
	pool_drop_clones(&p->parked, &p->nparked);
	lease_revoke(p->pools, p);
	pool_stop_skeleton(p);
	sd_event_source_disable_unref(p->hungry);
	free(p->prefix);
	free(p->build_argv);
	free(p->build_env);
	free(p);
}

/* --- launches ------------------------------------------------------------------------ */

/* @terminal: one that has a terminal; without, one that has none is better, as it must not lose it first */
static struct clone *ready_clone(struct pool *p, bool terminal)
{
	for (struct clone *cl = p->parked; cl; cl = cl->next)
		if (!cl->terminal == !terminal)
			return cl;
	if (terminal)
		return NULL;
	if (p->parked)
		return p->parked;
	/* forked already, for the pool: sooner there than a new one */
	for (struct clone *cl = p->making; cl; cl = cl->next)
		if (cl->state == CLONE_MAKING && !cl->launch && !cl->cgroup && !cl->terminal)
			return cl;
	return NULL;
}

/* asked for already, for the pool: the one that the skeleton comes to next */
static struct clone *next_clone(struct pool *p)
{
	struct clone *next = NULL;

	for (struct clone *cl = p->making; cl; cl = cl->next)
		if (cl->state == CLONE_FORKING && !cl->launch && !cl->cgroup && !cl->terminal)
			next = cl;
	return next;
}

/* Return: false: no clone is there for it */
static bool place(struct pool *p, struct launch_request *l)
{
	/* a cgroup is entered by the fork */
	bool fork = l->request->run.flags & WIRE_LAUNCH_CGROUP;
	struct clone *cl;

	if (!launch_request_wanted(l)) {
		launch_request_free(l);
		return true;
	}
	while (!fork && (cl = ready_clone(p, terminal_wanted(l)))) {
		uint32_t way = cl->state == CLONE_PARKED ? WIRE_WAY_PARKED : WIRE_WAY_FORK;

		if (pool_is_stopped(cl)) {
			pool_replace(p, cl);
			continue;
		}
		if (pool_give_order(p, cl, l, way))
			return true;
		pool_give_back(p, cl);
	}
	cl = fork || terminal_wanted(l) ? NULL : next_clone(p);
	if (cl) {
		cl->launch = l;
		return true;
	}
	return p->state == SKELETON_READY && !pool_is_starved(p) && pool_ask(p, l) != NULL;
}

void pool_serve_waiting(struct pool *p)
{
	while (p->waiting) {
		struct launch_request *l = p->waiting;

		p->waiting = l->next;
		if (!p->waiting)
			p->waiting_end = &p->waiting;
		l->next = NULL;
		if (!place(p, l)) {
			pool_wait_first(p, l);
			return;
		}
	}
}

/* what was made ahead shall fit the launches that come */
static void learn_kind(struct pool *p, const struct launch_request *l)
{
	if (!terminal_wanted(l)) {
		if (++p->without_terminal >= PLAIN_LAUNCHES)
			p->terminals = false;
		return;
	}
	p->without_terminal = 0;
	if (!p->terminals)
		pool_shrink(p, 0);
	p->terminals = true;
}

void pool_launch(struct pool *p, struct launch_request *l)
{
	p->last_launch_ns = clock_ns(CLOCK_MONOTONIC);
	p->want = p->size;
	learn_kind(p, l);
	l->next = NULL;
	*p->waiting_end = l;
	p->waiting_end = &l->next;
	pool_serve_waiting(p);
	if (p->waiting)
		pool_want_skeleton(p);
	if (p->waiting && p->state == SKELETON_BROKEN)
		pool_fail_waiting(p);
	pool_refill(p);
}

bool pool_ready(const struct pool *p)
{
	return p->parked || p->state == SKELETON_READY;
}

/* --- the pool's size ------------------------------------------------------------------- */

int pool_on_refill(sd_event_source *source, uint64_t usec, void *data)
{
	struct pool *p = data;

	(void)source;
	(void)usec;
	p->timer = sd_event_source_disable_unref(p->timer);
	pool_refill(p);
	return 0;
}

void pool_refill(struct pool *p)
{
	uint64_t since = clock_ns(CLOCK_MONOTONIC) - p->last_launch_ns;
	unsigned int idle = 0, have, old = 0;

	if (!p->pools->short_of_memory || p->waiting)
		pool_want_skeleton(p);
	if (p->state != SKELETON_READY || p->pools->short_of_memory || pool_is_starved(p))
		return;
	for (struct clone *cl = p->making; cl; cl = cl->next)
		idle += !cl->launch;
	have = p->nparked + p->nleased + idle;
	for (struct clone *cl = p->parked; cl; cl = cl->next)
		old += cl->hot != p->hot;
	if (have - old < p->want && since < REFILL_USEC * NS_PER_US) {
		if (!p->timer)
			sd_event_add_time_relative(p->pools->event, &p->timer, CLOCK_MONOTONIC,
						   REFILL_USEC - since / NS_PER_US + 1, 100, pool_on_refill,
						   p);
		/* one can wait; with half of them gone launches come without a pause. But none may be in the way of a launch */
		if (have + 2 > p->want || have > p->want / 2 || p->nmaking > idle || p->waiting)
			return;
	}
	for (; have - old < p->want && idle < MAKING_MAX && pool_ask(p, NULL); idle++)
		have++;
}

void pool_retire(struct pool *p)
{
	for (struct clone *cl = p->parked; cl && p->nparked + p->nleased > p->want; cl = cl->next) {
		if (cl->hot != p->hot) {
			clone_release(pool_take(&p->parked, &p->nparked, cl));
			return;
		}
	}
}

void pool_keep(struct pool *p, unsigned int want)
{
	p->want = p->size = want;
	pool_want_skeleton(p);
	pool_refill(p);
}

void pool_shrink(struct pool *p, unsigned int to)
{
	while (p->nparked > to) {
		struct clone *cl = pool_take(&p->parked, &p->nparked, p->parked);

		clone_release(cl);
	}
	if (!to)
		lease_revoke(p->pools, p);
}

void pool_lend(struct pool *p, struct clone *cl)
{
	pool_take(&p->parked, &p->nparked, cl);
	p->nleased++;
}

void pool_lent_is_gone(struct pool *p)
{
	p->nleased--;
	/* not pool_refill(): this may be the end of the pool, or within a loop over its clones. pool_tick() comes once a second */
}

void pool_lent_was_used(struct pool *p)
{
	p->nleased--;
	pool_count_launch(p, WIRE_WAY_PARKED);
	p->last_launch_ns = clock_ns(CLOCK_MONOTONIC);
	p->want = p->size;
	p->failures = 0;
	pool_refill(p);
}

void pool_new_hot(struct pool *p, bool replace)
{
	p->listed = false;
	p->hot += replace;
	pool_refill(p);
}

/* clones that somebody stopped are of no use, and would hold up the launch that they get */
static void replace_stopped(struct pool *p)
{
	struct clone *next;

	for (struct clone *cl = p->parked; cl; cl = next) {
		next = cl->next;
		if (pool_is_stopped(cl))
			pool_replace(p, cl);
	}
	/* those that are being made may have their launch: pool_lost() sees to it */
	for (struct clone *cl = p->making; cl; cl = cl->next)
		if (cl->state == CLONE_MAKING && pool_is_stopped(cl))
			pidfd_kill(cl->leader ? cl->leader_pidfd : cl->pidfd,
				   cl->leader ? cl->leader : cl->pid, SIGKILL, false);
	/* its client may give the order this very moment, which counts then */
	for (struct clone *cl = p->pools->leased; cl; cl = cl->next) {
		if (cl->pool == p && pool_is_stopped(cl)) {
			lease_revoke(p->pools, p);
			return;
		}
	}
}

/*
 * A skeleton, or a clone that is being made, may be stopped or hang: launches that wait for it go on with another.
 * What was said and not read yet, because warmd itself was stopped, counts as heard.
 */
static void replace_hanging(struct pool *p)
{
	struct pollfd said = { .fd = p->sock, .events = POLLIN };
	uint64_t now = clock_ns(CLOCK_MONOTONIC);
	bool silent = now - p->heard_ns > FORK_SECONDS * NS_PER_S;

	if (p->state != SKELETON_READY || poll(&said, 1, 0) > 0)
		return;
	for (struct clone *cl = p->making; cl; cl = cl->next) {
		if (cl->state == CLONE_FORKING && silent && now - cl->made_ns > FORK_SECONDS * NS_PER_S) {
			p->failures++;
			pool_skeleton_gone(p, "it does not answer");
			return;
		}
		/* its end is seen: pool_lost() */
		if (cl->state == CLONE_MAKING && now - cl->made_ns > MAKE_SECONDS * NS_PER_S) {
			log_warning("clone %d of '%s' is not made in time", cl->pid, p->template->label);
			pidfd_kill(cl->leader ? cl->leader_pidfd : cl->pidfd,
				   cl->leader ? cl->leader : cl->pid, SIGKILL, false);
		}
	}
}

void pool_tick(struct pool *p, bool short_of_memory)
{
	uint64_t idle = p->pools->config->pool_idle_ns;

	replace_hanging(p);
	replace_stopped(p);
	if (short_of_memory || (idle && clock_ns(CLOCK_MONOTONIC) - p->last_launch_ns > idle &&
				clock_ns(CLOCK_MONOTONIC) - p->skeleton_ns > idle)) {
		if (p->nparked)
			log_info("template '%s': %u parked clones go: %s", p->template->label, p->nparked,
				 short_of_memory ? "memory is short" : "idle");
		p->want = 0;
		pool_shrink(p, 0);
	}
	/* what could not be done for want of descriptors or memory */
	pool_serve_waiting(p);
	pool_refill(p);
}
