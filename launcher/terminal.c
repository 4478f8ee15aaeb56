/* SPDX-License-Identifier: MIT */
#include "launcher/terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "engine/stub/order.h"
#include "pty/pty.h"
#include "pty/raw.h"

int terminal_tty(const struct wire_run *run)
{
	for (int fd = 0; fd < 3; fd++)
		if (run->stdio[fd] == WIRE_STDIO_TTY)
			return fd;
	return -1;
}

bool terminal_interactive(const struct wire_run *run)
{
	return run->stdio[0] == WIRE_STDIO_TTY && run->stdio[1] == WIRE_STDIO_TTY;
}

/*
 * In the background, with somebody in the foreground who has the terminal raw: that is not for us, and newlines of the
 * clone's shall be newlines. The rest is the caller's once it comes to the foreground (relay_options.inherit).
 */
static void set_newlines(struct wire_run *run)
{
	tcflag_t
		flags[4]; /* input, output, control, local: the kernel's struct termios begins as ours does */

	if (run->termios_size < sizeof(flags))
		return;
	memcpy(flags, run->termios, sizeof(flags));
	if (!(flags[3] & ICANON) && !(flags[1] & OPOST))
		flags[1] |= OPOST | ONLCR;
	memcpy(run->termios, flags, sizeof(flags));
}

void terminal_ask(struct wire_run *run)
{
	int tty = terminal_tty(run);

	if (tty < 0)
		return;
	run->flags |= WIRE_LAUNCH_TERMINAL;
	/* one that is detached has its terminal to itself */
	if (!(run->flags & WIRE_LAUNCH_DETACH) && (!terminal_interactive(run) || !raw_foreground(tty))) {
		run->flags |= WIRE_LAUNCH_BACKGROUND;
		set_newlines(run);
	}
}

int terminal_keys(const char *option, char *keys, struct error *err)
{
	const char *text = option ? option : getenv("WARM_DETACH_KEYS");

	if (text)
		return relay_parse_keys(text, keys, RELAY_KEYS_MAX + 1, err);
	memcpy(keys, PTY_DETACH_KEYS, sizeof(PTY_DETACH_KEYS));
	return 0;
}

int terminal_open(struct relayed_terminal *t, int tty, const int *fds, size_t n, const char *keys,
		  bool active, bool shared, bool replay, struct error *err)
{
	bool writer = n == WIRE_TERMINAL_FDS;
	struct relay_options o = {
		.tty = tty,
		.master = writer ? fds[WIRE_TERMINAL_MASTER] : -EBADF,
		.ring = &t->ring,
		.wake = fds[WIRE_TERMINAL_WAKE],
		.detach_keys = keys,
		.replay = replay,
		.active = active,
		.shared = shared,
		.inherit = active && !replay,
	};
	int r = ring_map(fds[WIRE_TERMINAL_RING], &t->ring);

	close(fds[WIRE_TERMINAL_RING]);
	t->wake = fds[WIRE_TERMINAL_WAKE];
	t->session = writer ? fds[WIRE_TERMINAL_SESSION] : -EBADF;
	if (r < 0)
		error_errno(err, r, "the record of the clone's terminal");
	else
		r = relay_open(&t->relay, &o, err);
	if (r < 0 && writer)
		close(fds[WIRE_TERMINAL_MASTER]);
	if (r < 0)
		terminal_close(t, false);
	return r;
}

size_t terminal_poll(struct relayed_terminal *t, struct pollfd *p, int *timeout_ms)
{
	size_t n = t->relay ? relay_poll(t->relay, p, timeout_ms) : 0;

	p[n] = (struct pollfd){ t->session, POLLIN, 0 };
	return n + 1;
}

static void say_to_leader(const struct relayed_terminal *t, uint32_t kind)
{
	struct stub_session m = { .kind = kind };

	/* it has ended, or will take it: it is one message a stop */
	if (t->session >= 0)
		(void)!send(t->session, &m, sizeof(m), MSG_DONTWAIT | MSG_NOSIGNAL);
}

/*
 * With the whole group, as a terminal's Ctrl-Z would: a shell that runs a script waits for the script, not for us.
 * In an orphaned group nobody could continue us and the kernel does not stop us: then the clone goes on too.
 */
static void stop_self(struct relayed_terminal *t, int sig)
{
	sigset_t set, before, pending;

	relay_suspend(t->relay);
	if (sig == SIGSTOP) {
		raise(SIGSTOP);
	} else {
		sigemptyset(&set);
		sigaddset(&set, sig);
		sigprocmask(SIG_UNBLOCK, &set, &before);
		kill(0, sig);
		sigprocmask(SIG_SETMASK, &before, NULL);
	}
	sigpending(&pending);
	if (sigismember(&pending, SIGCONT))
		return;
	terminal_continued(t);
	/* nobody can stop us, and it would be stopped again at once: it waits on its own terminal instead */
	if (sig == SIGTTIN || sig == SIGTTOU)
		say_to_leader(t, STUB_SESSION_FOREGROUND);
}

static void clone_stopped(struct relayed_terminal *t, int sig)
{
	/* it wants the terminal */
	if ((sig == SIGTTIN || sig == SIGTTOU) && relay_activate(t->relay) == 0) {
		say_to_leader(t, STUB_SESSION_FOREGROUND);
		return;
	}
	stop_self(t, sig);
}

struct said { /* one message of the leader's */
	struct stub_session m;
	uint8_t bytes[STUB_SESSION_PIECE];
};

static void keep_unread(struct relayed_terminal *t, const struct said *said, size_t n)
{
	size_t room = sizeof(t->unread) - t->left.n;

	n = n < room ? n : room;
	memcpy(t->unread + t->left.n, said->bytes, n);
	t->left.n += n;
	t->left.lines = said->m.value;
}

/* Return: as recv(2) */
static ssize_t hear_leader(struct relayed_terminal *t, struct said *said)
{
	ssize_t n = recv(t->session, said, sizeof(*said), MSG_DONTWAIT);

	if (n > (ssize_t)sizeof(said->m) && said->m.kind == STUB_SESSION_UNREAD)
		keep_unread(t, said, (size_t)n - sizeof(said->m));
	if (n == sizeof(said->m) + sizeof(t->left.at) && said->m.kind == STUB_SESSION_TAKEN)
		memcpy(&t->left.at, said->bytes, sizeof(t->left.at));
	return n;
}

static void give_back(struct relayed_terminal *t)
{
	struct said said;

	/* its last words came before its end did */
	while (t->session >= 0 && hear_leader(t, &said) > 0)
		;
	t->left.bytes = t->unread;
	relay_give_back(t->relay, &t->left);
}

enum relay_result terminal_handle(struct relayed_terminal *t, const struct pollfd *p)
{
	enum relay_result result = RELAY_OK;
	struct said said;
	struct pollfd now = { t->session, POLLIN, 0 };
	ssize_t n;

	if (t->relay)
		result = relay_handle(t->relay, p);
	if (result != RELAY_OK && result != RELAY_END)
		return result;
	if (t->session < 0 || poll(&now, 1, 0) <= 0)
		return RELAY_OK;
	n = hear_leader(t, &said);
	if (n == sizeof(said.m) && said.m.kind == STUB_SESSION_STOPPED && t->relay)
		clone_stopped(t, said.m.value);
	/* the leader is gone: its end is told elsewhere */
	if (n == 0 || (n < 0 && errno != EAGAIN))
		t->session = fd_close(t->session);
	return RELAY_OK;
}

void terminal_continued(struct relayed_terminal *t)
{
	if (!t->relay)
		return;
	relay_resume(t->relay);
	say_to_leader(t, relay_is_active(t->relay) ? STUB_SESSION_FOREGROUND : STUB_SESSION_BACKGROUND);
}

void terminal_close(struct relayed_terminal *t, bool drain)
{
	if (t->relay && drain) {
		relay_drain(t->relay);
		give_back(t);
	}
	relay_close(t->relay);
	t->relay = NULL;
	ring_unmap(&t->ring);
	t->wake = fd_close(t->wake);
	t->session = fd_close(t->session);
}
