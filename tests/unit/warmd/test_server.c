/* SPDX-License-Identifier: MIT */
/* connections that misbehave while a build is under way; what any bytes do to the server is tests/fuzz/fuzz_wire.c's part */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "warmd/server.h"

static struct config cfg;
static struct server *server;
static sd_event *event;
static struct sockaddr_un address;
static socklen_t address_len;

static int setup(void **state)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	(void)state;
	log_open(STDERR_FILENO, LOG_LEVEL_ERROR);
	config_defaults(&cfg);
	/* nobody's cache is looked into */
	cfg.keep = false;
	address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	address_len = sizeof(address);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address.sun_family)) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &address_len) < 0 || listen(fd, 16) < 0)
		return -1;
	return sd_event_new(&event) < 0 || server_new(&server, event, &cfg, fd, NULL) < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	server_free(server);
	sd_event_unref(event);
	return 0;
}

static void turn(void)
{
	while (sd_event_run(event, 0) > 0)
		;
}

static int open_client(void)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, address_len), 0);
	return fd;
}

/* the program fails at once: a build that is short, and the same with every privilege. Return: the packet's bytes */
static size_t make_run(char *packet, size_t size, const char *word)
{
	struct wire_run run = {
		.header = { .magic = WIRE_MAGIC, .version = WIRE_VERSION_NUMBER, .type = WIRE_RUN },
		.flags = WIRE_RUN_BUILD,
		.argc = 2,
		.envc = 1,
		.umask = 022,
		.stdio = { WIRE_STDIO_NULL, WIRE_STDIO_PIPE, WIRE_STDIO_PIPE },
	};
	char *p = packet + sizeof(run);

	assert_true(size >= sizeof(run) + 256);
	p = stpcpy(p, "") + 1;
	p = stpcpy(p, "main") + 1;
	p = stpcpy(p, "/") + 1;
	p = stpcpy(p, "/proc/nonexistent/program") + 1;
	p = stpcpy(p, word) + 1;
	p = stpcpy(p, "PATH=/bin") + 1;
	run.strings_size = (uint32_t)(p - packet - (ptrdiff_t)sizeof(run));
	run.header.size = (uint32_t)(p - packet);
	memcpy(packet, &run, sizeof(run));
	return run.header.size;
}

static void ask_for_a_build(int fd, const char *word)
{
	char packet[sizeof(struct wire_run) + 256];
	size_t size = make_run(packet, sizeof(packet), word);

	assert_int_equal(send(fd, packet, size, 0), size);
	turn();
}

static void finish_builds(void)
{
	while (server->builds)
		assert_true(sd_event_run(event, 20000000) > 0);
}

static unsigned int answers(int fd)
{
	struct wire_run_reply reply;
	unsigned int n = 0;

	while (recv(fd, &reply, sizeof(reply), 0) == sizeof(reply))
		n++;
	return n;
}

static void waits_twice(void **state)
{
	int fd = open_client();

	(void)state;
	ask_for_a_build(fd, "x");
	ask_for_a_build(fd, "x");
	assert_non_null(server->builds);
	finish_builds();
	assert_int_equal(answers(fd), 2);
	close(fd);
	turn();
	assert_int_equal(server->connections.n, 0);
}

/* gone before the answer: nothing of it is left behind in the queue */
static void waits_twice_and_goes(void **state)
{
	int fd = open_client(), other = open_client();

	(void)state;
	for (int i = 0; i < 5; i++)
		ask_for_a_build(fd, "x");
	ask_for_a_build(other, "x");
	ask_for_a_build(fd, "y");
	close(fd);
	/* a build's process has a copy of this end for a moment */
	while (server->connections.n > 1)
		assert_true(sd_event_run(event, 20000000) > 0);
	finish_builds();
	assert_int_equal(answers(other), 1);
	close(other);
}

/* cannot take its answers: closed at the first, with others to come */
static void does_not_read(void **state)
{
	int fd = open_client();

	(void)state;
	for (int i = 0; i < 5; i++)
		ask_for_a_build(fd, "x");
	assert_int_equal(shutdown(fd, SHUT_RD), 0);
	finish_builds();
	turn();
	close(fd);
	turn();
	assert_int_equal(server->connections.n, 0);
}

static unsigned int count_fds(void)
{
	unsigned int n = 0;

	for (int fd = 0; fd < 200; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* until it fails. Return: how many were taken */
static unsigned int send_many(struct connection *c, size_t len, size_t nfds, int *ret)
{
	static char packet[WIRE_MAX_SIZE];
	const int fds[] = { STDERR_FILENO, STDERR_FILENO };
	unsigned int n = 0;

	while ((*ret = connection_send(c, packet, len, fds, nfds)) == 0)
		assert_true(++n < 2 * OUTGOING_MAX_PACKETS);
	return n;
}

/* a client that does not read loses its connection, whatever it is that waits for it; nothing is left of that */
static void never_reads(void **state)
{
	const struct {
		size_t len, nfds;
		unsigned int most; /* of those that are kept */
	} kinds[] = {
		{ sizeof(struct wire_exited), 0, OUTGOING_MAX_PACKETS },
		{ WIRE_MAX_SIZE, 0, OUTGOING_MAX_BYTES / WIRE_MAX_SIZE },
		{ sizeof(struct wire_run_reply), 2, (unsigned int)outgoing_max_fds() / 2 },
	};
	unsigned int before = count_fds();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		int fd = open_client(), r;
		struct connection *c;
		unsigned int n;

		turn();
		c = server->connections.list;
		assert_non_null(c);
		n = send_many(c, kinds[i].len, kinds[i].nfds, &r);
		assert_int_equal(r, -ENOBUFS);
		/* the kernel's own buffer takes some: sysctl net.core.wmem_max */
		assert_true(n < kinds[i].most + 4096);
		assert_true(n + 1 >= kinds[i].most);
		assert_int_equal(server->connections.overfull, i + 1);
		assert_null(c->outgoing);
		assert_int_equal(connection_send(c, "x", 1, NULL, 0), -EPIPE);
		turn();
		assert_int_equal(server->connections.n, 0);
		close(fd);
		assert_int_equal(count_fds(), before);
	}
}

/* one that reads later gets all of it in order, and may go on */
static void reads_late(void **state)
{
	struct wire_exited m = { .header = { .size = sizeof(m) } };
	int fd = open_client();
	struct connection *c;

	(void)state;
	turn();
	c = server->connections.list;
	for (m.tag = 0; m.tag < 5000; m.tag++)
		assert_int_equal(connection_send(c, &m, sizeof(m), NULL, 0), 0);
	assert_non_null(c->outgoing);
	for (uint32_t i = 0; i < 5000; i++) {
		if (recv(fd, &m, sizeof(m), 0) < 0) {
			assert_int_equal(errno, EAGAIN);
			turn();
			assert_int_equal(recv(fd, &m, sizeof(m), 0), sizeof(m));
		}
		assert_int_equal(m.tag, i);
	}
	turn();
	assert_null(c->outgoing);
	assert_int_equal(c->noutgoing + c->outgoing_bytes + c->outgoing_fds, 0);
	assert_int_equal(server->connections.overfull, 0);
	ask_for_a_build(fd, "x");
	finish_builds();
	assert_int_equal(answers(fd), 1);
	close(fd);
	turn();
	assert_int_equal(server->connections.n, 0);
}

/* none is free for a connection: not asked for again and again, and served when there is one */
static void no_descriptor_to_accept(void **state)
{
	struct rlimit before, few = { .rlim_cur = 100, .rlim_max = 100 };
	int fd = open_client(), spare[100], n = 0;

	(void)state;
	getrlimit(RLIMIT_NOFILE, &before);
	few.rlim_max = before.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	while ((spare[n] = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0)) >= 0)
		n++;
	turn();
	assert_int_equal(server->connections.n, 0);
	/* a pause may have passed meanwhile */
	assert_in_range(server->accept_failures, 1, 3);
	while (n > 0)
		close(spare[--n]);
	while (!server->connections.n)
		assert_true(sd_event_run(event, 20000000) > 0);
	setrlimit(RLIMIT_NOFILE, &before);
	ask_for_a_build(fd, "x");
	finish_builds();
	assert_int_equal(answers(fd), 1);
	close(fd);
	turn();
	assert_int_equal(server->connections.n, 0);
}

static void unwanted_descriptors(void **state)
{
	unsigned int before = count_fds();

	(void)state;
	for (size_t len = 0; len < 2; len++) {
		union {
			char space[CMSG_SPACE(sizeof(int) * 2)];
			struct cmsghdr align;
		} control = { .space = "" };
		struct iovec iov = { (char[]){ 'x' }, len };
		struct msghdr msg = { .msg_iov = &iov,
				      .msg_iovlen = 1,
				      .msg_control = &control,
				      .msg_controllen = sizeof(control) };
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		int fd = open_client(), fds[2] = { fd, fd };

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(fds));
		memcpy(CMSG_DATA(c), fds, sizeof(fds));
		assert_int_equal(sendmsg(fd, &msg, 0), len);
		turn();
		assert_int_equal(server->connections.n, 0);
		close(fd);
		assert_int_equal(count_fds(), before);
	}
}

/* a template on which @n variables count */
static void add_template(size_t n)
{
	char packet[sizeof(struct wire_run) + 256];
	Warm__BuildResult *r = calloc(1, sizeof(*r));
	struct request *request;
	struct template *t;

	assert_int_equal(request_parse(packet, make_run(packet, sizeof(packet), "x"), &request, NULL), 0);
	warm__build_result__init(r);
	r->message = strdup("");
	r->ready = strdup("main");
	r->takes_arguments = r->before_main = true;
	r->environment = calloc(n, sizeof(*r->environment));
	r->n_environment = n;
	for (size_t i = 0; i < n; i++)
		assert_true(asprintf(&r->environment[i], "V%zu", i) > 0);
	assert_int_equal(store_add(server->store, request, r, NULL, 0, 5, &t, NULL), 0);
}

/* all of its parts are in the answer, however many; what does not fit a message is left out or named */
static void long_answers(void **state)
{
	static struct {
		struct wire_header header;
		uint8_t bytes[WIRE_MAX_SIZE];
	} packet;
	Warm__InspectRequest inspect = WARM__INSPECT_REQUEST__INIT;
	Warm__ControlRequest request = WARM__CONTROL_REQUEST__INIT;
	const size_t counts[] = { 3, 6000, 20000 }, shown[] = { 4, 6001, 0 };

	(void)state;
	request.command_case = WARM__CONTROL_REQUEST__COMMAND_INSPECT;
	request.inspect = &inspect;
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		Warm__ControlReply *reply;
		int fd = open_client();
		char id[20];
		size_t len;
		ssize_t n;

		add_template(counts[i]);
		snprintf(id, sizeof(id), "%lu", (unsigned long)server->store->list->id);
		inspect.name = id;
		len = warm__control_request__pack(&request, packet.bytes);
		packet.header = (struct wire_header){ .magic = WIRE_MAGIC,
						      .version = WIRE_VERSION_NUMBER,
						      .type = WIRE_CONTROL,
						      .size = (uint32_t)(sizeof(packet.header) + len) };
		assert_int_equal(send(fd, &packet, packet.header.size, 0), packet.header.size);
		turn();
		n = recv(fd, &packet, sizeof(packet), 0);
		assert_int_equal(n, packet.header.size);
		reply = warm__control_reply__unpack(NULL, (size_t)n - sizeof(packet.header), packet.bytes);
		assert_non_null(reply);
		assert_int_equal(reply->error, 0);
		assert_int_equal(reply->n_templates, 1);
		assert_int_equal(reply->templates[0]->n_keys, shown[i]);
		for (size_t k = 1; k < shown[i]; k++)
			assert_string_not_equal(reply->templates[0]->keys[k], "");
		warm__control_reply__free_unpacked(reply, NULL);
		close(fd);
		turn();
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(waits_twice),	 T(waits_twice_and_goes), T(does_not_read), T(unwanted_descriptors),
		T(long_answers), T(never_reads),	  T(reads_late),    T(no_descriptor_to_accept),
	};

	/* by which what may wait for a client is bounded */
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 1024, 1024 });
	return cmocka_run_group_tests(tests, NULL, NULL);
}
