/* SPDX-License-Identifier: MIT */
#include "tests/unit/launcher/fake_warmd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/basket.h"
#include "engine/base/fd.h"
#include "engine/base/pidfd.h"

#define SCRIPT_SECONDS 30

static char dir[] = "/tmp/test.XXXXXX";
static struct sockaddr_un address;
static int listen_fd = -EBADF;
static pid_t process;
static int files_before;

static int count_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

int fake_open(void)
{
	files_before = count_files();
	strcpy(dir + sizeof(dir) - 7, "XXXXXX");
	if (!mkdtemp(dir) || setenv("WARM_RUNTIME_DIR", dir, 1) < 0)
		return -1;
	address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/" WIRE_SOCKET, dir);
	listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	return bind(listen_fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -1 : listen(listen_fd, 16);
}

int fake_close(void)
{
	listen_fd = fd_close(listen_fd);
	unlink(address.sun_path);
	if (count_files() != files_before) {
		fprintf(stderr, "# %d descriptors are open, %d were before\n", count_files(), files_before);
		return -1;
	}
	return rmdir(dir);
}

struct warm *w;

int setup(void **state)
{
	(void)state;
	w = NULL;
	return fake_open();
}

int teardown(void **state)
{
	(void)state;
	warm_close(w);
	return fake_close();
}

struct warm_launch_options options(const char *name)
{
	return (struct warm_launch_options){ .size = sizeof(struct warm_launch_options),
					     .template_name = name,
					     .fds = { -1, -1, -1 } };
}

const char *fake_path(void)
{
	return address.sun_path;
}

void fake_start(void (*script)(void))
{
	process = fork();
	assert_true(process >= 0);
	if (process)
		return;
	alarm(SCRIPT_SECONDS);
	script();
	_exit(0);
}

void fake_end(void)
{
	int status;

	assert_int_equal(waitpid(process, &status, 0), process);
	assert_int_equal(status, 0);
}

void fake_failed(const char *what, const char *file, int line)
{
	fprintf(stderr, "# %s:%d: %s (%s)\n", file, line, what, strerror(errno));
	_exit(1);
}

int fake_accept(void)
{
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);

	must(fd >= 0);
	return fd;
}

void fake_await(int conn)
{
	struct pollfd p = { .fd = conn, .events = POLLIN };

	must(poll(&p, 1, -1) == 1);
}

static const char *next(const char **at, const char *end)
{
	const char *s = *at, *nul = memchr(s, '\0', (size_t)(end - s));

	must(nul);
	*at = nul + 1;
	return s;
}

static void take_basket(struct packet *p)
{
	int basket = p->fds[0];
	struct packet inner;

	must(p->nfds == 1 && basket_take(basket, &inner) == 0);
	close(basket);
	memcpy(p->fds, inner.fds, sizeof(inner.fds));
	p->nfds = inner.nfds;
}

struct asked *fake_take(int conn)
{
	static struct asked a;
	const char *at = (const char *)(&a.run + 1), *end;

	packet_close_fds(&a.packet);
	must(packet_receive(conn, a.bytes, sizeof(a.bytes), &a.packet, 0) == 0);
	must(a.packet.len >= sizeof(a.run));
	must(a.run.header.magic == WIRE_MAGIC && a.run.header.version == WIRE_VERSION_NUMBER);
	must(a.run.header.type == WIRE_LAUNCH && a.run.header.size == a.packet.len);
	must(a.run.strings_size == a.packet.len - sizeof(a.run));
	take_basket(&a.packet);
	must(a.run.inherited_fds[0] == 7 && !a.run.inherited_fds[1] && a.packet.nfds == 4);
	must(a.run.argc < ARRAY_SIZE(a.argv) && a.run.envc < ARRAY_SIZE(a.envp));
	end = at + a.run.strings_size;
	a.name = next(&at, end);
	a.ready = next(&at, end);
	a.cwd = next(&at, end);
	for (uint32_t i = 0; i < a.run.argc; i++)
		a.argv[i] = next(&at, end);
	for (uint32_t i = 0; i < a.run.envc; i++)
		a.envp[i] = next(&at, end);
	a.argv[a.run.argc] = a.envp[a.run.envc] = NULL;
	must(at == end);
	return &a;
}

bool fake_ended(int conn)
{
	struct packet p;
	char byte;

	return packet_receive(conn, &byte, 1, &p, 0) == 0 && p.len == 0;
}

void fake_send(int conn, const void *packet, size_t size, const int *fds, size_t nfds)
{
	struct iovec piece = { (void *)packet, size };

	must(packet_send(conn, &piece, 1, fds, nfds, 0) == 0);
}

struct wire_run_reply fake_reply(uint32_t tag, uint32_t status)
{
	return (struct wire_run_reply){
		.header = { .magic = WIRE_MAGIC,
			    .version = WIRE_VERSION_NUMBER,
			    .type = WIRE_RUN_REPLY,
			    .size = sizeof(struct wire_run_reply) },
		.status = status,
		.tag = tag,
	};
}

void fake_refuse(int conn, uint32_t tag, uint32_t status, const char *reason)
{
	struct wire_run_reply reply = fake_reply(tag, status);

	snprintf(reply.reason, sizeof(reply.reason), "%s", reason);
	fake_send(conn, &reply, sizeof(reply), NULL, 0);
}

static void send_launched(int conn, uint32_t tag, pid_t pid, pid_t seen)
{
	struct wire_run_reply reply = fake_reply(tag, WIRE_LAUNCHED);
	int pidfd = pidfd_open_process(seen);

	must(pidfd >= 0);
	reply.nfds = 1;
	reply.pid = (uint32_t)pid;
	fake_send(conn, &reply, sizeof(reply), &pidfd, 1);
	close(pidfd);
}

void fake_launched(int conn, uint32_t tag, pid_t pid)
{
	send_launched(conn, tag, pid ? pid : getpid(), pid ? pid : getpid());
}

void fake_made_up(int conn, uint32_t tag, pid_t pid)
{
	send_launched(conn, tag, pid, getpid());
}

void fake_exited(int conn, uint32_t tag, pid_t pid, int wstatus)
{
	struct wire_exited m = {
		.header = { .magic = WIRE_MAGIC,
			    .version = WIRE_VERSION_NUMBER,
			    .type = WIRE_EXITED,
			    .size = sizeof(m) },
		.pid = (uint32_t)pid,
		.wstatus = wstatus,
		.tag = tag,
	};

	fake_send(conn, &m, sizeof(m), NULL, 0);
}

pid_t fake_clone(void)
{
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0) {
		alarm(SCRIPT_SECONDS);
		/* the connection above all: it ends when the fake does */
		for (int fd = 3; fd < 256; fd++)
			close(fd);
		for (;;)
			pause();
	}
	return pid;
}
