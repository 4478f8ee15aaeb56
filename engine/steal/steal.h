/* SPDX-License-Identifier: MIT */
/*
 * steal.h - a process that runs in another terminal is taken to ours: `warm attach --steal PID`.
 *
 * The kernel moves no process into another session, and a terminal controls one session only. So there are two
 * ways, and steal_find() tells which it is:
 *
 *   process   the process leaves its session, leads a new one, and has a new pty as its controlling terminal and
 *             behind every descriptor that was the old terminal. For a process that is alone: not the leader of
 *             its session (a shell), without children there, not the leader of a process group that has others.
 *             Its old shell sees its job stop, and prompts again. steal_process.c
 *
 *   terminal  the old terminal itself is taken: we get the master of its pty (pidfd_getfd(2)), and whoever had it (a
 *             terminal emulator, tmux, sshd, script) gets, behind the same descriptors, one of a pty that has ended.
 *             Sessions, groups, jobs, the controlling terminal stay as they are, no descriptor of theirs changes.
 *             The old window sees its session end. steal_terminal.c
 *
 * `terminal` needs the master within reach; where it is not (the sshd of another user), a process whose children
 * have nothing to do with the terminal goes the first way all the same, and says so; any other is refused.
 *
 * Both give a pty's master to be relayed (pty/relay.h), and a process to be followed with steal_guard: the one that
 * leads the session on that terminal.
 */
#ifndef WARM_ENGINE_STEAL_STEAL_H
#define WARM_ENGINE_STEAL_STEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/types.h>

#include "engine/base/error.h"

struct steal_process { /* what /proc/PID/stat tells */
	pid_t pid, ppid, group, session, foreground;
	dev_t tty; /* 0: none */
	char state;
	char name[17];
};

struct steal_processes {
	struct steal_process *v;
	size_t n;
};

enum steal_way { STEAL_PROCESS, STEAL_TERMINAL };

#define STEAL_HOLDERS_MAX 16

struct steal_holder { /* one descriptor of the master */
	pid_t pid;
	int fd;
	int flags; /* as in fdinfo: O_NONBLOCK, O_CLOEXEC, ... */
};

struct steal {
	struct steal_process target;
	struct steal_processes all; /* owned */
	enum steal_way way;
	char note[256]; /* what the user should know about the choice; "": nothing */
	struct steal_holder holders[STEAL_HOLDERS_MAX];
	size_t nholders;
};

/**
 * steal_find() - look at a process and decide the way; nothing is touched
 * @ret: set on success; steal_done()
 * Return: 0 or a negative errno with words: what it is, and what to change
 */
int steal_find(struct steal *ret, pid_t pid, struct error *err);
void steal_done(struct steal *st);

/**
 * steal_take() - do it. Everything is as it was after a failure
 * @size: of our terminal
 * @ret_master: the pty's; owned by the caller
 * @ret_follow: the leader of the session there, to be followed
 *
 * A process that was stopped (Ctrl-Z) goes on.
 */
int steal_take(const struct steal *st, const struct winsize *size, int *ret_master, pid_t *ret_follow,
	       struct error *err);

/* --- what steal_take() is made of ------------------------------------------------- */

int steal_take_process(const struct steal *st, const struct winsize *size, int *ret_master,
		       struct error *err);
int steal_take_terminal(const struct steal *st, const struct winsize *size, int *ret_master,
			struct error *err);

/** steal_processes_read() - all that can be seen; free with free(ret->v) */
int steal_processes_read(struct steal_processes *ret, struct error *err);
const struct steal_process *steal_process_find(const struct steal_processes *all, pid_t pid);
/** steal_parse_stat() - a line of /proc/PID/stat */
int steal_parse_stat(const char *text, struct steal_process *ret);
/** steal_descends() - is @p a child, or a child's child, of @pid? */
bool steal_descends(const struct steal_processes *all, const struct steal_process *p, pid_t pid);
/** steal_group_orphaned() - nobody would see a member of the group stop, so Ctrl-Z does nothing there (credentials(7)) */
bool steal_group_orphaned(const struct steal_processes *all, pid_t group);
/** steal_choose() - the rule of this header's head, from @st->target and @st->all. @ret_why: in words */
enum steal_way steal_choose(const struct steal *st, const char **ret_why);

struct steal_fd {
	int fd, flags; /* as fdinfo has them, O_CLOEXEC too */
};
/** steal_tty_fds() - descriptors of @pid that are terminal @tty, itself or by /dev/tty. Return: their number (at most @room), or a negative errno */
ssize_t steal_tty_fds(pid_t pid, dev_t tty, struct steal_fd *fds, size_t room, struct error *err);
/** steal_find_holders() - st->holders of the master of st->target's terminal. Return: 0; -ENOENT: none within reach */
int steal_find_holders(struct steal *st, struct error *err);
/** steal_fd_flags() - of /proc/PID/fdinfo/FD. @ret_tty_index: of a pty's master, else -1; may be NULL. Return: flags or a negative errno */
int steal_fd_flags(pid_t pid, int fd, int *ret_tty_index);

/* --- following it -------------------------------------------------------------------- */

enum steal_event {
	STEAL_NOTHING,
	STEAL_STOPPED, /* by Ctrl-Z or a stop signal: steal_guard_continue() */
	STEAL_ENDED, /* wstatus is set */
	STEAL_LOST, /* it can be followed by its pidfd only */
};

/*
 * The process stays traced, for three things that are told to tracers only: that it stops, how it ends, and who
 * sends SIGHUP. Those it has left (the old shell, the old emulator) hang up what they take for their jobs when
 * they end: by number, which has stayed the same. Such a SIGHUP is dropped; one of the kernel's is not.
 */
struct steal_guard {
	pid_t pid;
	bool traced;
	bool stops; /* SIGTSTP, which does nothing in a group that nobody watches, is made to stop it */
	pid_t left; /* the session it has left, whose processes may not hang it up; 0: none */
	pid_t holders[STEAL_HOLDERS_MAX]; /* who else may not */
	size_t nholders;
	int wstatus;
};

/** steal_guard_begin() - follow @pid, and let it go on if it is stopped. SIGCHLD tells when to call steal_guard_look(); the caller has it blocked */
void steal_guard_begin(struct steal_guard *g, const struct steal *st, pid_t pid);
enum steal_event steal_guard_look(struct steal_guard *g);
void steal_guard_continue(struct steal_guard *g);
/** steal_guard_end() - trace it no more */
void steal_guard_end(struct steal_guard *g);

#endif
