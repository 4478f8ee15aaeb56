/* SPDX-License-Identifier: MIT */
#include "launcher/launch_cold.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "launcher/client.h"
#include "launcher/wire/protocol.h"
#include "launcher/words.h"

#define ANSWER_MS 1000 /* warmd has sent it with the answer */

int launch_cold_receive(int conn, uint32_t size, struct launch_cold *c, struct error *err)
{
	struct wire_command *m;
	char *at, *end;
	ssize_t n;

	if (size < sizeof(*m) || size > WIRE_MAX_SIZE)
		return error_set(err, EBADMSG, "the answer of warmd makes no sense");
	c->buf = malloc(size);
	if (!c->buf)
		return error_set(err, ENOMEM, "no memory");
	n = client_receive(conn, c->buf, size, WIRE_COMMAND, ANSWER_MS, NULL, err);
	if (n < 0)
		return (int)n;
	m = (struct wire_command *)c->buf;
	at = c->program = (char *)(m + 1);
	end = (char *)m + n;
	for (uint32_t i = 0; i < m->argc + 1u && at < end; i++) {
		char *nul = memchr(at, '\0', (size_t)(end - at));

		if (!nul)
			break;
		at = nul + 1;
		c->argc = i;
	}
	if ((size_t)n < sizeof(*m) || at != end || !m->argc || c->argc != m->argc)
		return error_set(err, EBADMSG, "the answer of warmd makes no sense");
	return 0;
}

/* cgroups(7): "0" is the process that writes. Return: 0 or a negative errno */
static int enter_cgroup(const char *path)
{
	_cleanup_close_ int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC), fd = -EBADF;

	if (dir < 0)
		return -errno;
	fd = openat(dir, "cgroup.procs", O_WRONLY | O_CLOEXEC);
	return fd < 0 ? -errno : write_full(fd, "0", 1);
}

/* Return: an exit status, in the process that has to go */
static int leave_child(bool *ret_child)
{
	char number[16];
	pid_t pid = fork();
	size_t n;

	*ret_child = pid == 0;
	if (pid < 0) {
		say("launch: fork: ", strerror(errno), NULL);
		return EXIT_WARM;
	}
	if (pid == 0) {
		setsid(); /* as a clone is */
		return 0;
	}
	n = (size_t)snprintf(number, sizeof(number), "%d\n", pid);
	return write_full(STDOUT_FILENO, number, n) == 0 ? 0 : EXIT_WARM;
}

int launch_cold_run(const struct launch_cold *c)
{
	size_t n = 0, more = 0;
	char **argv, *at = c->program;
	bool child = false;
	int status, error;

	while (c->argv[more])
		more++;
	argv = calloc(c->argc + more + 2, sizeof(*argv));
	if (!argv) {
		say("launch: no memory", NULL, NULL);
		return EXIT_WARM;
	}
	argv++; /* room for a shell's name */
	for (; n < c->argc; n++)
		argv[n] = at += strlen(at) + 1;
	memcpy(argv + n, c->argv, more * sizeof(*argv));
	if (c->detach) {
		status = leave_child(&child);
		if (!child)
			return status;
	}
	if (c->cgroup && enter_cgroup(c->cgroup) < 0) {
		say("launch: ", c->cgroup, ": this process cannot be moved there");
		return EXIT_WARM;
	}
	execve(c->program, argv, c->envp);
	/* a script without "#!": as execvp(3) of glibc */
	if (errno == ENOEXEC) {
		argv[0] = c->program;
		argv[-1] = (char *)"sh";
		execve("/bin/sh", argv - 1, c->envp);
		errno = ENOEXEC;
	}
	error = errno; /* say() writes, and may fail */
	say(c->program, ": ", strerror(error));
	return error == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
}
