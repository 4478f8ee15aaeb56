/* SPDX-License-Identifier: MIT */
/* the observer: what a program would do to others, or ask about them, is a boundary, and is not done */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/build/observed.h"
#include "warmd/build/language_python.h"

static char before[4096];

/* every name below the scratch directory, with mode, size, links and times */
static void describe(char *buf, size_t size)
{
	char command[256];
	FILE *f;

	snprintf(command, sizeof(command), "find %.100s -printf '%%p %%m %%s %%n %%l %%T@ %%C@\n' | sort",
		 root);
	f = popen(command, "r");
	assert_non_null(f);
	buf[fread(buf, 1, size - 1, f)] = '\0';
	pclose(f);
}

static void mark(void)
{
	describe(before, sizeof(before));
}

static void unchanged(void)
{
	char now[sizeof(before)];

	describe(now, sizeof(now));
	assert_string_equal(now, before);
}

static void paths(void **state)
{
	struct timespec times[2] = { 0 };

	(void)state;
	put("a", "one");
	put("b", "one");
	mkdir(at("d"), 0755);
	mark();
	open_at(at("a"), O_WRONLY | O_TRUNC);
	bounded("truncates ");
	open_at(at("a"), O_RDONLY | O_TRUNC);
	bounded("truncates ");
	open_at(at("new"), O_WRONLY | O_CREAT);
	bounded(at("new"));
	open_at(at("new"), O_RDONLY | O_CREAT);
	bounded("makes ");
	open_at(at("new"), O_WRONLY | O_CREAT | O_EXCL);
	bounded("makes ");
	call(SYS_mkdirat, A(AT_FDCWD), A(at("new")), 0755);
	bounded("makes ");
	call(SYS_symlinkat, A("x"), A(AT_FDCWD), A(at("new")));
	bounded("makes ");
	call(SYS_linkat, A(AT_FDCWD), A(at("a")), A(AT_FDCWD), A(at("new")), 0);
	bounded("makes ");
	call(SYS_mknodat, A(AT_FDCWD), A(at("new")), S_IFIFO | 0600, 0);
	bounded("makes ");
	call(SYS_renameat2, A(AT_FDCWD), A(at("a")), A(AT_FDCWD), A(at("c")), 0);
	bounded("renames ");
	call(SYS_renameat2, A(AT_FDCWD), A(at("a")), A(AT_FDCWD), A(at("b")), 0);
	bounded("renames ");
	call(SYS_unlinkat, A(AT_FDCWD), A(at("a")), 0);
	bounded("removes ");
	call(SYS_unlinkat, A(AT_FDCWD), A(at("d")), AT_REMOVEDIR);
	bounded("removes ");
	call(SYS_fchmodat, A(AT_FDCWD), A(at("a")), 0600);
	bounded("changes the mode of ");
	call(SYS_utimensat, A(AT_FDCWD), A(at("a")), A(times), 0);
	bounded("changes the times of ");
	call(SYS_utimensat, A(open_at(at("a"), O_RDONLY)), 0, A(times), 0);
	bounded("changes the times of ");
	call(SYS_truncate, A(at("a")), 0);
	bounded("truncates ");
	call(SYS_setxattr, A(at("a")), A("user.x"), A("y"), 1, 0);
	bounded("changes attributes of ");
	unchanged();
}

/* bounded() begins with a new observer, to which what is open already is inherited */
#define FD open_at(at("a"), O_RDWR)

/* to have a file open for writing is no effect; what is done with it is */
static void descriptors(void **state)
{
	struct flock lock = { .l_type = F_WRLCK };

	(void)state;
	put("a", "one");
	mark();
	assert_true(open_at(at("a"), O_RDWR | O_CREAT | O_APPEND) >= 0);
	not_refused();
	assert_null(dep(at("a"), DEP_FILE));
	assert_non_null(dep(at("a"), DEP_EXISTS));
	call(SYS_read, A(FD), A(&lock), 1);
	assert_non_null(dep(at("a"), DEP_FILE));
	assert_true(open_at(at("a"), O_WRONLY) >= 0);
	call(SYS_write, A(FD), A("x"), 1);
	bounded(at("a"));
	call(SYS_pwrite64, A(FD), A("x"), 1, 0);
	bounded("writes to ");
	call(SYS_writev, A(FD), A(0), 0);
	bounded("writes to ");
	call(SYS_copy_file_range, A(open_at(at("a"), O_RDONLY)), 0, A(FD), 0, 1, 0);
	bounded("writes to ");
	call(SYS_sendfile, A(FD), A(open_at(at("a"), O_RDONLY)), 0, 1);
	bounded("writes to ");
	call(SYS_ftruncate, A(FD), 0);
	bounded("truncates ");
	call(SYS_fallocate, A(FD), 0, 0, 10);
	bounded("writes to ");
	call(SYS_fchmod, A(FD), 0600);
	bounded("changes the mode of ");
	call(SYS_fsetxattr, A(FD), A("user.x"), A("y"), 1, 0);
	bounded("changes attributes of ");
	call(SYS_ioctl, A(FD), A(FICLONE), A(FD));
	bounded("writes to ");
	call(SYS_mmap, 0, 1, PROT_READ, MAP_SHARED, A(FD), 0);
	bounded("maps for writing ");
	call(SYS_flock, A(FD), LOCK_EX | LOCK_NB);
	bounded("locks ");
	call(SYS_flock, A(FD), LOCK_UN);
	bounded("locks ");
	call(SYS_fcntl, A(FD), F_SETLK, A(&lock));
	bounded("locks ");
	call(SYS_fcntl, A(FD), F_GETLK, A(&lock));
	bounded("asks for locks of ");
	call(SYS_fcntl, A(FD), F_OFD_SETLK, A(&lock));
	bounded("locks ");
	call(SYS_fcntl, A(FD), F_SETLEASE, F_RDLCK);
	bounded("takes a lease of ");
	call(SYS_fchmod, 0, 0600);
	bounded("descriptor 0, which it inherited,");
	call(SYS_fcntl, 0, F_SETFL, O_APPEND | O_NONBLOCK);
	bounded("changes the flags of descriptor 0");
	assert_true((long)call(SYS_mmap, 0, 1, PROT_READ | PROT_WRITE, MAP_PRIVATE, A(FD), 0) > 0);
	assert_true((long)call(SYS_mmap, 0, 1, PROT_READ, MAP_SHARED, A(open_at(at("a"), O_RDONLY)), 0) > 0);
	not_refused();
	unchanged();
}

/* what the kernel would let fail has looked at most; what somebody could overtake gets its error at once */
static void failures(void **state)
{
	(void)state;
	put("a", "one");
	mkdir(at("d"), 0755);
	mark();
	call(SYS_unlinkat, A(AT_FDCWD), A(at("none")), 0);
	assert_int_equal(call(SYS_mkdirat, A(AT_FDCWD), A(at("d")), 0755), -EEXIST);
	assert_int_equal(open_at(at("a"), O_WRONLY | O_CREAT | O_EXCL), -EEXIST);
	assert_int_equal(call(SYS_symlinkat, A("x"), A(AT_FDCWD), A(at("a"))), -EEXIST);
	assert_int_equal(open_at(at("d"), O_WRONLY), -EISDIR);
	assert_int_equal(open_at(at("none/x"), O_WRONLY | O_CREAT), -ENOENT);
	assert_non_null(dep(at("none"), DEP_ABSENT));
	assert_non_null(dep(at("none/x"), DEP_ABSENT));
	assert_non_null(dep(at("d"), DEP_EXISTS));
	assert_non_null(dep(at("a"), DEP_EXISTS));
	finish();
	not_refused();
	unchanged();
	/* denied is denied: no lock is taken although the file goes between judgement and call */
	assert_int_equal(tell(SYS_openat, (uint64_t[6]){ A(AT_FDCWD), A(at("a")), O_CREAT | O_EXCL | O_RDWR },
			      true, 0),
			 OBSERVE_DENIED);
	assert_int_equal(observe_denied(o), -EEXIST);
}

/* somebody made it between the judgement and the call: such a template is none */
static void overtaken(void **state)
{
	uint64_t args[6] = { A(AT_FDCWD), A(at("lock")), 0755 };

	(void)state;
	put("lock", "");
	tell(SYS_unlinkat, (uint64_t[6]){ A(AT_FDCWD), A(at("gone")), 0 }, true, 0);
	tell(SYS_unlinkat, (uint64_t[6]){ A(AT_FDCWD), A(at("gone")), 0 }, false, 0);
	refused(true, "which was about to change, before its readiness point");
	tell(SYS_mkdirat, args, false, -EEXIST);
	not_refused();
}

static void devices_and_pipes(void **state)
{
	int fd = open_at("/dev/null", O_WRONLY), fds[2];

	(void)state;
	assert_true(fd >= 0);
	call(SYS_write, A(fd), A("x"), 1);
	call(SYS_flock, A(fd), LOCK_EX);
	call(SYS_close, A(fd));
	assert_int_equal(symlink("/dev/null", at("log")), 0);
	assert_true(open_at(at("log"), O_WRONLY | O_CREAT | O_TRUNC) >= 0);
	fd = (int)call(SYS_memfd_create, A("x"), 0);
	assert_int_equal(call(SYS_write, A(fd), A("x"), 1), 1);
	assert_int_equal(call(SYS_ftruncate, A(fd), 100), 0);
	fd = open_at(root, O_TMPFILE | O_RDWR);
	assert_int_equal(call(SYS_write, A(fd), A("x"), 1), 1);
	assert_int_equal(call(SYS_pipe2, A(fds), 0), 0);
	assert_int_equal(call(SYS_write, A(fds[1]), A("x"), 1), 1);
	not_refused();
	/* shells open it to see whether it is there */
	assert_false(observe_keys(o)->terminal);
	tell(SYS_openat, (uint64_t[6]){ A(AT_FDCWD), A("/dev/tty"), O_RDWR }, true, 0);
	tell(SYS_openat, (uint64_t[6]){ A(AT_FDCWD), A("/dev/tty"), O_RDWR }, false, 40);
	assert_true(observe_keys(o)->terminal);
	not_refused();
	tell(SYS_write, (uint64_t[6]){ 40, A("x"), 1 }, true, 0);
	bounded("writes to the terminal");
	assert_int_equal(mkfifo(at("fifo"), 0600), 0);
	open_at(at("fifo"), O_RDONLY | O_NONBLOCK);
	bounded("opens the named pipe ");
	open_at(at("fifo"), O_RDWR);
	bounded("opens the named pipe ");
	assert_true(open_at(at("fifo"), O_PATH) >= 0);
	not_refused();
}

/* an importer that cannot write bytecode goes on, and none is left half done */
static void bytecode(void **state)
{
	(void)state;
	put("m.py", "");
	mark();
	assert_int_equal(observe_module_names(o, language_python.module_names), 0);
	list(root, true);
	observe_modules_dir(o, root);
	stat_at(at("__pycache__/m.pyc"));
	assert_int_equal(call(SYS_mkdirat, A(AT_FDCWD), A(at("__pycache__")), 0755), -EROFS);
	unchanged();
	assert_int_equal(mkdir(at("__pycache__"), 0755), 0);
	assert_int_equal(open_at(at("__pycache__/m.pyc.1234"), O_WRONLY | O_CREAT | O_EXCL), -EROFS);
	assert_int_equal(open_at(at("__pycache__/m.pyc"), O_RDONLY), -ENOENT);
	finish();
	not_refused();
	/* the cold run writes it beside the build: the source counts, not that */
	put("__pycache__/m.pyc", "code");
	assert_null(dep(at("__pycache__/m.pyc"), DEP_ABSENT));
	assert_int_equal(dep_set_check(observe_deps(o), NULL), 0);
	/* what is not an importer's is as any other file */
	open_at(at("__pycache__/own"), O_WRONLY | O_CREAT);
	bounded("makes ");
	open_at(at("__pycache__/m.pyc"), O_WRONLY | O_TRUNC);
	bounded("truncates ");
}

static void sockets(void **state)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX },
			   abstract = { .sun_family = AF_UNIX, .sun_path = "\0x" };
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr = { htonl(INADDR_LOOPBACK) },
				  .sin_port = htons(9) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	int fd, pair[2];

	(void)state;
	snprintf(un.sun_path, sizeof(un.sun_path), "%.60s/sock", root);
	fd = (int)call(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(call(SYS_connect, A(fd), A(&un), sizeof(un)), -ENOENT);
	assert_non_null(dep(at("sock"), DEP_ABSENT));
	assert_int_equal(call(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, A(pair)), 0);
	assert_int_equal(call(SYS_sendto, A(pair[0]), A("x"), 1, 0, 0, 0), 1);
	not_refused();
	call(SYS_bind, A(fd), A(&un), sizeof(un));
	bounded("binds a socket to ");
	call(SYS_bind, A(fd), A(&abstract), 4);
	bounded("binds a socket to @x");
	put("sock", "");
	call(SYS_connect, A(fd), A(&un), sizeof(un));
	bounded("connects to ");
	call(SYS_connect, A(fd), A(&abstract), 4);
	bounded("connects to @x");
	fd = (int)call(SYS_socket, AF_UNIX, SOCK_DGRAM, 0);
	call(SYS_sendto, A(fd), A("x"), 1, 0, A(&un), sizeof(un));
	bounded("sends to ");
	fd = (int)call(SYS_socket, AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(call(SYS_connect, A(fd), A(&in), sizeof(in)), 0);
	not_refused();
	call(SYS_write, A(fd), A("x"), 1);
	bounded("sends to the network");
	fd = (int)call(SYS_socket, AF_INET, SOCK_STREAM, 0);
	call(SYS_connect, A(fd), A(&in), sizeof(in));
	bounded("connects to 127.0.0.1:9");
	fd = (int)call(SYS_socket, AF_INET, SOCK_DGRAM, 0);
	call(SYS_sendto, A(fd), A("x"), 1, 0, A(&in), sizeof(in));
	bounded("sends to 127.0.0.1:9");
	/* a port of the kernel's choice, until somebody could connect to it */
	in.sin_port = 0;
	fd = (int)call(SYS_socket, AF_INET, SOCK_STREAM, 0);
	assert_int_equal(call(SYS_bind, A(fd), A(&in), sizeof(in)), 0);
	not_refused();
	assert_true(observe_keys(o)->bound);
	observe_bind_counts(o);
	call(SYS_bind, A(fd), A(&in), sizeof(in));
	bounded("binds a socket to 127.0.0.1:0");
	call(SYS_listen, A(fd), 1);
	bounded("listens on a socket");
	in6.sin6_port = htons(80);
	tell(SYS_bind, (uint64_t[6]){ A(fd), A(&in6), sizeof(in6) }, true, 0);
	bounded("binds a socket to [::]:80");
	fd = (int)call(SYS_socket, AF_NETLINK, SOCK_RAW, 0);
	call(SYS_bind, A(fd), A((struct sockaddr[1]){ { .sa_family = AF_NETLINK } }), 12);
	not_refused();
}

static void strangers(void **state)
{
	char path[64];

	(void)state;
	tell(SYS_kill, (uint64_t[6]){ A(getpid()), SIGTERM }, true, 0);
	tell(SYS_kill, (uint64_t[6]){ A(getpid()), 0 }, true, 0);
	tell(SYS_tgkill, (uint64_t[6]){ A(getpid()), A(getpid()), SIGTERM }, true, 0);
	snprintf(path, sizeof(path), "/proc/%d/stat", getpid());
	stat_at(path);
	assert_true(open_at("/proc/self/stat", O_RDONLY) >= 0);
	call(SYS_getpgid, 0);
	not_refused();
	call(SYS_kill, 1, 0);
	bounded("asks whether process 1 is there");
	call(SYS_kill, 1, SIGTERM);
	bounded("sends signal 15 to process 1");
	call(SYS_kill, A(-1), SIGTERM);
	bounded("sends signal 15");
	call(SYS_tgkill, 1, 1, SIGKILL);
	bounded("sends signal 9 to process 1");
	open_at("/proc/1/stat", O_RDONLY);
	bounded("looks at another process (/proc/1/stat)");
	stat_at("/proc/1");
	bounded("looks at another process (/proc/1)");
	call(SYS_readlinkat, A(AT_FDCWD), A("/proc/1/exe"), A(path), sizeof(path));
	bounded("looks at another process");
	call(SYS_getdents64, A(open_at("/proc", O_RDONLY | O_DIRECTORY)), A(path), sizeof(path));
	bounded("lists all processes");
	call(SYS_pidfd_open, 1, 0);
	bounded("opens process 1");
	call(SYS_getpgid, 1);
	bounded("asks for the process group of process 1");
	call(SYS_getppid, 0);
	not_refused();
	observe_phase_leading(o);
	call(SYS_getppid, 0);
	bounded("asks for the parent of its own process");
	call(SYS_prlimit64, 1, 7, 0, 0);
	bounded("limits of, process 1");
	call(SYS_sched_setaffinity, 1, 8, A(path));
	bounded("sets the affinity of process 1");
	call(SYS_process_vm_readv, 1, 0, 0, 0, 0, 0);
	bounded("reads the memory of process 1");
}

/* at the entry nobody knows whether the kernel would let it: a template that stands too early is right all the same */
static void others(void **state)
{
	static const struct {
		long nr;
		uint64_t args[6];
		const char *words;
	} table[] = {
		{ SYS_mount, { 1 }, "mounts a file system" },
		{ SYS_io_uring_setup, { 1 }, "uses io_uring" },
		{ SYS_io_setup, { 1 }, "uses asynchronous I/O" },
		{ SYS_shmget, { 0 }, "opens System V shared memory" },
		{ SYS_mq_open, { 0 }, "opens a message queue" },
		{ SYS_setsid, { 0 }, "begins a session" },
		{ SYS_setpgid, { 0 }, "changes its process group" },
		{ SYS_setuid, { 0 }, "changes its user or group ids" },
		{ SYS_capset, { 0 }, "changes its capabilities" },
		{ SYS_unshare, { 0 }, "changes its namespaces" },
		{ SYS_chroot, { 0 }, "changes its root directory" },
		{ SYS_prctl, { PR_SET_SECCOMP, 2 }, "installs a seccomp filter" },
		{ SYS_ptrace, { 0 }, "uses ptrace" },
		{ SYS_reboot, { 0 }, "reboots" },
		{ SYS_shmctl, { 1, IPC_RMID }, "uses System V shared memory" },
		{ SYS_semctl, { 1, 0, IPC_RMID }, "uses a System V semaphore" },
		{ SYS_mq_timedsend, { 1 }, "uses a message queue" },
		{ SYS_mount_setattr, { 0 }, "changes a mount" },
		{ SYS_kcmp, { 1, 1 }, "asks about process 1" },
		{ SYS_clone, { CLONE_NEWNET | SIGCHLD }, "starts a process in namespaces of its own" },
		{ SYS_clone, { CLONE_UNTRACED | SIGCHLD }, "starts a process that cannot be observed" },
		{ 600, { 0 }, "makes a system call that warm does not know" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		tell(table[i].nr, table[i].args, true, 0);
		bounded(table[i].words);
	}
	tell(SYS_prctl, (uint64_t[6]){ PR_SET_NAME, A("x") }, true, 0);
	not_refused();
}

/* other names of what is judged: by links of the kernel's, and by descriptors that somebody else has too */
static void other_names(void **state)
{
	char path[128];

	(void)state;
	put("a", "one");
	assert_int_equal(symlink(at("none"), at("dangling")), 0);
	mark();
	call(SYS_unlinkat, A(AT_FDCWD), A("/proc/self/cwd/a"), 0);
	bounded("removes ");
	snprintf(path, sizeof(path), "/proc/self/root%.100s", at("a"));
	open_at(path, O_WRONLY | O_TRUNC);
	bounded("truncates ");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", FD);
	open_at(path, O_WRONLY | O_TRUNC);
	bounded("truncates ");
	call(SYS_chmod, A("/proc/self/cwd"), 0700);
	bounded("changes the mode of ");
	open_at(at("dangling"), O_WRONLY | O_CREAT);
	bounded("makes what ");
	tell(SYS_write, (uint64_t[6]){ A(open_at("/proc/self/oom_score_adj", O_WRONLY)), A("0"), 1 }, true,
	     0);
	not_refused();
	tell(SYS_write, (uint64_t[6]){ A(open_at("/proc/sys/kernel/hostname", O_WRONLY)), A("x"), 1 }, true,
	     0);
	bounded("writes to ");
	call(SYS_flock, 0, LOCK_EX | LOCK_NB);
	bounded("locks descriptor 0, which it inherited,");
	call(SYS_ioctl, A(FD), 0x1234, 0);
	bounded("makes an ioctl (0x1234)");
	call(SYS_ioctl, A(FD), FIONREAD, A(path));
	not_refused();
	unchanged();
}

/* a question of the kernel is none of somebody else's; an order is, and so is an option that no clone would get */
static void kernel_by_socket(void **state)
{
	struct {
		struct nlmsghdr header;
		struct rtgenmsg family;
	} message = { .header = { .nlmsg_len = NLMSG_LENGTH(sizeof(struct rtgenmsg)),
				  .nlmsg_type = RTM_GETLINK,
				  .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP } };
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	int fd, one = 1;

	(void)state;
	fd = (int)call(SYS_socket, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	assert_true(call(SYS_sendto, A(fd), A(&message), message.header.nlmsg_len, 0, A(&kernel),
			 sizeof(kernel)) > 0);
	not_refused();
	message.header.nlmsg_type = RTM_DELLINK;
	call(SYS_sendto, A(fd), A(&message), message.header.nlmsg_len, 0, A(&kernel), sizeof(kernel));
	bounded("sends to the kernel by netlink");
	fd = (int)call(SYS_socket, AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(call(SYS_setsockopt, A(fd), SOL_SOCKET, SO_BROADCAST, A(&one), sizeof(one)), 0);
	not_refused();
	call(SYS_setsockopt, A(fd), SOL_SOCKET, SO_ATTACH_FILTER, A(&one), sizeof(one));
	bounded("sets option ");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, observed_setup, observed_teardown)
	const struct CMUnitTest tests[] = {
		TEST(paths),	   TEST(descriptors),	    TEST(failures),
		TEST(overtaken),   TEST(devices_and_pipes), TEST(bytecode),
		TEST(sockets),	   TEST(strangers),	    TEST(others),
		TEST(other_names), TEST(kernel_by_socket),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
