/* SPDX-License-Identifier: MIT */
/* steal.c - which process it is, and which way it can be taken */
#include "engine/steal/steal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/sysmacros.h>

#include "engine/base/fd.h"
#include "engine/base/proc_path.h"
#include "engine/frozen.h"

#define PTY_MAJOR 136 /* to 143: Documentation/admin-guide/devices.txt */

static bool is_pty(dev_t tty)
{
	return major(tty) >= PTY_MAJOR && major(tty) < PTY_MAJOR + 8;
}

static bool lives(const struct steal_process *p)
{
	return p->state != 'Z' && p->state != 'X';
}

bool steal_descends(const struct steal_processes *all, const struct steal_process *p, pid_t pid)
{
	/* the list is no snapshot: a circle of reused numbers must end */
	for (size_t depth = 0; p && depth <= all->n; depth++) {
		if (p->ppid == pid)
			return true;
		p = steal_process_find(all, p->ppid);
	}
	return false;
}

bool steal_group_orphaned(const struct steal_processes *all, pid_t group)
{
	for (size_t i = 0; i < all->n; i++) {
		const struct steal_process *p = &all->v[i], *parent;

		if (p->group != group || !lives(p))
			continue;
		parent = steal_process_find(all, p->ppid);
		if (parent && parent->session == p->session && parent->group != group)
			return false;
	}
	return true;
}

enum steal_way steal_choose(const struct steal *st, const char **ret_why)
{
	const struct steal_process *t = &st->target;

	if (t->pid == t->session) {
		*ret_why = "it leads its session";
		return STEAL_TERMINAL;
	}
	for (size_t i = 0; i < st->all.n; i++) {
		const struct steal_process *p = &st->all.v[i];

		if (p->pid == t->pid || p->session != t->session || !lives(p))
			continue;
		if (steal_descends(&st->all, p, t->pid)) {
			*ret_why = "it has children in its session";
			return STEAL_TERMINAL;
		}
		if (t->group == t->pid && p->group == t->pid) {
			*ret_why = "it leads a process group that has others (a pipeline)";
			return STEAL_TERMINAL;
		}
	}
	*ret_why = "it is alone";
	return STEAL_PROCESS;
}

/* may it go the way of a lone process where its terminal cannot be taken? Return: NULL, or why not */
static const char *why_not_alone(const struct steal *st)
{
	const struct steal_process *t = &st->target;
	struct steal_fd fds[1];

	if (t->pid == t->session)
		return "it leads its session";
	for (size_t i = 0; i < st->all.n; i++) {
		const struct steal_process *p = &st->all.v[i];

		if (p->pid == t->pid || p->session != t->session || !lives(p))
			continue;
		if (t->group == t->pid && p->group == t->pid)
			return "others are in the process group that it leads";
		if (steal_descends(&st->all, p, t->pid) &&
		    steal_tty_fds(p->pid, t->tty, fds, ARRAY_SIZE(fds), NULL) != 0)
			return "children of it use the terminal too";
	}
	return NULL;
}

/* ours, or one that ours is shown in: its output would come back to itself */
static int check_not_ours(const struct steal *st, struct error *err)
{
	const struct steal_process *p = steal_process_find(&st->all, getpid());

	if (p && p->tty == st->target.tty)
		return error_set(err, EINVAL, "process %d is in this terminal already", st->target.pid);
	for (size_t depth = 0; p && depth <= st->all.n; depth++) {
		if (p->pid == st->target.pid || (p->tty && p->tty == st->target.tty))
			return error_set(
				err, EINVAL,
				"this terminal runs inside the one of process %d: it would show itself. Run "
				"'warm attach --steal' from another one",
				st->target.pid);
		p = steal_process_find(&st->all, p->ppid);
	}
	return 0;
}

/* its pty is warmd's, and is come to in a better way: engine/stub/session.c */
static bool is_clone(const struct steal_process *t)
{
	char comm[32] = "";
	_cleanup_close_ int fd = -EBADF;

	fd = proc_open(t->ppid, O_RDONLY, "comm");
	return fd >= 0 && read(fd, comm, sizeof(comm) - 1) > 0 && strcmp(comm, "warm-session\n") == 0;
}

static int check(const struct steal *st, struct error *err)
{
	const struct steal_process *t = &st->target;

	if (!lives(t))
		return error_set(err, ESRCH, "process %d has ended", t->pid);
	if (!t->tty)
		return error_set(err, ENOTTY,
				 "process %d has no controlling terminal that it could be taken from",
				 t->pid);
	if (t->session <= 0 || t->group <= 0)
		return error_set(
			err, EINVAL,
			"the session of process %d was begun outside this PID namespace: run 'warm attach "
			"--steal' where that is",
			t->pid);
	if (is_clone(t))
		return error_set(err, EINVAL,
				 "process %d is a clone of warmd's: 'warm attach %d' comes to it", t->pid,
				 t->pid);
	return check_not_ours(st, err);
}

/* the terminal cannot be taken, for the reason in *err */
static int fall_back(struct steal *st, const char *why, struct error *err)
{
	const char *not_alone = why_not_alone(st);

	if (not_alone)
		return error_prefix(err,
				    "the whole terminal of process %d has to be taken, because %s, and %s",
				    st->target.pid, why, "that is not possible");
	st->way = STEAL_PROCESS;
	snprintf(
		st->note, sizeof(st->note),
		"process %d is taken alone: its terminal is out of reach. Its children, none of which uses the "
		"terminal, stay in their session",
		st->target.pid);
	return 0;
}

static int choose(struct steal *st, struct error *err)
{
	struct error reason = { 0 };
	const char *why;
	int r;

	st->way = steal_choose(st, &why);
	if (st->way == STEAL_PROCESS)
		return 0;
	if (is_pty(st->target.tty))
		r = steal_find_holders(st, &reason);
	else
		r = error_set(&reason, ENOTTY, "it is a device of the system, not a pty");
	if (r < 0) {
		r = fall_back(st, why, &reason);
		if (r < 0 && err)
			*err = reason;
		return r;
	}
	snprintf(st->note, sizeof(st->note),
		 "the whole terminal of process %d is taken, because %s; the old window has none any more",
		 st->target.pid, why);
	return 0;
}

int steal_find(struct steal *ret, pid_t pid, struct error *err)
{
	struct steal st = { 0 };
	const struct steal_process *found;
	int r = steal_processes_read(&st.all, err);

	if (r < 0)
		return r;
	found = steal_process_find(&st.all, pid);
	if (found) {
		st.target = *found;
		r = check(&st, err);
	} else {
		r = frozen_denied(pid, ESRCH, err);
	}
	if (r == 0)
		r = choose(&st, err);
	if (r < 0) {
		steal_done(&st);
		return r;
	}
	*ret = st;
	return 0;
}

void steal_done(struct steal *st)
{
	free(st->all.v);
	st->all = (struct steal_processes){ 0 };
}

int steal_take(const struct steal *st, const struct winsize *size, int *ret_master, pid_t *ret_follow,
	       struct error *err)
{
	if (st->way == STEAL_PROCESS) {
		*ret_follow = st->target.pid;
		return steal_take_process(st, size, ret_master, err);
	}
	*ret_follow = st->target.session;
	return steal_take_terminal(st, size, ret_master, err);
}
