/* SPDX-License-Identifier: MIT */
/*
 * relay.h - one client's terminal and a program's pty (or its ring): bytes carried in steps, so that the owner
 * can wait for other things in the same poll(2).
 *
 *	relay_open(&r, &options, err);
 *	for (;;) {
 *		int timeout = -1;
 *		size_t n = relay_poll(r, p, &timeout);
 *		... the owner's own entries from p[n] on ...
 *		poll(p, n + own, timeout);
 *		result = relay_handle(r, p);            (also after a time-out)
 *		... SIGWINCH: relay_resize(); before stopping: relay_suspend(); after SIGCONT: relay_resume() ...
 *	}
 *	relay_drain(r);                                 (the program has ended)
 *	relay_close(r);
 *
 * With a master it is the writer and pumps (pty.h); without one it is a viewer. States of the caller's terminal:
 *
 *   idle     as the caller has it; not read. Output is copied to it. Before relay_activate(), while suspended,
 *            and in the background.
 *   active   raw, and read.
 *
 * The caller's terminal is reopened, because O_NONBLOCK on its description would be seen by its shell and by
 * whoever else has it. Where that is not permitted (a descriptor of another user's terminal), the original is
 * used and written to in pieces of at most 256 bytes: n_tty's poll says writable when the pty can take another
 * buffer, and the smallest is that long (drivers/tty/tty_buffer.c: tty_buffer_alloc()).
 *
 * Detach keys: what may be their beginning is held back for RELAY_HOLD_MS, then passed on; a mismatch passes it
 * on at once. So the first of them alone still reaches the program. The keys themselves never do.
 */
#ifndef WARM_PTY_RELAY_H
#define WARM_PTY_RELAY_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "pty/ring.h"

#define RELAY_FDS      2 /* the most that relay_poll() fills */
#define RELAY_KEYS_MAX 16 /* bytes of detach keys */
#define RELAY_HOLD_MS  500

struct relay;

struct relay_options {
	int tty; /* the caller's terminal, read and written; stays the caller's (but must stay open until relay_close()) */
	int master; /* dup of the pty's master, taken over on success; -EBADF: read-only viewer, follows the ring */
	struct ring *ring; /* not owned; NULL: nothing is recorded (writer only) */
	int wake; /* eventfd, EFD_NONBLOCK, not owned: written by the writer, waited for by a viewer; -EBADF: none */
	const char *detach_keys; /* bytes, at most RELAY_KEYS_MAX; NULL or "": no detaching */
	bool replay; /* begin with what the ring has */
	bool active; /* false: idle until relay_activate() */
	bool inherit; /* begun in the background, the pty gets the terminal's settings when it first comes to the foreground */
	bool shared; /* others (a pipeline's) print to the terminal too: newlines are theirs also while it is raw */
	uint64_t (*clock_ms)(void); /* NULL: clock_ms() of engine/base; for tests */
};

enum relay_result {
	RELAY_OK,
	RELAY_DETACH, /* the detach keys, or a viewer's Ctrl-C, were typed */
	RELAY_HANGUP, /* the caller's terminal is gone */
	RELAY_END, /* every slave of the pty is closed, and all that came is written; said once, the rest still works */
	RELAY_ERROR, /* the master, or the terminal, cannot be used */
};

/**
 * relay_open() - begin
 * @ret: set on success; release with relay_close()
 *
 * With @o->active in the background it stays idle, as after relay_suspend(): relay_resume() tries again.
 *
 * Return: 0 or a negative errno; -EINVAL: keys too long, or neither master nor ring; -ENOTTY: no terminal
 */
int relay_open(struct relay **ret, const struct relay_options *o, struct error *err);

/**
 * relay_poll() - what to wait for now
 * @p: room for RELAY_FDS entries
 * @timeout_ms: in: the owner's own, -1: none; lowered if the relay has to act earlier
 * Return: entries filled, also 0
 */
size_t relay_poll(struct relay *r, struct pollfd *p, int *timeout_ms);

/** relay_handle() - act on what poll(2) said about the entries of the last relay_poll(); never blocks */
enum relay_result relay_handle(struct relay *r, const struct pollfd *p);

/** relay_activate() - raw mode, and the pty's size. Return: 0; -EAGAIN: in the background; other negative errno */
int relay_activate(struct relay *r);

/** relay_is_active() - is the caller's terminal raw and read? */
bool relay_is_active(const struct relay *r);

/** relay_suspend() - the caller's terminal as it was, and not read: before the process stops itself */
void relay_suspend(struct relay *r);

/** relay_resume() - after SIGCONT: active again if it was (or should have been) and we are in the foreground; with the size */
void relay_resume(struct relay *r);

/** relay_resize() - give the pty the terminal's size, if it has another; the kernel sends SIGWINCH. A viewer: nothing */
void relay_resize(struct relay *r);

/**
 * relay_drain() - the program has ended: write out all that is left in the pty (a viewer: in the ring)
 *
 * Waits for a terminal that is slow, as the program itself would have; gives up when it is hung up or when
 * SIGINT, SIGTERM, SIGHUP or SIGQUIT is pending (the owner has them blocked, for its signalfd).
 */
void relay_drain(struct relay *r);

struct relay_unread { /* what the program's pty still had at its end */
	const uint8_t *bytes;
	size_t n;
	bool lines; /* it waited as lines, where a NUL is an end of file */
	uint64_t
		at; /* when the last of it was taken out (CLOCK_MONOTONIC, ns): what was written later is lost there. 0: not known */
};

/**
 * relay_give_back() - the program has ended: what was typed for it and not read is the shell's, as if the relay had not been
 *
 * With it goes what the relay had read and not delivered. Before relay_close(), which puts the terminal's settings back.
 * Return: 0, also if there was nothing or the terminal is not ours now; -EPERM: no way is open (giveback.h), it is lost
 */
int relay_give_back(struct relay *r, const struct relay_unread *unread);

/** relay_close() - the caller's terminal as it was, everything closed; @r may be NULL */
void relay_close(struct relay *r);

/**
 * relay_parse_keys() - words like docker's --detach-keys into bytes
 * @text: comma-separated: a single character, or ctrl- with a letter or one of @ [ \ ] ^ _
 * @out: the bytes and a NUL; set on success
 * @size: of @out; RELAY_KEYS_MAX + 1 is enough
 *
 * "" is no keys. ctrl-@ (NUL) cannot be in a string: -EINVAL.
 *
 * Return: 0 or -EINVAL with the word that is wrong
 */
int relay_parse_keys(const char *text, char *out, size_t size, struct error *err);

#endif
