/* SPDX-License-Identifier: MIT */
/*
 * relay.c - theory of operation
 *
 * Two independent flows, each with one place where bytes wait, and a rule that nothing is read while that place
 * has bytes that the other side has not taken: output in the ring (or out[]) behind `pos`, input in in[]. A step
 * reads what is there and tries to write it at once; poll(2) is asked for POLLOUT only after a write that was
 * short. So a keystroke costs read + write here, and its echo the same, with one poll(2) before each.
 */
#include "pty/relay_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "pty/giveback.h"
#include "pty/raw.h"
#include "pty/reopen.h"

/* more than a pty holds: what it has when the program ends, as other processes may go on printing */
#define DRAIN_MAX 65536
#define TAKING_NS                                                                                            \
	5000000 /* it takes a few us to take a queue out, and longer where the leader has to wait for a processor */

/* --- steps ----------------------------------------------------------------------------------------------------- */

size_t relay_poll(struct relay *r, struct pollfd *p, int *timeout_ms)
{
	bool out = relay_output_waits(r), in = relay_input_waits(r);
	size_t n = 0;

	r->tty_at = n;
	/* without events too: a hang-up is always told */
	p[n++] = (struct pollfd){ r->tty, (short)((r->raw && !in ? POLLIN : 0) | (out ? POLLOUT : 0)), 0 };
	r->master_at = SIZE_MAX;
	if (relay_is_viewer(r) ? !out : !r->ended && (!out || in)) {
		r->master_at = n;
		p[n++] = relay_is_viewer(r)
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

	if (relay_is_viewer(r) && source) {
		struct epoll_event woken;

		/* takes the edge; the counter is left alone, because others wait for it too */
		epoll_wait(r->epoll, &woken, 1, 0);
	}
	if (relay_output_waits(r) || relay_is_viewer(r))
		return failed_output(relay_flush_output(r));
	if (!(source & (POLLIN | POLLHUP | POLLERR)))
		return RELAY_OK;
	n = relay_read_master(r);
	if (n > 0)
		return failed_output(relay_flush_output(r));
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
	relay_release_held(r);
	if (!relay_is_viewer(r))
		relay_flush_input(r);
	if (tty & POLLIN && r->raw && !relay_input_waits(r))
		input = relay_read_tty(r);
	output = step_output(r, source);
	if (input == RELAY_HANGUP || output == RELAY_HANGUP)
		return RELAY_HANGUP;
	return input != RELAY_OK ? input : output;
}

/* --- the caller's terminal --------------------------------------------------------------------------------------- */

/* told before it is so: killed in between, the terminal is looked at for nothing */
static int enter_raw(struct relay *r)
{
	r->raw = true;
	relay_tell_raw(r);
	return raw_enter(r->tty, &r->saved);
}

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
	relay_tell_raw(r);
	if (r->raw) {
		/* a pty's master sets what its slave has (drivers/tty/tty_ioctl.c: tty_mode_ioctl()) */
		if (r->inherit)
			tcsetattr(r->master, TCSANOW, &r->saved);
		r->inherit = false;
		relay_follow_newlines(r);
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
	relay_tell_raw(r);
}

void relay_resume(struct relay *r)
{
	if (r->wanted)
		relay_activate(r);
}

void relay_resize(struct relay *r)
{
	struct winsize theirs, ours;

	if (relay_is_viewer(r) || ioctl(r->tty, TIOCGWINSZ, &ours) < 0 ||
	    ioctl(r->master, TIOCGWINSZ, &theirs) < 0)
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
		r->out = malloc(RELAY_BUFFER);
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
		if (relay_is_viewer(r))
			ring_follow(r->ring, 1);
		r->pos = o->replay ? ring_replay_start(r->ring) : ring_head(r->ring);
	}
	/* in the background it stays idle until relay_resume() */
	if (o->active)
		relay_activate(r);
	r->inherit = o->inherit && !relay_is_viewer(r) && !r->raw;
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
		int code = relay_flush_output(r);
		ssize_t n;

		if (code == -EAGAIN)
			code = wait_for_tty(r, signals);
		if (code < 0)
			return;
		if (relay_is_viewer(r) && r->pos >= until && r->out_at == r->out_n)
			return;
		if (relay_output_waits(r))
			continue;
		if (relay_is_viewer(r) || r->ended || taken >= DRAIN_MAX)
			return;
		n = relay_read_master(r);
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
	if ((!g.n && !g.typed_n) || relay_is_viewer(r) || !r->raw || !raw_foreground(r->tty))
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
	relay_write_cr(r);
	relay_suspend(r);
	if (r->ring && relay_is_viewer(r))
		ring_follow(r->ring, -1);
	if (r->reopened)
		fd_close(r->tty);
	fd_close(r->master);
	fd_close(r->epoll);
	free(r->out);
	free(r);
}
