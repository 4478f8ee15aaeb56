/* SPDX-License-Identifier: MIT */
#include "launcher/context.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#include <linux/capability.h>

#include "engine/base/scheduling.h"

#define SIGNALS	       64 /* _NSIG of the kernel on every architecture but MIPS */
#define SIGNAL_IGNORED 1 /* SIG_IGN */
#define MAX_FDS	       256 /* bits of wire_run.inherited_fds */

/* Linux' own struct sigaction: the handler comes first on all architectures but MIPS */
struct kernel_sigaction {
	uintptr_t handler;
	unsigned long rest[15];
};

static uint32_t fnv32(const unsigned char *p, size_t len)
{
	uint32_t hash = 0x811c9dc5u;

	while (len-- > 0)
		hash = (hash ^ *p++) * 0x01000193u;
	return hash;
}

/*
 * One rt_sigaction(2) a signal: 62 calls, 9.5 us. The only other place that tells is
 * /proc/self/status: 6 us when it was read before, but 58 us for the first
 * reading by a new process, and a launcher is always new. Half of the calls are for real-time
 * signals, which a shell's `trap '' RTMIN+1` ignores like any other. libc's
 * sigaction() is not used because it hides the signals it keeps for itself.
 */
static void collect_signals(struct wire_run *run)
{
	run->ignored_signals = 0;
	for (int sig = 1; sig <= SIGNALS; sig++) {
		struct kernel_sigaction act;

		if (sig == 9 || sig == 19) /* SIGKILL, SIGSTOP: always default */
			continue;
		if (syscall(SYS_rt_sigaction, sig, NULL, &act, SIGNALS / 8) == 0 &&
		    act.handler == SIGNAL_IGNORED)
			run->ignored_signals |= 1ull << (sig - 1);
	}
	run->blocked_signals = 0;
	syscall(SYS_rt_sigprocmask, 0, NULL, &run->blocked_signals, sizeof(run->blocked_signals));
}

static void collect_identity(struct wire_run *run)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };
	long n;

	n = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
	run->no_new_privs = n > 0;
	n = prctl(PR_GET_SECCOMP, 0, 0, 0, 0);
	run->seccomp = n > 0 ? (uint32_t)n : 0;
	n = personality(0xffffffff);
	run->personality = n > 0 ? (uint32_t)n : 0;
	if (syscall(SYS_capget, &head, data) == 0)
		run->capabilities = (uint64_t)data[1].effective << 32 | data[0].effective;
	scheduling_get(&run->scheduling);
}

static void collect_limits(struct wire_run *run)
{
	for (int i = 0; i < WIRE_RLIMITS; i++) {
		if (syscall(SYS_prlimit64, 0, i, NULL, run->rlimits[i]) < 0)
			run->rlimits[i][0] = run->rlimits[i][1] = 0;
	}
}

static uint32_t stdio_kind(struct wire_run *run, int fd, const struct stat *st)
{
	uint8_t scratch[WIRE_TERMIOS_MAX], *termios = run->termios_size ? scratch : run->termios;

	switch (st->st_mode & S_IFMT) {
	case S_IFREG:
		return WIRE_STDIO_FILE;
	case S_IFIFO:
		return WIRE_STDIO_PIPE;
	case S_IFSOCK:
		return WIRE_STDIO_SOCKET;
	case S_IFCHR:
		if (ioctl(fd, TCGETS, termios) < 0)
			return WIRE_STDIO_NULL;
		run->termios_size = WIRE_TERMIOS_SIZE;
		return WIRE_STDIO_TTY;
	default:
		return WIRE_STDIO_OTHER;
	}
}

void context_stdio(struct wire_run *run, int target, int fd)
{
	struct winsize size;
	struct stat st;

	if (fstat(fd, &st) < 0) /* WIRE_STDIO_CLOSED is 0 */
		return;
	run->stdio[target] = stdio_kind(run, fd, &st);
	run->stdio_blksize[target] = (uint32_t)st.st_blksize;
	if (run->stdio[target] == WIRE_STDIO_FILE) {
		if (lseek(fd, 0, SEEK_CUR) != 0 || (st.st_size != 0 && fcntl(fd, F_GETFL) & O_APPEND))
			run->stdio_offset_nonzero |= 1ull << target;
	}
	if (run->stdio[target] == WIRE_STDIO_TTY && run->rows == 0 && run->columns == 0 &&
	    ioctl(fd, TIOCGWINSZ, &size) == 0) {
		run->rows = size.ws_row;
		run->columns = size.ws_col;
	}
}

/*
 * poll(2) of all numbers with no events asked for tells the open ones from the
 * closed ones (POLLNVAL) in one call. It takes descriptors opened with O_PATH
 * for closed, and no more numbers than RLIMIT_NOFILE (fs/select.c: do_sys_poll), although higher
 * ones may be open from before the limit was lowered: those are asked one by one, O_PATH
 * up to the first word, which is where a shell's or a supervisor's numbers are.
 */
static void collect_descriptors(struct wire_run *run)
{
	struct pollfd fds[MAX_FDS];
	uint64_t limit = run->rlimits[7][0]; /* RLIMIT_NOFILE: 7 but on Alpha, MIPS, SPARC */
	unsigned int polled = limit < MAX_FDS ? (unsigned int)limit : MAX_FDS;
	unsigned int asked = 8;

	for (unsigned int fd = 0; fd < polled; fd++) {
		fds[fd].fd = (int)fd;
		fds[fd].events = 0;
		fds[fd].revents = 0;
	}
	if (poll(fds, polled, 0) < 0)
		polled = 0;
	for (unsigned int fd = 0; fd < MAX_FDS; fd++) {
		int open;

		if (fd < polled && !(fds[fd].revents & POLLNVAL))
			open = 1;
		else if (fd >= polled || (fd < asked && fd > 2))
			open = fcntl((int)fd, F_GETFD) >= 0;
		else
			open = fd < 3 && run->stdio[fd] != WIRE_STDIO_CLOSED;
		if (open)
			run->inherited_fds[fd / 64] |= 1ull << (fd % 64);
	}
}

void context_without(void *buf, int fd)
{
	struct wire_run *run = buf;

	if (fd >= 0 && fd < MAX_FDS)
		run->inherited_fds[fd / 64] &= ~(1ull << (fd % 64));
}

/* Return: 0, or -1 with errno */
static int collect_groups(struct wire_run *run, void *scratch, size_t size)
{
	size_t max = size / sizeof(gid_t);
	int n = getgroups(max > INT_MAX ? INT_MAX : (int)max, scratch);

	if (n < 0) {
		errno = E2BIG;
		return -1;
	}
	/* the effective group counts as one of them */
	run->ngroups_hash = fnv32(scratch, (size_t)n * sizeof(gid_t)) ^ (getegid() * 2654435761u);
	return 0;
}

int context_process(struct wire_run *run, void *scratch, size_t size)
{
	if (collect_groups(run, scratch, size) < 0)
		return -1;
	collect_signals(run);
	collect_identity(run);
	collect_limits(run);
	run->nice = getpriority(PRIO_PROCESS, 0);
	return 0;
}

/* Return: behind the copy, or NULL when it does not fit */
static char *put(char *at, const char *end, const char *text)
{
	size_t len = strlen(text) + 1;

	if (len > (size_t)(end - at))
		return NULL;
	memcpy(at, text, len);
	return at + len;
}

/* straight to its place: a path buffer would be one more stack page to fault in. Return: behind it, or NULL with errno */
static char *put_cwd(char *at, const char *end)
{
	long n = syscall(SYS_getcwd, at, (size_t)(end - at));

	if (n < 0) {
		if (errno == ERANGE)
			errno = E2BIG;
		return NULL;
	}
	if (at[0] != '/') { /* "(unreachable)/...": getcwd(2), since Linux 2.6.36 */
		errno = ENOENT;
		return NULL;
	}
	return at + n;
}

/* name, readiness point, directory, arguments, environment. Return: behind them, or NULL with errno set */
static char *put_strings(struct wire_run *run, char *at, const char *end, const char *const names[2],
			 char **argv, char **envp)
{
	char *cwd;

	at = put(at, end, names[0] ? names[0] : "");
	if (at)
		at = put(at, end, names[1] ? names[1] : "auto");
	if (!at) {
		errno = E2BIG;
		return NULL;
	}
	cwd = put_cwd(at, end);
	/* a launch hands its directory over as a descriptor, and a deleted one may be one */
	if (!cwd && errno == ENOENT && (run->flags & WIRE_LAUNCH_APPEND))
		cwd = put(at, end, "");
	at = cwd;
	if (!at)
		return NULL;
	for (uint32_t i = 0; at && i < run->argc; i++)
		at = put(at, end, argv[i]);
	for (; at && envp && envp[run->envc]; run->envc++)
		at = put(at, end, envp[run->envc]);
	if (!at)
		errno = E2BIG;
	return at;
}

size_t context_collect(void *buf, size_t size, uint32_t flags, const char *name, const char *ready, int argc,
		       char **argv, char **envp)
{
	struct wire_run *run = buf;
	const char *const names[2] = { name, ready };
	char *strings, *at;
	const char *end;
	mode_t mask;

	if (argc < 1 && !(flags & WIRE_LAUNCH_APPEND)) {
		errno = EINVAL;
		return 0;
	}
	if (size > WIRE_MAX_SIZE)
		size = WIRE_MAX_SIZE;
	if (size < sizeof(*run)) {
		errno = E2BIG;
		return 0;
	}
	memset(run, 0, sizeof(*run));
	run->flags = flags;
	run->argc = (uint32_t)argc;
	strings = (char *)buf + sizeof(*run);
	end = (char *)buf + size;
	if (context_process(run, strings, (size_t)(end - strings)) < 0)
		return 0;
	mask = umask(0);
	umask(mask);
	run->umask = mask;
	for (int fd = 0; fd < 3; fd++)
		context_stdio(run, fd, fd);
	collect_descriptors(run);
	at = put_strings(run, strings, end, names, argv, envp);
	if (!at)
		return 0;
	run->strings_size = (uint32_t)(at - strings);
	run->header.magic = WIRE_MAGIC;
	run->header.version = WIRE_VERSION_NUMBER;
	run->header.type = WIRE_RUN;
	run->header.size = (uint32_t)(at - (char *)buf);
	return run->header.size;
}
