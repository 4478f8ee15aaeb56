/* SPDX-License-Identifier: MIT */
/* pool.c - a template's skeleton and its parked clones: pool.h */
#include "warmd/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "engine/base/pidfd.h"
#include "warmd/lease.h"
#include "warmd/oom_score.h"
#include "warmd/skeleton.h"
#include "warmd/terminal.h"

#define REFILL_USEC    1000 /* after the last launch: refilling would take the processor from the clones */
#define SKELETON_USEC  20000 /* from one skeleton's start to the next */
#define MAKING_MAX     4 /* clones that are being made at once, for the pool */
#define START_SECONDS  10 /* for a skeleton */
#define FORK_SECONDS   5 /* for a skeleton to answer, if it says nothing at all meanwhile */
#define MAKE_SECONDS   30 /* for a clone to be made; a launch is given up after 60 (launcher/launch.c) */
#define FAILURES_MAX   3 /* in a row: then there is something wrong with the template */
#define PLAIN_LAUNCHES 32 /* without a terminal, one after the other: then clones are made without */
#define RETRY_NS       (30 * NS_PER_S)
#define STARVED_NS                                                                                           \
	(200 * NS_PER_MS) /* without a fork, after one that failed for want of processes or memory */
#define STARVED_MAX 3 /* forks of one launch that fail so: they are a second apart, pool_tick() */

static void refill(struct pool *p);
static void want_skeleton(struct pool *p);
static int on_refill(sd_event_source *source, uint64_t usec, void *data);
static void skeleton_gone(struct pool *p, const char *why);
static void serve_waiting(struct pool *p);
static void shrink(struct pool *p, unsigned int to);
static void retire(struct pool *p);

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

struct pool *pool_get(struct server *s, struct template *t)
{
	struct pool *p = t->pool;
	int r;

	if (p)
		return p;
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->server = s;
	p->template = t;
	p->sock = -EBADF;
	p->waiting_end = &p->waiting;
	for (int i = 0; i < 3; i++)
		p->terminals |= t->request->run.stdio[i] == WIRE_STDIO_TTY;
	p->size = p->want = t->request->run.pool ? t->request->run.pool : s->config->pool_size;
	r = pread_full(t->fds[0], &p->head, sizeof(p->head), (off_t)t->result->text_size);
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

static void drop_clones(struct clone **list, unsigned int *n)
{
	while (*list) {
		struct clone *cl = *list;

		*list = cl->next;
		/* end of file on its channel ends it; reaped by whoever: see reap_orphan() */
		clone_release(cl);
	}
	*n = 0;
}

static void stop_skeleton(struct pool *p)
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

void pool_free(struct pool *p)
{
	if (!p)
		return;
	p->template->pool = NULL;
	for (struct clone *cl = p->making; cl; cl = cl->next) {
		if (cl->launch)
			launch_stale(p->server, cl->launch);
		cl->launch = NULL;
	}
	while (p->waiting) {
		struct launch *l = p->waiting;

		p->waiting = l->next;
		launch_stale(p->server, l);
	}
	drop_clones(&p->making, &p->nmaking);
	drop_clones(&p->parked, &p->nparked);
	lease_revoke(p->server, p);
	stop_skeleton(p);
	free(p->prefix);
	free(p->build_argv);
	free(p->build_env);
	free(p);
}

/* --- clones ------------------------------------------------------------------ */

static struct clone *take(struct clone **list, unsigned int *n, struct clone *cl)
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

static struct clone *find(struct pool *p, uint64_t id)
{
	for (struct clone *cl = p->making; cl; cl = cl->next)
		if (cl->id == id)
			return cl;
	return NULL;
}

/* a session of its own. Return: descriptors added to @fds */
static int add_terminal(struct clone *cl, struct stub_fork *fork, int *fds)
{
	int r = terminal_new(cl->server, &cl->terminal);

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

/* ask the skeleton for one more. Return: NULL: it cannot be asked */
static struct clone *ask(struct pool *p, struct launch *l)
{
	struct stub_fork fork = { .size = sizeof(fork), .flags = STUB_FORK_CONTROL };
	struct iovec piece = { &fork, sizeof(fork) };
	int pair[2], fds[5], r, n = 0;
	struct clone *cl = calloc(1, sizeof(*cl));

	if (!cl)
		return NULL;
	cl->server = p->server;
	cl->pool = p;
	cl->channel = cl->pidfd = cl->leader_pidfd = -EBADF;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		log_warning("no clone of '%s': %s", p->template->label, strerror(errno));
		free(cl);
		return NULL;
	}
	cl->channel = pair[0];
	cl->id = ++p->server->next_clone;
	cl->made_ns = clock_ns(CLOCK_MONOTONIC);
	cl->hot = p->hot;
	cl->launch = l;
	fork.id = cl->id;
	if (!l)
		fork.flags |= STUB_FORK_PARK;
	fds[n++] = pair[1];
	fds[n++] = p->template->fds[0];
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

static void refuse(struct launch *l, uint32_t status, const char *words)
{
	launch_answer(l, status, NULL, words);
	launch_free(l);
}

static void give_back(struct pool *p, struct clone *cl)
{
	take(&p->making, &p->nmaking, cl);
	take(&p->parked, &p->nparked, cl);
	clone_release(cl);
}

/* the clone's terminal as the launch wants it. Return: 0 or a negative errno: this clone is of no use to anybody now */
static int settle_terminal(struct clone *cl, const struct launch *l)
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

	if (p->head.oom_score_adj || value == p->server->own_oom_score_adj)
		return 0;
	r = oom_score_write(cl->pid, value);
	cl->scored = r == 0;
	return r < 0 ? error_errno(err, r, "the caller's oom_score_adj %d, warmd has %d", value,
				   p->server->own_oom_score_adj)
		     : 0;
}

/* it has something of one launch already: no other may have it */
static bool is_used(const struct clone *cl)
{
	return cl->terminal || cl->scored;
}

static void count_launch(struct pool *p, uint32_t way)
{
	bool hit = way == WIRE_WAY_PARKED;

	p->hits += hit;
	p->misses += !hit;
	p->server->metrics.pool_hits += hit;
	p->server->metrics.pool_misses += !hit;
}

/*
 * Return: true: the launch is the clone's, or has been answered; false: the clone is dead.
 * Somebody who waits for `warm run` runs the program cold when no answer comes in time: so the answer goes first, and
 * without one there is no order.
 */
static bool give_order(struct pool *p, struct clone *cl, struct launch *l, uint32_t way)
{
	struct error err = { 0 };
	struct order o;
	int r;

	if (is_dead(cl))
		return false;
	r = settle_terminal(cl, l);
	if (r < 0) {
		error_errno(&err, r, "giving it a terminal (see /proc/sys/kernel/pty/max and ulimit -n)");
		refuse(l, WIRE_COLD_ERROR, err.text);
		give_back(p, cl);
		return true;
	}
	r = pool_settle_oom_score(p, cl, l->oom_score_adj, &err);
	if (r == 0)
		r = order_fill(&o, p, cl, l, &err);
	if (r < 0) {
		refuse(l, WIRE_COLD_MISMATCH, err.text);
		if (is_used(cl))
			give_back(p, cl);
		return true;
	}
	cl->way = way;
	cl->template_id = p->template->id;
	if (!l->by_name) {
		launch_answer(l, WIRE_LAUNCHED, cl, p->template->label);
		if (!launch_wanted(l)) {
			fd_close(o.json);
			launch_free(l);
			if (is_used(cl))
				give_back(p, cl);
			return true;
		}
	}
	r = packet_send(cl->channel, o.pieces, o.npieces, o.fds, o.nfds, MSG_DONTWAIT);
	fd_close(o.json);
	if (l->by_name && (r == -EPIPE || r == -ECONNRESET))
		return false;
	if (l->by_name && r < 0) {
		error_errno(&err, r, "sending a clone its order");
		refuse(l, WIRE_COLD_ERROR, err.text);
		if (is_used(cl))
			give_back(p, cl);
		return true;
	}
	/* one that was answered, and died before its order, is told of by its end */
	if (r < 0)
		log_warning("clone %d of '%s' gets no order: %s", cl->pid, p->template->label, strerror(-r));
	take(&p->making, &p->nmaking, cl);
	take(&p->parked, &p->nparked, cl);
	p->failures = 0;
	count_launch(p, way);
	clone_run(cl, l, way);
	if (l->by_name) {
		launch_answer(l, WIRE_LAUNCHED, cl, p->template->label);
		lease_offer(p, l, &o);
	}
	launch_free(l);
	return true;
}

static void wait_first(struct pool *p, struct launch *l)
{
	l->next = p->waiting;
	p->waiting = l;
	if (!l->next)
		p->waiting_end = &l->next;
}

void pool_lost(struct clone *cl)
{
	struct pool *p = cl->pool;
	struct launch *l = cl->launch;

	if (!p) { /* given back: clone_release() */
		clone_unlink(&cl->server->leaving, cl);
		clone_free(cl);
		return;
	}
	/* killed while it was parked is no fault of the template's */
	if (cl->state != CLONE_PARKED)
		p->failures++;
	take(&p->making, &p->nmaking, cl);
	take(&p->parked, &p->nparked, cl);
	cl->launch = NULL;
	clone_free(cl);
	if (l)
		wait_first(p, l);
	if (p->failures >= FAILURES_MAX) {
		skeleton_gone(p, p->why[0] ? p->why : "clones die while they are made");
		return;
	}
	serve_waiting(p);
	refill(p);
}

/* a file that the program has open is not where it was: what no watch could see (/dev/shm, for one) */
static bool misses_file(const struct stub_note *n)
{
	return strcmp(n->what, "making one of the program's descriptors") == 0 &&
	       (n->value == -ENOENT || n->value == -ENOTDIR || n->value == -EACCES || n->value == -ELOOP);
}

static void on_failed(struct pool *p, struct clone *cl, const struct stub_note *n)
{
	log_warning("a clone of '%s' could not be made: %.47s: %s", p->template->label, n->what,
		    strerror(-n->value));
	snprintf(p->why, sizeof(p->why), "%.47s: %s", n->what, strerror(-n->value));
	/* it ends, and pool_lost() sees to its launch */
	(void)cl;
	if (misses_file(n))
		store_unusable(p->server->store, p->template, "a file that it has open"); /* may free @p */
}

/* the control group's fault, not the template's: the pool stays as it was */
static void refused_by_cgroup(struct pool *p, struct clone *cl, int code)
{
	char words[256];

	snprintf(words, sizeof(words), "it cannot start in that control group: %s%s", strerror(-code),
		 code == -EBADF ? " (it takes a directory of cgroup2)" : "");
	log_info("a clone of '%s': %s", p->template->label, words);
	if (cl->launch)
		refuse(cl->launch, WIRE_COLD_ERROR, words);
	cl->launch = NULL;
	give_back(p, cl);
}

/*
 * EAGAIN, ENOMEM: RLIMIT_NPROC, pids.max, no memory. It is not the template's fault, and passes: skeleton and
 * parked clones stay, and what waits for a fork waits for pool_tick().
 */
static void starved(struct pool *p, struct clone *cl, int code)
{
	struct launch *l = cl->launch;
	char words[160];

	if (!p->starved_ns)
		log_warning("no clone of '%s' can be forked now: %s", p->template->label, strerror(-code));
	p->starved_ns = clock_ns(CLOCK_MONOTONIC);
	take(&p->making, &p->nmaking, cl);
	cl->launch = NULL;
	clone_free(cl);
	if (l && ++l->starved >= STARVED_MAX) {
		snprintf(words, sizeof(words),
			 "no clone can be forked: %s (see ulimit -u, and pids.max of the control group)",
			 strerror(-code));
		refuse(l, WIRE_COLD_ERROR, words);
	} else if (l) {
		wait_first(p, l);
	}
}

static bool is_starved(const struct pool *p)
{
	return p->starved_ns && clock_ns(CLOCK_MONOTONIC) - p->starved_ns < STARVED_NS;
}

static void on_forked(struct pool *p, struct clone *cl, int pid)
{
	struct launch *l = cl->launch;
	int r;

	if (pid < 0 && cl->cgroup) {
		refused_by_cgroup(p, cl, pid);
		serve_waiting(p);
		return;
	}
	if (pid == -EAGAIN || pid == -ENOMEM) {
		starved(p, cl, pid);
		return;
	}
	p->starved_ns = 0;
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
	if (l && !launch_wanted(l)) {
		launch_free(l);
		l = NULL;
	}
	if (l && !give_order(p, cl, l, WIRE_WAY_FORK))
		cl->launch = l; /* pool_lost() will find it */
	else if (cl->cgroup && cl->state != CLONE_RUNNING)
		give_back(p, cl); /* in a cgroup where no other launch belongs */
	serve_waiting(p);
}

/* the launch that it was made for, and its PID, are there */
static void launch_with_terminal(struct pool *p, struct clone *cl)
{
	struct launch *l = cl->launch;

	cl->launch = NULL;
	if (!launch_wanted(l)) {
		launch_free(l);
		give_back(p, cl);
	} else if (!give_order(p, cl, l, WIRE_WAY_FORK)) {
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
	take(&p->making, &p->nmaking, cl);
	cl->state = CLONE_PARKED;
	metrics_since(p->server, METRICS_PARK, cl->made_ns);
	cl->next = p->parked;
	p->parked = cl;
	p->nparked++;
	p->failures = 0;
	retire(p);
	serve_waiting(p);
	refill(p);
}

static void on_note(struct pool *p, const struct stub_note *n)
{
	struct clone *cl = find(p, n->id);

	p->heard_ns = clock_ns(CLOCK_MONOTONIC);
	switch (n->kind) {
	case STUB_NOTE_READY:
		p->state = SKELETON_READY;
		p->timer = sd_event_source_disable_unref(p->timer);
		metrics_since(p->server, METRICS_SKELETON, p->skeleton_ns);
		log_debug("skeleton %d of '%s' is ready after %llu us", p->pid, p->template->label,
			  (unsigned long long)(clock_ns(CLOCK_MONOTONIC) - p->skeleton_ns) / 1000);
		serve_waiting(p);
		refill(p);
		break;
	case STUB_NOTE_FORKED:
		if (!cl || cl->state != CLONE_FORKING)
			break;
		on_forked(p, cl, n->value);
		cl = find(p, n->id);
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
		cl = find(p, n->id);
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

static int on_notes(sd_event_source *source, int fd, uint32_t events, void *data)
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
	skeleton_gone(p, r < 0 ? strerror(-r) : "it ended");
	return 0;
}

/* --- the skeleton --------------------------------------------------------------- */

static int on_start_timeout(sd_event_source *source, uint64_t usec, void *data)
{
	(void)source;
	(void)usec;
	skeleton_gone(data, "it did not become ready in time");
	return 0;
}

static void start_skeleton(struct pool *p)
{
	struct error err = { 0 };
	sd_event *event = p->server->event;
	int r;

	if (p->state == SKELETON_BROKEN && clock_ns(CLOCK_MONOTONIC) - p->skeleton_ns < RETRY_NS)
		return;
	p->skeleton_ns = clock_ns(CLOCK_MONOTONIC);
	/* of a refill, or of the start that is made now */
	p->timer = sd_event_source_disable_unref(p->timer);
	r = skeleton_start(p->template, &p->pid, &p->sock, &err);
	if (r == 0) {
		p->state = SKELETON_STARTING;
		p->skeletons++;
		p->server->metrics.skeletons++;
		r = sd_event_add_io(event, &p->io, p->sock, EPOLLIN, on_notes, p);
		if (r >= 0)
			r = sd_event_add_time_relative(event, &p->timer, CLOCK_MONOTONIC,
						       START_SECONDS * 1000000ull, 0, on_start_timeout, p);
		if (r < 0)
			error_errno(&err, r, "watching a skeleton");
	}
	if (r < 0)
		skeleton_gone(p, err.text);
}

/* at once, but one that dies as soon as it is there is not made at full speed */
static void want_skeleton(struct pool *p)
{
	uint64_t since = clock_ns(CLOCK_MONOTONIC) - p->skeleton_ns;

	if ((p->state != SKELETON_NONE && p->state != SKELETON_BROKEN) || (!p->want && !p->waiting))
		return;
	if (p->skeletons == 0 || since > SKELETON_USEC * NS_PER_US)
		start_skeleton(p);
	else if (!p->timer)
		sd_event_add_time_relative(p->server->event, &p->timer, CLOCK_MONOTONIC,
					   SKELETON_USEC - since / NS_PER_US + 1, 100, on_refill, p);
}

static void fail_waiting(struct pool *p)
{
	struct launch *l;
	char words[256];

	snprintf(words, sizeof(words), "no clone can be made: %.160s", p->why);
	while ((l = p->waiting)) {
		p->waiting = l->next;
		launch_answer(l, WIRE_COLD_ERROR, NULL, words);
		launch_free(l);
	}
	p->waiting_end = &p->waiting;
}

/* it ended, or is of no use: clones that have no order yet go with it */
static void skeleton_gone(struct pool *p, const char *why)
{
	bool was_ready = p->state == SKELETON_READY;

	log_info("the skeleton of '%s' is gone: %s", p->template->label, why);
	if (why != p->why)
		snprintf(p->why, sizeof(p->why), "%s", why);
	stop_skeleton(p);
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
	drop_clones(&p->making, &p->nmaking);
	if (!was_ready)
		p->failures++;
	if (p->failures >= FAILURES_MAX) {
		log_warning("template '%s' cannot be forked: %s", p->template->label, p->why);
		p->state = SKELETON_BROKEN;
		p->failures = 0;
		fail_waiting(p);
		return;
	}
	want_skeleton(p);
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
static bool place(struct pool *p, struct launch *l)
{
	/* a cgroup is entered by the fork */
	bool fork = l->request->run.flags & WIRE_LAUNCH_CGROUP;
	struct clone *cl;

	if (!launch_wanted(l)) {
		launch_free(l);
		return true;
	}
	while (!fork && (cl = ready_clone(p, terminal_wanted(l)))) {
		uint32_t way = cl->state == CLONE_PARKED ? WIRE_WAY_PARKED : WIRE_WAY_FORK;

		if (give_order(p, cl, l, way))
			return true;
		give_back(p, cl);
	}
	cl = fork || terminal_wanted(l) ? NULL : next_clone(p);
	if (cl) {
		cl->launch = l;
		return true;
	}
	return p->state == SKELETON_READY && !is_starved(p) && ask(p, l) != NULL;
}

static void serve_waiting(struct pool *p)
{
	while (p->waiting) {
		struct launch *l = p->waiting;

		p->waiting = l->next;
		if (!p->waiting)
			p->waiting_end = &p->waiting;
		l->next = NULL;
		if (!place(p, l)) {
			wait_first(p, l);
			return;
		}
	}
}

/* what was made ahead shall fit the launches that come */
static void learn_kind(struct pool *p, const struct launch *l)
{
	if (!terminal_wanted(l)) {
		if (++p->without_terminal >= PLAIN_LAUNCHES)
			p->terminals = false;
		return;
	}
	p->without_terminal = 0;
	if (!p->terminals)
		shrink(p, 0);
	p->terminals = true;
}

void pool_launch(struct pool *p, struct launch *l)
{
	p->last_launch_ns = clock_ns(CLOCK_MONOTONIC);
	p->want = p->size;
	learn_kind(p, l);
	l->next = NULL;
	*p->waiting_end = l;
	p->waiting_end = &l->next;
	serve_waiting(p);
	if (p->waiting)
		want_skeleton(p);
	if (p->waiting && p->state == SKELETON_BROKEN)
		fail_waiting(p);
	refill(p);
}

bool pool_ready(const struct pool *p)
{
	return p->parked || p->state == SKELETON_READY;
}

/* --- the pool's size ------------------------------------------------------------------- */

static int on_refill(sd_event_source *source, uint64_t usec, void *data)
{
	struct pool *p = data;

	(void)source;
	(void)usec;
	p->timer = sd_event_source_disable_unref(p->timer);
	refill(p);
	return 0;
}

static void refill(struct pool *p)
{
	uint64_t since = clock_ns(CLOCK_MONOTONIC) - p->last_launch_ns;
	unsigned int idle = 0, have, old = 0;

	if (!p->server->short_of_memory || p->waiting)
		want_skeleton(p);
	if (p->state != SKELETON_READY || p->server->short_of_memory || is_starved(p))
		return;
	for (struct clone *cl = p->making; cl; cl = cl->next)
		idle += !cl->launch;
	have = p->nparked + p->nleased + idle;
	for (struct clone *cl = p->parked; cl; cl = cl->next)
		old += cl->hot != p->hot;
	if (have - old < p->want && since < REFILL_USEC * NS_PER_US) {
		if (!p->timer)
			sd_event_add_time_relative(p->server->event, &p->timer, CLOCK_MONOTONIC,
						   REFILL_USEC - since / NS_PER_US + 1, 100, on_refill, p);
		/* one can wait; with half of them gone launches come without a pause. But none may be in the way of a launch */
		if (have + 2 > p->want || have > p->want / 2 || p->nmaking > idle || p->waiting)
			return;
	}
	for (; have - old < p->want && idle < MAKING_MAX && ask(p, NULL); idle++)
		have++;
}

/* a new one has come: one of those that it replaces goes */
static void retire(struct pool *p)
{
	for (struct clone *cl = p->parked; cl && p->nparked + p->nleased > p->want; cl = cl->next) {
		if (cl->hot != p->hot) {
			clone_release(take(&p->parked, &p->nparked, cl));
			return;
		}
	}
}

void pool_keep(struct pool *p, unsigned int want)
{
	p->want = p->size = want;
	want_skeleton(p);
	refill(p);
}

static void shrink(struct pool *p, unsigned int to)
{
	while (p->nparked > to) {
		struct clone *cl = take(&p->parked, &p->nparked, p->parked);

		clone_release(cl);
	}
	if (!to)
		lease_revoke(p->server, p);
}

void pool_lend(struct pool *p, struct clone *cl)
{
	take(&p->parked, &p->nparked, cl);
	p->nleased++;
}

void pool_lent_is_gone(struct pool *p)
{
	p->nleased--;
	/* not refill(): this may be the end of the pool, or within a loop over its clones. pool_tick() comes once a second */
}

void pool_lent_was_used(struct pool *p)
{
	p->nleased--;
	count_launch(p, WIRE_WAY_PARKED);
	p->last_launch_ns = clock_ns(CLOCK_MONOTONIC);
	p->want = p->size;
	p->failures = 0;
	refill(p);
}

void pool_new_hot(struct pool *p)
{
	p->hot++;
	refill(p);
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
			skeleton_gone(p, "it does not answer");
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
	uint64_t idle = p->server->config->pool_idle_ns;

	replace_hanging(p);
	if (short_of_memory || (idle && clock_ns(CLOCK_MONOTONIC) - p->last_launch_ns > idle &&
				clock_ns(CLOCK_MONOTONIC) - p->skeleton_ns > idle)) {
		if (p->nparked)
			log_info("template '%s': %u parked clones go: %s", p->template->label, p->nparked,
				 short_of_memory ? "memory is short" : "idle");
		p->want = 0;
		shrink(p, 0);
	}
	/* what could not be done for want of descriptors or memory */
	serve_waiting(p);
	refill(p);
}
