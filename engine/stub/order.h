/* SPDX-License-Identifier: MIT */
/*
 * order.h - what a skeleton and its clones are told, and what they say: packets on sockets.
 *
 * The tables that a template's process is made from are in image.h, what one launch of a template hands over in launch.h.
 * This file needs neither, because warmd and the programs that launch a leased clone send orders without knowing what is
 * in the template.
 */
#ifndef WARM_ENGINE_STUB_ORDER_H
#define WARM_ENGINE_STUB_ORDER_H

#include <stdint.h>

#include "engine/base/scheduling.h" /* a struct alone */

/* bits of the raw context's stdio field (docs/adaptor.md), which an order brings along */
#define STUB_SAME_ENVIRONMENT (1u << 8) /* byte for byte the build's */
#define STUB_SAME_ARGUMENTS   (1u << 9)
#define STUB_OTHER_SIGNALS    (1u << 10) /* struct stub_context_signals (launch.h) follows the strings */

/* @stdio: of an order or a raw context. Return: what differs from the build: 0 nothing, 1 argv, 2 the environment */
static inline uint32_t stub_learn_kind(uint32_t stdio)
{
	return !(stdio & STUB_SAME_ENVIRONMENT) ? 2 : !(stdio & STUB_SAME_ARGUMENTS);
}

/*
 * A skeleton is the template's process with its memory clean: every page comes from the sealed memfd. It only forks.
 *
 *	warmd ──stub_fork──► skeleton ──fork──► clone ──stub_note──► warmd	(one socket)
 *	warmd ──stub_order──────────────────► clone				(the channel, one for each)
 *
 * The clone makes everything that does not depend on its launch, and then
 * reads its order. An order that is there already makes it a fork, one that comes later a
 * parked clone: there is no other difference. End of file on either socket ends the process.
 */

/* to a skeleton, one packet, with descriptors: the clone's channel, then those of flags in the order of their bits */
struct stub_fork {
	uint32_t size, flags; /* enum stub_fork_flags */
	uint64_t id; /* comes back in notes */
};

enum stub_fork_flags {
	STUB_FORK_CONTROL = 1 << 0, /* a control file: its list of pages counts from here on */
	STUB_FORK_CGROUP = 1 << 1, /* a cgroup's directory: clone3(CLONE_INTO_CGROUP) */
	STUB_FORK_PARK = 1 << 2, /* nobody waits for it; no descriptor */
	STUB_FORK_TERMINAL = 1 << 3, /* with a session of its own: a pty's slave and the session's socket */
};

/*
 * A clone with a terminal is forked twice: the first process, the session's leader, stays (session.c). The terminal is its
 * controlling one; the clone leads a group of its own. So that a stop signal stops the clone (a group
 * without a parent in its session counts as orphaned), children that outlive the clone get no SIGHUP, and a program
 * that is no session leader in a shell is none here. The leader ends as the clone ended.
 */
enum stub_session_kind {
	STUB_SESSION_STOPPED, /* leader: the clone was stopped; value: by which signal */
	STUB_SESSION_FOREGROUND, /* to the leader: the clone's group into the foreground, and SIGCONT to it */
	STUB_SESSION_BACKGROUND, /* the same, into the background */
	/*
	 * SIGHUP and SIGCONT to the groups, then the pty is hung up: the master comes with the message. In this order, as
	 * the kernel does it: a shell that finds its terminal gone before it has the signal leaves without a word to its jobs.
	 */
	STUB_SESSION_HANGUP,
	STUB_SESSION_RELEASE, /* the pty will be hung up: the clone gets no SIGHUP for it */
	/*
	 * leader: the clone has ended, and bytes follow that were typed for it and that nobody read; value: 1: they waited as
	 * lines (ICANON), where a NUL stands for an end of file. The leader's own end throws them away, so it sends them before.
	 */
	STUB_SESSION_UNREAD,
	/* leader: that was all; behind it eight bytes: the time when nothing was left (CLOCK_MONOTONIC, ns). Typed later is lost there */
	STUB_SESSION_TAKEN,
};

#define STUB_SESSION_PIECE 512 /* bytes that follow one message at most: the leader's stack is small */

struct stub_session {
	uint32_t kind; /* enum stub_session_kind */
	int32_t value;
};

enum stub_note_kind {
	STUB_NOTE_READY, /* the skeleton takes orders; value: its PID */
	STUB_NOTE_FORKED, /* value: the clone's PID, or a negative errno */
	/* value: the clone's PID; with STUB_FORK_TERMINAL its own, FORKED has its leader's. Not without that and STUB_FORK_PARK */
	STUB_NOTE_PARKED,
	STUB_NOTE_FAILED, /* value: a negative errno; what: the step */
};

struct stub_note {
	uint32_t kind; /* enum stub_note_kind */
	int32_t value;
	uint64_t id;
	char what[48];
};

/*
 * By which a clone ends that gets no order: SIGSTKFLT, which no kernel sends and no program is known to use. `warm run`, told
 * that the clone is its, sees by it that nothing of the program has run (launcher/launch.c).
 */
#define STUB_NO_ORDER_SIGNAL 16

#define STUB_ORDER_MAGIC   0x5244524fu
#define STUB_ORDER_FDS	   253 /* SCM_MAX_FD */
#define STUB_ORDER_STRINGS (128u * 1024) /* at most: WIRE_MAX_SIZE */

enum stub_order_flags {
	STUB_ORDER_CWD = 1 << 0, /* the descriptor behind the targets: fchdir(2) */
	STUB_ORDER_JSON = 1 << 1, /* the next one: the launch context for context_fd */
	STUB_ORDER_LEARN = 1 << 2,
	STUB_ORDER_UMASK = 1 << 3,
	STUB_ORDER_NICE = 1 << 4,
	STUB_ORDER_FOREGROUND =
		1 << 5, /* of its terminal, descriptor terminal_fd; a parked clone is in the background */
	STUB_ORDER_CPUS = 1 << 6, /* what of scheduling and such the caller has other than warmd */
	STUB_ORDER_POLICY = 1 << 7,
	STUB_ORDER_IOPRIO = 1 << 8,
	STUB_ORDER_TIMERSLACK = 1 << 9,
	STUB_ORDER_PERSONALITY = 1 << 10,
};

struct stub_order_limit {
	uint64_t soft, hard;
};

/* a launch: this, then argv and environment strings; descriptor i becomes targets[i] */
struct stub_order {
	uint32_t magic, size; /* size: with the strings */
	uint32_t flags; /* enum stub_order_flags */
	uint32_t argc, envc;
	uint32_t argv_size, env_size; /* bytes, each string ended by NUL */
	uint32_t stdio; /* of the raw context: docs/adaptor.md */
	uint32_t umask;
	int32_t nice;
	uint32_t limits_set; /* bit n: limits[n] */
	uint32_t ntargets;
	uint64_t ignored_signals; /* bit n-1: the caller ignores signal n */
	uint64_t blocked_signals; /* a thread that has the build's mask gets the caller's */
	uint64_t generation;
	struct stub_order_limit limits[16];
	uint16_t targets[STUB_ORDER_FDS + 1];
	int32_t terminal_fd; /* FOREGROUND */
	uint32_t personality;
	struct scheduling scheduling;
};

#endif
