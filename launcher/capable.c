/* SPDX-License-Identifier: MIT */
#include "launcher/capable.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <linux/capability.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "launcher/client.h"

#define CHILD_MS 1000 /* beyond its own time-out, for its start */

struct answer {
	int fd; /* or a negative errno */
	struct error err;
};

bool capable(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	/* AT_SECURE: execve(2) gave more rights than the caller has. Root's are no file's */
	return getauxval(AT_SECURE) && geteuid() != 0 && syscall(SYS_capget, &head, data) == 0 &&
	       (data[0].permitted | data[1].permitted);
}

void capable_drop(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	const struct __user_cap_data_struct none[2] = { 0 };

	syscall(SYS_capset, &head, none);
	/* execve(2) had taken it away for the capabilities: /proc/PID would be closed to warmd */
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static void __attribute__((noreturn)) connect_and_wait(int out, unsigned int timeout_ms, pid_t parent)
{
	struct answer a = { 0 };

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	/* of a parent that had ended before, no signal comes */
	if (getppid() != parent)
		_exit(1);
	capable_drop();
	a.fd = client_open(1, timeout_ms, &a.err);
	if (write_full(out, &a, sizeof(a)) < 0)
		_exit(1);
	for (;;)
		pause();
}

/* Return: 0: something came; -ETIMEDOUT; or another negative errno */
static int wait_answer(int fd, unsigned int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t now, deadline = clock_ms() + timeout_ms;
	int r;

	/* a signal with a handler ends poll(2) early, also with SA_RESTART: signal(7) */
	do {
		now = clock_ms();
		r = poll(&p, 1, now < deadline ? (int)(deadline - now) : 0);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	return r ? 0 : -ETIMEDOUT;
}

int capable_open(unsigned int timeout_ms, pid_t *ret_child, struct error *err)
{
	struct answer a;
	int out[2], r;
	pid_t child, parent = getpid();

	if (pipe2(out, O_CLOEXEC) < 0)
		return error_errno(err, errno, "cannot make a pipe");
	/* with our descriptors: what it opens we have */
	child = (pid_t)syscall(SYS_clone, (long)(CLONE_FILES | SIGCHLD), 0, 0, 0, 0);
	if (child == 0)
		connect_and_wait(out[1], timeout_ms, parent);
	r = child < 0 ? -errno : 0;
	/* no end of file comes when it is killed, as the descriptors are ours too */
	if (r == 0)
		r = wait_answer(out[0], timeout_ms + CHILD_MS);
	if (r == 0)
		r = read_full(out[0], &a, sizeof(a));
	close(out[0]);
	close(out[1]);
	if (r == 0 && a.fd >= 0) {
		*ret_child = child;
		return a.fd;
	}
	if (child > 0)
		capable_done(child);
	if (r < 0)
		return error_errno(err, r, "cannot have a child connect");
	if (err)
		*err = a.err;
	return a.fd;
}

void capable_done(pid_t child)
{
	kill(child, SIGKILL);
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
}
