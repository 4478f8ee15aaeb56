/* SPDX-License-Identifier: MIT */
/* relay_input.c - what is typed: detach keys are taken out, the rest goes to the program's pty */
#include "pty/relay_internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "pty/raw.h"

#define VIEWER_END "\x03"

bool relay_input_waits(const struct relay *r)
{
	return r->in_at < r->in_n - r->keys.held;
}

void relay_flush_input(struct relay *r)
{
	while (relay_input_waits(r)) {
		uint64_t began = clock_ns(CLOCK_MONOTONIC);
		ssize_t n = write(r->master, r->in + r->in_at, r->in_n - r->keys.held - r->in_at);

		if (n < 0 && errno == EINTR)
			continue;
		/* it takes none; or no slave is open, there is nobody to type for, and relay_give_back() may want it */
		if (n < 0)
			return;
		sent_note(&r->sent, began, r->in + r->in_at, (size_t)n);
		r->in_at += (size_t)n;
	}
}

void relay_release_held(struct relay *r)
{
	if (r->keys.held && r->clock_ms() >= r->hold_until)
		r->keys.held = 0;
}

void relay_tell_raw(const struct relay *r)
{
	if (r->ring && !relay_is_viewer(r))
		ring_set_raw(r->ring, r->raw);
}

static enum relay_result read_failed(struct relay *r, int code)
{
	if (code == EAGAIN || code == EINTR)
		return RELAY_OK;
	/* in the background with SIGTTIN blocked: the shell took the terminal, with its own settings (n_tty.c: job_control()) */
	if (code == EIO && !raw_foreground(r->tty) && tcgetpgrp(r->tty) > 0) {
		r->raw = false;
		relay_tell_raw(r);
		return RELAY_OK;
	}
	return code == EIO || code == ENXIO ? RELAY_HANGUP : RELAY_ERROR;
}

enum relay_result relay_read_tty(struct relay *r)
{
	size_t end = 0, held = r->keys.held;
	uint8_t *p = r->in + held;
	ssize_t n;
	bool found;

	memmove(r->in, r->in + r->in_n - held, held);
	r->in_at = 0;
	r->in_n = held;
	n = read(r->tty, p, sizeof(r->in) - held);
	if (n <= 0)
		return n == 0 ? RELAY_HANGUP : read_failed(r, errno);
	found = keys_feed(&r->keys, p, (size_t)n, &end);
	r->in_n = held + (found ? end : (size_t)n);
	if (r->keys.held)
		r->hold_until = r->clock_ms() + RELAY_HOLD_MS;
	if (relay_is_viewer(r)) {
		/* the others are not for anybody; Ctrl-C leaves */
		found = found || memchr(p, VIEWER_END[0], (size_t)n);
		r->in_at = r->in_n - r->keys.held;
	} else {
		relay_flush_input(r);
	}
	if (!found)
		return RELAY_OK;
	/* what the program did not take before the keys is not worth staying for */
	r->in_at = r->in_n = r->keys.held = 0;
	return RELAY_DETACH;
}
