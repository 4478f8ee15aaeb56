/* SPDX-License-Identifier: MIT */
/*
 * relay.c - theory of operation
 *
 * Two independent flows, each with one place where bytes wait, and a rule that nothing is read while that place
 * has bytes that the other side has not taken: output in the ring (or out[]) behind `pos`, input in in[]. A step
 * reads what is there and tries to write it at once; poll(2) is asked for POLLOUT only after a write that was
 * short. So a keystroke costs read + write here, and its echo the same, with one poll(2) before each.
 */
#include "pty/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "pty/giveback.h"
#include "pty/keys.h"
#include "pty/pump.h"
#include "pty/raw.h"
#include "pty/reopen.h"
#include "pty/sent.h"

#define BUFFER	 65536
#define STEP_MAX 65536 /* bytes of output written in one step: the owner has other things to do */
#define DRAIN_MAX                                                                                            \
	65536 /* more than a pty holds: what it has when the program ends; others may go on printing */
#define TAKING_NS                                                                                            \
	5000000 /* it takes a few us to take a queue out, and longer where the leader has to wait for a processor */
#define TTY_PIECE  256
#define VIEWER_END "\x03"

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
	uint8_t in[BUFFER];
};

static bool is_viewer(const struct relay *r)
{
	return r->master < 0;
}

/* --- output ---------------------------------------------------------------------------------------------------- */

/* the next bytes for the terminal, in place. Return: how many; 0: none */
static size_t next_output(struct relay *r, const void **ret)
{
	if (r->out) {
		if (r->out_at == r->out_n && is_viewer(r)) {
			r->out_n = ring_copy(r->ring, &r->pos, r->out, BUFFER, NULL);
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

static bool output_waits(const struct relay *r)
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

/* in raw mode: what others of a pipeline print shall look as it would without us, as long as the program lets it */
static void follow_newlines(const struct relay *r)
{
	struct termios program;

	if (r->shared && r->raw && !is_viewer(r) && tcgetattr(r->master, &program) == 0)
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

/* the CR that was held back: nothing follows, or something else than NL. Return: 0; -EAGAIN; -EIO */
static int write_cr(struct relay *r)
{
	ssize_t done = r->cr ? write_tty(r, "\r", 1) : 0;

	if (done >= 0)
		r->cr = false;
	return done < 0 ? (int)done : 0;
}

/* Return: 0: all that waited is written, or as much as one step may; -EAGAIN: the terminal takes no more; -EIO */
static int flush_output(struct relay *r)
{
	bool terminal_adds_cr;
	const void *p;
	size_t n;

	follow_newlines(r);
	terminal_adds_cr = adds_cr(r);
	for (size_t total = 0; total < STEP_MAX && (n = next_output(r, &p)) > 0;) {
		ssize_t done;

		if (terminal_adds_cr && *(const uint8_t *)p == '\n')
			r->cr = false;
		done = write_cr(r);
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

/* only when nothing waits. Return: bytes; -EAGAIN; -EIO: the end */
static ssize_t read_master(struct relay *r)
{
	ssize_t n;

	if (!r->out)
		return pump_read(r->master, r->ring, r->wake);
	do
		n = read(r->master, r->out, BUFFER);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n == 0 ? -EIO : -errno;
	r->out_at = 0;
	r->out_n = (size_t)n;
	return n;
}

/* --- input ----------------------------------------------------------------------------------------------------- */

static bool input_waits(const struct relay *r)
{
	return r->in_at < r->in_n - r->keys.held;
}

static void flush_input(struct relay *r)
{
	while (input_waits(r)) {
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

/* what may have been the beginning of the detach keys was not */
static void release_held(struct relay *r)
{
	if (r->keys.held && r->clock_ms() >= r->hold_until)
		r->keys.held = 0;
}

/* should we be killed, warmd puts it right */
static void tell_raw(const struct relay *r)
{
	if (r->ring && !is_viewer(r))
		ring_set_raw(r->ring, r->raw);
}

/* told before it is so: killed in between, the terminal is looked at for nothing */
static int enter_raw(struct relay *r)
{
	r->raw = true;
	tell_raw(r);
	return raw_enter(r->tty, &r->saved);
}

static enum relay_result read_failed(struct relay *r, int code)
{
	if (code == EAGAIN || code == EINTR)
		return RELAY_OK;
	/* in the background with SIGTTIN blocked: the shell took the terminal, with its own settings (n_tty.c: job_control()) */
	if (code == EIO && !raw_foreground(r->tty) && tcgetpgrp(r->tty) > 0) {
		r->raw = false;
		tell_raw(r);
		return RELAY_OK;
	}
	return code == EIO || code == ENXIO ? RELAY_HANGUP : RELAY_ERROR;
}

static enum relay_result read_tty(struct relay *r)
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
	if (is_viewer(r)) {
		/* the others are not for anybody; Ctrl-C leaves */
		found = found || memchr(p, VIEWER_END[0], (size_t)n);
		r->in_at = r->in_n - r->keys.held;
	} else {
		flush_input(r);
	}
	if (!found)
		return RELAY_OK;
	/* what the program did not take before the keys is not worth staying for */
	r->in_at = r->in_n = r->keys.held = 0;
	return RELAY_DETACH;
}

/* --- steps ----------------------------------------------------------------------------------------------------- */

size_t relay_poll(struct relay *r, struct pollfd *p, int *timeout_ms)
{
	bool out = output_waits(r), in = input_waits(r);
	size_t n = 0;

	r->tty_at = n;
	/* without events too: a hang-up is always told */
	p[n++] = (struct pollfd){ r->tty, (short)((r->raw && !in ? POLLIN : 0) | (out ? POLLOUT : 0)), 0 };
	r->master_at = SIZE_MAX;
	if (is_viewer(r) ? !out : !r->ended && (!out || in)) {
		r->master_at = n;
		p[n++] = is_viewer(r)
				 ? (struct pollfd){ r->epoll, POLLIN, 0 }
				 : (struct pollfd){ r->master,
						    (short)((out ? 0 : POLLIN) | (in ? POLLOUT : 0)), 0 };
	}
	if (r->keys.held) {
		uint64_t now = r->clock_ms();
		int left = r->hold_until > now ? (int)(r->hold_until - now) : 0;

		if (*timeout_ms < 0 || left < *timeout_ms)
			*timeout_ms = left;
	}
	return n;
}

static enum relay_result failed_output(int code)
{
	return code == 0 || code == -EAGAIN ? RELAY_OK : code == -EIO ? RELAY_HANGUP : RELAY_ERROR;
}

static enum relay_result step_output(struct relay *r, short source)
{
	ssize_t n;

	if (is_viewer(r) && source) {
		struct epoll_event woken;

		/* takes the edge; the counter is left alone, because others wait for it too */
		epoll_wait(r->epoll, &woken, 1, 0);
	}
	if (output_waits(r) || is_viewer(r))
		return failed_output(flush_output(r));
	if (!(source & (POLLIN | POLLHUP | POLLERR)))
		return RELAY_OK;
	n = read_master(r);
	if (n > 0)
		return failed_output(flush_output(r));
	if (n == -EAGAIN)
		return RELAY_OK;
	r->ended = true;
	return n == -EIO ? RELAY_END : RELAY_ERROR;
}

enum relay_result relay_handle(struct relay *r, const struct pollfd *p)
{
	short tty = p[r->tty_at].revents, source = r->master_at == SIZE_MAX ? 0 : p[r->master_at].revents;
	enum relay_result input = RELAY_OK, output;

	if (tty & (POLLHUP | POLLERR | POLLNVAL))
		return RELAY_HANGUP;
	release_held(r);
	if (!is_viewer(r))
		flush_input(r);
	if (tty & POLLIN && r->raw && !input_waits(r))
		input = read_tty(r);
	output = step_output(r, source);
	if (input == RELAY_HANGUP || output == RELAY_HANGUP)
		return RELAY_HANGUP;
	return input != RELAY_OK ? input : output;
}

/* --- the caller's terminal --------------------------------------------------------------------------------------- */

int relay_activate(struct relay *r)
{
	int code;

	r->wanted = true;
	/* raw as we left it, after a stop that could not be seen coming: what is saved is still right */
	if (r->raw && raw_foreground(r->tty) && raw_is(r->tty))
		code = 0;
	else
		code = enter_raw(r);
	r->raw = code == 0;
	tell_raw(r);
	if (r->raw) {
		/* a pty's master sets what its slave has (drivers/tty/tty_ioctl.c: tty_mode_ioctl()) */
		if (r->inherit)
			tcsetattr(r->master, TCSANOW, &r->saved);
		r->inherit = false;
		follow_newlines(r);
		relay_resize(r);
	}
	return code;
}

bool relay_is_active(const struct relay *r)
{
	return r->raw;
}

void relay_suspend(struct relay *r)
{
	if (r->raw)
		raw_leave(r->tty, &r->saved);
	r->raw = false;
	tell_raw(r);
}

void relay_resume(struct relay *r)
{
	if (r->wanted)
		relay_activate(r);
}

void relay_resize(struct relay *r)
{
	struct winsize theirs, ours;

	if (is_viewer(r) || ioctl(r->tty, TIOCGWINSZ, &ours) < 0 || ioctl(r->master, TIOCGWINSZ, &theirs) < 0)
		return;
	if (memcmp(&ours, &theirs, sizeof(ours)) != 0)
		ioctl(r->master, TIOCSWINSZ, &ours);
}

/* --- beginning and end --------------------------------------------------------------------------------------------- */

static int wait_for_wakes(struct relay *r)
{
	struct epoll_event edge = { .events = EPOLLIN | EPOLLET };

	r->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (r->epoll < 0 || epoll_ctl(r->epoll, EPOLL_CTL_ADD, r->wake, &edge) < 0)
		return -errno;
	return 0;
}

static int set_up(struct relay *r, const struct relay_options *o, struct error *err)
{
	const char *keys = o->detach_keys ? o->detach_keys : "";
	int flags, code;

	if (o->master < 0 && (!o->ring || o->wake < 0))
		return error_set(err, EINVAL, "a viewer needs a ring and its wake eventfd");
	if (keys_set(&r->keys, keys, strlen(keys)) < 0)
		return error_set(err, EINVAL, "more than %d detach keys", RELAY_KEYS_MAX);
	r->tty = reopen_terminal(o->tty, &r->reopened);
	if (r->tty < 0)
		return error_errno(err, r->tty, "cannot use the terminal");
	code = o->master < 0 ? wait_for_wakes(r) : 0;
	if (code < 0)
		return error_errno(err, code, "cannot wait for output (epoll)");
	if (o->master < 0 || !o->ring) {
		r->out = malloc(BUFFER);
		if (!r->out)
			return error_set(err, ENOMEM, "out of memory");
	}
	if (o->master >= 0) {
		flags = fcntl(o->master, F_GETFL);
		if (flags < 0 || (!(flags & O_NONBLOCK) && fcntl(o->master, F_SETFL, flags | O_NONBLOCK) < 0))
			return error_errno(err, errno, "cannot use the pty");
	}
	return 0;
}

int relay_open(struct relay **ret, const struct relay_options *o, struct error *err)
{
	struct relay *r = calloc(1, sizeof(*r));
	int code;

	if (!r)
		return error_set(err, ENOMEM, "out of memory");
	r->tty = r->master = r->epoll = -EBADF;
	r->wake = o->wake;
	r->shared = o->shared;
	r->clock_ms = o->clock_ms ? o->clock_ms : clock_ms;
	code = set_up(r, o, err);
	if (code < 0) {
		relay_close(r);
		return code;
	}
	r->master = o->master;
	r->ring = o->ring;
	if (r->ring) {
		if (is_viewer(r))
			ring_follow(r->ring, 1);
		r->pos = o->replay ? ring_replay_start(r->ring) : ring_head(r->ring);
	}
	/* in the background it stays idle until relay_resume() */
	if (o->active)
		relay_activate(r);
	r->inherit = o->inherit && !is_viewer(r) && !r->raw;
	*ret = r;
	return 0;
}

/* Return: 0: it may take more; -EIO: it is gone, or the owner is asked to end */
static int wait_for_tty(const struct relay *r, int signals)
{
	struct pollfd p[2] = { { r->tty, POLLOUT, 0 }, { signals, POLLIN, 0 } };

	while (poll(p, 2, -1) < 0)
		if (errno != EINTR)
			return -EIO;
	return p[0].revents & (POLLHUP | POLLERR | POLLNVAL) || p[1].revents ? -EIO : 0;
}

void relay_drain(struct relay *r)
{
	_cleanup_close_ int signals = -EBADF;
	/* others may go on printing: what is there now is enough */
	uint64_t until = r->ring ? ring_head(r->ring) : 0;
	size_t taken = 0;
	sigset_t ends;

	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGHUP);
	sigaddset(&ends, SIGQUIT);
	/* readable when one of them is blocked and pending; never read, so the owner sees it too */
	signals = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
	for (;;) {
		int code = flush_output(r);
		ssize_t n;

		if (code == -EAGAIN)
			code = wait_for_tty(r, signals);
		if (code < 0)
			return;
		if (is_viewer(r) && r->pos >= until && r->out_at == r->out_n)
			return;
		if (output_waits(r))
			continue;
		if (is_viewer(r) || r->ended || taken >= DRAIN_MAX)
			return;
		n = read_master(r);
		if (n <= 0)
			return;
		taken += (size_t)n;
	}
}

int relay_give_back(struct relay *r, const struct relay_unread *unread)
{
	struct giveback g = { .unread = unread->bytes, .n = unread->n, .lines = unread->lines };
	size_t undelivered = r->in_n - r->in_at, late;
	_cleanup_free_ uint8_t *typed = NULL;
	const uint8_t *sent;

	g.fresh = unread->at > TAKING_NS ? sent_since(&r->sent, unread->at - TAKING_NS, &sent) : 0;
	late = sent_since(&r->sent, unread->at ? unread->at : UINT64_MAX, &sent);
	g.fresh -= g.fresh > late ? late : g.fresh;
	g.typed_n = late + undelivered;
	if ((!g.n && !g.typed_n) || is_viewer(r) || !r->raw || !raw_foreground(r->tty))
		return 0;
	typed = malloc(g.typed_n + 1);
	if (!typed)
		return -ENOMEM;
	memcpy(typed, sent, late);
	memcpy(typed + late, r->in + r->in_at, undelivered);
	r->in_at = r->in_n = r->keys.held = 0;
	g.typed = typed;
	return giveback(r->tty, &r->saved, &g);
}

void relay_close(struct relay *r)
{
	if (!r)
		return;
	write_cr(r);
	relay_suspend(r);
	if (r->ring && is_viewer(r))
		ring_follow(r->ring, -1);
	if (r->reopened)
		fd_close(r->tty);
	fd_close(r->master);
	fd_close(r->epoll);
	free(r->out);
	free(r);
}
