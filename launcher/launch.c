/* SPDX-License-Identifier: MIT */
#include "launcher/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "engine/base/basket.h"
#include "engine/base/fd.h"
#include "engine/base/packet.h"
#include "engine/stub/order.h"
#include "launcher/client.h"
#include "launcher/context.h"
#include "launcher/launch_cold.h"
#include "launcher/words.h"

#define LAUNCH_MS  60000 /* a skeleton may have to be made, a stale template to be built */
#define CALLER_FDS (WIRE_MAX_FDS - 2) /* directory and cgroup go with them */

/* Return: how many, or -1: more than a packet can carry */
static int inherited(const struct wire_run *run, int *fds)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++) {
		if (!(run->inherited_fds[fd / 64] >> (fd % 64) & 1))
			continue;
		if (n == CALLER_FDS)
			return -1;
		fds[n++] = fd;
	}
	return n;
}

/* Return: the lowest number that is open beyond those of wire_run.inherited_fds, or -1 */
static int open_beyond(void)
{
	char entries[1024];
	int dir = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC), found = -1;
	long n;

	/* the position is the number and two (fs/proc/fd.c: proc_readfd_common()), so that those below are not looked at */
	if (dir >= 0 && lseek(dir, 2 + 256, SEEK_SET) >= 0) {
		n = syscall(SYS_getdents64, dir, entries, sizeof(entries));
		/* struct linux_dirent64: d_name behind 19 bytes */
		for (long at = 0; at < n && found < 0; at += *(unsigned short *)(entries + at + 16))
			if (atoi(entries + at + 19) != dir)
				found = atoi(entries + at + 19);
	}
	fd_close(dir);
	return found;
}

/*
 * No answer in time, though warmd has the descriptors. From here on warmd cannot send one, and without an answer it launches nothing for `warm run`
 * (pool_give_order()); one that came meanwhile counts.
 */
static int last_chance(struct client_launch *l, struct client_files *files, int r)
{
	shutdown(l->conn, SHUT_RD);
	return client_receive_run(l->conn, &l->reply, 1, files, NULL) == 0 ? 0 : r;
}

int launch_ask(struct client_launch *l, struct wire_run *run, int cgroup, unsigned int timeout_ms,
	       struct client_files *files, struct error *err)
{
	struct iovec piece = { run, run->header.size };
	int fds[WIRE_MAX_FDS], n = inherited(run, fds), basket = -EBADF, beyond, cwd, r;

	files->count = 0;
	l->conn = l->pidfd = l->follow.signal_fd = -EBADF;
	l->follow.terminal = (struct relayed_terminal)TERMINAL_NONE;
	if (n < 0)
		return error_set(err, E2BIG, "more than %d descriptors are open", CALLER_FDS);
	beyond = open_beyond();
	if (beyond >= 0)
		return error_set(err, E2BIG,
				 "descriptor %d is open, and only those below 256 can be handed over",
				 beyond);
	terminal_ask(run);
	cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (cwd < 0)
		return error_errno(err, errno, "the working directory");
	fds[n] = cwd;
	fds[n + 1] = cgroup;
	if (cgroup >= 0)
		run->flags |= WIRE_LAUNCH_CGROUP;
	r = follow_begin(&l->follow, run->ignored_signals, err);
	if (r == 0) {
		l->conn = client_open(1, 1000, err);
		r = l->conn < 0 ? l->conn : 0;
	}
	if (r == 0) {
		r = basket = basket_fill(fds, (size_t)n + (cgroup >= 0 ? 2 : 1));
		if (r >= 0)
			r = packet_send(l->conn, &piece, 1, &basket, 1, 0);
		if (r < 0)
			error_errno(err, r, "cannot send to warmd");
	}
	close(cwd);
	if (r == 0) {
		r = client_receive_run(l->conn, &l->reply, timeout_ms, files, err);
		/* warmd hangs: what it has not taken is nobody's but ours again, whoever waits for a pipe's end of file */
		if (r == -ETIMEDOUT && !basket_take_back(basket))
			r = last_chance(l, files, r);
	}
	fd_close(basket);
	if (r == 0 && l->reply.status == WIRE_LAUNCHED) {
		l->pidfd = files->fd[0];
		if (l->reply.terminal)
			r = terminal_open(&l->follow.terminal, terminal_tty(run), files->fd + 1,
					  WIRE_TERMINAL_FDS, l->keys, terminal_interactive(run),
					  !terminal_interactive(run), false, err);
		files->count = 0; /* they are the launch's */
	}
	if (r < 0)
		launch_close(l);
	return r;
}

void launch_close(struct client_launch *l)
{
	l->conn = fd_close(l->conn);
	l->pidfd = fd_close(l->pidfd);
	follow_end(&l->follow);
}

/* warmd shall not hang up. Return: an exit status */
static int leave(struct client_launch *l)
{
	struct wire_detach m = {
		.header = { WIRE_MAGIC, WIRE_VERSION_NUMBER, WIRE_DETACH, sizeof(m), 0 },
		.pid = l->reply.pid,
	};
	struct error err = { 0 };
	char number[16];
	int r = client_send(l->conn, &m, sizeof(m), &err);

	launch_close(l);
	if (r < 0) {
		say("cannot leave the clone running: ", err.text, NULL);
		return EXIT_WARM;
	}
	snprintf(number, sizeof(number), "%u", m.pid);
	say("left; to come back: warm attach ", number, NULL);
	return 0;
}

int launch_finish(struct client_launch *l)
{
	struct error err = { 0 };
	struct sigaction hup;
	int wstatus = 0, r;

	l->follow.conn = l->conn;
	l->follow.pidfd = l->pidfd;
	l->follow.pid = (pid_t)l->reply.pid;
	r = follow_clone(&l->follow, &wstatus, &err);
	if (r < 0) {
		launch_close(l);
		say(err.text, NULL, NULL);
		return EXIT_WARM;
	}
	if (r == FOLLOW_LEFT)
		return leave(l);
	if (r == FOLLOW_HANGUP) {
		/* under nohup(1) the program lives on */
		if (sigaction(SIGHUP, NULL, &hup) == 0 && hup.sa_handler == SIG_IGN)
			return leave(l);
		wstatus = SIGHUP;
	}
	launch_close(l);
	/* only without warmd: a clone that runs may be sent any signal by anybody */
	if (l->follow.conn < 0 && WIFSIGNALED(wstatus) && WTERMSIG(wstatus) == STUB_NO_ORDER_SIGNAL)
		return LAUNCH_NOT_BEGUN;
	return follow_exit(wstatus);
}

struct launch_options {
	const char *name, *cgroup, *detach_keys;
	bool detach, verbose;
	char **envp; /* the caller's, with --env */
	int argc;
	char **argv;
};

static int usage(const char *what, const char *word)
{
	say(what, word, "; try 'warm launch --help'");
	return -1;
}

static int set_variable(struct launch_options *o, char *setting, size_t room)
{
	size_t name = strcspn(setting, "="), n = 0;

	if (!setting[name] || !name)
		return usage("--env needs NAME=VALUE, not ", setting);
	for (; o->envp[n]; n++) {
		if (strncmp(o->envp[n], setting, name + 1) == 0) {
			o->envp[n] = setting;
			return 0;
		}
	}
	if (n + 1 >= room)
		return usage("too many variables", "");
	o->envp[n] = setting;
	o->envp[n + 1] = NULL;
	return 0;
}

/* Return: 0 to go on, -1 with *ret_status the exit status */
static int parse(int argc, char **argv, struct launch_options *o, size_t room, int *ret_status)
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
				(char *[]){ argv[0], (char *)"help", (char *)"launch", NULL });
			return -1;
		}
		if (strcmp(a, "--detach") == 0 || strcmp(a, "-d") == 0) {
			o->detach = true;
		} else if (strcmp(a, "-v") == 0 || strcmp(a, "--verbose") == 0) {
			o->verbose = true;
		} else if (strncmp(a, "--detach-keys=", 14) == 0) {
			o->detach_keys = a + 14;
		} else if (strcmp(a, "--detach-keys") == 0) {
			if (++i >= argc)
				return usage("option needs a value: ", a);
			o->detach_keys = argv[i];
		} else if (strncmp(a, "--cgroup=", 9) == 0) {
			o->cgroup = a + 9;
		} else if (strcmp(a, "--cgroup") == 0) {
			if (++i >= argc)
				return usage("option needs a value: ", a);
			o->cgroup = argv[i];
		} else if (strncmp(a, "--env=", 6) == 0) {
			if (set_variable(o, argv[i] + 6, room) < 0)
				return -1;
		} else if (strcmp(a, "--env") == 0) {
			if (++i >= argc)
				return usage("option needs a value: ", a);
			if (set_variable(o, argv[i], room) < 0)
				return -1;
		} else {
			return usage("unknown option ", a);
		}
	}
	if (i >= argc)
		return usage("launch what? no template was named", "");
	o->name = argv[i];
	o->argc = argc - i - 1;
	o->argv = argv + i + 1;
	return 0;
}

/* Return: an exit status, if the program cannot be run cold either */
static int not_launched(struct client_launch *l, const struct launch_options *o)
{
	const char *why = l->reply.reason[0] ? l->reply.reason : status_word(l->reply.status);
	struct launch_cold cold = {
		.argv = o->argv, .envp = o->envp, .cgroup = o->cgroup, .detach = o->detach
	};
	struct error err = { 0 };
	int r = 0;

	/* no clone could start in that control group: nor is this process wanted there */
	if (o->cgroup && l->reply.status == WIRE_COLD_ERROR)
		l->reply.command = 0;
	if (l->reply.command)
		r = launch_cold_receive(l->conn, l->reply.command, &cold, &err);
	launch_close(l);
	if (!l->reply.command || r < 0) {
		say("launch: ", r < 0 ? err.text : why, NULL);
		return EXIT_WARM;
	}
	if (o->verbose)
		say("running cold: ", why, NULL);
	return launch_cold_run(&cold);
}

/* the words of the command line, in an environment that has room for those of --env. Return: 0, or -1 with *ret_status */
static int read_options(int argc, char **argv, char **envp, struct launch_options *o, int *ret_status)
{
	size_t nenv = 0, room;

	while (envp[nenv])
		nenv++;
	room = nenv + (size_t)argc + 1;
	o->envp = calloc(room, sizeof(char *));
	if (!o->envp) {
		say("no memory", NULL, NULL);
		*ret_status = EXIT_WARM;
		return -1;
	}
	memcpy(o->envp, envp, nenv * sizeof(char *));
	return parse(argc, argv, o, room, ret_status);
}

/* the message for warmd. Return: 0, or -1 when words were said; *ret_cgroup: a descriptor, -EBADF: none was asked for */
static int fill_message(const struct launch_options *o, void *message, size_t size, struct client_launch *l,
			int *ret_cgroup)
{
	struct wire_run *run = message;
	struct error err = { 0 };

	if (!context_collect(message, size, WIRE_LAUNCH_APPEND | WIRE_LAUNCH_ENV | WIRE_LAUNCH_COLD, o->name,
			     "", o->argc, o->argv, o->envp)) {
		say("the launch context: ", strerror(errno), NULL);
		return -1;
	}
	if (terminal_keys(o->detach_keys, l->keys, &err) < 0) {
		say(err.text, NULL, NULL);
		return -1;
	}
	run->header.type = WIRE_LAUNCH;
	if (o->detach)
		run->flags |= WIRE_LAUNCH_DETACH;
	*ret_cgroup = o->cgroup ? open(o->cgroup, O_PATH | O_DIRECTORY | O_CLOEXEC) : -EBADF;
	if (o->cgroup && *ret_cgroup < 0) {
		say(o->cgroup, ": ", strerror(errno));
		return -1;
	}
	return 0;
}

int launch_main(int argc, char **argv, char **envp)
{
	static uint64_t message[WIRE_MAX_SIZE / 8];
	struct wire_run *run = (struct wire_run *)message;
	struct launch_options o = { 0 };
	struct error err = { 0 };
	struct client_launch l;
	struct client_files files = { .count = 0 };
	char number[16];
	int status, cgroup, r;

	if (read_options(argc, argv, envp, &o, &status) < 0)
		return status;
	if (fill_message(&o, message, sizeof(message), &l, &cgroup) < 0)
		return EXIT_WARM;
	r = launch_ask(&l, run, cgroup, LAUNCH_MS, &files, &err);
	if (r < 0) {
		say("launch: ", err.text, NULL);
		return EXIT_WARM;
	}
	if (l.reply.status != WIRE_LAUNCHED) {
		return not_launched(&l, &o);
	}
	if (o.verbose)
		say("launched from template ", l.reply.reason,
		    l.reply.way == WIRE_WAY_PARKED ? " (parked)" : " (fork)");
	if (!o.detach) {
		status = launch_finish(&l);
		if (status != LAUNCH_NOT_BEGUN)
			return status;
		say("launch: warmd died before the clone had its launch", NULL, NULL);
		return EXIT_WARM;
	}
	r = snprintf(number, sizeof(number), "%u\n", l.reply.pid);
	return write_full(STDOUT_FILENO, number, (size_t)r) == 0 ? 0 : EXIT_WARM;
}
