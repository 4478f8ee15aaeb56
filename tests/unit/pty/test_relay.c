/* SPDX-License-Identifier: MIT */
/*
 * pty/relay between two real ptys: the outer one is the caller's terminal (we hold its master, as a terminal
 * emulator does), the inner one the program's (we hold its slave, as the program does). One process, no time:
 * a round steps the relay until neither side moves, and the clock is ours.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "engine/base/fd.h"
#include "pty/pty.h"
#include "pty/pump.h"
#include "pty/raw.h"
#include "pty/relay.h"

#define ALL	    (1024 * 1024)
#define PATIENCE_MS 30000 /* for what must happen */

static int emulator, terminal; /* outer master and slave */
static int master, program; /* inner */
static struct ring ring;
static int wake;
static struct relay *relay;
static uint64_t now;
static uint8_t *got; /* what the last take() read */

static uint64_t our_clock(void)
{
	return now;
}

static void nonblock(int fd)
{
	assert_int_equal(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
}

static int setup(void **state)
{
	const struct winsize size = { .ws_row = 24, .ws_col = 80 };
	struct termios raw;

	(void)state;
	assert_int_equal(openpty(&emulator, &terminal, NULL, NULL, &size), 0);
	assert_int_equal(openpty(&master, &program, NULL, NULL, NULL), 0);
	assert_int_equal(tcgetattr(program, &raw), 0);
	raw_settings(&raw);
	assert_int_equal(tcsetattr(program, TCSANOW, &raw), 0);
	nonblock(emulator);
	nonblock(program);
	assert_int_equal(ring_create(RING_MIN_BYTES, &ring), 0);
	wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_true(wake >= 0);
	got = malloc(ALL);
	now = 1000;
	relay = NULL;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	relay_close(relay);
	free(got);
	ring_unmap(&ring);
	emulator = fd_close(emulator);
	terminal = fd_close(terminal);
	program = fd_close(program);
	wake = fd_close(wake);
	return 0;
}

static void begin(bool with_ring, bool active, const char *keys)
{
	const struct relay_options o = {
		.tty = terminal,
		.master = master,
		.ring = with_ring ? &ring : NULL,
		.wake = with_ring ? wake : -EBADF,
		.detach_keys = keys,
		.active = active,
		.clock_ms = our_clock,
	};
	struct error err = { 0 };

	if (relay_open(&relay, &o, &err) < 0)
		fail_msg("%s", err.text);
}

static void begin_viewer(bool active, bool replay)
{
	const struct relay_options o = {
		.tty = terminal,
		.master = -EBADF,
		.ring = &ring,
		.wake = wake,
		.detach_keys = PTY_DETACH_KEYS,
		.replay = replay,
		.active = active,
		.clock_ms = our_clock,
	};
	struct error err = { 0 };

	if (relay_open(&relay, &o, &err) < 0)
		fail_msg("%s", err.text);
}

/* one step. Return: was there anything to do? */
static bool step(enum relay_result *ret)
{
	struct pollfd p[RELAY_FDS];
	int timeout = -1;
	size_t n = relay_poll(relay, p, &timeout);
	int ready = poll(p, n, 0);

	assert_in_range(n, 1, RELAY_FDS);
	*ret = relay_handle(relay, p);
	return ready > 0;
}

/* until it has nothing to do, or something to say. Nothing is ever left to do later but for the detach keys */
static enum relay_result run(void)
{
	enum relay_result result = RELAY_OK;

	for (int i = 0; i < 100000; i++)
		if (!step(&result) || result != RELAY_OK)
			return result;
	fail_msg("the relay never rests");
	return result;
}

/* one step when something has happened: to the relay, or that @readable can be read, or @writable written; -1: none */
static void turn(int readable, int writable)
{
	struct pollfd p[RELAY_FDS + 2];
	int timeout = -1;
	size_t n = relay_poll(relay, p, &timeout);

	p[n] = (struct pollfd){ readable, POLLIN, 0 };
	p[n + 1] = (struct pollfd){ writable, POLLOUT, 0 };
	if (poll(p, n + 2, PATIENCE_MS) <= 0)
		fail_msg("nothing moves any more");
	assert_int_equal(relay_handle(relay, p), RELAY_OK);
}

static void send_to(int fd, const void *bytes, size_t n)
{
	assert_int_equal(write(fd, bytes, n), n);
}

/* all that can be read from @fd now, into got */
static size_t take(int fd)
{
	size_t n = 0;
	ssize_t k;

	while (n < ALL && (k = read(fd, got + n, ALL - n)) > 0)
		n += (size_t)k;
	return n;
}

static void expect(int fd, const void *bytes, size_t n)
{
	assert_int_equal(take(fd), n);
	assert_memory_equal(got, bytes, n);
}

/* all 256 values and text in UTF-8 with escape sequences, both ways, with and without a ring */
static void every_byte(void **state)
{
	static const char text[] = "\033[1;31m\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xa7\033[0m\r\n\033]0;t\a";
	uint8_t all[256];

	(void)state;
	for (int i = 0; i < 256; i++)
		all[i] = (uint8_t)i;
	for (int with_ring = 0; with_ring < 2; with_ring++) {
		if (with_ring) {
			teardown(NULL);
			setup(NULL);
		}
		begin(with_ring, true, PTY_DETACH_KEYS);
		send_to(emulator, all, sizeof(all));
		assert_int_equal(run(), RELAY_OK);
		expect(program, all, sizeof(all));
		send_to(program, all, sizeof(all));
		assert_int_equal(run(), RELAY_OK);
		expect(emulator, all, sizeof(all));
		send_to(program, text, sizeof(text) - 1);
		assert_int_equal(run(), RELAY_OK);
		expect(emulator, text, sizeof(text) - 1);
		assert_int_equal(ring_head(&ring), with_ring ? 256 + sizeof(text) - 1 : 0);
	}
}

/* a terminal that is not raw makes CR NL of the program's CR NL, not CR CR NL; also of one that comes in two pieces */
static void newlines_when_idle(void **state)
{
	static const char *const pieces[] = { "one\r\n\r\n", "50%\rtwo\r", "\nthree\n\r", "\r\nend\r" };

	(void)state;
	begin(true, false, "");
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		send_to(program, pieces[i], strlen(pieces[i]));
		assert_int_equal(run(), RELAY_OK);
	}
	relay_drain(relay);
	relay_close(relay);
	relay = NULL;
	expect(emulator, "one\r\n\r\n50%\rtwo\r\nthree\r\n\r\r\nend\r", 30);
	assert_int_equal(ring_head(&ring), 29);
}

/* pushes @n bytes of a pattern in at one end while the other is read; both in pieces, as they go */
static void carry(int from, int to, size_t n)
{
	uint8_t *sent = malloc(n), *received = malloc(n + 1);
	size_t in = 0, out = 0;

	for (size_t i = 0; i < n; i++)
		sent[i] = (uint8_t)(i ^ i >> 8);
	while (out < n) {
		ssize_t k = in < n ? write(from, sent + in, n - in) : 0;

		in += k > 0 ? (size_t)k : 0;
		turn(to, in < n ? from : -1);
		while ((k = read(to, received + out, n + 1 - out)) > 0)
			out += (size_t)k;
	}
	assert_int_equal(out, n);
	assert_memory_equal(received, sent, n);
	free(sent);
	free(received);
}

/* the rest of @n bytes that the relay has or will get */
static void collect(int fd, size_t n)
{
	size_t out = take(fd);

	while (out < n) {
		turn(fd, -1);
		out += take(fd);
	}
	assert_int_equal(out, n);
}

/* writes until nobody takes any more; that the ptys are full shows only by nothing happening for a while */
static size_t write_until_stopped(int fd)
{
	static uint8_t flood[4096];
	enum relay_result result;
	size_t sent = 0;

	memset(flood, 'y', sizeof(flood));
	for (;;) {
		struct pollfd p = { fd, POLLOUT, 0 };
		ssize_t k = write(fd, flood, sizeof(flood));

		sent += k > 0 ? (size_t)k : 0;
		assert_true(sent < ALL);
		while (step(&result))
			assert_int_equal(result, RELAY_OK);
		if (k <= 0 && poll(&p, 1, 50) == 0)
			return sent;
	}
}

static void paste(void **state)
{
	(void)state;
	begin(true, true, PTY_DETACH_KEYS);
	carry(emulator, program, 65536);
}

static void long_output(void **state)
{
	(void)state;
	begin(true, true, NULL);
	/* several times around the ring */
	carry(program, emulator, 5 * RING_MIN_BYTES + 123);
}

/* a program that does not read: the caller's terminal fills up; then everything arrives */
static void stopped_program(void **state)
{
	(void)state;
	begin(true, true, NULL);
	collect(program, write_until_stopped(emulator));
}

/* a terminal that takes nothing stops the program, and nothing grows meanwhile; then everything arrives */
static void stopped_terminal(void **state)
{
	size_t sent;

	(void)state;
	begin(true, true, NULL);
	sent = write_until_stopped(program);
	assert_true(ring_head(&ring) < sent);
	collect(emulator, sent);
	assert_int_equal(ring_head(&ring), sent);
	send_to(program, "on", 2);
	assert_int_equal(run(), RELAY_OK);
	expect(emulator, "on", 2);
}

/* where the terminal cannot be opened again its own description is used: it blocks, the relay must not */
static void not_reopened(void **state)
{
	struct rlimit limit, none;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){ 3, limit.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	begin(true, true, NULL);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_false(fcntl(terminal, F_GETFL) & O_NONBLOCK);
	carry(emulator, program, 65536);
	carry(program, emulator, 65536);
	collect(emulator, write_until_stopped(program));
}

static void detach(void **state)
{
	(void)state;
	begin(true, true, PTY_DETACH_KEYS);
	send_to(emulator, "ab\x1c\x04zz", 6);
	assert_int_equal(run(), RELAY_DETACH);
	expect(program, "ab", 2);
}

static void detach_in_pieces(void **state)
{
	(void)state;
	begin(true, true, "aab");
	send_to(emulator, "xa", 2);
	assert_int_equal(run(), RELAY_OK);
	expect(program, "x", 1);
	/* a longer beginning: of three a's the first cannot belong to the keys */
	send_to(emulator, "aa", 2);
	assert_int_equal(run(), RELAY_OK);
	expect(program, "a", 1);
	send_to(emulator, "b", 1);
	assert_int_equal(run(), RELAY_DETACH);
	assert_int_equal(take(program), 0);
}

static void detach_mismatch(void **state)
{
	(void)state;
	begin(true, true, PTY_DETACH_KEYS);
	send_to(emulator, "\x1c", 1);
	assert_int_equal(run(), RELAY_OK);
	assert_int_equal(take(program), 0);
	send_to(emulator, "x", 1);
	assert_int_equal(run(), RELAY_OK);
	expect(program, "\x1cx", 2);
	/* the second one alone is nothing */
	send_to(emulator, "\x04", 1);
	assert_int_equal(run(), RELAY_OK);
	expect(program, "\x04", 1);
}

static int time_left(int own)
{
	struct pollfd p[RELAY_FDS];
	int timeout = own;

	relay_poll(relay, p, &timeout);
	return timeout;
}

static void detach_timeout(void **state)
{
	(void)state;
	begin(true, true, PTY_DETACH_KEYS);
	assert_int_equal(time_left(-1), -1);
	assert_int_equal(time_left(70), 70);
	send_to(emulator, "\x1c", 1);
	assert_int_equal(run(), RELAY_OK);
	assert_int_equal(time_left(-1), RELAY_HOLD_MS);
	assert_int_equal(time_left(70), 70);
	assert_int_equal(time_left(10000), RELAY_HOLD_MS);
	now += RELAY_HOLD_MS - 1;
	assert_int_equal(time_left(-1), 1);
	assert_int_equal(run(), RELAY_OK);
	assert_int_equal(take(program), 0);
	now += 1;
	assert_int_equal(time_left(-1), 0);
	assert_int_equal(run(), RELAY_OK);
	expect(program, "\x1c", 1);
	assert_int_equal(time_left(-1), -1);
	/* too late for the other one */
	send_to(emulator, "\x04", 1);
	assert_int_equal(run(), RELAY_OK);
	expect(program, "\x04", 1);
}

static void no_keys(void **state)
{
	(void)state;
	begin(true, true, "");
	send_to(emulator, PTY_DETACH_KEYS, 2);
	assert_int_equal(run(), RELAY_OK);
	expect(program, PTY_DETACH_KEYS, 2);
}

static void assert_settings(const struct termios *t)
{
	struct termios is;

	assert_int_equal(tcgetattr(terminal, &is), 0);
	assert_int_equal(is.c_iflag, t->c_iflag);
	assert_int_equal(is.c_oflag, t->c_oflag);
	assert_int_equal(is.c_cflag, t->c_cflag);
	assert_int_equal(is.c_lflag, t->c_lflag);
	assert_memory_equal(is.c_cc, t->c_cc, sizeof(is.c_cc));
}

static void settings(void **state)
{
	struct termios before, shell;

	(void)state;
	assert_int_equal(tcgetattr(terminal, &before), 0);
	begin(true, false, NULL);
	assert_settings(&before);
	assert_false(relay_is_active(relay));
	assert_int_equal(relay_activate(relay), 0);
	assert_true(relay_is_active(relay) && raw_is(terminal));
	relay_suspend(relay);
	assert_settings(&before);
	assert_false(relay_is_active(relay));
	relay_resume(relay);
	assert_true(raw_is(terminal));
	/* stopped unseen, and the shell did not touch the terminal: what was saved first counts */
	relay_resume(relay);
	assert_true(raw_is(terminal));
	relay_suspend(relay);
	assert_settings(&before);
	/* stopped unseen, and the shell put its own settings: those are to come back */
	relay_resume(relay);
	shell = before;
	shell.c_lflag &= ~(tcflag_t)ECHO;
	shell.c_cc[VINTR] = 'z';
	assert_int_equal(tcsetattr(terminal, TCSANOW, &shell), 0);
	relay_resume(relay);
	assert_true(raw_is(terminal));
	relay_close(relay);
	relay = NULL;
	assert_settings(&shell);
	/* its shell's description has not become O_NONBLOCK */
	assert_false(fcntl(terminal, F_GETFL) & O_NONBLOCK);
}

static void never_activated(void **state)
{
	struct termios before;

	(void)state;
	assert_int_equal(tcgetattr(terminal, &before), 0);
	begin(true, false, NULL);
	relay_resume(relay);
	assert_settings(&before);
	/* not read: what is typed is the shell's */
	send_to(emulator, "typed\n", 6);
	send_to(program, "output", 6);
	assert_int_equal(run(), RELAY_OK);
	assert_int_equal(take(program), 0);
	expect(emulator, "typed\r\noutput", 13);
	assert_int_equal(read(terminal, got, ALL), 6);
}

/* typed before the relay began, or after it was suspended: nothing is thrown away */
static void typed_ahead(void **state)
{
	(void)state;
	send_to(emulator, "early", 5);
	begin(true, true, NULL);
	assert_int_equal(run(), RELAY_OK);
	expect(program, "early", 5);
	send_to(emulator, "late\n", 5);
	relay_close(relay);
	relay = NULL;
	assert_int_equal(read(terminal, got, ALL), 5);
	assert_memory_equal(got, "late\n", 5);
}

static void size_of_pty(unsigned short rows, unsigned short cols)
{
	struct winsize w;

	assert_int_equal(ioctl(program, TIOCGWINSZ, &w), 0);
	assert_int_equal(w.ws_row, rows);
	assert_int_equal(w.ws_col, cols);
}

static void resize(void **state)
{
	const struct winsize larger = { .ws_row = 50, .ws_col = 132 };

	(void)state;
	begin(true, false, NULL);
	size_of_pty(0, 0);
	assert_int_equal(relay_activate(relay), 0);
	size_of_pty(24, 80);
	assert_int_equal(ioctl(emulator, TIOCSWINSZ, &larger), 0);
	size_of_pty(24, 80);
	relay_resize(relay);
	size_of_pty(50, 132);
}

static void hung_up(void **state)
{
	(void)state;
	begin(true, true, NULL);
	emulator = fd_close(emulator);
	assert_int_equal(run(), RELAY_HANGUP);
	/* and nothing waits for ever */
	send_to(program, "lost", 4);
	relay_drain(relay);
}

static void hung_up_idle(void **state)
{
	(void)state;
	begin(true, false, NULL);
	emulator = fd_close(emulator);
	assert_int_equal(run(), RELAY_HANGUP);
}

static void program_ends(void **state)
{
	(void)state;
	begin(true, true, NULL);
	send_to(program, "last words", 10);
	program = fd_close(program);
	assert_int_equal(run(), RELAY_END);
	expect(emulator, "last words", 10);
	/* said once */
	assert_int_equal(run(), RELAY_OK);
	send_to(emulator, "nobody", 6);
	assert_int_equal(run(), RELAY_OK);
}

/* the terminal reads nothing until the whole of it waits in the pty: drain has to wait for it */
static void drained(void **state)
{
	size_t sent, out = 0;
	int status;
	pid_t pid;

	(void)state;
	begin(true, true, NULL);
	sent = write_until_stopped(program);
	pid = fork();
	if (pid == 0) {
		close(emulator);
		relay_drain(relay);
		_exit(0);
	}
	while (out < sent) {
		struct pollfd p = { emulator, POLLIN, 0 };

		assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
		out += take(emulator);
	}
	assert_int_equal(out, sent);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* the owner's own signals end a drain into a terminal that takes nothing */
static void drain_given_up(void **state)
{
	sigset_t set, pending;
	int sig;

	(void)state;
	begin(true, true, NULL);
	write_until_stopped(program);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	kill(getpid(), SIGTERM);
	relay_drain(relay);
	assert_int_equal(sigpending(&pending), 0);
	assert_true(sigismember(&pending, SIGTERM));
	assert_int_equal(sigwait(&set, &sig), 0);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void put_in_ring(const char *text)
{
	ssize_t left = (ssize_t)strlen(text);
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC | O_NONBLOCK), 0);
	send_to(p[1], text, strlen(text));
	while (left > 0) {
		ssize_t n = pump_read(p[0], &ring, wake);

		assert_true(n > 0);
		left -= n;
	}
	close(p[0]);
	close(p[1]);
}

static void replayed(void **state)
{
	(void)state;
	put_in_ring("before ");
	{
		const struct relay_options o = { .tty = terminal,
						 .master = master,
						 .ring = &ring,
						 .wake = wake,
						 .replay = true,
						 .active = true };

		assert_int_equal(relay_open(&relay, &o, NULL), 0);
	}
	send_to(program, "after", 5);
	assert_int_equal(run(), RELAY_OK);
	expect(emulator, "before after", 12);
}

static void viewer(void **state)
{
	(void)state;
	put_in_ring("before ");
	begin_viewer(true, true);
	assert_true(ring_followers(&ring));
	assert_int_equal(run(), RELAY_OK);
	expect(emulator, "before ", 7);
	/* woken each time, though nobody reads the counter */
	for (int i = 0; i < 3; i++) {
		struct pollfd p[RELAY_FDS];
		int timeout = -1;
		size_t n = relay_poll(relay, p, &timeout);

		assert_int_equal(poll(p, n, 0), 0);
		put_in_ring("more");
		assert_int_equal(poll(p, n, 0), 1);
		assert_int_equal(relay_handle(relay, p), RELAY_OK);
		expect(emulator, "more", 4);
	}
	/* what is typed is for nobody */
	send_to(emulator, "typed\x1c", 6);
	assert_int_equal(run(), RELAY_OK);
	put_in_ring("end");
	relay_drain(relay);
	expect(emulator, "end", 3);
	send_to(emulator, "\x04", 1);
	assert_int_equal(run(), RELAY_DETACH);
	relay_close(relay);
	relay = NULL;
	assert_false(ring_followers(&ring));
}

static void viewer_leaves(void **state)
{
	(void)state;
	begin_viewer(true, false);
	send_to(emulator, "x\x03", 2);
	assert_int_equal(run(), RELAY_DETACH);
}

/* its terminal stops while the pump goes on: it goes on with the oldest bytes that there are */
static void viewer_overtaken(void **state)
{
	char text[4096], last[] = "the newest";
	size_t n;

	(void)state;
	begin_viewer(true, false);
	for (size_t i = 0; i < 64; i++) {
		memset(text, 'A' + (int)i, sizeof(text));
		text[sizeof(text) - 1] = '\0';
		put_in_ring(text);
		assert_int_equal(run(), RELAY_OK);
	}
	put_in_ring(last);
	for (n = 0; n < strlen(last) || memcmp(got + n - strlen(last), last, strlen(last)) != 0;) {
		ssize_t k = read(emulator, got + n, ALL - n);

		if (k <= 0)
			turn(emulator, -1);
		n += k > 0 ? (size_t)k : 0;
	}
	assert_true(n < 64 * 4095);
	assert_int_equal(got[0], 'A');
	for (size_t i = 1; i < n - strlen(last); i++)
		assert_true(got[i] >= got[i - 1]);
}

/* a neighbour that scribbles in the ring can spoil what is shown, and nothing else */
static void hostile_ring(void **state)
{
	static const uint64_t heads[] = { UINT64_MAX, 1ull << 63, 5, 0, UINT64_MAX - RING_MIN_BYTES };
	enum relay_result result;

	(void)state;
	begin(true, true, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(heads); i++) {
		memset(ring.header, 0xff, 4096);
		memcpy((uint8_t *)ring.header + 64, &heads[i], sizeof(heads[i]));
		send_to(program, "x", 1);
		for (int j = 0; j < 100; j++) {
			step(&result);
			take(emulator);
		}
		assert_int_equal(result, RELAY_OK);
	}
	send_to(emulator, "still typed", 11);
	assert_int_equal(run(), RELAY_OK);
	expect(program, "still typed", 11);
}

/*
 * In a session with that controlling terminal, in the background: idle, terminal untouched, no SIGTTOU. In the
 * foreground then: active.
 */
static void in_background(void **state)
{
	int status, lead[2], follow[2];
	char c;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(lead, O_CLOEXEC), 0);
	assert_int_equal(pipe2(follow, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		pid_t child;

		setsid();
		ioctl(terminal, TIOCSCTTY, 0);
		child = fork();
		if (child == 0) {
			setpgid(0, 0);
			begin(true, true, NULL);
			if (relay_is_active(relay) || raw_is(terminal) || relay_activate(relay) != -EAGAIN)
				_exit(1);
			c = 'b';
			if (write(follow[1], &c, 1) != 1 || read(lead[0], &c, 1) != 1)
				_exit(2);
			relay_resume(relay);
			if (!relay_is_active(relay) || !raw_is(terminal))
				_exit(3);
			relay_close(relay);
			_exit(raw_is(terminal) ? 4 : 0);
		}
		signal(SIGTTOU, SIG_IGN);
		if (read(follow[0], &c, 1) != 1 || tcsetpgrp(terminal, child) < 0 ||
		    write(lead[1], &c, 1) != 1)
			_exit(5);
		/* it must not have been stopped */
		if (waitpid(child, &status, WUNTRACED) != child)
			_exit(6);
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 7);
	}
	/* so that a child that fails early ends everybody's read */
	close(follow[1]);
	close(lead[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	close(follow[0]);
	close(lead[1]);
}

static void refused(void **state)
{
	struct relay_options o = { .tty = terminal, .master = master, .wake = -EBADF };
	struct error err = { 0 };

	(void)state;
	o.detach_keys = "0123456789abcdefg";
	assert_int_equal(relay_open(&relay, &o, &err), -EINVAL);
	o.detach_keys = NULL;
	o.tty = wake;
	assert_int_equal(relay_open(&relay, &o, &err), -ENOTTY);
	o.tty = terminal;
	o.master = -EBADF;
	assert_int_equal(relay_open(&relay, &o, &err), -EINVAL);
	assert_true(err.text[0] != '\0');
	/* it was not taken over */
	assert_int_equal(fcntl(master, F_GETFD) >= 0, 1);
	close(master);
}

static void key_words(void **state)
{
	char out[RELAY_KEYS_MAX + 1] = "same";
	struct error err = { 0 };

	(void)state;
	assert_int_equal(relay_parse_keys("ctrl-\\,ctrl-d", out, sizeof(out), &err), 0);
	assert_string_equal(out, PTY_DETACH_KEYS);
	assert_int_equal(relay_parse_keys("ctrl-P,q,ctrl-[,ctrl-],ctrl-^,ctrl-_", out, sizeof(out), &err), 0);
	assert_string_equal(out, "\x10q\x1b\x1d\x1e\x1f");
	assert_int_equal(relay_parse_keys("", out, sizeof(out), &err), 0);
	assert_string_equal(out, "");
	strcpy(out, "same");
	assert_int_equal(relay_parse_keys("ctrl-p,ctrl-1", out, sizeof(out), &err), -EINVAL);
	assert_non_null(strstr(err.text, "'ctrl-1'"));
	assert_int_equal(relay_parse_keys("a,,b", out, sizeof(out), &err), -EINVAL);
	assert_int_equal(relay_parse_keys("a,", out, sizeof(out), &err), -EINVAL);
	assert_int_equal(relay_parse_keys("ctrl-", out, sizeof(out), &err), -EINVAL);
	assert_int_equal(relay_parse_keys("ctrl-@", out, sizeof(out), &err), -EINVAL);
	assert_non_null(strstr(err.text, "NUL"));
	assert_int_equal(relay_parse_keys("a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", out, sizeof(out), &err),
			 -EINVAL);
	assert_int_equal(relay_parse_keys("a,b,c", out, 3, &err), -EINVAL);
	assert_string_equal(out, "same");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(every_byte),
		TEST(paste),
		TEST(long_output),
		TEST(stopped_program),
		TEST(stopped_terminal),
		TEST(not_reopened),
		TEST(detach),
		TEST(detach_in_pieces),
		TEST(detach_mismatch),
		TEST(detach_timeout),
		TEST(no_keys),
		TEST(settings),
		TEST(never_activated),
		TEST(typed_ahead),
		TEST(resize),
		TEST(hung_up),
		TEST(hung_up_idle),
		TEST(program_ends),
		TEST(drained),
		TEST(drain_given_up),
		TEST(replayed),
		TEST(viewer),
		TEST(viewer_leaves),
		TEST(viewer_overtaken),
		TEST(hostile_ring),
		TEST(in_background),
		TEST(refused),
		TEST(newlines_when_idle),
		cmocka_unit_test(key_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
