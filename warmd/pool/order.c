/* SPDX-License-Identifier: MIT */
/* order.c - from a launch's request to what its clone is told: struct stub_order */
#include "warmd/pool/order.h"

#include <errno.h>
#include <linux/ioprio.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "engine/base/fd.h"
#include "launcher/wire/context_json.h"
#include "warmd/pool/hot.h"
#include "warmd/pool/terminal.h"
#include "warmd/template/match.h"

#define CAP_BIT(n) (1ull << (n))

static bool is_within(const uint64_t *cpus, const uint64_t *all)
{
	for (int i = 0; i < SCHEDULING_CPU_WORDS; i++)
		if (cpus[i] & ~all[i])
			return false;
	return true;
}

static void *take_all_cpus(void *data)
{
	uint64_t *cpus = data, all[SCHEDULING_CPU_WORDS];

	memset(all, 0xff, sizeof(all));
	/* system calls: 0 is this thread alone */
	syscall(SYS_sched_setaffinity, 0, sizeof(all), all);
	syscall(SYS_sched_getaffinity, 0, SCHEDULING_CPU_WORDS * sizeof(*cpus), cpus);
	return NULL;
}

/*
 * sched_setaffinity(2) takes what is in the cpuset and leaves out the rest, and fails if nothing is left. Warmd's own affinity says
 * less than its cpuset (taskset), which is found out by a thread: were it warmd itself, it would no longer follow a cpuset that grows.
 */
static bool are_beyond_cpuset(const struct wire_run *own, const struct scheduling *s)
{
	uint64_t widest[SCHEDULING_CPU_WORDS] = { 0 };
	pthread_t thread;

	if (is_within(s->cpus, own->scheduling.cpus))
		return false;
	if (pthread_create(&thread, NULL, take_all_cpus, widest) != 0)
		return true;
	pthread_join(thread, NULL);
	return !is_within(s->cpus, widest);
}

/* what a child of warmd, with the caller's limits, may not set: sched(7), ioprio_set(2) */
bool order_scheduling_refusal(const struct wire_run *own, const struct wire_run *a, char *reason, size_t size)
{
	const struct scheduling *s = &a->scheduling, *had = &own->scheduling;
	bool may_nice = own->capabilities & CAP_BIT(CAP_SYS_NICE);
	int policy = s->policy & ~SCHED_RESET_ON_FORK;

	if (a->nice < own->nice && !may_nice && a->rlimits[RLIMIT_NICE][0] < (uint64_t)(20 - a->nice))
		snprintf(reason, size, "warmd has nice value %d, the caller %d", own->nice, a->nice);
	else if (s->affinity != had->affinity && memcmp(s->cpus, had->cpus, sizeof(s->cpus)) == 0)
		snprintf(reason, size, "the caller has another CPU affinity than warmd, beyond processor %d",
			 SCHEDULING_CPU_WORDS * 64 - 1);
	else if (are_beyond_cpuset(own, s))
		snprintf(
			reason, size,
			"the caller runs on processors that are not in warmd's cpuset (Cpus_allowed_list in /proc/PID/status); "
			"'warm stop' lets the next warmd start in the caller's");
	else if (s->policy != had->policy && policy > SCHED_IDLE)
		snprintf(reason, size, "the caller has a scheduling policy that cannot be given (%d)",
			 policy);
	else if (s->policy != had->policy && (policy == SCHED_FIFO || policy == SCHED_RR) && !may_nice &&
		 a->rlimits[RLIMIT_RTPRIO][0] < (uint64_t)s->priority)
		snprintf(reason, size, "the caller has a real-time policy, and warmd may not set it");
	else if (s->ioprio != had->ioprio && s->ioprio >> IOPRIO_CLASS_SHIFT == IOPRIO_CLASS_RT &&
		 !(own->capabilities & (CAP_BIT(CAP_SYS_NICE) | CAP_BIT(CAP_SYS_ADMIN))))
		snprintf(reason, size, "the caller has a real-time I/O priority, and warmd may not set it");
	else
		return false;
	return true;
}

bool order_refusal(const struct pools *all, const struct template *t, const struct launch_request *l,
		   char *reason, size_t size)
{
	const struct wire_run *a = &l->request->run, *own = &all->own;

	for (unsigned int i = 0; i < WIRE_RLIMITS; i++) {
		/* what it says of itself is not what it has */
		if (a->rlimits[i][1] > l->hard_limits[i]) {
			snprintf(reason, size, "resource limit %u is not the caller's", i);
			return true;
		}
		if (a->rlimits[i][1] > own->rlimits[i][1] &&
		    !(own->capabilities & CAP_BIT(CAP_SYS_RESOURCE))) {
			snprintf(reason, size,
				 "resource limit %u is lower in warmd than in the caller; 'warm stop' "
				 "lets the next warmd start with this one",
				 i);
			return true;
		}
	}
	return order_scheduling_refusal(own, a, reason, size) ||
	       template_descriptors_clash(t, l->request, reason, size);
}

static int fill_descriptors(struct order *o, const struct launch_request *l, struct error *err)
{
	const struct wire_run *run = &l->request->run;
	size_t extras = run->flags & WIRE_LAUNCH_CGROUP ? 2 : 1, n = 0;

	for (uint16_t fd = 0; fd < 256; fd++)
		if (run->inherited_fds[fd / 64] >> (fd % 64) & 1) {
			if (n + extras >= l->caller.nfds)
				return error_set(err, EBADMSG, "fewer descriptors came than were announced");
			o->head.targets[n++] = fd;
		}
	if (n + extras != l->caller.nfds)
		return error_set(err, EBADMSG, "%zu descriptors came, %zu were announced", l->caller.nfds,
				 n + extras);
	memcpy(o->fds, l->caller.fds, n * sizeof(int));
	o->head.ntargets = (uint32_t)n;
	o->fds[n] = l->caller.fds[n];
	o->head.flags |= STUB_ORDER_CWD;
	o->nfds = n + 1;
	return 0;
}

/* descriptors that are the caller's terminal are the clone's own */
static void place_terminal(struct order *o, const struct clone *cl, const struct launch_request *l)
{
	const struct terminal *t = cl->terminal;

	for (uint32_t i = 0; t && i < o->head.ntargets; i++) {
		if (!terminal_is_callers(t, o->fds[i]))
			continue;
		o->fds[i] = t->slave;
		o->head.terminal_fd = o->head.targets[i];
		if (!(l->request->run.flags & WIRE_LAUNCH_BACKGROUND))
			o->head.flags |= STUB_ORDER_FOREGROUND;
	}
}

static void add_piece(struct order *o, const void *from, size_t len)
{
	o->pieces[o->npieces++] = (struct iovec){ (void *)from, len };
	o->head.size += (uint32_t)len;
}

static uint32_t count(const char *strings, size_t len)
{
	uint32_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += !strings[i];
	return n;
}

/* how many of the request's leading arguments are those of the template's request */
static uint32_t same_arguments(const struct request *had, const struct request *req)
{
	uint32_t n = 0;

	while (n < had->run.argc && n < req->run.argc && strcmp(had->argv[n], req->argv[n]) == 0)
		n++;
	return n;
}

static void add_arguments(struct order *o, const struct request *req, uint32_t from)
{
	const char *first, *last;

	if (from >= req->run.argc)
		return;
	first = req->argv[from];
	last = req->argv[req->run.argc - 1];
	add_piece(o, first, (size_t)(last + strlen(last) + 1 - first));
}

/*
 * The program's own argv. Arguments that a shebang line or a wrapper put in front stand in the template; the
 * first argv_drop words of the request are what named the program. Those that count are the template's: warmd/launch.c has asked
 * template_arguments_differ().
 */
static int fill_arguments(struct order *o, const struct pool *p, const struct launch_request *l,
			  struct error *err)
{
	const struct stub_data *d = &p->head;
	const struct request *req = l->request, *had = p->template->request;
	uint32_t same = same_arguments(had, req);
	int32_t counts = p->template->result->argv_count;

	if (req->run.flags & WIRE_LAUNCH_APPEND) {
		add_piece(o, p->build_argv, d->build_argv_len);
		add_arguments(o, req, 0);
	} else if (l->by_name && counts < 0 && same < had->run.argc) {
		/* what the program looked at is not known: it gets what it is given */
		add_arguments(o, req, 0);
	} else {
		add_piece(o, p->prefix, p->prefix_len);
		add_arguments(o, req, d->argv_drop);
	}
	for (size_t i = 1; i < o->npieces; i++) {
		o->head.argv_size += (uint32_t)o->pieces[i].iov_len;
		o->head.argc += count(o->pieces[i].iov_base, o->pieces[i].iov_len);
	}
	if (!o->head.argc)
		return error_set(err, EINVAL, "no argument is left for the program");
	return 0;
}

/* byte for byte what the build had? @from: the first of @n pieces */
static bool same_bytes(const struct iovec *from, size_t n, const char *had, size_t len)
{
	for (size_t i = 0; i < n; i++) {
		if (from[i].iov_len > len || memcmp(from[i].iov_base, had, from[i].iov_len) != 0)
			return false;
		had += from[i].iov_len;
		len -= from[i].iov_len;
	}
	return len == 0;
}

static void fill_environment(struct order *o, const struct pool *p, const struct launch_request *l)
{
	const struct request *req = l->request;
	const struct stub_data *d = &p->head;
	const char *env = p->build_env;
	size_t len = d->build_env_len;

	if (!l->by_name || (req->run.flags & WIRE_LAUNCH_ENV)) {
		env = req->run.envc ? req->envp[0] : "";
		len = req->run.envc ? (size_t)(req->envp[req->run.envc - 1] +
					       strlen(req->envp[req->run.envc - 1]) + 1 - env)
				    : 0;
	}
	if (len == d->build_env_len && memcmp(env, p->build_env, len) == 0)
		o->head.stdio |= STUB_SAME_ENVIRONMENT;
	o->head.env_size = (uint32_t)len;
	o->head.envc = count(env, len);
	if (len)
		add_piece(o, env, len);
}

static void fill_scheduling(struct order *o, const struct wire_run *own, const struct wire_run *run)
{
	const struct scheduling *s = &run->scheduling, *had = &own->scheduling;

	o->head.nice = run->nice;
	o->head.personality = run->personality;
	o->head.scheduling = *s;
	if (run->nice != own->nice)
		o->head.flags |= STUB_ORDER_NICE;
	if (memcmp(s->cpus, had->cpus, sizeof(s->cpus)) != 0)
		o->head.flags |= STUB_ORDER_CPUS;
	if (s->policy != had->policy || s->priority != had->priority)
		o->head.flags |= STUB_ORDER_POLICY;
	if (s->ioprio != had->ioprio)
		o->head.flags |= STUB_ORDER_IOPRIO;
	if (s->timerslack_ns != had->timerslack_ns)
		o->head.flags |= STUB_ORDER_TIMERSLACK;
	if (run->personality != own->personality)
		o->head.flags |= STUB_ORDER_PERSONALITY;
}

static void fill_limits(struct order *o, const struct pools *all, const struct wire_run *run)
{
	for (unsigned int i = 0; i < WIRE_RLIMITS; i++) {
		if (memcmp(run->rlimits[i], all->own.rlimits[i], sizeof(run->rlimits[i])) == 0)
			continue;
		o->head.limits_set |= 1u << i;
		o->head.limits[i] = (struct stub_order_limit){ run->rlimits[i][0], run->rlimits[i][1] };
	}
}

/* for programs that read their context as JSON */
static int fill_json(struct order *o, const struct launch_request *l, struct error *err)
{
	char **v = calloc(o->head.argc + o->head.envc + 2u, sizeof(*v)), cwd[4096];
	size_t n = 0;
	int r;

	if (o->nfds == PACKET_MAX_FDS) {
		free(v);
		return error_set(err, E2BIG, "more descriptors are open than can go with the launch context");
	}
	if (!v)
		return error_set(err, ENOMEM, "no memory");
	for (size_t i = 1; i < o->npieces; i++) {
		char *p = o->pieces[i].iov_base, *end = p + o->pieces[i].iov_len;

		for (; p < end; p += strlen(p) + 1) {
			if (n == o->head.argc)
				n++; /* the NULL between */
			v[n++] = p;
		}
	}
	r = launch_request_directory(l, cwd, sizeof(cwd));
	o->json = context_json((int)o->head.argc, v, v + o->head.argc + 1, r == 0 ? cwd : "/",
			       o->head.generation, err);
	free(v);
	if (o->json < 0)
		return o->json;
	o->head.flags |= STUB_ORDER_JSON;
	o->fds[o->nfds++] = o->json;
	return 0;
}

int order_fill(struct order *o, const struct pool *p, const struct clone *cl, const struct launch_request *l,
	       struct error *err)
{
	const struct wire_run *run = &l->request->run;
	int r;

	memset(&o->head, 0, sizeof(o->head));
	o->npieces = 0;
	o->json = -EBADF;
	o->head.magic = STUB_ORDER_MAGIC;
	add_piece(o, &o->head, sizeof(o->head));
	r = fill_descriptors(o, l, err);
	if (r < 0)
		return r;
	place_terminal(o, cl, l);
	o->head.stdio = template_stdio_changes(p->template, l->request);
	r = fill_arguments(o, p, l, err);
	if (r < 0)
		return r;
	if (same_bytes(o->pieces + 1, o->npieces - 1, p->build_argv, p->head.build_argv_len))
		o->head.stdio |= STUB_SAME_ARGUMENTS;
	fill_environment(o, p, l);
	if (o->head.argv_size + o->head.env_size > STUB_ORDER_STRINGS ||
	    (p->root.context_max &&
	     o->head.argv_size + o->head.env_size + 8ull * p->root.nthreads + 64 > p->root.context_max))
		return error_set(err, E2BIG, "arguments and environment are too large for this template");
	o->head.umask = run->umask;
	o->head.flags |= STUB_ORDER_UMASK;
	fill_scheduling(o, &p->pools->own, run);
	fill_limits(o, p->pools, run);
	o->head.ignored_signals = run->ignored_signals;
	o->head.blocked_signals = run->blocked_signals;
	o->head.generation = ++p->pools->store->generation;
	if (hot_wanted(p->template) >> stub_learn_kind(o->head.stdio) & 1)
		o->head.flags |= STUB_ORDER_LEARN;
	return p->root.context_fd >= 0 ? fill_json(o, l, err) : 0;
}
