/* SPDX-License-Identifier: MIT */
/* doctor_trace.c - can warmd stop a program that it started, and look into it? */
#include "launcher/doctor.h"

#include <errno.h>
#include <linux/kcmp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "launcher/doctor_arch.h"
#include "snapshot/kinds/unix_diag.h"

/* <linux/ptrace.h> cannot stand beside <sys/ptrace.h>, and older headers lack these */
#define DOCTOR_GET_SYSCALL_INFO	      0x420e /* Linux 5.3 */
#define DOCTOR_GET_RSEQ_CONFIGURATION 0x420f /* Linux 5.13 */

struct rseq_configuration {
	uint64_t rseq_abi_pointer;
	uint32_t rseq_abi_size, signature, flags, pad;
};

static volatile int target_ran;

static __attribute__((noinline, noclone)) void target(void)
{
	target_ran = 1;
}

static int wait_stop(pid_t pid, int *status)
{
	pid_t r;

	do
		r = waitpid(pid, status, __WALL);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -1;
	if (!WIFSTOPPED(*status)) {
		errno = ESRCH;
		return -1;
	}
	return 0;
}

/* a child that is seized and stopped before target(). Return: its pid, or -1 with a finding */
static pid_t stopped_child(struct doctor_finding *f)
{
	char byte = 0;
	int status, go[2];
	pid_t pid, parent = getpid();

	if (pipe(go) < 0) {
		doctor_failed(f, "pipe");
		return -1;
	}
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		close(go[1]);
		if (read(go[0], &byte, 1) == 1)
			raise(SIGSTOP);
		target();
		_exit(0);
	}
	if (pid < 0) {
		doctor_failed(f, "fork");
		return -1;
	}
	if (ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD) < 0) {
		doctor_failed(f, "PTRACE_SEIZE of an own child");
		return -1;
	}
	if (write(go[1], &byte, 1) != 1 || wait_stop(pid, &status) < 0) {
		doctor_failed(f, "the traced child did not stop");
		return -1;
	}
	return pid;
}

static void probe_ptrace(struct doctor_finding *f)
{
	static const char *const scopes[] = {
		"any process of the user",
		"children only, which is enough",
		"only with CAP_SYS_PTRACE",
		"nobody",
	};
	static const char path[] = "/proc/sys/kernel/yama/ptrace_scope";
	char scope[16] = "";

	if (doctor_read_line(path, scope, sizeof(scope)) < 0)
		scope[0] = '\0';
	if (stopped_child(f) < 0) {
		if (scope[0] >= '2' && scope[0] <= '3')
			doctor_todo(
				f, "set %s to 1 (sysctl kernel.yama.ptrace_scope=1; from 3 only by a reboot)",
				path);
		return;
	}
	if (scope[0] >= '0' && scope[0] <= '3')
		doctor_found(f, DOCTOR_OK, "yama ptrace_scope %c: %s", scope[0], scopes[scope[0] - '0']);
	else
		doctor_found(f, DOCTOR_OK, "own children can be traced; no yama");
}

static void probe_syscall_info(struct doctor_finding *f)
{
	unsigned char info[128];
	pid_t pid = stopped_child(f);

	if (pid < 0)
		return;
	if (ptrace(DOCTOR_GET_SYSCALL_INFO, pid, sizeof(info), info) < 0)
		doctor_failed(f, "PTRACE_GET_SYSCALL_INFO");
	else
		doctor_found(f, DOCTOR_OK, "PTRACE_GET_SYSCALL_INFO works");
}

static void probe_breakpoint(struct doctor_finding *f)
{
	pid_t pid = stopped_child(f);
	int status;

	if (pid < 0)
		return;
	if (doctor_set_breakpoint(pid, (uintptr_t)target) < 0) {
		doctor_failed(f, "setting a debug register");
		return;
	}
	/*
	 * The stop by SIGSTOP is a group-stop or the signal's delivery, in either order of
	 * events; what counts is that SIGTRAP comes before the end.
	 */
	kill(pid, SIGCONT);
	for (;;) {
		if (ptrace(PTRACE_CONT, pid, 0, 0) < 0 || wait_stop(pid, &status) < 0) {
			doctor_found(f, DOCTOR_MISSING, "the breakpoint was set, but never hit");
			return;
		}
		if (WSTOPSIG(status) == SIGTRAP && status >> 16 == 0) {
			doctor_found(f, DOCTOR_OK, "an execution breakpoint was hit");
			return;
		}
	}
}

static void probe_rseq(struct doctor_finding *f)
{
	struct rseq_configuration conf;
	pid_t pid = stopped_child(f);

	if (pid < 0)
		return;
	if (ptrace(DOCTOR_GET_RSEQ_CONFIGURATION, pid, sizeof(conf), &conf) < 0)
		doctor_failed(f, "PTRACE_GET_RSEQ_CONFIGURATION");
	else
		doctor_found(f, DOCTOR_OK, "PTRACE_GET_RSEQ_CONFIGURATION works%s",
			     conf.rseq_abi_pointer ? "; this libc uses rseq" : "");
}

static void probe_vm_readv(struct doctor_finding *f)
{
	static volatile int number = 4711;
	int copy = 0;
	struct iovec local = { &copy, sizeof(copy) }, remote = { (void *)&number, sizeof(number) };
	pid_t pid = stopped_child(f);

	if (pid < 0)
		return;
	if (process_vm_readv(pid, &local, 1, &remote, 1, 0) != sizeof(copy))
		doctor_failed(f, "process_vm_readv");
	else if (copy != number)
		doctor_found(f, DOCTOR_MISSING, "process_vm_readv read something else");
	else
		doctor_found(f, DOCTOR_OK, "process_vm_readv works");
}

static void probe_kcmp(struct doctor_finding *f)
{
	pid_t pid = getpid();

	if (syscall(SYS_kcmp, pid, pid, KCMP_FILE, STDERR_FILENO, STDERR_FILENO) == 0)
		doctor_found(f, DOCTOR_OK, "kcmp works");
	else
		doctor_failed(f, "kcmp");
}

static void probe_unix_diag(struct doctor_finding *f)
{
	struct unix_diag diag = { 0 };
	struct stat st[2];
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		doctor_failed(f, "socketpair");
		return;
	}
	r = fstat(pair[0], &st[0]) < 0 || fstat(pair[1], &st[1]) < 0 ? -errno
								     : unix_diag(st[0].st_ino, &diag);
	if (r == 0 && diag.peer == st[1].st_ino)
		doctor_found(f, DOCTOR_OK, "sock_diag names the other end of a socket pair");
	else
		doctor_found(f, DOCTOR_MISSING, "sock_diag does not name the other end of a socket pair: %s",
			     r < 0 ? strerror(-r) : "another was named");
	close(pair[0]);
	close(pair[1]);
}

#define NO_SECCOMP                                                                                           \
	"a container's seccomp profile may forbid it: docker run --cap-add SYS_PTRACE, or a newer profile"

const struct doctor_probe doctor_trace_probes[] = {
	{ "ptrace", true, "warmd traces the programs it builds templates of", NO_SECCOMP, probe_ptrace },
	{ "ptrace-syscall-info", true, "to see what a program reads before its readiness point (Linux 5.3)",
	  NO_SECCOMP, probe_syscall_info },
	{ "hardware-breakpoint", true, "to stop a program at its readiness point without changing its code",
	  "some virtual machines and sandboxes (gVisor) have no debug registers", probe_breakpoint },
	{ "ptrace-rseq", false,
	  "programs of glibc 2.35 and newer, which use restartable sequences (Linux 5.13)",
	  "a kernel with CONFIG_RSEQ, 5.13 or newer", probe_rseq },
	{ "process_vm_readv", true, "to read a program's memory", NO_SECCOMP, probe_vm_readv },
	{ "kcmp", true, "to tell which descriptors share an open file", NO_SECCOMP, probe_kcmp },
	{ "unix-diag", false, "programs that have socket pairs at their readiness point (Linux 3.8)",
	  "a kernel with CONFIG_UNIX_DIAG (modprobe unix_diag), and no seccomp profile against netlink",
	  probe_unix_diag },
};
const size_t doctor_trace_count = ARRAY_SIZE(doctor_trace_probes);
