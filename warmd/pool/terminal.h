/* SPDX-License-Identifier: MIT */
/*
 * terminal.h - the terminals of clones: a pty each, what was printed to it, and who looks at it (pty/pty.h).
 *
 *	made		with its clone, before there is a launch for it (terminal_new())
 *	started		its launch is here: settings, size, ring (terminal_start())
 *	ended		the clone has ended; kept while somebody is attached, or for `warm logs`
 *
 * One process pumps at any time: the writer, a client that has the master; or warmd, while there is none.
 */
#ifndef WARM_WARMD_POOL_TERMINAL_H
#define WARM_WARMD_POOL_TERMINAL_H

#include <stdbool.h>
#include <stdint.h>
#include <termios.h>

#include "pty/ring.h"
#include "warmd/pool/clone.h"
#include "warmd/pool/pools.h"

struct terminal {
	struct terminal *next; /* in pools.terminals: those of clones that run, and the last that ended */
	struct pools *pools;
	int master;
	int slave; /* until the clone has it */
	int session; /* struct stub_session: to and from the session's leader */
	int leader_end; /* the other end, for the fork order; -EBADF afterwards */
	struct ring ring;
	int wake; /* eventfd */
	sd_event_source *pump; /* while there is no writer */
	struct connection *writer;
	/* the writer's own terminal: put right when the writer dies without having done so */
	int caller;
	struct termios caller_settings;
	pid_t pid; /* the clone's program; 0 before it is started */
	char *label;
	bool listed, ended, kept; /* kept: `warm logs` may want it */
	int32_t wstatus;
};

/** terminal_new() - a pty for a clone that is about to be made. Return: 0 or a negative errno: no pty, no descriptors */
int terminal_new(struct pools *all, struct terminal **ret);
void terminal_free(struct terminal *t);

/** terminal_wanted() - does this launch come from a terminal that its client relays? */
bool terminal_wanted(const struct launch_request *l);

/**
 * terminal_start() - the settings and the size of the caller's terminal, a ring, and who pumps
 * @l: its connection is the writer, unless it is detached
 * Return: 0 or a negative errno
 */
int terminal_start(struct terminal *t, const struct clone *cl, const struct launch_request *l);

/** terminal_descriptors() - what a client gets. @writer: all WIRE_TERMINAL_FDS; else those of a viewer. Return: how many */
size_t terminal_descriptors(const struct terminal *t, bool writer, int *fds);

/** terminal_is_callers() - is @fd the terminal that the launch came from? */
bool terminal_is_callers(const struct terminal *t, int fd);

/** terminal_given() - the clone has its order: what was needed for that alone is closed */
void terminal_given(struct terminal *t);

/**
 * terminal_end() - its clone has ended. Freed, unless somebody is attached or its output is to be kept
 * @told: a connection that has heard of it already; NULL: none
 */
void terminal_end(struct terminal *t, int wstatus, const struct connection *told);

/** terminal_leave() - the connection is going away: warmd pumps again if it was the writer */
void terminal_leave(struct connection *c);

/** terminal_release() - a launch without a terminal has got a clone with one: freed, and the clone has none then */
void terminal_release(struct terminal *t);

/** terminal_hangup() - whoever launched the clone is gone, and it is not to live on: its leader sends SIGHUP, then the pty is hung up */
void terminal_hangup(struct terminal *t);

#endif
