/* SPDX-License-Identifier: MIT */
/*
 * keystroke_bench.c - from a keystroke to its echo: what the relay adds to a plain pty
 *
 * This process is the terminal emulator: it writes one byte to a terminal and reads until the same byte comes
 * back from the same program, which reads a byte and writes it, in a raw pty. Three terminals, interleaved:
 *
 *	plain     the program on the terminal itself
 *	copy      the program on a pty of its own, and the least that can stand between: poll, read, write. The floor
 *	          of every proxy (script, ssh, tmux)
 *	relay     as `copy`, with pty/relay as warm has it: ring, detach keys, two descriptors more to wait for
 *
 * Program and proxy are processes of their own, on whatever processor the kernel likes. In the pauses this
 * process keeps its processor busy, as clone_bench does and for the same reason.
 */
#include "clones/clock.h"
#include "spawn/machine.h"
#include "spawn/report.h"
#include "spawn/stats.h"

#include "pty/pty.h"
#include "pty/raw.h"
#include "pty/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define TARGET_US 30 /* what the relay may add, p50 */

enum way { PLAIN, COPY, RELAY, WAYS };

static const char *const names[WAYS] = { "plain", "copy", "relay" };

struct echo {
	int emulator; /* where keys are typed and echoes appear */
	pid_t program, proxy; /* 0: none */
	struct samples samples;
};

struct options {
	unsigned rounds, warmup, pause_us;
	const char *json;
};

static void raw(int tty)
{
	struct termios t;

	tcgetattr(tty, &t);
	raw_settings(&t);
	tcsetattr(tty, TCSANOW, &t);
}

static pid_t start(void)
{
	pid_t pid = fork();

	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

static pid_t start_program(int tty)
{
	pid_t pid = start();
	char c;

	if (pid)
		return pid;
	while (read(tty, &c, 1) == 1 && write(tty, &c, 1) == 1)
		;
	_exit(0);
}

static void copy_forever(int tty, int master)
{
	struct pollfd p[2] = { { tty, POLLIN, 0 }, { master, POLLIN, 0 } };
	char buf[4096];

	while (poll(p, 2, -1) > 0)
		for (int i = 0; i < 2; i++) {
			ssize_t n = p[i].revents ? read(p[i].fd, buf, sizeof(buf)) : 0;

			if (n < 0 || (n > 0 && write(p[!i].fd, buf, (size_t)n) != n))
				return;
		}
}

/* as launcher/follow.c: a connection and a signalfd are waited for in the same poll */
static void relay_forever(int tty, int master)
{
	struct relay_options o = {
		.tty = tty, .master = master, .detach_keys = PTY_DETACH_KEYS, .active = true
	};
	int connection[2], signals = eventfd(0, EFD_CLOEXEC);
	struct pollfd p[RELAY_FDS + 2];
	struct relay *relay;
	struct ring ring;

	o.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ring_create(PTY_RING_BYTES, &ring) < 0 || pipe(connection) < 0)
		return;
	o.ring = &ring;
	if (relay_open(&relay, &o, NULL) < 0)
		return;
	do {
		int timeout = -1;
		size_t n = relay_poll(relay, p, &timeout);

		p[n] = (struct pollfd){ connection[0], POLLIN, 0 };
		p[n + 1] = (struct pollfd){ signals, POLLIN, 0 };
		if (poll(p, n + 2, timeout) < 0)
			return;
	} while (relay_handle(relay, p) == RELAY_OK);
}

static int open_echo(enum way way, struct echo *e)
{
	int tty, master, program;

	if (openpty(&e->emulator, &tty, NULL, NULL, NULL) < 0)
		return -errno;
	raw(tty);
	if (way == PLAIN) {
		e->program = start_program(tty);
	} else {
		if (openpty(&master, &program, NULL, NULL, NULL) < 0)
			return -errno;
		raw(program);
		e->program = start_program(program);
		close(program);
		e->proxy = start();
		if (e->proxy == 0) {
			if (way == RELAY)
				relay_forever(tty, master);
			else
				copy_forever(tty, master);
			_exit(1);
		}
		close(master);
	}
	close(tty);
	return e->program < 0 || e->proxy < 0 ? -EAGAIN : 0;
}

static void close_echo(struct echo *e)
{
	const pid_t pids[] = { e->proxy, e->program };

	for (int i = 0; i < 2; i++)
		if (pids[i] > 0) {
			kill(pids[i], SIGKILL);
			waitpid(pids[i], NULL, 0);
		}
	close(e->emulator);
	samples_free(&e->samples);
}

static int type_key(struct echo *e, char key, bool measured)
{
	uint64_t begin = clock_now(), end;
	char c;

	if (write(e->emulator, &key, 1) != 1 || read(e->emulator, &c, 1) != 1)
		return -EIO;
	end = clock_now();
	if (c != key)
		return -EBADMSG;
	return measured ? samples_add(&e->samples, end - begin) : 0;
}

static int run_rounds(const struct options *o, struct echo *echoes, unsigned rounds, bool measured)
{
	for (unsigned round = 0; round < rounds; round++)
		for (unsigned i = 0; i < WAYS; i++) {
			uint64_t end = clock_now() + o->pause_us * 1000ull;
			int r;

			while (clock_now() < end)
				;
			/* each is behind each other one equally often */
			r = type_key(&echoes[round % 2 ? (round + i) % WAYS : (round + WAYS - i) % WAYS],
				     (char)('a' + round % 26), measured);
			if (r < 0)
				return r;
		}
	return 0;
}

static double added_us(const struct summary *s, enum way way)
{
	return ((double)s[way].p50 - (double)s[PLAIN].p50) / 1e3;
}

static void print_table(const struct summary *s)
{
	printf("%-12s %6s %9s %9s %9s %9s %9s %12s\n", "microseconds", "n", "min", "p50", "p90", "p99", "max",
	       "p50 - plain");
	for (int i = 0; i < WAYS; i++)
		printf("%-12s %6zu %9.1f %9.1f %9.1f %9.1f %9.1f %12.1f\n", names[i], s[i].n, s[i].min / 1e3,
		       s[i].p50 / 1e3, s[i].p90 / 1e3, s[i].p99 / 1e3, s[i].max / 1e3, added_us(s, i));
	printf("the relay adds %.1f us p50 (to be less than %d)\n", added_us(s, RELAY), TARGET_US);
}

static int write_json(const struct options *o, const struct echo *echoes, const struct summary *s,
		      const struct session *session)
{
	FILE *f = fopen(o->json, "we");
	int r;

	if (!f)
		return -errno;
	fputs("{\n", f);
	report_json_machine(session, f);
	fprintf(f, "  \"settings\": {\"rounds\": %u, \"warmup_rounds\": %u, \"pause_us\": %u},\n", o->rounds,
		o->warmup, o->pause_us);
	fprintf(f, "  \"relay_adds_p50_us\": %.2f, \"target_us\": %d,\n  \"entries\": [\n",
		added_us(s, RELAY), TARGET_US);
	for (int i = 0; i < WAYS; i++) {
		fputs("    {", f);
		report_json_pair(f, "name", names[i]);
		fprintf(f, "\"n\": %zu, \"min_us\": %.2f, \"p50_us\": %.2f, \"p90_us\": %.2f, ", s[i].n,
			s[i].min / 1e3, s[i].p50 / 1e3, s[i].p90 / 1e3);
		fprintf(f, "\"p99_us\": %.2f, \"max_us\": %.2f,\n     \"samples_ns\": [", s[i].p99 / 1e3,
			s[i].max / 1e3);
		for (size_t j = 0; j < echoes[i].samples.n; j++)
			fprintf(f, "%s%llu", j ? ", " : "", (unsigned long long)echoes[i].samples.ns[j]);
		fputs(i + 1 < WAYS ? "]},\n" : "]}\n", f);
	}
	fputs("  ]\n}\n", f);
	r = ferror(f) ? -EIO : 0;
	return fclose(f) && !r ? -EIO : r;
}

static int measure(const struct options *o, struct echo *echoes)
{
	struct activity before, after;
	struct machine machine;
	struct session session = { .machine = &machine, .before = &before, .after = &after };
	struct summary s[WAYS];
	int r = 0;

	for (int i = 0; i < WAYS && !r; i++)
		r = open_echo((enum way)i, &echoes[i]);
	if (!r)
		r = run_rounds(o, echoes, o->warmup, false);
	machine_read(&machine);
	activity_read(&before);
	if (!r)
		r = run_rounds(o, echoes, o->rounds, true);
	activity_read(&after);
	for (int i = 0; i < WAYS && !r; i++)
		r = samples_summary(&echoes[i].samples, &s[i]);
	if (r)
		return r;
	print_table(s);
	return o->json ? write_json(o, echoes, s, &session) : 0;
}

static int parse_unsigned(const char *text, unsigned *ret)
{
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(text, &end, 10);
	if (errno || end == text || *end || v > 10000000)
		return -EINVAL;
	*ret = (unsigned)v;
	return 0;
}

static int parse_options(int argc, char **argv, struct options *o)
{
	int c, r = 0;

	while (!r && (c = getopt(argc, argv, "r:w:p:j:")) >= 0) {
		switch (c) {
		case 'r':
			r = parse_unsigned(optarg, &o->rounds);
			break;
		case 'w':
			r = parse_unsigned(optarg, &o->warmup);
			break;
		case 'p':
			r = parse_unsigned(optarg, &o->pause_us);
			break;
		case 'j':
			o->json = optarg;
			break;
		default:
			r = -EINVAL;
		}
	}
	return r || optind != argc || !o->rounds ? -EINVAL : 0;
}

int main(int argc, char **argv)
{
	struct options o = { .rounds = 2000, .warmup = 50, .pause_us = 500 };
	struct echo echoes[WAYS] = { 0 };
	int r;

	if (parse_options(argc, argv, &o) < 0) {
		fputs("usage: keystroke_bench [-r ROUNDS] [-w WARMUP] [-p PAUSE_US] [-j JSON]\n", stderr);
		return 2;
	}
	for (int i = 0; i < WAYS; i++)
		echoes[i].emulator = -1;
	r = measure(&o, echoes);
	if (r < 0)
		fprintf(stderr, "keystroke_bench: %s\n", strerror(-r));
	for (int i = 0; i < WAYS; i++)
		close_echo(&echoes[i]);
	return r < 0 ? 2 : 0;
}
