/* SPDX-License-Identifier: MIT */
/* What the program asked of its launch. What it has set itself says nothing about the launch. */
#include "warmd/observe_internal.h"

#include <errno.h>
#include <string.h>

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

int on_identity(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	(void)t;
	(void)rule;
	if (c->ret >= 0)
		o->keys.identity = true;
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
	}
	if (c->args[2] && !(t->proc->signals_own & bit))
		o->keys.signals |= bit;
	if (c->args[1])
		t->proc->signals_own |= bit;
	return 0;
}

/* rt_sigprocmask(how, new, old, size): also a change, as all but SIG_SETMASK add to what there was */
int on_sigprocmask(struct observe *o, struct thread *t, const struct observe_call *c, const struct rule *rule)
{
	(void)rule;
	if (c->ret == 0 && c->args[2] && !t->proc->sigmask_own)
		o->keys.sigmask = true;
	if (c->ret == 0 && c->args[1] && c->args[0] == 2 /* SIG_SETMASK */)
		t->proc->sigmask_own = true;
	return 0;
}

void proc_file_looked_at(struct observe *o, const struct thread *t, const char *rest)
{
	if (strcmp(rest, "cmdline") == 0)
		o->keys.argv = true;
	else if (strcmp(rest, "environ") == 0)
		o->keys.environment = true;
	else if (strcmp(rest, "cwd") == 0 || strncmp(rest, "cwd/", 4) == 0)
		cwd_used(o, t);
	else if (strcmp(rest, "status") == 0)
		o->keys.identity = o->keys.affinity = o->keys.umask = true;
	else if (strcmp(rest, "stat") == 0 || strcmp(rest, "sched") == 0)
		o->keys.nice = o->keys.sched = true;
	else if (strcmp(rest, "limits") == 0)
		o->keys.rlimits = 0xffff;
}
