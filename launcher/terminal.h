/* SPDX-License-Identifier: MIT */
/*
 * terminal.h - the client's side of a clone's terminal: the relay between it and the caller's, and job control
 * across the two. Static launcher only.
 *
 * The clone's session has a leader (engine/stub/session.c), which says when the clone stops. Then this process
 * stops too, with its whole group, so that the caller's shell sees a stopped job; fg and bg, which send SIGCONT,
 * come back as "foreground" and "background" to the leader.
 *
 * Where standard input or output is no terminal (a pager, a file), the clone starts in its terminal's background and
 * the caller's terminal is left alone: it may be the pager's. When the clone reads or changes its terminal it is
 * stopped by SIGTTIN or SIGTTOU; that is the time to take the caller's.
 */
#ifndef WARM_LAUNCHER_TERMINAL_H
#define WARM_LAUNCHER_TERMINAL_H

#include <poll.h>
#include <stdbool.h>
#include <sys/types.h>

#include "launcher/wire/protocol.h"
#include "pty/relay.h"

#define TERMINAL_UNREAD_MAX 4096 /* a terminal's queue holds no more: N_TTY_BUF_SIZE */

struct relayed_terminal {
	struct relay *relay; /* NULL: none, or over */
	struct ring ring;
	int wake, session; /* owned; session -EBADF: a viewer */
	struct relay_unread left; /* what the clone left unread at its end: bytes are these */
	uint8_t unread[TERMINAL_UNREAD_MAX];
};

#define TERMINAL_NONE                                                                                        \
	{                                                                                                    \
		.ring = RING_NONE, .wake = -EBADF, .session = -EBADF                                         \
	}
#define TERMINAL_FDS (RELAY_FDS + 1)

/** terminal_tty() - the first of 0, 1, 2 that is a terminal, by @run's stdio; -1: none */
int terminal_tty(const struct wire_run *run);

/** terminal_interactive() - are standard input and output both a terminal? Else the caller's is taken when the clone asks for it */
bool terminal_interactive(const struct wire_run *run);

/** terminal_ask() - set flags of a launch (DETACH is set): does it come from a terminal, and does it begin in the background? */
void terminal_ask(struct wire_run *run);

/** terminal_keys() - the detach keys: @option, else $WARM_DETACH_KEYS, else Ctrl-\ Ctrl-D. @keys: RELAY_KEYS_MAX + 1 bytes. Return: 0 or -EINVAL */
int terminal_keys(const char *option, char *keys, struct error *err);

/**
 * terminal_open() - begin to relay
 * @tty: the caller's terminal; stays the caller's
 * @fds: in the order of enum wire_terminal_fd, taken over; @n: WIRE_TERMINAL_FDS, or 2 for a viewer
 * @keys: bytes, "" for none
 * @shared: others print to the caller's terminal too
 * @replay: begin with what was printed
 */
int terminal_open(struct relayed_terminal *t, int tty, const int *fds, size_t n, const char *keys,
		  bool active, bool shared, bool replay, struct error *err);

/** terminal_poll() - entries to wait for; room for TERMINAL_FDS. Return: how many */
size_t terminal_poll(struct relayed_terminal *t, struct pollfd *p, int *timeout_ms);

/** terminal_handle() - after poll(2), also after a time-out. Return: RELAY_OK, or why it is over */
enum relay_result terminal_handle(struct relayed_terminal *t, const struct pollfd *p);

/** terminal_continued() - SIGCONT came. */
void terminal_continued(struct relayed_terminal *t);

/** terminal_close() - @drain: the clone has ended: with what is still to come, and what it did not read is the caller's again. The caller's terminal is as it was */
void terminal_close(struct relayed_terminal *t, bool drain);

#endif
