/* SPDX-License-Identifier: MIT */
/*
 * steal_process.c - one process goes to a new pty
 *
 * 1. stopped for a moment, it is given all that it will need (swap_prepare()): whatever cannot be had is
 *    found missing here, where it has noticed nothing.
 * 2. It is stopped as by Ctrl-Z, so that its shell sees a stopped job, takes its terminal back and prompts; and
 *    so that a program with a screen of its own leaves that in order. Its terminal settings are read when it is just
 *    about to stop, behind its own handler and before the shell sets the shell's.
 * 3. Its descriptors are swapped, it leaves its process group for another of the session (one who leads a group
 *    cannot begin a session, setsid(2)), begins a session, and takes the new pty as its controlling terminal.
 *
 * What comes behind 2 and fails is undone; the job is then stopped in its old shell, where `fg` continues it.
 */
#include "engine/steal/steal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include <linux/kcmp.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/proc_path.h"
#include "engine/proc.h"
#include "engine/swap.h"

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif
#define SUSPEND_MS    5000 /* for a program's own handler of Ctrl-Z to come to its end */
#define SHELL_MS      5000 /* for its shell to take the terminal back */
#define LOOK_AGAIN_US 2000
#define CARRIED	      (O_ACCMODE | O_NONBLOCK | O_APPEND) /* flags of an open terminal that matter */

struct job {
	const struct steal *st;
	struct frozen_process *s;
	struct swap swap;
	int master, old_tty; /* ours */
	struct termios settings;
	bool have_settings;
	bool suspended; /* by us */
};

static void job_done(struct job *j)
{
	frozen_thaw(j->s);
	for (size_t i = 0; i < j->swap.nfiles; i++)
		fd_close(j->swap.files[i]);
	fd_close(j->master);
	fd_close(j->old_tty);
}

static int open_pty(struct job *j, const struct winsize *size, struct error *err)
{
	j->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (j->master < 0 || unlockpt(j->master) < 0)
		return error_errno(err, errno, "making a terminal (/dev/ptmx)");
	ioctl(j->master, TIOCSWINSZ, size);
	return 0;
}

static int open_slave(struct job *j, int flags, struct error *err)
{
	int *file = &j->swap.files[j->swap.nfiles];

	*file = ioctl(j->master, TIOCGPTPEER, (flags & (O_ACCMODE | O_NONBLOCK)) | O_NOCTTY | O_CLOEXEC);
	if (*file < 0)
		return error_errno(err, errno, "opening a terminal (TIOCGPTPEER, Linux 4.13)");
	if (flags & O_APPEND)
		fcntl(*file, F_SETFL, flags & CARRIED);
	j->swap.nfiles++;
	return 0;
}

static bool same_file(pid_t pid, const struct steal_fd *a, const struct steal_fd *b)
{
	long r = syscall(SYS_kcmp, pid, pid, KCMP_FILE, a->fd, b->fd);

	return r < 0 ? (a->flags & CARRIED) == (b->flags & CARRIED) : r == 0;
}

/* descriptors that shared a file do so again. File 0 is for TIOCSCTTY, which wants one that can be read */
static int plan_descriptors(struct job *j, struct error *err)
{
	struct steal_fd fds[SWAP_MAX];
	pid_t pid = j->st->target.pid;
	ssize_t n = steal_tty_fds(pid, j->st->target.tty, fds, SWAP_MAX, err);
	int r = n < 0 ? (int)n : open_slave(j, O_RDWR, err);

	if (n == 0)
		r = error_set(err, ENOTTY,
			      "process %d has its terminal open nowhere: there is nothing to take", pid);
	if (n == SWAP_MAX)
		r = error_set(err, E2BIG, "process %d has its terminal open too often", pid);
	for (ssize_t i = 0; r == 0 && i < n; i++) {
		struct swap_fd *fd = &j->swap.fds[i];
		ssize_t like = 0;

		while (like < i && !same_file(pid, &fds[like], &fds[i]))
			like++;
		*fd = (struct swap_fd){ .fd = fds[i].fd, .cloexec = fds[i].flags & O_CLOEXEC };
		if (like < i) {
			fd->file = j->swap.fds[like].file;
		} else {
			fd->file = (unsigned int)j->swap.nfiles;
			r = j->swap.nfiles < SWAP_MAX ? open_slave(j, fds[i].flags, err)
						      : error_set(err, E2BIG, "too many open terminals");
		}
		j->swap.nfds++;
	}
	if (r < 0)
		return r;
	j->old_tty = (int)syscall(SYS_pidfd_getfd, j->s->pidfd, fds[0].fd, 0);
	return j->old_tty < 0 ? frozen_denied(pid, errno, err) : 0;
}

/* --- as by Ctrl-Z --------------------------------------------------------------- */

static bool in_set(pid_t pid, const char *set, int signal)
{
	_cleanup_free_ char *text = NULL;
	uint64_t bits;

	return read_file(proc_path(pid, "status").text, &text, NULL) == 0 &&
	       proc_status_hex(text, set, &bits) == 0 && bits >> (signal - 1) & 1;
}

static void read_settings(struct job *j)
{
	j->have_settings = tcgetattr(j->old_tty, &j->settings) == 0;
}

static bool stops_now(const struct job *j, int signal)
{
	if (signal == SIGSTOP)
		return true;
	return (signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU) &&
	       !in_set(j->s->pid, "SigCgt:", signal);
}

static bool all_stopped(const struct frozen_process *s)
{
	for (size_t i = 0; i < s->n; i++)
		if (!s->threads[i].stopped)
			return false;
	return true;
}

/* Return: 0: all threads are in a group stop. -ETIMEDOUT, -ESRCH */
static int await_group_stop(struct job *j, uint64_t deadline)
{
	struct frozen_thread *t;
	int signal, r = 0;

	while (r == 0 && !(j->s->n && all_stopped(j->s))) {
		r = frozen_next(j->s, deadline, &t, &signal);
		if (r < 0 || !signal)
			continue;
		if (stops_now(j, signal))
			read_settings(j);
		frozen_deliver(t, signal);
	}
	return r;
}

/* its shell has the terminal: an answer to a stopped job that every shell gives */
static void await_shell(const struct job *j)
{
	uint64_t deadline = clock_ms() + SHELL_MS;

	while (clock_ms() < deadline) {
		_cleanup_free_ char *text = NULL;
		struct steal_process now;

		if (read_file(proc_path(j->s->pid, "stat").text, &text, NULL) < 0 ||
		    steal_parse_stat(text, &now) < 0 || now.foreground != now.group)
			return;
		usleep(LOOK_AGAIN_US);
	}
}

static int suspend(struct job *j, struct error *err)
{
	pid_t pid = j->s->pid, group = j->st->target.group;
	bool ask = !in_set(pid, "SigIgn:", SIGTSTP) && !in_set(pid, "SigBlk:", SIGTSTP);
	int r;

	/* the whole job: its shell counts it as stopped only then */
	if (kill(-group, ask ? SIGTSTP : SIGSTOP) < 0)
		return error_errno(err, errno, "stopping the process group %d", group);
	j->suspended = true;
	r = await_group_stop(j, clock_ms() + SUSPEND_MS);
	if (r == -ETIMEDOUT) {
		kill(-group, SIGSTOP);
		r = await_group_stop(j, clock_ms() + SUSPEND_MS);
	}
	if (r == -ESRCH)
		return error_set(err, ESRCH, "process %d ended when it was stopped", pid);
	if (r < 0)
		return error_set(err, EBUSY, "process %d does not stop; its old terminal still has it", pid);
	await_shell(j);
	return 0;
}

/* --- away -------------------------------------------------------------------------- */

static int64_t call(struct job *j, struct error *err, const char *what, long nr, uint64_t a, uint64_t b,
		    uint64_t c)
{
	int64_t result;
	int r = frozen_call(j->s, NULL, &result, err, nr, a, b, c, 0, 0, 0);

	if (r < 0)
		return r;
	return result < 0 ? error_errno(err, (int)result, "%s in process %d", what, j->s->pid) : result;
}

/* of the session, other than its own: preferably the shell's. Return: 0: there is none */
static pid_t other_group(const struct job *j)
{
	const struct steal_process *t = &j->st->target;
	pid_t found = 0;

	for (size_t i = 0; i < j->st->all.n; i++) {
		const struct steal_process *p = &j->st->all.v[i];

		/* as it is now: groups may have gone */
		if (p->session != t->session || p->group == t->group || getpgid(p->pid) != p->group)
			continue;
		if (!found || p->pid == t->session)
			found = p->group;
	}
	return found;
}

/* Ctrl-C in the old window must not reach a group by the number that this process keeps */
static int64_t hand_back_terminal(struct job *j, pid_t group, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	struct steal_process now;
	uint64_t scratch;
	int r;

	if (read_file(proc_path(j->s->pid, "stat").text, &text, NULL) == 0 &&
	    steal_parse_stat(text, &now) == 0 && now.foreground != now.group)
		return 0;
	r = frozen_scratch(j->s, &scratch, err);
	if (r == 0)
		r = frozen_write(j->s, scratch, &group, sizeof(group));
	if (r < 0)
		return r;
	/* not from the background, for once: SIGTTOU is blocked, as all are */
	return call(j, err, "TIOCSPGRP", SYS_ioctl, (uint64_t)j->swap.olds[j->swap.fds[0].file], TIOCSPGRP,
		    scratch);
}

static int leave_session(struct job *j, struct error *err)
{
	bool leads = j->st->target.group == j->s->pid;
	pid_t group = leads ? other_group(j) : 0;
	int64_t r = 0, ignored;

	if (leads && !group)
		return error_set(err, ESRCH, "process %d is all that is left of its session", j->s->pid);
	if (leads)
		r = hand_back_terminal(j, group, err);
	if (r >= 0 && leads)
		r = call(j, err, "setpgid", SYS_setpgid, 0, (uint64_t)group, 0);
	if (r < 0)
		return (int)r;
	r = call(j, err, "setsid", SYS_setsid, 0, 0, 0);
	if (r < 0) {
		if (leads)
			frozen_call(j->s, NULL, &ignored, NULL, SYS_setpgid, 0, 0, 0, 0, 0, 0);
		return (int)r;
	}
	/* nobody else can have it, we have just made it; still, without one the process lives on as it is */
	return (int)call(j, err, "TIOCSCTTY", SYS_ioctl, (uint64_t)j->swap.news[0], TIOCSCTTY, 0);
}

static void set_up_slave(struct job *j)
{
	struct termios now, old;
	struct stat st;
	char path[64];
	int slave = j->swap.files[0];

	if (!j->have_settings && tcgetattr(slave, &now) == 0 && tcgetattr(j->old_tty, &old) == 0) {
		/* those on the old one are its shell's: what a terminal begins with, but its encoding */
		j->settings = now;
		j->settings.c_iflag |= old.c_iflag & IUTF8;
		j->have_settings = true;
	}
	if (j->have_settings)
		tcsetattr(slave, TCSANOW, &j->settings);
	/* root takes somebody's process: the terminal is that user's, as the old one was */
	snprintf(path, sizeof(path), "/proc/%d", j->s->pid);
	if (geteuid() == 0 && stat(path, &st) == 0 && st.st_uid != 0 &&
	    fchown(slave, st.st_uid, (gid_t)-1) < 0)
		return;
}

static int move(struct job *j, struct error *err)
{
	int r = swap_apply(&j->swap, err);

	if (r < 0)
		return r;
	set_up_slave(j);
	r = leave_session(j, err);
	if (r < 0)
		swap_undo(&j->swap);
	return r;
}

static int prepare(struct job *j, const struct winsize *size, struct error *err)
{
	int r = open_pty(j, size, err);

	if (r == 0)
		r = frozen_seize(&j->s, j->st->target.pid, err);
	if (r == 0)
		r = plan_descriptors(j, err);
	if (r == 0)
		r = frozen_stop(j->s, err);
	j->swap.s = j->s;
	if (r == 0)
		r = swap_prepare(&j->swap, err);
	return r;
}

static int take(struct job *j, struct error *err)
{
	const struct steal_process *t = &j->st->target;
	bool foreground = t->foreground == t->group;
	bool stopped = t->state == 'T';
	int r = 0;

	if (foreground && !stopped && !steal_group_orphaned(&j->st->all, t->group)) {
		frozen_run(j->s);
		r = suspend(j, err);
		if (r == 0 || r == -EBUSY) {
			int again = frozen_stop(j->s, r < 0 ? NULL : err);

			r = r < 0 ? r : again;
		}
	} else if (foreground && !stopped) {
		read_settings(j);
	}
	if (r == 0)
		r = move(j, err);
	if (j->s->n && r != -ESRCH)
		swap_finish(&j->swap);
	return r;
}

int steal_take_process(const struct steal *st, const struct winsize *size, int *ret_master, struct error *err)
{
	struct job j = { .st = st, .master = -EBADF, .old_tty = -EBADF };
	int r = prepare(&j, size, err);

	if (r == 0)
		r = take(&j, err);
	if (r == 0)
		*ret_master = TAKE_FD(j.master);
	else if (j.suspended)
		error_prefix(err, "process %d is stopped in its old terminal ('fg' there continues it)",
			     st->target.pid);
	/* still held: so that it is never seen stopped again, neither by its shell nor by us */
	if (r == 0)
		kill(st->target.pid, SIGCONT);
	job_done(&j);
	/* others of its job, stopped with it, go on where they are */
	if (r == 0 && j.suspended && st->target.group != st->target.pid)
		kill(-st->target.group, SIGCONT);
	return r;
}
