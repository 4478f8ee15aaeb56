/* SPDX-License-Identifier: MIT */
/* descriptors.c - what the program opened before its readiness point */
#include "program.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>

/* what is open, in order; numbers beyond 100 are the readiness protocol's */
static void list(void)
{
	for (int fd = 3; fd < 100; fd++) {
		int flags = fcntl(fd, F_GETFD);

		if (flags >= 0)
			printf("fd %d%s flags %x\n", fd, flags & FD_CLOEXEC ? " cloexec" : "",
			       fcntl(fd, F_GETFL));
	}
}

static void show(const char *what, int fd)
{
	char buf[256];
	ssize_t n = read(fd, buf, sizeof(buf) - 1);

	buf[n > 0 ? n : 0] = '\0';
	printf("%s: %zd '%s'%s\n", what, n, buf, n < 0 ? strerrorname_np(errno) : "");
}

/* in a directory with "file", 0123456789, and "append", one */
static void case_files(void)
{
	int fd, append, dir, dup1, ro;
	struct stat st;
	char buf[64];

	fd = MUST(open("file", O_RDWR));
	lseek(fd, 4, SEEK_SET);
	append = MUST(open("append", O_WRONLY | O_APPEND | O_CLOEXEC));
	dir = MUST(open(".", O_RDONLY | O_DIRECTORY));
	dup1 = MUST(dup(fd));
	MUST(fcntl(fd, F_DUPFD_CLOEXEC, 40));
	ro = MUST(open("file", O_RDONLY));
	MUST(open("/dev/null", O_RDWR));
	MUST(open("/dev/urandom", O_RDONLY | O_CLOEXEC));
	ready();
	list();
	show("at 4", fd);
	printf("offset of its dups %ld %ld, of another %ld\n", (long)lseek(dup1, 0, SEEK_CUR),
	       (long)lseek(40, 0, SEEK_CUR), (long)lseek(ro, 0, SEEK_CUR));
	lseek(dup1, 1, SEEK_SET);
	show("at 1 by a dup", 40);
	MUST(pwrite(fd, "X", 1, 0));
	show("another description", ro);
	MUST(write(append, "two", 3));
	MUST(fstat(append, &st));
	printf("append size %ld\n", (long)st.st_size);
	printf("openat in the directory %d\n", openat(dir, "file", O_RDONLY) >= 0);
	printf("null %zd urandom %zd\n", read(8, buf, 8), read(9, buf, 8));
}

static void case_pipes(void)
{
	int p[2], half[2], dead[2], big[2], empty[2];
	char buf[4096], *big_data = malloc(300000);
	size_t total = 0;
	ssize_t n;

	MUST(pipe(p));
	MUST(write(p[1], "in the pipe", 11));
	MUST(pipe2(half, O_NONBLOCK | O_CLOEXEC));
	MUST(write(half[1], "last words", 10));
	close(half[1]);
	MUST(pipe(dead));
	close(dead[0]);
	MUST(pipe2(empty, O_NONBLOCK));
	MUST(dup2(p[1], 50));
	MUST(dup2(p[0], 51));
	MUST(pipe(big));
	n = fcntl(big[1], F_SETPIPE_SZ, 512 * 1024);
	memset(big_data, 'q', 300000);
	MUST(write(big[1], big_data, n > 0 ? 300000 : 60000));
	signal(SIGPIPE, SIG_IGN);
	ready();
	list();
	show("both ends", p[0]);
	MUST(write(50, "by a dup", 8));
	show("to a dup", 51);
	show("one end", half[0]);
	show("then end of file", half[0]);
	printf("nobody reads: %zd %s\n", write(dead[1], "x", 1), strerrorname_np(errno));
	show("empty", empty[0]);
	fcntl(big[0], F_SETFL, O_NONBLOCK);
	while ((n = read(big[0], buf, sizeof(buf))) > 0)
		for (ssize_t i = 0; i < n; i++)
			total += buf[i] == 'q';
	printf("in the large one %d size %d\n", total == 300000 || total == 60000,
	       fcntl(big[0], F_GETPIPE_SZ));
}

static void case_events(void)
{
	int e = MUST(eventfd(5, EFD_NONBLOCK)),
	    s = MUST(eventfd(3, EFD_SEMAPHORE | EFD_CLOEXEC | EFD_NONBLOCK)), p[2], d, ep, n;
	struct epoll_event ev[8], set = { .events = EPOLLIN };
	uint64_t v;

	MUST(pipe(p));
	d = MUST(dup(p[0]));
	ep = MUST(epoll_create1(EPOLL_CLOEXEC));
	set.data.u64 = 0x1111222233334444;
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, e, &set));
	set.data.u64 = 2;
	set.events = EPOLLIN | EPOLLET;
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &set));
	set.data.u64 = 3;
	set.events = EPOLLIN | EPOLLONESHOT;
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, d, &set));
	ready();
	list();
	n = epoll_wait(ep, ev, 8, 0);
	printf("%d: %lx\n", n, ev[0].data.u64);
	MUST(read(e, &v, 8));
	printf("count %lu\n", v);
	while (read(s, &v, 8) == 8)
		printf("semaphore %lu\n", v);
	MUST(write(p[1], "x", 1));
	n = epoll_wait(ep, ev, 8, 0);
	for (int i = 0; i < n; i++)
		for (int j = 0; j < n; j++)
			if (ev[j].data.u64 == 2u + (unsigned int)i)
				printf("ready %lu %x\n", ev[j].data.u64, ev[j].events);
	printf("edge and one shot: %d\n", epoll_wait(ep, ev, 8, 0));
	MUST(write(e, &(uint64_t){ 1 }, 8));
	printf("again %d\n", epoll_wait(ep, ev, 8, 0));
	MUST(epoll_ctl(ep, EPOLL_CTL_DEL, e, NULL));
	printf("removed %d\n", epoll_wait(ep, ev, 8, 0));
}

static void case_socketpair(void)
{
	int s[2], half[2];
	char buf[64];

	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s));
	MUST(write(s[0], "to one", 6));
	MUST(write(s[1], "to zero", 7));
	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, half));
	ready();
	list();
	show("one", s[1]);
	show("zero", s[0]);
	MUST(write(s[0], "again", 5));
	show("one", s[1]);
	printf("empty %zd\n", recv(half[0], buf, sizeof(buf), MSG_DONTWAIT));
	close(half[0]);
	show("end of file", half[1]);
}

/* neighbours by their numbers, and strangers */
static void case_strangers(void)
{
	int a[2], b[2];

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, a));
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, b));
	close(a[0]);
	close(b[1]);
	ready();
	printf("a ends: %zd %s\n", send(a[1], "x", 1, MSG_NOSIGNAL), strerror(errno));
	show("b ends", b[0]);
}

/*
 * A pair whose numbers are no neighbours. Each processor has 1024 numbers at a time (get_next_ino()): two take turns, so
 * that what follows on one is not the other's, and one number more now and then, so that the end falls within a pair.
 */
static void case_far_apart(void)
{
	cpu_set_t all, one;
	struct stat st[2];
	int s[2];

	MUST(sched_getaffinity(0, sizeof(all), &all));
	for (int i = 0; i < 100000; i++) {
		if (i % 64 == 0) {
			CPU_ZERO(&one);
			CPU_SET(i / 64 % 2, &one);
			sched_setaffinity(0, sizeof(one), &one);
		}
		MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
		MUST(fstat(s[0], &st[0]));
		MUST(fstat(s[1], &st[1]));
		if (st[1].st_ino != st[0].st_ino + 1)
			break;
		close(s[0]);
		close(s[1]);
		if (i % 1024 == 1023)
			close(MUST(socket(AF_UNIX, SOCK_STREAM, 0)));
	}
	MUST(sched_setaffinity(0, sizeof(all), &all));
	if (st[1].st_ino == st[0].st_ino + 1)
		exit(77);
	ready();
	MUST(write(s[0], "hello", 5));
	show("one", s[1]);
}

static void case_shut_down(void)
{
	int write_end[2], read_end[2], both[2];

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, write_end));
	MUST(write(write_end[0], "before", 6));
	MUST(shutdown(write_end[0], SHUT_WR));
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, read_end));
	MUST(shutdown(read_end[1], SHUT_RD));
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, both));
	MUST(shutdown(both[1], SHUT_RDWR));
	ready();
	show("before", write_end[1]);
	show("end of file", write_end[1]);
	printf("other way %zd\n", write(write_end[1], "x", 1));
	printf("to one that does not read: %zd %s\n", send(read_end[0], "x", 1, MSG_NOSIGNAL),
	       strerror(errno));
	printf("from it %zd\n", write(read_end[1], "y", 1));
	show("that", read_end[0]);
	show("neither", both[0]);
}

static void with_option(int name, int value)
{
	int s[2];

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	MUST(setsockopt(s[1], SOL_SOCKET, name, &value, sizeof(value)));
	ready();
	printf("there\n");
}

static void case_passcred(void)
{
	with_option(SO_PASSCRED, 1);
}

static void case_rcvbuf(void)
{
	with_option(SO_RCVBUF, 4096);
}

static void case_out_of_band(void)
{
	int s[2];

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	MUST(write(s[0], "abc", 3));
	if (send(s[0], "d", 1, MSG_OOB) != 1)
		exit(77);
	MUST(write(s[0], "e", 1));
	ready();
	show("in band", s[1]);
}

static void case_timerfd(void)
{
	int t = MUST(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)),
	    off = MUST(timerfd_create(CLOCK_REALTIME, 0));
	struct itimerspec v = { { 7, 0 }, { 0, 500000000 } }, now;
	struct pollfd pfd = { .fd = t, .events = POLLIN };
	uint64_t n, left;

	MUST(timerfd_settime(t, 0, &v, NULL));
	ready();
	list();
	timerfd_gettime(t, &now);
	left = (uint64_t)now.it_value.tv_nsec / 1000000 + (uint64_t)now.it_value.tv_sec * 1000;
	printf("left %d interval %ld\n", left > 100 && left <= 500, (long)now.it_interval.tv_sec);
	poll(&pfd, 1, 2000);
	MUST(read(t, &n, 8));
	printf("expired %lu\n", n);
	timerfd_gettime(off, &now);
	printf("not set %ld\n", (long)now.it_value.tv_nsec);
}

static void case_signalfd(void)
{
	struct signalfd_siginfo info;
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = MUST(signalfd(-1, &set, SFD_NONBLOCK));
	sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = 9 });
	ready();
	list();
	kill(getpid(), SIGUSR1);
	while (read(fd, &info, sizeof(info)) == sizeof(info))
		printf("signal %u value %d own %d\n", info.ssi_signo,
		       info.ssi_signo == SIGUSR1 ? 0 : info.ssi_int, (pid_t)info.ssi_pid == getpid());
}

/* two clones, driven in turn by their standard input, must not see each other's */
static void case_apart(void)
{
	int p[2], e = MUST(eventfd(0, EFD_NONBLOCK)), s[2], fd;
	char line[64], buf[64];
	uint64_t v;
	ssize_t n;

	MUST(pipe2(p, O_NONBLOCK));
	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s));
	fd = MUST(open("/proc/self/exe", O_RDONLY));
	ready();
	if (!fgets(line, sizeof(line), stdin))
		exit(96);
	line[strcspn(line, "\n")] = '\0';
	MUST(write(p[1], line, strlen(line)));
	MUST(write(s[1], line, strlen(line)));
	v = strlen(line);
	MUST(write(e, &v, 8));
	lseek(fd, (off_t)strlen(line), SEEK_CUR);
	printf("done\n");
	fflush(stdout);
	if (!fgets(buf, sizeof(buf), stdin))
		exit(96);
	n = read(p[0], buf, sizeof(buf));
	printf("pipe %.*s ", (int)n, buf);
	n = read(s[0], buf, sizeof(buf));
	MUST(read(e, &v, 8));
	printf("socket %.*s count %lu offset %ld\n", (int)n, buf, v, (long)lseek(fd, 0, SEEK_CUR));
}

/* descriptors that came from the caller: those above 2 that are open, and what comes out of them */
static void case_caller(void)
{
	ready();
	for (int fd = 3; fd < 100; fd++) {
		char buf[64];
		ssize_t n;

		if (fcntl(fd, F_GETFD) < 0)
			continue;
		n = read(fd, buf, sizeof(buf));
		printf("fd %d: %.*s\n", fd, (int)(n > 0 ? n : 0), buf);
	}
	printf("end\n");
}

/* a descriptor of its own gets the number that the caller uses */
static void case_clash(void)
{
	int fd = MUST(open("/dev/null", O_RDONLY)), got = MUST(dup2(fd, 5));
	char buf[64];
	ssize_t n;

	ready();
	n = read(got, buf, sizeof(buf));
	printf("from 5: %zd\n", n);
}

static void case_dup_stdio(void)
{
	int saved = MUST(dup(1)), err = MUST(fcntl(2, F_DUPFD_CLOEXEC, 20));

	ready();
	dprintf(saved, "to a dup of standard output\n");
	dprintf(err, "to a dup of standard error\n");
	printf("to itself\n");
}

static void case_lock(void)
{
	int fd;

	fd = MUST(open("lock", O_RDWR | O_CREAT, 0600));
	MUST(flock(fd, LOCK_EX));
	ready();
	{
		int other = MUST(open("lock", O_RDWR));

		printf("held: %d\n", flock(other, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK);
	}
}

static void case_posix_lock(void)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 10 };
	int fd, status;
	pid_t pid;

	fd = MUST(open("lock", O_RDWR | O_CREAT, 0600));
	MUST(fcntl(fd, F_SETLK, &l));
	ready();
	pid = fork();
	if (pid == 0) {
		l.l_type = F_WRLCK;
		_exit(fcntl(fd, F_SETLK, &l) < 0 ? 1 : 0);
	}
	waitpid(pid, &status, 0);
	printf("held: %d\n", WEXITSTATUS(status));
}

/* --- what is refused by name --- */

static void case_tcp(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));

	MUST(bind(fd, (struct sockaddr *)&a, sizeof(a)));
	MUST(listen(fd, 1));
	ready();
	printf("listening\n");
}

static void case_udp(void)
{
	MUST(socket(AF_INET, SOCK_DGRAM, 0));
	ready();
	printf("there\n");
}

static void case_unix(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = MUST(socket(AF_UNIX, SOCK_STREAM, 0));

	snprintf(a.sun_path + 1, 64, "warm-test-%d", getpid());
	MUST(bind(fd, (struct sockaddr *)&a, sizeof(a)));
	MUST(listen(fd, 1));
	ready();
	printf("listening\n");
}

static void case_seqpacket(void)
{
	int s[2];

	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s));
	MUST(write(s[0], "one", 3));
	MUST(write(s[0], "two", 3));
	ready();
	show("first", s[1]);
	show("second", s[1]);
}

static void case_passed(void)
{
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(sizeof(int))];
	} c = {
		.h = { .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS }
	};
	struct iovec iov = { "x", 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c)
	};
	int s[2], fd = MUST(open("/dev/null", O_RDONLY)), got;

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	memcpy(CMSG_DATA(&c.h), &fd, sizeof(fd));
	MUST(sendmsg(s[0], &msg, 0));
	close(fd);
	ready();
	memset(&c, 0, sizeof(c));
	msg.msg_controllen = sizeof(c);
	MUST(recvmsg(s[1], &msg, 0));
	memcpy(&got, CMSG_DATA(&c.h), sizeof(got));
	printf("came: %d\n", c.h.cmsg_len == CMSG_LEN(sizeof(int)) && fcntl(got, F_GETFD) >= 0);
}

static void case_inotify(void)
{
	int fd = MUST(inotify_init1(0));

	MUST(inotify_add_watch(fd, "/", IN_CREATE));
	ready();
	printf("there\n");
}

static void case_memfd(void)
{
	int fd = MUST(memfd_create("test", 0));

	MUST(write(fd, "contents", 8));
	ready();
	lseek(fd, 0, SEEK_SET);
	show("memfd", fd);
}

static void case_memfd_mapped(void)
{
	int fd = MUST(memfd_create("test", 0));
	char *p;

	MUST(ftruncate(fd, 4096));
	p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	strcpy(p, "contents");
	ready();
	printf("%s\n", p);
}

static void case_deleted(void)
{
	char name[] = "/tmp/warm-test-deleted-XXXXXX";
	int fd = MUST(mkstemp(name));

	MUST(write(fd, "contents", 8));
	unlink(name);
	ready();
	lseek(fd, 0, SEEK_SET);
	show("deleted", fd);
}

static void case_child(void)
{
	int p[2], status;
	char byte;
	pid_t pid;

	MUST(pipe(p));
	pid = fork();
	if (pid == 0) {
		close(p[1]);
		_exit(read(p[0], &byte, 1) == 0 ? 3 : 4);
	}
	ready();
	close(p[1]);
	waitpid(pid, &status, 0);
	printf("child %d\n", WEXITSTATUS(status));
}

/* a child that ended and was not waited for yet */
static void case_zombie(void)
{
	siginfo_t info;
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(7);
	MUST(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT));
	ready();
	MUST(waitpid(pid, &status, 0));
	printf("child %d\n", WEXITSTATUS(status));
}

static void case_io_uring(void)
{
	char params[256] = { 0 };
	int fd = (int)syscall(SYS_io_uring_setup, 4, params);

	if (fd < 0)
		exit(77); /* the host has none */
	ready();
	printf("there\n");
}

static void case_fifo(void)
{
	if (mkfifo("fifo", 0600) < 0 && errno != EEXIST)
		die("mkfifo");
	MUST(open("fifo", O_RDWR));
	ready();
	printf("there\n");
}

static void case_pidfd(void)
{
	MUST(syscall(SYS_pidfd_open, getpid(), 0));
	ready();
	printf("there\n");
}

static void case_async(void)
{
	int s[2];

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	MUST(fcntl(s[0], F_SETOWN, getpid()));
	MUST(fcntl(s[0], F_SETFL, O_ASYNC));
	ready();
	printf("owner is this process: %d async %d\n", fcntl(s[0], F_GETOWN) == getpid(),
	       (fcntl(s[0], F_GETFL) & O_ASYNC) != 0);
}

int main(int argc, char **argv)
{
	static const struct test_case cases[] = {
		{ "files", case_files },
		{ "pipes", case_pipes },
		{ "events", case_events },
		{ "socketpair", case_socketpair },
		{ "timerfd", case_timerfd },
		{ "signalfd", case_signalfd },
		{ "apart", case_apart },
		{ "caller", case_caller },
		{ "clash", case_clash },
		{ "dup_stdio", case_dup_stdio },
		{ "lock", case_lock },
		{ "posix_lock", case_posix_lock },
		{ "tcp", case_tcp },
		{ "udp", case_udp },
		{ "unix", case_unix },
		{ "seqpacket", case_seqpacket },
		{ "passed", case_passed },
		{ "inotify", case_inotify },
		{ "memfd", case_memfd },
		{ "memfd_mapped", case_memfd_mapped },
		{ "deleted", case_deleted },
		{ "child", case_child },
		{ "zombie", case_zombie },
		{ "io_uring", case_io_uring },
		{ "fifo", case_fifo },
		{ "pidfd", case_pidfd },
		{ "async", case_async },
		{ "strangers", case_strangers },
		{ "far_apart", case_far_apart },
		{ "passcred", case_passcred },
		{ "shut_down", case_shut_down },
		{ "rcvbuf", case_rcvbuf },
		{ "out_of_band", case_out_of_band },
	};

	return RUN_CASE(cases);
}
