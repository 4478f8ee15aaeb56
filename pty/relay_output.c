/* SPDX-License-Identifier: MIT */
/* relay_output.c - from the program's pty, or the ring, to the caller's terminal */
#include "pty/relay_internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "pty/pump.h"
#include "pty/raw.h"

#define STEP_MAX  65536 /* bytes of output written in one step: the owner has other things to do */
#define TTY_PIECE 256

/* the next bytes for the terminal, in place. Return: how many; 0: none */
static size_t next_output(struct relay *r, const void **ret)
{
	if (r->out) {
		if (r->out_at == r->out_n && relay_is_viewer(r)) {
			r->out_n = ring_copy(r->ring, &r->pos, r->out, RELAY_BUFFER, NULL);
			r->out_at = 0;
		}
		*ret = r->out + r->out_at;
		return r->out_n - r->out_at;
	}
	return ring_read(r->ring, &r->pos, ret, NULL);
}

static void output_used(struct relay *r, size_t n)
{
	if (r->out)
		r->out_at += n;
	else
		r->pos += n;
}

bool relay_output_waits(const struct relay *r)
{
	return r->out_at < r->out_n || (r->ring && ring_head(r->ring) != r->pos);
}

/* Return: bytes; -EAGAIN: it takes none; -EIO: it is gone */
static ssize_t write_tty(struct relay *r, const void *p, size_t n)
{
	ssize_t done;

	if (!r->reopened) {
		struct pollfd writable = { r->tty, POLLOUT, 0 };

		if (poll(&writable, 1, 0) <= 0)
			return -EAGAIN;
		n = n < TTY_PIECE ? n : TTY_PIECE;
	}
	do
		done = write(r->tty, p, n);
	while (done < 0 && errno == EINTR);
	return done < 0 ? -errno : done;
}

/*
 * The program's pty has made CR NL of its newlines. Where the caller's terminal is not raw it would do the same again
 * and show CR CR NL, which is harmless on a screen but not in what script(1) or a log keeps of it.
 */
static bool adds_cr(const struct relay *r)
{
	struct termios now;

	if (r->raw && !r->shared)
		return false;
	return tcgetattr(r->tty, &now) == 0 && (now.c_oflag & OPOST) && (now.c_oflag & ONLCR);
}

void relay_follow_newlines(const struct relay *r)
{
	struct termios program;

	if (r->shared && r->raw && !relay_is_viewer(r) && tcgetattr(r->master, &program) == 0)
		raw_output(r->tty, &program);
}

/* Return: bytes up to a CR that is the last of them, or is followed by NL */
static size_t until_cr(const uint8_t *p, size_t n)
{
	const uint8_t *cr = p;

	while ((cr = memchr(cr, '\r', n - (size_t)(cr - p)))) {
		size_t at = (size_t)(cr - p);

		if (at + 1 == n || cr[1] == '\n')
			return at;
		cr++;
	}
	return n;
}

int relay_write_cr(struct relay *r)
{
	ssize_t done = r->cr ? write_tty(r, "\r", 1) : 0;

	if (done >= 0)
		r->cr = false;
	return done < 0 ? (int)done : 0;
}

int relay_flush_output(struct relay *r)
{
	bool terminal_adds_cr;
	const void *p;
	size_t n;

	relay_follow_newlines(r);
	terminal_adds_cr = adds_cr(r);
	for (size_t total = 0; total < STEP_MAX && (n = next_output(r, &p)) > 0;) {
		ssize_t done;

		if (terminal_adds_cr && *(const uint8_t *)p == '\n')
			r->cr = false;
		done = relay_write_cr(r);
		if (done < 0)
			return (int)done;
		if (terminal_adds_cr)
			n = until_cr(p, n);
		/* none: a CR that comes first */
		r->cr = n == 0;
		done = n ? write_tty(r, p, n) : 1;
		if (done < 0)
			return (int)done;
		output_used(r, (size_t)done);
		total += (size_t)done;
	}
	return 0;
}

ssize_t relay_read_master(struct relay *r)
{
	ssize_t n;

	if (!r->out)
		return pump_read(r->master, r->ring, r->wake);
	do
		n = read(r->master, r->out, RELAY_BUFFER);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n == 0 ? -EIO : -errno;
	r->out_at = 0;
	r->out_n = (size_t)n;
	return n;
}
