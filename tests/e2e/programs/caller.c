/* SPDX-License-Identifier: MIT */
/*
 * caller.c - gives up a right, or enters a namespace, and executes a command: caller HOW[,HOW...] COMMAND [ARGUMENT...]
 *
 * Exit status 77: that is not possible here; else the command's.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

static const struct {
	const char *name;
	int flag;
	int fork; /* only children are in it */
} namespaces[] = {
	{ "mnt", CLONE_NEWNS, 0 },
	{ "uts", CLONE_NEWUTS, 0 },
	{ "ipc", CLONE_NEWIPC, 0 },
	{ "net", CLONE_NEWNET, 0 },
	{ "cgroup", CLONE_NEWCGROUP, 0 },
	{ "pid", CLONE_NEWPID, 1 },
	{ "pid_for_children", CLONE_NEWPID, 0 },
	{ "time", CLONE_NEWTIME, 1 },
	{ "time_for_children", CLONE_NEWTIME, 0 },
};

static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY), r = fd < 0 || write(fd, text, strlen(text)) < 0 ? -1 : 0;

	close(fd);
	return r;
}

/* the caller's user as @inside */
static int enter_user(unsigned int inside)
{
	char map[64];
	unsigned int uid = geteuid();

	snprintf(map, sizeof(map), "%u %u 1", inside, uid);
	return unshare(CLONE_NEWUSER) < 0 ? -1 : put("/proc/self/uid_map", map);
}

/* children are in the namespace that was entered: the command is one, and its status ours */
static int in_child(void)
{
	int status;
	pid_t pid = fork();

	if (pid <= 0)
		return (int)pid;
	waitpid(pid, &status, 0);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static int drop_capabilities(void)
{
	struct {
		unsigned int version;
		int pid;
	} head = { 0x20080522, 0 };
	unsigned int none[6] = { 0 };

	for (int cap = 0; cap < 64; cap++)
		prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	return (int)syscall(SYS_capset, &head, none);
}

/* one bit more in the inheritable set: execve(2) of root ignores it */
static int inherit(void)
{
	struct {
		unsigned int version;
		int pid;
	} head = { 0x20080522, 0 };
	unsigned int sets[6];

	if (syscall(SYS_capget, &head, sets) < 0)
		return -1;
	sets[2] ^= 1;
	return (int)syscall(SYS_capset, &head, sets);
}

static int install(struct sock_filter *filter, unsigned short len)
{
	struct sock_fprog program = { len, filter };

	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0)
		return 0;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0
		       ? -1
		       : prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static int filter(void)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);

	return install(&allow, 1);
}

#define DATA(field) offsetof(struct seccomp_data, field)

/* no SO_PEERPIDFD (Linux 6.5), no PIDFD_GET_*_NAMESPACE (6.11): what a kernel says that does not know them */
static int old_kernel(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, DATA(nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, DATA(args[1])),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0xff01, 0, 6),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 0xff0a, 5, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOTTY),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getsockopt, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, DATA(args[2])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 77, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOPROTOOPT),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	return install(code, sizeof(code) / sizeof(code[0]));
}

/* into a bind mount of / in a mount namespace of its own */
static int bind_root(const char *at)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("/", at, NULL, MS_BIND | MS_REC, NULL) < 0)
		return -1;
	return chroot(at) < 0 ? -1 : chdir("/");
}

/* FROM:TO, with the rest of a mount namespace as it is */
static int bind_over(const char *paths)
{
	const char *to = strchr(paths, ':');
	char from[4096];

	if (!to || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -1;
	snprintf(from, sizeof(from), "%.*s", (int)(to - paths), paths);
	return mount(from, to + 1, NULL, MS_BIND, NULL);
}

static int pivot(const char *at)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("/", at, NULL, MS_BIND | MS_REC, NULL) < 0 || chdir(at) < 0 ||
	    syscall(SYS_pivot_root, ".", ".") < 0)
		return -1;
	return umount2(".", MNT_DETACH) < 0 ? -1 : chdir("/");
}

static int give_up(const char *how)
{
	for (size_t i = 0; i < sizeof(namespaces) / sizeof(namespaces[0]); i++) {
		if (strcmp(how, namespaces[i].name) != 0)
			continue;
		return unshare(namespaces[i].flag) < 0 ? -1 : namespaces[i].fork ? in_child() : 0;
	}
	if (strcmp(how, "nothing") == 0)
		return 0;
	if (strcmp(how, "hostname") == 0)
		return sethostname("elsewhere", 9);
	if (strncmp(how, "bind=", 5) == 0)
		return bind_over(how + 5);
	if (strcmp(how, "no_new_privs") == 0)
		return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (strcmp(how, "seccomp") == 0)
		return filter();
	if (strcmp(how, "old_kernel") == 0)
		return old_kernel();
	if (strcmp(how, "bounding_set") == 0)
		return prctl(PR_CAPBSET_DROP, 0, 0, 0, 0);
	if (strcmp(how, "capabilities") == 0)
		return drop_capabilities();
	if (strcmp(how, "inheritable") == 0)
		return inherit();
	if (strcmp(how, "groups") == 0)
		return setgroups(0, NULL);
	if (strcmp(how, "more_groups") == 0)
		return setgroups(2, (gid_t[]){ 4242, 4243 });
	if (strcmp(how, "gid") == 0)
		return setresgid(4242, 0, 0);
	if (strcmp(how, "user") == 0)
		return enter_user(geteuid());
	if (strcmp(how, "user_other") == 0)
		return enter_user(1234);
	if (strncmp(how, "chroot=", 7) == 0)
		return chroot(how + 7) < 0 ? -1 : 0;
	if (strncmp(how, "bind_root=", 10) == 0)
		return bind_root(how + 10);
	if (strncmp(how, "pivot=", 6) == 0)
		return pivot(how + 6);
	errno = EINVAL;
	return -1;
}

int main(int argc, char **argv)
{
	char cwd[4096];

	if (argc < 3 || !getcwd(cwd, sizeof(cwd)))
		return 2;
	for (char *how = strtok(argv[1], ","); how; how = strtok(NULL, ",")) {
		if (give_up(how) < 0) {
			fprintf(stderr, "caller: %s: %s\n", how, strerror(errno));
			return 77;
		}
	}
	if (chdir(cwd) < 0)
		return 2;
	execvp(argv[2], argv + 2);
	perror(argv[2]);
	return 127;
}
