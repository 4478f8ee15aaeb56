/* SPDX-License-Identifier: MIT */
/* each kind of descriptor: from a descriptor of this process to the model, and from a model to what the stub is told */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>

#include "engine/base/array.h"
#include "engine/base/fd.h"
#include "engine/base/proc_path.h"
#include "snapshot/kinds/fd.h"
#include "snapshot/kinds/socket.h"

#define NO_TERMINAL 0

static struct model *m;
static struct fd_source s;
static struct error err;
static char link_text[4096], *fdinfo;

static int setup(void **state)
{
	(void)state;
	m = model_new(1);
	s = (struct fd_source){ .model = m, .pid = getpid(), .dup_of = -1, .same_as = -1, .err = &err };
	err = (struct error){ 0 };
	return m ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	model_free(m);
	return 0;
}

/* dump a descriptor of this process, as one with number @fd; it stays open. Return: as fd_kind_dump(), index in *@ret */
static int dump_fd(int fd, int *ret)
{
	struct model_description *d = array_append(&m->descriptions, &m->ndescriptions, sizeof(*d));
	struct model_fd *f = array_append(&m->fd_tables[0].fds, &m->fd_tables[0].nfds, sizeof(*f));
	ssize_t n = readlink(proc_path(getpid(), "fd/%d", fd).text, link_text, sizeof(link_text) - 1);
	int r;

	assert_true(d && f && n > 0);
	link_text[n] = '\0';
	assert_int_equal(read_file(proc_path(getpid(), "fdinfo/%d", fd).text, &fdinfo, NULL), 0);
	assert_int_equal(fstat(fd, &s.st), 0);
	s.number = s.fd = fd;
	s.link = link_text;
	s.fdinfo = fdinfo;
	d->kind = MODEL_FD_KINDS;
	d->peer = MODEL_NONE;
	d->flags = (uint32_t)fd_info_number(&s, "flags:\t", 8) & ~(uint32_t)O_CLOEXEC;
	*ret = (int)m->ndescriptions - 1;
	*f = (struct model_fd){ .fd = fd, .description = *ret };
	r = fd_kind_dump(&s, d);
	free(fdinfo);
	return r;
}

/* the same of one that is taken over, and is of a kind */
static struct model_description *dumped(int fd, enum model_fd_kind kind)
{
	int i, r;

	assert_true(fd >= 0);
	r = dump_fd(fd, &i);
	if (r < 0)
		fail_msg("%s", err.text);
	assert_int_equal(m->descriptions[i].kind, kind);
	close(fd);
	return &m->descriptions[i];
}

/* @words: part of the refusal */
static void refused(int fd, const char *words)
{
	int i;

	assert_true(fd >= 0);
	assert_int_equal(dump_fd(fd, &i), -EOPNOTSUPP);
	if (!strstr(err.text, words))
		fail_msg("'%s' is not in '%s'", words, err.text);
	close(fd);
}

static struct fd_bytes bytes;

static struct stub_description planned(const struct model_description *d)
{
	struct stub_description p;

	fd_kind_plan(d, &p, &bytes);
	assert_int_equal(p.kind, d->kind);
	return p;
}

/* --- models without a process: what the stub is told ---------------------------------- */

static struct model_option nodelay = { .level = IPPROTO_TCP, .name = TCP_NODELAY, .len = 4, .value = { 1 } };
static char queued[] = "queued", path[] = "/etc/hosts";

static const struct {
	struct model_description model;
	struct stub_description stub;
	struct fd_bytes data;
} plans[] = {
	{ { .kind = MODEL_FD_PIPE,
	    .peer = 3,
	    .flags = O_NONBLOCK,
	    .data = queued,
	    .data_len = 6,
	    .pipe.room = 8192 },
	  { .kind = STUB_FD_PIPE, .peer = 3, .flags = O_NONBLOCK, .b = 8192 },
	  { queued, 6 } },
	{ { .kind = MODEL_FD_PIPE, .peer = MODEL_NONE, .flags = O_WRONLY },
	  { .kind = STUB_FD_PIPE, .peer = STUB_NONE, .flags = O_WRONLY },
	  { NULL, 0 } },
	{ { .kind = MODEL_FD_SOCKETPAIR,
	    .peer = 1,
	    .data = queued,
	    .data_len = 3,
	    .pair = { .type = SOCK_STREAM, .shutdown = 2 } },
	  { .kind = STUB_FD_SOCKETPAIR, .peer = 1, .a = SOCK_STREAM, .b = 2 },
	  { queued, 3 } },
	{ { .kind = MODEL_FD_SOCKET,
	    .peer = MODEL_NONE,
	    .socket = { .domain = AF_INET,
			.type = SOCK_STREAM,
			.protocol = 6,
			.options = &nodelay,
			.noptions = 1 } },
	  { .kind = STUB_FD_SOCKET, .peer = STUB_NONE, .a = AF_INET, .b = SOCK_STREAM, .c = 6 },
	  { &nodelay, sizeof(struct stub_option) } },
	{ { .kind = MODEL_FD_EVENTFD, .peer = MODEL_NONE, .eventfd = { .count = 3, .semaphore = true } },
	  { .kind = STUB_FD_EVENTFD, .peer = STUB_NONE, .a = 3, .b = EFD_SEMAPHORE },
	  { NULL, 0 } },
	{ { .kind = MODEL_FD_EVENTFD, .peer = MODEL_NONE },
	  { .kind = STUB_FD_EVENTFD, .peer = STUB_NONE },
	  { NULL, 0 } },
	{ { .kind = MODEL_FD_EPOLL, .peer = MODEL_NONE, .owner = 0, .owner_signo = 10 },
	  { .kind = STUB_FD_EPOLL, .peer = STUB_NONE, .owner_signo = 10 },
	  { NULL, 0 } },
	{ { .kind = MODEL_FD_TIMERFD,
	    .peer = MODEL_NONE,
	    .timerfd = { .clock = CLOCK_MONOTONIC, .value_ns = 5, .interval_ns = 7 } },
	  { .kind = STUB_FD_TIMERFD, .peer = STUB_NONE, .a = CLOCK_MONOTONIC, .b = 5, .c = 7 },
	  { NULL, 0 } },
	{ { .kind = MODEL_FD_SIGNALFD, .peer = MODEL_NONE, .signalfd.mask = 0x8002 },
	  { .kind = STUB_FD_SIGNALFD, .peer = STUB_NONE, .a = 0x8002 },
	  { NULL, 0 } },
	{ { .kind = MODEL_FD_PATH,
	    .peer = MODEL_NONE,
	    .flags = O_RDWR,
	    .path = { .path = path, .offset = 42 } },
	  { .kind = STUB_FD_PATH, .peer = STUB_NONE, .flags = O_RDWR, .b = 42 },
	  { path, sizeof(path) } },
	{ { .kind = MODEL_FD_TTY, .peer = MODEL_NONE, .outside = { .of = 1, .path = path } },
	  { .kind = STUB_FD_TTY, .peer = STUB_NONE, .a = 1 },
	  { NULL, 0 } },
	{ { .kind = MODEL_FD_TTY, .peer = MODEL_NONE, .outside = { .of = MODEL_DEV_TTY, .path = path } },
	  { .kind = STUB_FD_TTY, .peer = STUB_NONE, .a = UINT64_MAX },
	  { NULL, 0 } },
	{ { .kind = MODEL_FD_CALLER, .peer = MODEL_NONE, .outside.of = 2 },
	  { .kind = STUB_FD_CALLER, .peer = STUB_NONE, .a = 2 },
	  { NULL, 0 } },
};

static void what_the_stub_is_told(void **state)
{
	bool seen[MODEL_FD_KINDS] = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(plans); i++) {
		struct stub_description p = planned(&plans[i].model);

		assert_memory_equal(&p, &plans[i].stub, sizeof(p));
		assert_int_equal(bytes.len, plans[i].data.len);
		if (bytes.len)
			assert_memory_equal(bytes.at, plans[i].data.at, bytes.len);
		seen[plans[i].model.kind] = true;
	}
	for (size_t i = 0; i < MODEL_FD_KINDS; i++)
		if (!seen[i])
			fail_msg("no test of kind '%s'", model_fd_word((unsigned int)i));
}

/* --- descriptors of this process ------------------------------------------------------ */

static void pipes(void **state)
{
	int fds[2], reader, writer, lone;

	(void)state;
	assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
	assert_int_equal(write(fds[1], "queued", 6), 6);
	assert_true(fcntl(fds[1], F_SETPIPE_SZ, 4096) == 4096);
	assert_int_equal(dump_fd(fds[0], &reader), 0);
	assert_int_equal(dump_fd(fds[1], &writer), 0);
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(pipe2(fds, 0), 0);
	close(fds[0]);
	assert_int_equal(dump_fd(fds[1], &lone), 0);
	close(fds[1]);
	assert_int_equal(fd_kinds_link(m, 1, &err), 0);
	assert_int_equal(m->descriptions[reader].kind, MODEL_FD_PIPE);
	assert_int_equal(m->descriptions[reader].peer, writer);
	assert_int_equal(m->descriptions[writer].peer, reader);
	assert_int_equal(m->descriptions[lone].peer, MODEL_NONE);
	assert_int_equal(m->descriptions[reader].data_len, 6);
	assert_memory_equal(m->descriptions[reader].data, "queued", 6);
	assert_int_equal(m->descriptions[writer].data_len, 0);
	assert_int_equal(m->descriptions[reader].flags & (O_NONBLOCK | O_ACCMODE), O_NONBLOCK | O_RDONLY);
	assert_int_equal(m->descriptions[writer].pipe.room, 4096);
	assert_int_equal(m->descriptions[lone].pipe.room, 0);
}

static void what_waits_in_a_pipe_stays(void **state)
{
	char buf[8];
	int fds[2], i;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], "here", 4), 4);
	assert_int_equal(dump_fd(fds[0], &i), 0);
	assert_int_equal(read(fds[0], buf, sizeof(buf)), 4);
	close(fds[0]);
	close(fds[1]);
}

static void a_fifo_is_refused(void **state)
{
	char name[] = "/tmp/kinds-XXXXXX";

	(void)state;
	assert_non_null(mkdtemp(name));
	assert_int_equal(rmdir(name), 0);
	assert_int_equal(mkfifo(name, 0600), 0);
	refused(open(name, O_RDWR), "a FIFO");
	unlink(name);
}

static void pairs(void **state)
{
	int fds[2], a, b;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(write(fds[0], "for b", 5), 5);
	assert_int_equal(shutdown(fds[0], SHUT_WR), 0);
	assert_int_equal(dump_fd(fds[0], &a), 0);
	assert_int_equal(dump_fd(fds[1], &b), 0);
	assert_int_equal(fd_kinds_link(m, 1, &err), 0);
	assert_int_equal(m->descriptions[a].kind, MODEL_FD_SOCKETPAIR);
	assert_int_equal(m->descriptions[a].peer, b);
	assert_int_equal(m->descriptions[b].peer, a);
	assert_int_equal(m->descriptions[a].pair.shutdown, 2);
	assert_int_equal(m->descriptions[a].data_len, 0);
	assert_int_equal(m->descriptions[b].data_len, 5);
	assert_memory_equal(m->descriptions[b].data, "for b", 5);
	close(fds[0]);
	close(fds[1]);
}

static void half_a_pair_is_refused(void **state)
{
	int fds[2], i;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(dump_fd(fds[0], &i), 0);
	assert_int_equal(fd_kinds_link(m, 7, &err), -EOPNOTSUPP);
	assert_string_equal(err.text, "process 7 has a unix socket connected to somebody outside");
	close(fds[1]);
	refused(fds[0], "whose other end is closed");
}

static void sockets_that_are_refused(void **state)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fds[2], one = 1, fd;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
	refused(fds[0], "keeps message boundaries");
	close(fds[1]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(setsockopt(fds[0], SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)), 0);
	refused(fds[0], "with options");
	close(fds[1]);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&any, sizeof(any)), 0);
	refused(fd, "an internet socket");
	refused(socket(AF_NETLINK, SOCK_RAW, 0), "a socket");
}

static void descriptors_in_flight_are_refused(void **state)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 }, byte = 1;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fds[0], sizeof(int));
	assert_int_equal(sendmsg(fds[0], &msg, 0), 1);
	refused(fds[1], "in flight");
	close(fds[0]);
}

static int option_of(const struct model_description *d, int level, int name)
{
	int value;

	for (size_t i = 0; i < d->socket.noptions; i++) {
		const struct model_option *o = &d->socket.options[i];

		if (o->level != level || o->name != name)
			continue;
		assert_int_equal(o->len, sizeof(value));
		memcpy(&value, o->value, sizeof(value));
		return value;
	}
	fail_msg("no option %d of level %d", name, level);
	return -1;
}

static void sockets_not_used_yet(void **state)
{
	const struct model_description *d;
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1, size = 10000;

	(void)state;
	assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	d = dumped(fd, MODEL_FD_SOCKET);
	assert_int_equal(d->socket.domain, AF_INET);
	assert_int_equal(d->socket.type, SOCK_STREAM);
	assert_int_equal(d->socket.protocol, IPPROTO_TCP);
	assert_int_equal(option_of(d, SOL_SOCKET, SO_SNDBUF), 10000);
	assert_int_equal(option_of(d, IPPROTO_TCP, TCP_NODELAY), 1);
	/* to have set a size is an option of its own since 5.14: SO_BUF_LOCK */
	assert_in_range(d->socket.noptions, 2, 3);
	d = dumped(socket(AF_UNIX, SOCK_DGRAM, 0), MODEL_FD_SOCKET);
	assert_int_equal(d->socket.noptions, 0);
	assert_true(socket_carries(IPPROTO_TCP, TCP_NODELAY));
	assert_false(socket_carries(SOL_SOCKET, SO_ATTACH_FILTER));
}

static void eventfds(void **state)
{
	const struct model_description *d = dumped(eventfd(3, EFD_NONBLOCK), MODEL_FD_EVENTFD);

	(void)state;
	assert_int_equal(d->eventfd.count, 3);
	assert_false(d->eventfd.semaphore);
	d = dumped(eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK), MODEL_FD_EVENTFD);
	assert_int_equal(d->eventfd.count, 2);
	assert_true(d->eventfd.semaphore);
}

static void an_eventfd_with_a_large_count_is_refused(void **state)
{
	uint64_t many = 1ull << 33;
	int fd = eventfd(0, 0);

	(void)state;
	assert_int_equal(write(fd, &many, sizeof(many)), sizeof(many));
	refused(fd, "beyond 32 bits");
}

static void epolls(void **state)
{
	struct epoll_event own = { .events = EPOLLIN, .data.u64 = 77 },
			   callers = { .events = EPOLLOUT, .data.u64 = 78 };
	int fd = epoll_create1(0), counter = eventfd(0, 0), fds[2], e, c;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(epoll_ctl(fd, EPOLL_CTL_ADD, counter, &own), 0);
	assert_int_equal(epoll_ctl(fd, EPOLL_CTL_ADD, fds[1], &callers), 0);
	assert_int_equal(dump_fd(fd, &e), 0);
	assert_int_equal(dump_fd(counter, &c), 0);
	assert_int_equal(fd_kinds_link(m, 1, &err), 0);
	assert_int_equal(m->descriptions[e].kind, MODEL_FD_EPOLL);
	assert_int_equal(m->nepolls, 2);
	for (size_t i = 0; i < 2; i++) {
		const struct model_epoll *t = &m->epolls[i];

		assert_int_equal(t->description, e);
		assert_int_equal(t->fd_table, 0);
		/* the pipe is not among the process's own */
		assert_int_equal(t->target, t->fd == counter ? c : MODEL_NONE);
		assert_int_equal(t->data, t->fd == counter ? 77 : 78);
	}
	close(fd);
	close(counter);
	close(fds[0]);
	close(fds[1]);
}

static void timerfds(void **state)
{
	struct itimerspec hour = { { 1, 500 }, { 3600, 0 } }, soon = { .it_value.tv_nsec = 1 };
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	struct pollfd expired = { .events = POLLIN };
	const struct model_description *d;

	(void)state;
	assert_int_equal(timerfd_settime(fd, 0, &hour, NULL), 0);
	d = dumped(fd, MODEL_FD_TIMERFD);
	assert_int_equal(d->timerfd.clock, CLOCK_MONOTONIC);
	assert_int_equal(d->timerfd.interval_ns, 1000000500);
	assert_in_range(d->timerfd.value_ns, 3500000000000ull, 3600000000000ull);
	d = dumped(timerfd_create(CLOCK_REALTIME, 0), MODEL_FD_TIMERFD);
	assert_int_equal(d->timerfd.value_ns, 0);
	fd = timerfd_create(CLOCK_MONOTONIC, 0);
	assert_int_equal(timerfd_settime(fd, 0, &soon, NULL), 0);
	expired.fd = fd;
	assert_int_equal(poll(&expired, 1, -1), 1);
	refused(fd, "a timerfd that has expired");
}

static void signalfds(void **state)
{
	sigset_t set;

	(void)state;
	sigemptyset(&set);
	sigaddset(&set, 2);
	sigaddset(&set, 16);
	assert_int_equal(dumped(signalfd(-1, &set, 0), MODEL_FD_SIGNALFD)->signalfd.mask, 0x8002);
}

static void paths(void **state)
{
	int fd = open("/etc/passwd", O_RDONLY | O_NOCTTY);
	const struct model_description *d;
	struct stat st;

	(void)state;
	assert_int_equal(stat("/etc/passwd", &st), 0);
	assert_int_equal(lseek(fd, 5, SEEK_SET), 5);
	d = dumped(fd, MODEL_FD_PATH);
	assert_string_equal(d->path.path, "/etc/passwd");
	assert_int_equal(d->path.offset, 5);
	assert_int_equal(d->path.ino, st.st_ino);
	assert_int_equal(d->path.dev, st.st_dev);
	assert_int_equal(d->flags & O_NOCTTY, 0);
	assert_string_equal(dumped(open("/etc", O_RDONLY | O_DIRECTORY), MODEL_FD_PATH)->path.path, "/etc");
	assert_string_equal(dumped(open("/dev/null", O_RDWR), MODEL_FD_PATH)->path.path, "/dev/null");
	/* a clone has its own there */
	assert_string_equal(dumped(open("/proc/self/status", O_RDONLY), MODEL_FD_PATH)->path.path,
			    "/proc/self/status");
	assert_string_equal(dumped(open("/proc/thread-self/comm", O_RDONLY), MODEL_FD_PATH)->path.path,
			    "/proc/thread-self/comm");
}

static void paths_that_are_refused(void **state)
{
	char name[] = "/tmp/kinds-XXXXXX";
	int fd = mkstemp(name);

	(void)state;
	unlink(name);
	refused(fd, "a file that was deleted or replaced");
	refused(open("/proc/1/status", O_RDONLY), "a file of /proc that belongs to another process");
	refused(memfd_create("kinds", 0), "a memfd");
	refused(inotify_init(), "an inotify instance");
}

static void terminals(void **state)
{
	int fd = posix_openpt(O_RDWR | O_NOCTTY), slave;
	char *name;

	(void)state;
	assert_true(fd >= 0 && grantpt(fd) == 0 && unlockpt(fd) == 0);
	name = ptsname(fd);
	slave = open(name, O_RDWR | O_NOCTTY);
	/* one that stands in for the caller's, or one that nobody knows */
	assert_int_equal(fstat(slave, &s.st), 0);
	s.terminal = s.st.st_rdev;
	s.terminal_of = 2;
	assert_int_equal(dumped(slave, MODEL_FD_TTY)->outside.of, 2);
	s.terminal = NO_TERMINAL;
	refused(open(name, O_RDWR | O_NOCTTY), "a terminal that it opened itself");
	close(fd);
}

static void what_is_the_callers(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	s.dup_of = 1;
	assert_int_equal(dumped(dup(fds[1]), MODEL_FD_CALLER)->outside.of, 1);
	/* the same pipe by its name in /proc, not the same description */
	s.dup_of = -1;
	s.same_as = 0;
	assert_int_equal(dumped(dup(fds[0]), MODEL_FD_TTY)->outside.of, 0);
	/* a file has an offset, which appending makes no matter of */
	refused(open("/etc/passwd", O_RDONLY), "one of its standard descriptors");
	close(fds[0]);
	close(fds[1]);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_the_stub_is_told),
		T(pipes),
		T(what_waits_in_a_pipe_stays),
		T(a_fifo_is_refused),
		T(pairs),
		T(half_a_pair_is_refused),
		T(sockets_that_are_refused),
		T(descriptors_in_flight_are_refused),
		T(sockets_not_used_yet),
		T(eventfds),
		T(an_eventfd_with_a_large_count_is_refused),
		T(epolls),
		T(timerfds),
		T(signalfds),
		T(paths),
		T(paths_that_are_refused),
		T(terminals),
		T(what_is_the_callers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
