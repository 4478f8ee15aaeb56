/* SPDX-License-Identifier: MIT */
/* doctor_host.c - privileges, limits, the runtime directory, and warmd itself. */
#include "launcher/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/magic.h>
#include <linux/sched.h>

#include "engine/base/fd.h"
#include "launcher/client.h"
#include "launcher/tool.h"

#ifndef CAP_CHECKPOINT_RESTORE
#define CAP_CHECKPOINT_RESTORE 40 /* Linux 5.9 */
#endif

#define WATCHES_GOOD   65536 /* a Python program with pandas needs some 3,000 */
#define INSTANCES_GOOD 16
#define FILES_GOOD     4096 /* descriptors that warmd holds for its templates */
#define MEMORY_GOOD    (512ull << 20)

static void probe_kernel(struct doctor_finding *f)
{
	struct utsname name;
	unsigned int major = 0, minor = 0;

	uname(&name);
	sscanf(name.release, "%u.%u", &major, &minor);
	if (major < 5 || (major == 5 && minor < 10))
		doctor_found(f, DOCTOR_MISSING, "Linux %s", name.release);
	else
		doctor_found(f, DOCTOR_OK, "Linux %s on %s", name.release, name.machine);
}

/* a file capability of the launcher counts as much as one of this process */
static bool file_capability(const char *path)
{
	cap_t caps = cap_get_file(path);
	cap_flag_value_t value = CAP_CLEAR;

	if (!caps)
		return false;
	if (cap_get_flag(caps, CAP_CHECKPOINT_RESTORE, CAP_PERMITTED, &value) < 0)
		value = CAP_CLEAR;
	cap_free(caps);
	return value == CAP_SET;
}

static bool process_capability(void)
{
	cap_t caps = cap_get_proc();
	cap_flag_value_t value = CAP_CLEAR;

	if (!caps)
		return false;
	if (cap_get_flag(caps, CAP_CHECKPOINT_RESTORE, CAP_EFFECTIVE, &value) < 0)
		value = CAP_CLEAR;
	cap_free(caps);
	return value == CAP_SET;
}

static void probe_capability(struct doctor_finding *f)
{
	char path[PATH_MAX];
	bool found = client_find("warm", path, sizeof(path)) == 0;

	if (process_capability()) {
		doctor_found(f, DOCTOR_OK, "this user has CAP_CHECKPOINT_RESTORE");
	} else if (found && file_capability(path)) {
		doctor_found(f, DOCTOR_OK, "%.200s has CAP_CHECKPOINT_RESTORE", path);
	} else {
		doctor_found(f, DOCTOR_LIMITED,
			     "no CAP_CHECKPOINT_RESTORE: /proc/self/exe of a clone names warm");
		doctor_todo(f, "as root: setcap cap_checkpoint_restore+ep %.200s",
			    found ? path : "PREFIX/bin/warm");
	}
}

/* runs as the first process of a new PID namespace. Return: exit status, 0 or an errno */
static int clone_with_tid(void)
{
	pid_t wanted = 4711, pid;
	struct clone_args args = {
		.exit_signal = SIGCHLD,
		.set_tid = (uintptr_t)&wanted,
		.set_tid_size = 1,
	};

	pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0)
		_exit(0);
	if (pid < 0)
		return errno;
	waitpid(pid, NULL, 0);
	return pid == wanted ? 0 : EDOM;
}

static void probe_set_tid(struct doctor_finding *f)
{
	int status = 0;
	pid_t pid;

	if (unshare(CLONE_NEWUSER | CLONE_NEWPID) < 0) {
		doctor_failed(f, "a user and PID namespace");
		doctor_todo(f,
			    "sysctl user.max_user_namespaces=N, kernel.unprivileged_userns_clone=1 (Debian), "
			    "kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu)");
		return;
	}
	pid = fork();
	if (pid == 0)
		_exit(clone_with_tid());
	if (pid < 0) {
		doctor_failed(f, "a process in a PID namespace");
		return;
	}
	waitpid(pid, &status, 0);
	errno = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
	if (errno != 0)
		doctor_failed(f, "clone3 with set_tid in a PID namespace");
	else
		doctor_found(f, DOCTOR_OK, "clone3 gives a chosen PID in a user and PID namespace");
}

static uint64_t read_number(const char *path)
{
	char line[64];

	return doctor_read_line(path, line, sizeof(line)) < 0 ? 0 : strtoull(line, NULL, 10);
}

static void probe_inotify(struct doctor_finding *f)
{
	uint64_t watches = read_number("/proc/sys/fs/inotify/max_user_watches");
	uint64_t instances = read_number("/proc/sys/fs/inotify/max_user_instances");
	int fd = inotify_init1(IN_CLOEXEC);

	if (fd < 0) {
		doctor_failed(f, "inotify_init1");
		doctor_todo(f, "sysctl fs.inotify.max_user_instances=%" PRIu64,
			    instances < 128 ? 128 : instances * 2);
	} else if (watches < WATCHES_GOOD || instances < INSTANCES_GOOD) {
		doctor_found(f, DOCTOR_LIMITED, "%" PRIu64 " watches, %" PRIu64 " instances a user", watches,
			     instances);
		doctor_todo(f, "sysctl fs.inotify.max_user_watches=524288 fs.inotify.max_user_instances=128");
	} else {
		doctor_found(f, DOCTOR_OK, "%" PRIu64 " watches, %" PRIu64 " instances a user", watches,
			     instances);
	}
}

static void probe_files(struct doctor_finding *f)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0) {
		doctor_failed(f, "RLIMIT_NOFILE");
		return;
	}
	doctor_found(f, limit.rlim_max < FILES_GOOD ? DOCTOR_LIMITED : DOCTOR_OK,
		     "%" PRIu64 " open files, at most %" PRIu64, (uint64_t)limit.rlim_cur,
		     (uint64_t)limit.rlim_max);
	doctor_todo(f, "raise the hard limit: ulimit -Hn, /etc/security/limits.conf or LimitNOFILE=");
}

/* as warmd makes them: terminal.c */
static void probe_pty(struct doctor_finding *f)
{
	uint64_t max = read_number("/proc/sys/kernel/pty/max"), used = read_number("/proc/sys/kernel/pty/nr");
	_cleanup_close_ int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	int unlocked = 0, slave;

	if (master < 0) {
		bool all_used = errno == ENOSPC;

		doctor_failed(f, "/dev/ptmx");
		if (all_used)
			doctor_todo(f, "sysctl kernel.pty.max=%" PRIu64, max * 2);
		return;
	}
	ioctl(master, TIOCSPTLCK, &unlocked);
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY);
	if (slave < 0) {
		doctor_failed(f, "TIOCGPTPEER");
		return;
	}
	close(slave);
	doctor_found(f, DOCTOR_OK, "%" PRIu64 " of at most %" PRIu64 " in use", used, max);
}

static void probe_runtime_dir(struct doctor_finding *f)
{
	struct runtime_dir dir;
	struct statfs fs;
	struct error err;
	char parent[RUNTIME_DIR_MAX];
	char *slash;

	if (runtime_dir_find(&dir, &err) < 0) {
		doctor_found(f, DOCTOR_MISSING, "%.250s", err.text);
		return;
	}
	strcpy(parent, dir.path);
	slash = strrchr(parent, '/');
	if (!dir.exists && slash) {
		slash[slash == parent] = '\0';
		if (access(parent, W_OK | X_OK) < 0) {
			doctor_found(f, DOCTOR_MISSING, "%s does not exist and cannot be made: %s", dir.path,
				     strerror(errno));
			return;
		}
	}
	if (statfs(parent, &fs) < 0)
		doctor_failed(f, parent);
	else if (fs.f_type == TMPFS_MAGIC)
		doctor_found(f, DOCTOR_OK, "%s%s, on tmpfs", dir.path, dir.exists ? "" : " (will be made)");
	else
		doctor_found(f, DOCTOR_OK, "%s%s, not on tmpfs: fine, but a stale socket outlives a reboot",
			     dir.path, dir.exists ? "" : " (will be made)");
}

static void probe_socket_path(struct doctor_finding *f)
{
	struct runtime_dir dir;
	struct error err;
	int r = runtime_dir_find(&dir, &err);
	const size_t most = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;

	if (r == -ENAMETOOLONG) {
		doctor_found(f, DOCTOR_MISSING, "%.250s", err.text);
		doctor_todo(f, "set WARM_RUNTIME_DIR to a shorter path");
	} else if (r < 0) {
		doctor_found(f, DOCTOR_LIMITED, "not known: see runtime-directory");
	} else {
		doctor_found(f, DOCTOR_OK, "%zu of %zu bytes", strlen(dir.path) + sizeof("/" WIRE_SOCKET) - 1,
			     most);
	}
}

/* first line of `warmd --version`. Return: 0 or -1 */
static int warmd_version(const char *path, char *line, size_t size)
{
	int out[2], null, status;
	ssize_t n;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC) < 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		alarm(2);
		null = open("/dev/null", O_RDWR);
		dup2(null, 0);
		dup2(out[1], 1);
		dup2(null, 2);
		execl(path, "warmd", "--version", (char *)NULL);
		_exit(127);
	}
	close(out[1]);
	if (pid < 0)
		return -1;
	n = read(out[0], line, size - 1);
	close(out[0]);
	waitpid(pid, &status, 0);
	if (n <= 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return -1;
	line[n] = '\0';
	line[strcspn(line, "\n")] = '\0';
	return 0;
}

static void probe_warmd(struct doctor_finding *f)
{
	char path[PATH_MAX], version[64];

	if (client_find("warmd", path, sizeof(path)) < 0) {
		doctor_found(f, DOCTOR_MISSING, "not beside this program, in ../libexec/warm or on PATH");
		doctor_todo(f, "install warm as a whole (make install), or put warmd on PATH");
		return;
	}
	if (warmd_version(path, version, sizeof(version)) < 0) {
		doctor_found(f, DOCTOR_MISSING, "%.180s does not run", path);
		doctor_todo(f, "%.180s --version tells why", path);
		return;
	}
	doctor_found(f, strstr(version, WARM_VERSION) ? DOCTOR_OK : DOCTOR_LIMITED, "%.150s, %.60s", path,
		     version);
	doctor_todo(f, "warm is %s: install both from one build", WARM_VERSION);
}

static void probe_running(struct doctor_finding *f)
{
	Warm__HelloRequest hello = WARM__HELLO_REQUEST__INIT;
	Warm__ControlRequest request = WARM__CONTROL_REQUEST__INIT;
	Warm__ControlReply *reply = NULL;
	struct error err;
	int r;

	request.command_case = WARM__CONTROL_REQUEST__COMMAND_HELLO;
	request.hello = &hello;
	r = tool_control(&request, &reply, &err);
	if (r == -ESRCH) {
		doctor_found(f, DOCTOR_OK, "not running; the first 'warm run' starts it");
	} else if (r < 0) {
		doctor_found(f, DOCTOR_MISSING, "%.250s", err.text);
		doctor_todo(f, "warm stop");
	} else if (!reply->hello) {
		doctor_found(f, DOCTOR_MISSING, "it answers, but not to the question");
		doctor_todo(f, "warm stop");
	} else {
		bool same = strcmp(reply->hello->version, WARM_VERSION) == 0;

		doctor_found(f, same ? DOCTOR_OK : DOCTOR_LIMITED, "process %u, version %.40s",
			     reply->hello->pid, reply->hello->version);
		doctor_todo(f, "warm is %s: run 'warm stop', the next 'warm run' starts the new one",
			    WARM_VERSION);
	}
	tool_reply_freep(&reply);
}

/* the budget and what is held of it, from a running warmd. Return: 0 or a negative errno */
static int budget(uint64_t *held, uint64_t *most)
{
	Warm__StatsRequest stats = WARM__STATS_REQUEST__INIT;
	Warm__ControlRequest request = WARM__CONTROL_REQUEST__INIT;
	Warm__ControlReply *reply = NULL;
	int r;

	request.command_case = WARM__CONTROL_REQUEST__COMMAND_STATS;
	request.stats = &stats;
	r = tool_control(&request, &reply, NULL);
	if (r == 0 && reply->stats) {
		*held = reply->stats->sealed_bytes;
		*most = reply->stats->budget_bytes;
	} else if (r == 0) {
		r = -EBADMSG;
	}
	tool_reply_freep(&reply);
	return r;
}

static uint64_t available_memory(void)
{
	_cleanup_free_ char *text = NULL;
	const char *line;

	if (read_file("/proc/meminfo", &text, NULL) < 0)
		return 0;
	line = strstr(text, "MemAvailable:");
	return line ? strtoull(line + strlen("MemAvailable:"), NULL, 10) * 1024 : 0;
}

static void probe_memory(struct doctor_finding *f)
{
	char free_text[TOOL_TEXT_MAX], held_text[TOOL_TEXT_MAX], most_text[TOOL_TEXT_MAX];
	uint64_t available = available_memory(), held, most;
	enum doctor_result result = available < MEMORY_GOOD ? DOCTOR_LIMITED : DOCTOR_OK;

	if (budget(&held, &most) == 0)
		doctor_found(f, result, "%s available; templates hold %s of their budget of %s",
			     tool_bytes(available, free_text), tool_bytes(held, held_text),
			     tool_bytes(most, most_text));
	else
		doctor_found(f, result, "%s available", tool_bytes(available, free_text));
	doctor_todo(f, "'warm rm' what is not used; set a smaller budget in the configuration");
}

const struct doctor_probe doctor_host_probes[] = {
	{ "kernel", true, "Linux 5.10 is the oldest that warm is made for", "a newer kernel", probe_kernel },
	{ "checkpoint-restore", false, "/proc/self/exe of a clone names its program", NULL,
	  probe_capability },
	{ "set-tid", false, "exact PIDs for runtimes that keep thread ids (Go, JVM)", "Linux 5.5 or newer",
	  probe_set_tid },
	{ "inotify", true, "warmd watches the files that templates were made of", NULL, probe_inotify },
	{ "open-files", true, "warmd keeps descriptors for each template", NULL, probe_files },
	{ "pty", false, "clones that warmd launches from a terminal get one of their own",
	  "mount devpts on /dev/pts, with /dev/ptmx leading to its ptmx", probe_pty },
	{ "runtime-directory", true, "the socket between warm and warmd", NULL, probe_runtime_dir },
	{ "socket-path", true, "a unix socket's address holds 107 bytes", NULL, probe_socket_path },
	{ "warmd", true, "the daemon that builds and keeps templates", NULL, probe_warmd },
	{ "warmd-running", true, "a daemon that hangs or is of another version serves nothing", NULL,
	  probe_running },
	{ "memory", false, "templates are held in memory", NULL, probe_memory },
};
const size_t doctor_host_count = ARRAY_SIZE(doctor_host_probes);
