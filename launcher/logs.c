/* SPDX-License-Identifier: MIT */
/* logs.c - `warm logs`: what a clone printed to its terminal */
#include "launcher/attach.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "launcher/client.h"
#include "launcher/words.h"
#include "pty/ring.h"

static int usage(const char *what, const char *word)
{
	say(what, word, "; try 'warm logs --help'");
	return -1;
}

static int parse(int argc, char **argv, uint32_t *pid, bool *follow, int *ret_status)
{
	int i = 2;

	*ret_status = EXIT_WARM;
	for (; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			*ret_status = exec_tool((char *[]){ argv[0], (char *)"help", (char *)"logs", NULL });
			return -1;
		}
		if (strcmp(argv[i], "-f") != 0 && strcmp(argv[i], "--follow") != 0)
			return usage("unknown option ", argv[i]);
		*follow = true;
	}
	if (i + 1 != argc)
		return usage(i < argc ? "one PID at a time, not also " : "logs of what? no PID was given",
			     i < argc ? argv[i + 1] : "");
	*pid = attach_pid(argv[i]);
	return *pid ? 0 : usage("not a PID: ", argv[i]);
}

/* Return: 0 or a negative errno */
static int print(const struct ring *ring, uint64_t *pos)
{
	static char buf[16384];
	size_t n;

	while ((n = ring_copy(ring, pos, buf, sizeof(buf), NULL))) {
		int r = write_full(STDOUT_FILENO, buf, n);

		if (r < 0)
			return r;
	}
	return 0;
}

/* Return: 1: it has ended; 0; a negative errno */
static int wait_for_more(int epoll, int conn)
{
	struct epoll_event e[3];
	struct wire_exited end;
	struct error err = { 0 };
	int n = epoll_wait(epoll, e, 3, -1);

	for (int i = 0; i < n; i++) {
		if (e[i].data.fd == STDOUT_FILENO)
			return -EPIPE;
		/* its end, or warmd's */
		if (e[i].data.fd == conn) {
			client_receive(conn, &end, sizeof(end), WIRE_EXITED, 1000, NULL, &err);
			return 1;
		}
	}
	return n < 0 && errno != EINTR ? -errno : 0;
}

static int follow_ring(struct ring *ring, uint64_t *pos, int wake, int conn)
{
	struct epoll_event more = { EPOLLIN | EPOLLET, { .fd = wake } }, end = { EPOLLIN, { .fd = conn } },
			   closed = { 0, { .fd = STDOUT_FILENO } };
	int epoll = epoll_create1(EPOLL_CLOEXEC), r = 0;

	if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, wake, &more) < 0 ||
	    epoll_ctl(epoll, EPOLL_CTL_ADD, conn, &end) < 0)
		r = -errno;
	/* a pipe that nobody reads any more: EPOLLERR; a regular file cannot be waited for */
	if (r == 0)
		(void)!epoll_ctl(epoll, EPOLL_CTL_ADD, STDOUT_FILENO, &closed);
	ring_follow(ring, 1);
	while (r == 0) {
		r = print(ring, pos);
		if (r == 0)
			r = wait_for_more(epoll, conn);
	}
	ring_follow(ring, -1);
	if (r == 1)
		r = print(ring, pos);
	fd_close(epoll);
	return r;
}

int logs_main(int argc, char **argv)
{
	int fds[1 + WIRE_TERMINAL_FDS], status, conn, r;
	struct wire_attached answer;
	struct error err = { 0 };
	struct ring ring;
	bool follow = false;
	uint32_t pid;
	uint64_t pos;

	if (parse(argc, argv, &pid, &follow, &status) < 0)
		return status;
	conn = attach_ask(pid, WIRE_ATTACH_RECORD, -EBADF, &answer, fds, &err);
	if (conn < 0) {
		say("logs: ", err.text, NULL);
		return EXIT_WARM;
	}
	r = ring_map(fds[WIRE_TERMINAL_RING], &ring);
	if (r == 0) {
		pos = ring_replay_start(&ring);
		r = follow && !answer.ended ? follow_ring(&ring, &pos, fds[WIRE_TERMINAL_WAKE], conn)
					    : print(&ring, &pos);
		ring_unmap(&ring);
	}
	/* whoever read has had enough */
	if (r < 0 && r != -EPIPE) {
		say("logs: ", strerror(-r), NULL);
		return EXIT_WARM;
	}
	return 0;
}
