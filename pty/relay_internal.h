/* SPDX-License-Identifier: MIT */
/* relay_internal.h - what the files of the relay share: relay.c (steps, beginning and end), relay_output.c, relay_input.c */
#ifndef WARM_PTY_RELAY_INTERNAL_H
#define WARM_PTY_RELAY_INTERNAL_H

#include <sys/types.h>
#include <termios.h>

#include "pty/keys.h"
#include "pty/relay.h"
#include "pty/sent.h"

#define RELAY_BUFFER 65536 /* bytes that wait for a reader, each way */

struct relay {
	int tty; /* reopened: O_NONBLOCK, ours; else the caller's */
	bool reopened;
	int master; /* -EBADF: viewer */
	int epoll; /* viewer: of the wake eventfd */
	struct ring *ring;
	int wake;
	uint64_t (*clock_ms)(void);

	bool wanted; /* active as far as the owner is concerned */
	bool raw; /* and it is */
	bool shared; /* options.shared */
	bool inherit; /* options.inherit, until it is done, or was not needed */
	struct termios saved;

	bool cr; /* a CR is held back: the caller's terminal puts one before each NL by itself */
	bool ended; /* the master said EIO */
	size_t master_at, tty_at; /* in the owner's poll entries; SIZE_MAX: not there */

	/* output: the ring's bytes from pos on; without a ring, and for viewers, out[out_at..out_n) comes first */
	uint64_t pos;
	uint8_t *out;
	size_t out_at, out_n;

	/* input: in[in_at..in_n), of which the last keys.held are held back until hold_until */
	struct keys keys;
	uint64_t hold_until;
	size_t in_at, in_n;
	struct sent sent; /* of it, what was written last */
	uint8_t in[RELAY_BUFFER];
};

static inline bool relay_is_viewer(const struct relay *r)
{
	return r->master < 0;
}

/* --- relay_output.c: from the program to the caller's terminal --- */

/** relay_output_waits() - are there bytes that the terminal has not taken? */
bool relay_output_waits(const struct relay *r);
/** relay_flush_output() - Return: 0: all that waited is written, or as much as one step may; -EAGAIN: the terminal takes no more; -EIO */
int relay_flush_output(struct relay *r);
/** relay_read_master() - only when nothing waits. Return: bytes; -EAGAIN; -EIO: the end */
ssize_t relay_read_master(struct relay *r);
/** relay_write_cr() - the CR that was held back: nothing follows, or something else than NL. Return: 0; -EAGAIN; -EIO */
int relay_write_cr(struct relay *r);
/** relay_follow_newlines() - in raw mode: what others of a pipeline print shall look as it would without us, as long as the program lets it */
void relay_follow_newlines(const struct relay *r);

/* --- relay_input.c: what is typed --- */

/** relay_input_waits() - are there bytes that the program has not taken? */
bool relay_input_waits(const struct relay *r);
/** relay_flush_input() - write what waits, as far as it is taken */
void relay_flush_input(struct relay *r);
/** relay_release_held() - what may have been the beginning of the detach keys was not, if they have waited long enough */
void relay_release_held(struct relay *r);
/** relay_read_tty() - read what was typed, and hand it on */
enum relay_result relay_read_tty(struct relay *r);
/** relay_tell_raw() - should this process be killed, warmd puts the terminal right: it looks whether it is raw now */
void relay_tell_raw(const struct relay *r);

#endif
