/* SPDX-License-Identifier: MIT */
#include "launcher/attach.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "engine/base/packet.h"
#include "engine/base/pidfd.h"
#include "launcher/client.h"
#include "launcher/follow.h"
#include "launcher/words.h"

#define ANSWER_MS 5000

struct attach_options {
	uint32_t pid;
	const char *detach_keys;
	bool view;
};

uint32_t attach_pid(const char *word)
{
	char *end;
	unsigned long pid = strtoul(word, &end, 10);

	return *word >= '0' && *word <= '9' && !*end && pid <= INT32_MAX ? (uint32_t)pid : 0;
}

static int usage(const char *what, const char *word)
{
	say(what, word, "; try 'warm attach --help'");
	return -1;
}

/* Return: 0 to go on, -1 with *ret_status the exit status */
static int parse(int argc, char **argv, struct attach_options *o, int *ret_status)
{
	int i = 2;

	*ret_status = EXIT_WARM;
	for (; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
		const char *a = argv[i];

		if (strcmp(a, "--") == 0) {
			i++;
			break;
		}
		if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0) {
			*ret_status = exec_tool(
				(char *[]){ argv[0], (char *)"help", (char *)"attach", NULL });
			return -1;
		}
		if (strcmp(a, "--view") == 0) {
			o->view = true;
		} else if (strncmp(a, "--detach-keys=", 14) == 0) {
			o->detach_keys = a + 14;
		} else if (strcmp(a, "--detach-keys") == 0) {
			if (++i >= argc)
				return usage("option needs a value: ", a);
			o->detach_keys = argv[i];
		} else {
			return usage("unknown option ", a);
		}
	}
	if (i + 1 != argc)
		return usage(i < argc ? "one PID at a time, not also " : "attach to what? no PID was given",
			     i < argc ? argv[i + 1] : "");
	o->pid = attach_pid(argv[i]);
	return o->pid ? 0 : usage("not a PID: ", argv[i]);
}

/* what came is believed only as far as it is complete */
static int receive(int conn, struct wire_attached *answer, int *fds, struct error *err)
{
	struct client_fds came;
	ssize_t n = client_receive(conn, answer, sizeof(*answer), WIRE_ATTACHED, ANSWER_MS, &came, err);

	if (n < 0)
		return (int)n;
	answer->reason[sizeof(answer->reason) - 1] = '\0';
	if ((size_t)n == sizeof(*answer) && answer->error && came.count == 0)
		return error_set(err, answer->error, "%s", answer->reason);
	if ((size_t)n != sizeof(*answer) || came.count != answer->nfds || came.count < WIRE_TERMINAL_MASTER ||
	    came.count > 1 + WIRE_TERMINAL_FDS) {
		for (unsigned int i = 0; i < came.count; i++)
			close(came.fd[i]);
		return error_set(err, EBADMSG, "the answer of warmd makes no sense");
	}
	memcpy(fds, came.fd, came.count * sizeof(int));
	return 0;
}

int attach_ask(uint32_t pid, uint32_t flags, int tty, struct wire_attached *answer, int *fds,
	       struct error *err)
{
	struct wire_attach m = {
		.header = { WIRE_MAGIC, WIRE_VERSION_NUMBER, WIRE_ATTACH, sizeof(m), 0 },
		.pid = pid,
		.flags = flags,
	};
	struct iovec piece = { &m, sizeof(m) };
	int conn = client_open(0, ANSWER_MS, err), r;

	if (conn < 0)
		return conn;
	r = packet_send(conn, &piece, 1, &tty, tty >= 0 ? 1 : 0, 0);
	if (r < 0)
		error_errno(err, r, "cannot send to warmd");
	else
		r = receive(conn, answer, fds, err);
	if (r < 0) {
		close(conn);
		return r;
	}
	return conn;
}

static int find_tty(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (isatty(fd))
			return fd;
	return -1;
}

/* a process that is no clone: the tool traces it */
static bool steals(int argc, char **argv)
{
	for (int i = 2; i < argc; i++)
		if (strcmp(argv[i], "--steal") == 0 || strncmp(argv[i], "--steal=", 8) == 0)
			return true;
	return false;
}

static void say_who_writes(const struct wire_attached *a, bool view)
{
	char words[96];

	if (view || !a->writer)
		return;
	snprintf(words, sizeof(words), "process %u is attached already: looking on only; Ctrl-C leaves",
		 a->writer);
	say(words, NULL, NULL);
}

/* Return: an exit status */
static int stay(struct follow *f)
{
	struct error err = { 0 };
	int wstatus = 0, r = follow_clone(f, &wstatus, &err);

	follow_end(f);
	if (r < 0) {
		say(err.text, NULL, NULL);
		return EXIT_WARM;
	}
	if (r == FOLLOW_ENDED || r == FOLLOW_SIGNAL)
		return follow_exit(wstatus);
	if (r == FOLLOW_LEFT)
		say("left; it goes on", NULL, NULL);
	return 0;
}

static int attach(const struct attach_options *o, int tty, const char *keys)
{
	struct wire_attached answer;
	struct error err = { 0 };
	struct follow f;
	int fds[1 + WIRE_TERMINAL_FDS], conn, status = EXIT_WARM;
	size_t n;

	if (follow_begin(&f, 0, &err) < 0) {
		say(err.text, NULL, NULL);
		return EXIT_WARM;
	}
	conn = attach_ask(o->pid, o->view ? WIRE_ATTACH_VIEW : 0, tty, &answer, fds, &err);
	if (conn < 0) {
		follow_end(&f);
		say("attach: ", err.text, NULL);
		return EXIT_WARM;
	}
	n = answer.nfds - 1;
	f.conn = conn;
	f.pidfd = fds[0];
	f.pid = (pid_t)answer.pid;
	f.attached = true;
	say_who_writes(&answer, o->view);
	if (terminal_open(&f.terminal, tty, fds + 1, n, keys, true, false, true, &err) < 0) {
		follow_end(&f);
		say("attach: ", err.text, NULL);
	} else {
		if (n == WIRE_TERMINAL_FDS) {
			/* it may have been stopped; and what draws a screen draws it anew, also at the same size */
			terminal_continued(&f.terminal);
			pidfd_kill(f.pidfd, f.pid, SIGWINCH, true);
		}
		status = stay(&f);
	}
	close(conn);
	close(fds[0]);
	return status;
}

int attach_main(int argc, char **argv)
{
	char keys[RELAY_KEYS_MAX + 1];
	struct attach_options o = { 0 };
	struct error err = { 0 };
	int status, tty;

	if (steals(argc, argv))
		return exec_tool(argv);
	if (parse(argc, argv, &o, &status) < 0)
		return status;
	if (terminal_keys(o.detach_keys, keys, &err) < 0) {
		say(err.text, NULL, NULL);
		return EXIT_WARM;
	}
	tty = find_tty();
	if (tty < 0) {
		say("attach: neither standard input, output nor error is a terminal; 'warm logs' needs none",
		    NULL, NULL);
		return EXIT_WARM;
	}
	return attach(&o, tty, keys);
}
