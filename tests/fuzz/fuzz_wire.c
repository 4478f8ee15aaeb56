/* SPDX-License-Identifier: MIT */
/*
 * fuzz_wire.c - a server, and a client that says anything.
 *
 * An input is a list of steps: a byte (enum step), a length (16 bits, little-endian), that many
 * bytes. Steps that mend a packet's header are there so that mutations get past it. The
 * server has a template and a refusal to match against; it cannot build (no_build.c).
 *
 * Checked besides what the sanitizers see: each answer is well-formed; a connection that said nonsense is
 * ended, the server is not; no descriptor is left over.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "engine/base/basket.h"
#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "warmd/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum step {
	STEP_RAW, /* as it is */
	STEP_HEADER, /* magic, version and size mended */
	STEP_RUN, /* the bytes follow a good struct wire_run, with its flags, argc and envc first (a byte each) */
	STEP_CONTROL, /* the bytes are a control message's */
	STEP_FDS, /* as RAW, with descriptors beside it */
	STEP_RECONNECT,
	STEP_PARSE, /* request_parse() alone */
	STEP_COUNT,
};

static struct config config;
static struct server *server;
static sd_event *event;
static struct sockaddr_un address;
static socklen_t address_len;
static int client, null_fd;

static void expect_at(int truth, int line)
{
	if (truth)
		return;
	fprintf(stderr, "fuzz_wire.c:%d: not as expected (errno %d)\n", line, errno);
	abort();
}
#define expect(truth) expect_at(!!(truth), __LINE__)

static size_t make_run(uint8_t *packet, size_t size, uint32_t flags, uint32_t argc, uint32_t envc,
		       const void *strings, size_t len)
{
	struct wire_run run = {
		.header = { .magic = WIRE_MAGIC, .version = WIRE_VERSION_NUMBER, .type = WIRE_RUN },
		.flags = flags,
		.argc = argc,
		.envc = envc,
		.stdio = { WIRE_STDIO_NULL, WIRE_STDIO_PIPE, WIRE_STDIO_TTY },
	};

	if (len > size - sizeof(run))
		len = size - sizeof(run);
	run.strings_size = (uint32_t)len;
	run.header.size = (uint32_t)(sizeof(run) + len);
	memcpy(packet, &run, sizeof(run));
	memcpy(packet + sizeof(run), strings, len);
	return run.header.size;
}

static void add_template(int32_t error)
{
	static const char strings[] = "t\0auto\0/tmp\0prog\0arg\0A=1\0PATH=/bin";
	Warm__BuildResult *result = malloc(sizeof(*result));
	int *fds = error ? NULL : malloc(2 * sizeof(int));
	uint8_t packet[sizeof(struct wire_run) + sizeof(strings)];
	size_t len = make_run(packet, sizeof(packet), 0, 2, 2, strings, sizeof(strings));
	struct request *req;
	struct template *t;

	expect(result && (error || fds));
	warm__build_result__init(result);
	result->error = error;
	result->message = strdup(error ? "refused for a reason" : "");
	result->ready = strdup("main");
	result->takes_arguments = result->before_main = true;
	result->argv_count = error ? -1 : 1;
	result->keys = TEMPLATE_KEY_CWD | TEMPLATE_KEY_UMASK | TEMPLATE_KEY_WINSIZE;
	result->stdio_keys = 2;
	result->rlimit_keys = 8;
	result->n_environment = 1;
	result->environment = malloc(sizeof(char *));
	result->environment[0] = strdup("A");
	for (int i = 0; fds && i < 2; i++)
		fds[i] = dup(null_fd);
	expect(request_parse(packet, len, &req, NULL) == 0);
	expect(store_add(server->store, req, result, fds, fds ? 2 : 0, 1, &t, NULL) == 0);
}

static void turn(void)
{
	int r;

	/* a stop request ends the loop: no more turns then */
	while (sd_event_get_state(event) != SD_EVENT_FINISHED && (r = sd_event_run(event, 0)) > 0)
		;
}

static void open_client(void)
{
	client = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	expect(client >= 0);
	expect(connect(client, (struct sockaddr *)&address, address_len) == 0);
	turn();
}

static void take_answers(void)
{
	static uint8_t buf[WIRE_MAX_SIZE];
	union {
		char space[CMSG_SPACE(sizeof(int) * WIRE_MAX_FDS)];
		struct cmsghdr align;
	} control;
	ssize_t n;

	for (;;) {
		struct iovec iov = { buf, sizeof(buf) };
		struct msghdr msg = { .msg_iov = &iov,
				      .msg_iovlen = 1,
				      .msg_control = &control,
				      .msg_controllen = sizeof(control) };
		struct wire_header h;

		n = recvmsg(client, &msg, MSG_CMSG_CLOEXEC);
		if (n <= 0)
			return;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
			for (size_t i = 0;
			     c->cmsg_type == SCM_RIGHTS && i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++)
				close(((int *)(void *)CMSG_DATA(c))[i]);
		expect(!(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)));
		expect((size_t)n >= sizeof(h));
		memcpy(&h, buf, sizeof(h));
		expect(h.magic == WIRE_MAGIC && h.version == WIRE_VERSION_NUMBER && h.size == (size_t)n);
		if (h.type == WIRE_RUN_REPLY) {
			struct wire_run_reply reply;

			expect((size_t)n == sizeof(reply));
			memcpy(&reply, buf, sizeof(reply));
			expect(reply.status < WIRE_STATUS_COUNT &&
			       memchr(reply.reason, 0, sizeof(reply.reason)));
		} else if (h.type == WIRE_CONTROL_REPLY) {
			Warm__ControlReply *reply = warm__control_reply__unpack(NULL, (size_t)n - sizeof(h),
										buf + sizeof(h));

			expect(reply);
			warm__control_reply__free_unpacked(reply, NULL);
		} else if (h.type == WIRE_ATTACHED) {
			struct wire_attached reply;

			/* no clone has a terminal here */
			expect((size_t)n == sizeof(reply));
			memcpy(&reply, buf, sizeof(reply));
			expect(reply.error > 0 && reply.nfds == 0 &&
			       memchr(reply.reason, 0, sizeof(reply.reason)));
		} else {
			expect(h.type == WIRE_VERSION && (size_t)n == sizeof(h));
		}
	}
}

/* as launches bring theirs. @len: every fourth has been taken back */
static void say_with_basket(const void *packet, size_t len, unsigned int nfds)
{
	struct iovec iov = { (void *)packet, len };
	int fds[WIRE_MAX_FDS], basket;

	for (unsigned int i = 0; i < nfds; i++)
		fds[i] = null_fd;
	basket = basket_fill(fds, nfds);
	expect(basket >= 0);
	if (len % 4 == 3)
		expect(basket_take_back(basket));
	if (packet_send(client, &iov, 1, &basket, 1, 0) == -EPIPE) {
		close(client);
		open_client();
	}
	close(basket);
	turn();
	take_answers();
}

static void say(const void *packet, size_t len, unsigned int nfds)
{
	union {
		char space[CMSG_SPACE(sizeof(int) * WIRE_MAX_FDS)];
		struct cmsghdr align;
	} control;
	struct iovec iov = { (void *)packet, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (nfds) {
		struct cmsghdr *c;

		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
		memset(&control, 0, sizeof(control));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
		for (unsigned int i = 0; i < nfds; i++)
			memcpy(CMSG_DATA(c) + i * sizeof(int), &null_fd, sizeof(int));
	}
	/* EPIPE: the server has had enough */
	if (sendmsg(client, &msg, MSG_NOSIGNAL) < 0 && errno == EPIPE) {
		close(client);
		open_client();
	}
	turn();
	take_answers();
}

static void parse_alone(const void *packet, size_t len)
{
	struct error err = { 0 };
	struct request *req = NULL, *copy;
	int r = request_parse(packet, len, &req, &err);

	if (r < 0) {
		expect(!req && r == err.code && err.text[0]);
		return;
	}
	expect(req->argv[0] && !req->argv[req->run.argc] && !req->envp[req->run.envc] && req->cwd[0] == '/');
	copy = request_copy(req);
	expect(copy && copy->run.argc == req->run.argc && strcmp(copy->cwd, req->cwd) == 0);
	request_getenv(req, "A", 1);
	request_free(copy);
	request_free(req);
}

static void do_step(enum step step, const uint8_t *bytes, size_t len)
{
	static uint8_t packet[WIRE_MAX_SIZE];
	struct wire_header h = { .magic = WIRE_MAGIC, .version = WIRE_VERSION_NUMBER, .type = WIRE_CONTROL };

	if (len > sizeof(packet) - sizeof(struct wire_run))
		len = sizeof(packet) - sizeof(struct wire_run);
	switch (step) {
	case STEP_HEADER:
		memcpy(packet, bytes, len);
		if (len >= sizeof(h)) {
			memcpy(&h.type, packet + offsetof(struct wire_header, type), sizeof(h.type));
			h.size = (uint32_t)len;
			memcpy(packet, &h, sizeof(h));
		}
		say(packet, len, 0);
		break;
	case STEP_RUN:
		if (len >= 3)
			say(packet,
			    make_run(packet, sizeof(packet), bytes[0], bytes[1], bytes[2], bytes + 3,
				     len - 3),
			    0);
		break;
	case STEP_CONTROL:
		h.size = (uint32_t)(sizeof(h) + len);
		memcpy(packet, &h, sizeof(h));
		memcpy(packet + sizeof(h), bytes, len);
		say(packet, sizeof(h) + len, 0);
		break;
	case STEP_FDS:
		/* a real packet begins with WIRE_MAGIC: 'W' % 8 is 7 */
		if (len && bytes[0] % 8 == 7)
			say_with_basket(bytes, len, len > 4 ? bytes[len / 2] % 8 + 1 : 1);
		else
			say(bytes, len, len ? bytes[0] % 8 + 1 : 2);
		break;
	case STEP_RECONNECT:
		close(client);
		open_client();
		break;
	case STEP_PARSE:
		parse_alone(bytes, len);
		break;
	default:
		say(bytes, len, 0);
	}
}

static void start(void)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	/* only a family: the kernel finds an abstract address, see "Autobind feature" in unix(7) */
	address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	expect(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address.sun_family)) == 0);
	address_len = sizeof(address);
	expect(getsockname(fd, (struct sockaddr *)&address, &address_len) == 0 && listen(fd, 16) == 0);
	expect(sd_event_new(&event) >= 0);
	expect(server_new(&server, event, &config, fd, NULL) == 0);
}

/* one server for many inputs, because the end of an inotify instance takes long; a stop request ends it */
static void ready(void)
{
	if (server && sd_event_get_state(event) == SD_EVENT_FINISHED) {
		server_free(server);
		sd_event_unref(event);
		server = NULL;
	}
	if (!server)
		start();
	while (server->store->list)
		store_remove(server->store, server->store->list);
	server->store->next_id = 1;
	server->metrics = (struct metrics){ 0 };
	add_template(-EOPNOTSUPP);
	add_template(0);
}

/* the first hundred tell enough: a leak lands there */
static unsigned int count_fds(void)
{
	unsigned int n = 0;

	for (int fd = 0; fd < 100; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned int nfds;

	if (!null_fd) {
		null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
		expect(null_fd >= 0);
		log_open(null_fd, LOG_LEVEL_DEBUG);
		config_defaults(&config);
		config.keep = false;
	}
	ready();
	nfds = count_fds();
	open_client();
	for (unsigned int n = 0; size >= 3 && n < 64; n++) {
		enum step step = data[0] % STEP_COUNT;
		size_t len = data[1] | (size_t)data[2] << 8;
		_cleanup_free_ uint8_t *bytes = NULL;

		data += 3;
		size -= 3;
		if (len > size)
			len = size;
		/* by itself, so that a read behind it is seen */
		bytes = malloc(len ? len : 1);
		expect(bytes);
		memcpy(bytes, data, len);
		do_step(step, bytes, len);
		data += len;
		size -= len;
	}
	close(client);
	turn();
	expect(sd_event_get_state(event) == SD_EVENT_FINISHED || server->connections.n == 0);
	/* what it makes anew, it makes as it was; what it was told to remove is closed */
	ready();
	expect(count_fds() == nfds);
	return 0;
}
