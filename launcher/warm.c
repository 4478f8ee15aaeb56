/* SPDX-License-Identifier: MIT */
/*
 * warm.c - the launcher: `warm run`, and the door to all other commands.
 *
 * Static, without libc start-up worth the name, because its exec is on the
 * latency path of every launch. `run` asks warmd for a template and becomes it,
 * or executes the program cold; everything else is warm-tool's, executed from
 * beside this file or from libexec.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/syscall.h>

#include "engine/become.h"
#include "launcher/attach.h"
#include "launcher/capable.h"
#include "launcher/client.h"
#include "launcher/context.h"
#include "launcher/enter.h"
#include "launcher/launch.h"
#include "launcher/words.h"

#define ANSWER_MS 200 /* a daemon that does not answer by then is taken for hung */

struct run_options {
	const char *name, *ready;
	const char *failed; /* executed again by a stub that could not launch: why it runs cold */
	bool strict, cold, verbose, pool;
	int argc;
	char **argv;
};

void say(const char *a, const char *b, const char *c)
{
	char line[1024];
	size_t n = 0;
	const char *parts[] = { "warm: ", a, b, c, "\n" };

	for (size_t i = 0; i < 5; i++) {
		size_t len = parts[i] ? strlen(parts[i]) : 0;

		if (len > sizeof(line) - n)
			len = sizeof(line) - n;
		if (len)
			memcpy(line + n, parts[i], len);
		n += len;
	}
	if (write(STDERR_FILENO, line, n) < 0)
		return;
}

int exec_tool(char **argv)
{
	char path[4096];

	if (client_find("warm-tool", path, sizeof(path)) == 0)
		execv(path, argv);
	say("cannot find warm-tool, which has all commands but run",
	    " (it belongs beside warm, or into ../libexec/warm)", NULL);
	return EXIT_WARM;
}

/* a file that the kernel does not know how to execute is a shell script, as for execvp(3) of glibc; musl's gives up */
static void run_by_shell(const struct run_options *o)
{
	const char *name = o->argv[0], *search = strchr(name, '/') ? "" : getenv("PATH");
	char path[4096], **argv = o->argv - 1; /* `run` at least stands before the command */

	argv[0] = (char *)"sh";
	argv[1] = path;
	for (const char *p = search ? search : "/usr/bin:/bin";; p++) {
		size_t len = strcspn(p, ":"), n = strlen(name);

		if (len + n + 2 <= sizeof(path)) {
			memcpy(path, p, len);
			path[len] = '/';
			memcpy(path + len + (len ? 1 : 0), name, n + 1);
			if (access(path, X_OK) == 0)
				execv("/bin/sh", argv);
		}
		p += len;
		if (!*p)
			break;
	}
	argv[1] = (char *)name;
	errno = ENOEXEC;
}

/* the program as it would run without warm; does not return */
static int run_cold(const struct run_options *o)
{
	execvp(o->argv[0], o->argv);
	if (errno == ENOEXEC)
		run_by_shell(o);
	say(o->argv[0], ": ", strerror(errno));
	return errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
}

static int not_warm(const struct run_options *o, const char *why)
{
	if (o->strict) {
		say("not warm, and --strict was given: ", why, NULL);
		return EXIT_WARM;
	}
	if (o->verbose)
		say("running cold: ", why, NULL);
	return run_cold(o);
}

static const char *const status_words[] = {
	[WIRE_WARM] = "warm",
	[WIRE_COLD_NONE] = "no template yet",
	[WIRE_COLD_BUILDING] = "its template is being built",
	[WIRE_COLD_STALE] = "its template was stale",
	[WIRE_COLD_REFUSED] = "it cannot be a template",
	[WIRE_COLD_MISMATCH] = "no template fits this launch",
	[WIRE_COLD_BUDGET] = "the memory budget is used up",
	[WIRE_COLD_ERROR] = "warmd failed",
	[WIRE_COLD_DISABLED] = "the configuration says so",
	[WIRE_COLD_WAITS] = "its next build waits",
	[WIRE_COLD_RIGHTS] = "this process has other rights than warmd",
	[WIRE_LAUNCHED] = "launched",
	[WIRE_COLD_NO_DAEMON] = "warmd is not running",
	[WIRE_COLD_TIMEOUT] = "warmd does not answer",
	[WIRE_COLD_VERSION] = "warmd is of another version",
	[WIRE_COLD_FAILED] = "the launch failed",
};
_Static_assert(sizeof(status_words) / sizeof(status_words[0]) == WIRE_STATUS_COUNT, "words for each status");

const char *status_word(uint32_t status)
{
	return status < WIRE_STATUS_COUNT ? status_words[status] : "unknown status";
}

static uint64_t message[WIRE_MAX_SIZE / 8];

/* what the stub executes if it fails, when this process is no launcher any more: COLD_FAILED is for it alone */
#define COLD_FAILED "--cold="
static const char *const cold_strict[] = { "warm", "run", "--strict", COLD_FAILED "the launch failed",
					   "--",   NULL };
static const char *const cold_verbose[] = {
	"warm", "run", "-v", COLD_FAILED "the launch failed", "--", NULL
};

static int enter(const struct run_options *o, const struct wire_run_reply *reply,
		 const struct client_files *files, char **envp)
{
	const struct wire_run *run = (const struct wire_run *)message;
	struct error err = { 0 };
	struct become b = {
		.argc = o->argc,
		.argv = o->argv,
		.envp = envp,
		.cold_words = o->strict	   ? cold_strict
			      : o->verbose ? cold_verbose
					   : NULL,
		.skeleton_fd = -1,
		.seccomp = run->seccomp != 0,
		.ignored_signals = run->ignored_signals,
		.blocked_signals = run->blocked_signals,
	};

	if (o->verbose)
		say("launching from template ", reply->reason, NULL);
	enter_template(reply, files, &b, &err);
	return not_warm(o, err.text);
}

/* @files: descriptors that came with the answer; the connection is closed */
static int by_answer(const struct run_options *o, const struct wire_run_reply *reply,
		     const struct client_files *files, char **envp)
{
	if (reply->status == WIRE_WARM && files->count >= 2)
		return enter(o, reply, files, envp);
	return not_warm(o, reply->reason[0] ? reply->reason : status_word(reply->status));
}

/* --pool: by warmd where it can. Return: an exit status, or -1: as without */
static int run_pool(const struct run_options *o, char **envp)
{
	struct wire_run *run = (struct wire_run *)message;
	struct client_files files = { .count = 0 };
	struct error err = { 0 };
	struct client_launch l = { .keys = "" }; /* nothing but the program sees what is typed */
	int r = launch_ask(&l, run, -EBADF, ANSWER_MS, &files, &err);

	run->flags &= ~(uint32_t)(WIRE_RUN_POOL | WIRE_LAUNCH_TERMINAL | WIRE_LAUNCH_BACKGROUND);
	if (r == -E2BIG)
		return -1;
	/* it has begun: not a second time */
	if (r < 0 && l.reply.status == WIRE_LAUNCHED) {
		say("launch: ", err.text, NULL);
		return EXIT_WARM;
	}
	if (r < 0)
		return not_warm(o, err.text);
	if (l.reply.status == WIRE_LAUNCHED) {
		if (o->verbose)
			say("launched from template ", l.reply.reason,
			    l.reply.way == WIRE_WAY_PARKED ? " (parked)" : " (fork)");
		r = launch_finish(&l);
		return r == LAUNCH_NOT_BEGUN ? not_warm(o, "warmd died before the launch") : r;
	}
	launch_close(&l);
	/* what a child of warmd cannot have, this process may */
	if (l.reply.status == WIRE_COLD_MISMATCH || l.reply.status == WIRE_COLD_ERROR)
		return -1;
	return by_answer(o, &l.reply, &files, envp);
}

/* @ret_child: who has connected, if it is not this process; else 0. Return: a descriptor, or a negative errno with *err set */
static int open_run(pid_t *ret_child, struct error *err)
{
	/* 60 to 90 us of work, done on another processor while the context is collected */
	static const struct wire_header look = { WIRE_MAGIC, WIRE_VERSION_NUMBER, WIRE_LOOK, sizeof(look),
						 0 };
	int fd, r;

	*ret_child = 0;
	fd = capable() ? capable_open(ANSWER_MS, ret_child, err) : client_open(1, ANSWER_MS, err);
	r = fd < 0 ? fd : client_send(fd, &look, sizeof(look), err);
	if (r < 0 && fd >= 0)
		close(fd);
	return r < 0 ? r : fd;
}

/* Return: as client_receive_run() */
static int ask(int fd, size_t size, pid_t child, struct wire_run_reply *reply, struct client_files *files,
	       struct error *err)
{
	int r;

	context_without(message, fd);
	/* the program will be this process, not the one that warmd sees: for lists */
	((struct wire_run *)message)->tag = child ? (uint32_t)getpid() : 0;
	r = client_send(fd, message, size, err);
	if (r == 0)
		r = client_receive_run(fd, reply, ANSWER_MS, files, err);
	/* a warmd of another version closes behind its answer to WIRE_LOOK; that it left something unread is told first: unix(7) */
	if (r == -ECONNRESET)
		r = client_receive_run(fd, reply, ANSWER_MS, files, err);
	return r;
}

static int run_warm(const struct run_options *o, int argc, char **argv, char **envp)
{
	struct wire_run_reply reply;
	struct client_files files;
	struct error err = { 0 };
	pid_t child = 0;
	size_t size;
	int fd = -EBADF, r = 0;

	files.room = files.count = 0;
	if (!o->pool)
		r = fd = open_run(&child, &err);
	else if (capable())
		capable_drop();
	if (r < 0)
		return not_warm(o, err.text);
	size = context_collect(message, sizeof(message), o->pool ? WIRE_RUN_POOL : 0, o->name, o->ready, argc,
			       argv, envp);
	if (!size) {
		r = error_set(&err, errno, "%s",
			      errno == E2BIG ? "arguments and environment are too large for the wire"
					     : strerror(errno));
	} else if (o->pool) {
		r = run_pool(o, envp);
		if (r >= 0)
			return r;
		r = fd = open_run(&child, &err);
	}
	if (r >= 0)
		r = ask(fd, size, child, &reply, &files, &err);
	if (fd >= 0)
		close(fd);
	if (child)
		capable_done(child);
	return r < 0 ? not_warm(o, err.text) : by_answer(o, &reply, &files, envp);
}

static int usage(const char *what, const char *word)
{
	say(what, word, "; try 'warm run --help'");
	return EXIT_WARM;
}

/* Return: 0 to go on, or -1 with *ret_status the exit status */
static int parse(int argc, char **argv, struct run_options *o, int *ret_status)
{
	int i = 2;

	*ret_status = EXIT_WARM;
	for (; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
		const char *a = argv[i];
		const char **value = NULL;
		size_t len = 0;

		if (strcmp(a, "--") == 0) {
			i++;
			break;
		}
		if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0) {
			*ret_status = exec_tool((char *[]){ argv[0], "help", "run", NULL });
			return -1;
		}
		if (strncmp(a, "--name", len = 6) == 0)
			value = &o->name;
		else if (strncmp(a, "--ready", len = 7) == 0)
			value = &o->ready;
		if (value && a[len] == '=') {
			*value = a + len + 1;
		} else if (value && !a[len]) {
			if (++i >= argc)
				return usage("option needs a value: ", a), -1;
			*value = argv[i];
		} else if (strcmp(a, "--strict") == 0) {
			o->strict = true;
		} else if (strcmp(a, "--pool") == 0) {
			o->pool = true;
		} else if (strcmp(a, "--cold") == 0) {
			o->cold = true;
		} else if (strncmp(a, COLD_FAILED, sizeof(COLD_FAILED) - 1) == 0) {
			o->cold = true;
			o->failed = a + sizeof(COLD_FAILED) - 1;
		} else if (strcmp(a, "-v") == 0 || strcmp(a, "--verbose") == 0) {
			o->verbose = true;
		} else {
			return usage("unknown option ", a), -1;
		}
	}
	if (i >= argc)
		return usage("run what? no command was given", ""), -1;
	o->argc = argc - i;
	o->argv = argv + i;
	return 0;
}

int main(int argc, char **argv, char **envp)
{
	struct run_options o = { 0 };
	const char *disable;
	int status;

	if (argc < 2 || (strcmp(argv[1], "run") != 0 && strcmp(argv[1], "skeleton") != 0)) {
		if (capable())
			capable_drop();
	}
	if (argc >= 2 && strcmp(argv[1], "launch") == 0)
		return launch_main(argc, argv, envp);
	if (argc >= 2 && strcmp(argv[1], "attach") == 0)
		return attach_main(argc, argv);
	if (argc >= 2 && strcmp(argv[1], "logs") == 0)
		return logs_main(argc, argv);
	if (argc >= 2 && strcmp(argv[1], "skeleton") == 0)
		return skeleton_main(argc, argv, envp);
	if (argc >= 2 && strcmp(argv[1], "enter") == 0)
		return enter_main(argc, argv, envp);
	if (argc < 2 || strcmp(argv[1], "run") != 0)
		return exec_tool(argv);
	if (parse(argc, argv, &o, &status) < 0)
		return status;
	disable = getenv("WARM_DISABLE");
	if (o.cold || (disable && disable[0] && strcmp(disable, "0") != 0))
		return o.failed ? not_warm(&o, o.failed) : run_cold(&o);
	return run_warm(&o, o.argc, o.argv, envp);
}
