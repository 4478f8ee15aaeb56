/* SPDX-License-Identifier: MIT */
/* What the program asked of its launch. What it has set itself says nothing about the launch. */
#include "warmd/build/observe_internal.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#define IGNORE	     1 /* SIG_IGN as a number */
#define LIBC_SIGNALS (3ull << (32 - 1)) /* SIGCANCEL and SIGSETXID of glibc */
#define UNBLOCKABLE  (1ull << (SIGKILL - 1) | 1ull << (SIGSTOP - 1))

int on_clone(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	(void)rule;
	/* make the child known now, while the parent's descriptors are as the child got them */
	if (c->ret > 0 && !thread_get(o, (pid_t)c->ret))
		return -ENOMEM;
	return c->ret > 0 ? environment_forked(o, t, c) : 0;
}

int on_getcwd(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	(void)rule;
	if (c->ret > 0)
		cwd_used(o, t);
	return 0;
}

int on_umask(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	(void)c;
	(void)rule;
	if (!t->proc->umask_own)
		o->keys.umask = true;
	t->proc->umask_own = true;
	return 0;
}

/* of the program itself, as far as calls with a process number go */
bool is_ours(const struct observe *o, uint64_t pid)
{
	return (pid_t)pid == 0 || in_tree(o, (pid_t)pid);
}

int on_affinity(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	(void)rule;
	if (c->ret >= 0 && !t->proc->affinity_own && is_ours(o, c->args[0]))
		o->keys.affinity = true;
	return 0;
}

int on_set_affinity(struct observe *o, struct thread *t, const struct observe_call *c,
		    const struct rule *rule)
{
	(void)o;
	(void)rule;
	/* one thread's own says nothing about the others', so only the first thread's counts */
	if (c->ret >= 0 && t->tid == t->proc->pid && ((pid_t)c->args[0] == 0 || (pid_t)c->args[0] == t->tid))
		t->proc->affinity_own = true;
	return 0;
}

static void rlimit_read(struct observe *o, const struct thread *t, uint64_t resource)
{
	if (resource < 32 && !(t->proc->rlimits_own & 1u << resource))
		o->keys.rlimits |= 1u << resource;
}

static void rlimit_set(const struct thread *t, uint64_t resource)
{
	/* the soft limit is its own now; a later look at the hard one is not worth a key */
	if (resource < 32)
		t->proc->rlimits_own |= 1u << resource;
}

int on_getrlimit(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	(void)rule;
	if (c->ret == 0)
		rlimit_read(o, t, c->args[0]);
	return 0;
}

int on_setrlimit(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	(void)o;
	(void)rule;
	if (c->ret == 0)
		rlimit_set(t, c->args[0]);
	return 0;
}

/* prlimit64(pid, resource, new, old) */
int on_prlimit(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	(void)rule;
	if (c->ret != 0 || !is_ours(o, c->args[0]))
		return 0;
	if (c->args[3])
		rlimit_read(o, t, c->args[1]);
	if (c->args[2])
		rlimit_set(t, c->args[1]);
	return 0;
}

/*
 * What the interpreter set at its start, and set according to what it found, is the launch's still: to see SIGINT's
 * handler is to see that it was not ignored. The first thing that the program itself does to it tells it (signal(2) returns it).
 */
static void signal_looked_at(struct observe *o, const struct thread *t, uint64_t bit)
{
	if (o->leading && !((t->proc->signals_leading | t->proc->signals_blind) & bit))
		o->keys.signals |= bit;
	else if (!o->leading && !(t->proc->signals_own & bit))
		o->keys.signals_start |= bit;
}

/* rt_sigaction(signal, new, old, size) */
int on_sigaction(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	uint64_t bit, handler; /* the first of its members, but on MIPS */

	(void)rule;
	if (c->ret != 0 || c->args[0] < 1 || c->args[0] > 64)
		return 0;
	bit = 1ULL << (c->args[0] - 1);
	/*
	 * The dump cannot tell this from what the caller had. A default that is set later may be what the program found and
	 * restores, as system(3) does.
	 */
	if (c->args[1] && t->proc->pid == o->root &&
	    peer_read(o, t->tid, c->args[1], &handler, sizeof(handler)) == sizeof(handler)) {
		if (handler)
			o->keys.signals_default &= ~bit;
		else if (!(t->proc->signals_own & bit))
			o->keys.signals_default |= bit;
		/* its last word; one that it found so and puts back was looked at */
		if (handler == IGNORE)
			o->keys.signals_ignored |= bit;
		else
			o->keys.signals_ignored &= ~bit;
	}
	/* a child of posix_spawn(3) asks for all, to set to their default what has a handler */
	if (c->args[2] && (c->args[1] || t->proc->executed))
		signal_looked_at(o, t, bit);
	if (c->args[1] && !o->leading && !((t->proc->signals_own | t->proc->signals_seen) & bit))
		t->proc->signals_blind |= bit;
	t->proc->signals_seen |= bit;
	if (c->args[1])
		t->proc->signals_own |= bit;
	if (c->args[1] && o->leading)
		t->proc->signals_leading |= bit;
	return 0;
}

/*
 * rt_sigprocmask(how, new, old, size): also a change, as all but SIG_SETMASK add to what there was. To block all, and to
 * put back what was, is no look: pthread_create(3), posix_spawn(3) and fork(2) of the C library do it, and its callers where they fork.
 */
int on_sigprocmask(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	struct proc *p = t->proc;
	uint64_t set = 0;
	bool full;

	(void)rule;
	if (c->ret != 0 || o->adaptor)
		return 0;
	if (c->args[1] && peer_read(o, t->tid, c->args[1], &set, sizeof(set)) < 0)
		set = 0;
	full = c->args[1] && (set | LIBC_SIGNALS | UNBLOCKABLE) == ~0ull;
	if (full) {
		p->sigmask_full = true;
		return 0;
	}
	if (!p->sigmask_own && (c->args[2] || (c->args[1] && c->args[0] != SIG_SETMASK)))
		o->keys.sigmask = true;
	if (c->args[1] && c->args[0] == SIG_SETMASK) {
		p->sigmask_own |= !p->sigmask_full;
		p->sigmask_full = false;
	}
	return 0;
}

void proc_file_looked_at(struct observe *o, const struct thread *t, const char *rest)
{
	if (strcmp(rest, "cmdline") == 0) {
		o->keys.argv = true;
	} else if (strcmp(rest, "environ") == 0) {
		o->keys.environment = true;
	} else if (strcmp(rest, "cwd") == 0 || strncmp(rest, "cwd/", 4) == 0) {
		cwd_used(o, t);
	} else if (strcmp(rest, "status") == 0) {
		o->keys.affinity = o->keys.umask = o->keys.sigmask = true;
		o->keys.signals = ~0ull; /* SigIgn */
	} else if (strcmp(rest, "stat") == 0 || strcmp(rest, "sched") == 0) {
		o->keys.nice = o->keys.sched = true;
	} else if (strcmp(rest, "limits") == 0) {
		o->keys.rlimits = 0xffff;
	}
}
