/* SPDX-License-Identifier: MIT */
/*
 * client.c - the connection: connecting, packets.
 * Starting the daemon is in client_start.c.
 */
#include "launcher/client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"

static int set_timeout(int fd, int option, unsigned int ms)
{
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000 };

	return setsockopt(fd, SOL_SOCKET, option, &tv, sizeof(tv));
}

/*
 * SO_PEERCRED of a connecting socket is the identity of the process that
 * called listen(2), taken at that time: unix(7).
 */
static int check_peer(int fd, struct error *err)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return error_errno(err, errno, "cannot tell who runs warmd");
	if (peer.uid != geteuid())
		return error_set(err, EACCES, "the daemon on the socket belongs to uid %u, not to uid %u",
				 (unsigned int)peer.uid, (unsigned int)geteuid());
	return 0;
}

int client_connect(const struct runtime_dir *dir, unsigned int timeout_ms, struct error *err)
{
	char path[RUNTIME_PATH_MAX];

	if (runtime_dir_path(dir, WIRE_SOCKET, path, sizeof(path)) < 0)
		return error_set(err, ENAMETOOLONG, "%s/" WIRE_SOCKET " is too long for a socket's address",
				 dir->path);
	return client_connect_to(path, timeout_ms, err);
}

int client_connect_to(const char *path, unsigned int timeout_ms, struct error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = -EBADF;
	size_t len = strlen(path);
	int r;

	if (len == 0 || len >= sizeof(address.sun_path))
		return error_set(err, len ? ENAMETOOLONG : EINVAL, "'%s' cannot be a socket's address", path);
	memcpy(address.sun_path, path, len);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_errno(err, errno, "cannot make a socket");
	if (fd < 3) { /* where the program has no stdin, stdout or stderr, it must not find this */
		int up = fcntl(fd, F_DUPFD_CLOEXEC, 3);

		if (up < 0)
			return error_errno(err, errno, "cannot make a socket");
		close(fd);
		fd = up;
	}
	/* also bounds connect(2), which waits while the backlog is full (unix_stream_connect) */
	if (set_timeout(fd, SO_SNDTIMEO, timeout_ms ? timeout_ms : 1) < 0)
		return error_errno(err, errno, "cannot set a time-out");
	do
		r = connect(fd, (struct sockaddr *)&address, sizeof(address));
	while (r < 0 && errno == EINTR);
	if (r < 0 && errno == EAGAIN)
		return error_set(err, ETIMEDOUT, "warmd does not accept connections (waited %u ms)",
				 timeout_ms);
	if (r < 0 && (errno == ENOENT || errno == ECONNREFUSED))
		return error_set(err, errno, "warmd is not running (%s)", address.sun_path);
	if (r < 0)
		return error_errno(err, errno, "cannot connect to %s", address.sun_path);
	r = check_peer(fd, err);
	if (r < 0)
		return r;
	return TAKE_FD(fd);
}

int client_send(int fd, const void *packet, size_t len, struct error *err)
{
	ssize_t n;

	do
		n = send(fd, packet, len, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return error_set(err, ETIMEDOUT, "warmd does not take the message");
	if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
		return error_set(err, ECONNRESET, "warmd closed the connection");
	if (n < 0)
		return error_errno(err, errno, "cannot send to warmd");
	if ((size_t)n != len)
		return error_set(err, EBADMSG, "the message to warmd was cut");
	return 0;
}

static void close_all(struct client_fds *fds)
{
	while (fds->count > 0)
		close(fds->fd[--fds->count]);
}

/* collects every descriptor of @msg, so that a refusal can close them */
static void take_fds(struct msghdr *msg, struct client_fds *fds)
{
	fds->count = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		unsigned int n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (unsigned int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		for (unsigned int i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (fds->count < WIRE_MAX_FDS)
				fds->fd[fds->count++] = fd;
			else
				close(fd);
		}
	}
}

/*
 * recvmsg(2) with a bound. A socket with SO_RCVTIMEO returns EINTR after a stop
 * and SIGCONT even without a handler (signal(7)), hence the deadline.
 */
static ssize_t receive_bounded(int fd, struct msghdr *msg, unsigned int timeout_ms, struct error *err)
{
	uint64_t deadline = 0;
	unsigned int left = timeout_ms;
	size_t control = msg->msg_controllen;

	for (;;) {
		ssize_t n;

		/* 0 is "no bound" to the kernel too */
		if (set_timeout(fd, SO_RCVTIMEO, left) < 0)
			return error_errno(err, errno, "cannot set a time-out");
		msg->msg_controllen = control;
		n = recvmsg(fd, msg, MSG_CMSG_CLOEXEC);
		if (n >= 0)
			return n;
		if (errno == EAGAIN)
			return error_set(err, ETIMEDOUT, "warmd does not answer (waited %u ms)", timeout_ms);
		if (errno == ECONNRESET) /* it closed before it had read all */
			return error_set(err, ECONNRESET, "warmd closed the connection");
		if (errno != EINTR)
			return error_errno(err, errno, "cannot receive from warmd");
		if (timeout_ms == 0)
			continue;
		/* the time before the first interruption is given away: only clients that are stopped pay it */
		if (deadline == 0)
			deadline = clock_ms() + timeout_ms;
		if (clock_ms() >= deadline)
			return error_set(err, ETIMEDOUT, "warmd does not answer (waited %u ms)", timeout_ms);
		left = (unsigned int)(deadline - clock_ms());
		if (left == 0)
			left = 1;
	}
}

/* Return: 0, or a negative errno when the packet is not what protocol.h allows */
static int check_packet(const struct msghdr *msg, const void *buf, size_t n, uint16_t type, struct error *err)
{
	const struct wire_header *header = buf;

	if (msg->msg_flags & MSG_CTRUNC)
		return error_set(
			err, EBADMSG,
			"descriptors from warmd were lost; the limit on open files (ulimit -n) is too low");
	if (msg->msg_flags & MSG_TRUNC)
		return error_set(err, EBADMSG, "the answer of warmd is larger than expected");
	if (n < sizeof(*header) || header->magic != WIRE_MAGIC)
		return error_set(err, EBADMSG, "the answer is not one of warmd");
	if (header->version != WIRE_VERSION_NUMBER)
		return error_set(err, EPROTONOSUPPORT,
				 "warmd speaks version %u of the protocol, this warm %u; run 'warm stop'",
				 header->version, WIRE_VERSION_NUMBER);
	if (header->size != n)
		return error_set(err, EBADMSG, "the answer of warmd was cut: %zu of %u bytes", n,
				 header->size);
	if (header->type != type)
		return error_set(err, EBADMSG, "warmd answered with message type %u, not %u", header->type,
				 type);
	return 0;
}

ssize_t client_receive(int fd, void *buf, size_t size, uint16_t type, unsigned int timeout_ms,
		       struct client_fds *fds, struct error *err)
{
	union {
		char space[CMSG_SPACE(sizeof(int) * WIRE_MAX_FDS)];
		struct cmsghdr align;
	} control;
	struct iovec part = { .iov_base = buf, .iov_len = size };
	struct msghdr msg = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.space,
		.msg_controllen = sizeof(control.space),
	};
	struct client_fds unexpected, *came = fds ? fds : &unexpected;
	ssize_t n;
	int r;

	came->count = 0;
	n = receive_bounded(fd, &msg, timeout_ms, err);
	if (n < 0)
		return n;
	take_fds(&msg, came);
	if (n == 0) /* an empty packet is malformed anyway */
		r = error_set(err, ECONNRESET, "warmd closed the connection");
	else
		r = check_packet(&msg, buf, (size_t)n, type, err);
	if (r == 0 && !fds && came->count > 0)
		r = error_set(err, EBADMSG, "warmd sent descriptors that were not asked for");
	if (r < 0) {
		close_all(came);
		return r;
	}
	return n;
}

/* the launcher has no malloc(), and what is mapped once goes with its memory */
static int make_room(struct client_files *files, unsigned int wanted, struct error *err)
{
	int *more;

	if (!files->room)
		files->fd = files->few;
	if (wanted <= WIRE_MAX_FDS || wanted <= files->room)
		return 0;
	more = mmap(NULL, wanted * sizeof(*more), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (more == MAP_FAILED)
		return error_errno(err, errno, "no memory for %u descriptors", wanted);
	files->fd = more;
	files->room = wanted;
	return 0;
}

static bool makes_sense(const struct wire_run_reply *reply, size_t n, unsigned int count)
{
	uint32_t launched = 1 + (reply->terminal ? (uint32_t)WIRE_TERMINAL_FDS : 0);

	if (n != sizeof(*reply) || reply->status >= WIRE_STATUS_COUNT || count > reply->nfds)
		return false;
	if (reply->status == WIRE_LAUNCHED)
		return reply->nfds == launched;
	return reply->status == WIRE_WARM || reply->nfds == 0;
}

/* the kernel takes SCM_MAX_FD descriptors in a packet: a template of more files comes in several */
static int receive_run(int fd, struct wire_run_reply *reply, unsigned int timeout_ms,
		       struct client_files *files, struct error *err)
{
	struct client_fds packet = { .count = 0 };
	struct wire_header more;
	ssize_t n = client_receive(fd, reply, sizeof(*reply), WIRE_RUN_REPLY, timeout_ms,
				   files ? &packet : NULL, err);
	int r = n < 0 ? (int)n : 0;

	if (r == 0 && !makes_sense(reply, (size_t)n, packet.count))
		r = error_set(err, EBADMSG, "the answer of warmd makes no sense");
	if (r == 0 && files)
		r = make_room(files, reply->nfds, err);
	while (r == 0) {
		for (unsigned int i = 0; i < packet.count; i++)
			files->fd[files->count++] = packet.fd[i];
		packet.count = 0;
		if (reply->nfds == (files ? files->count : 0))
			return 0;
		n = client_receive(fd, &more, sizeof(more), WIRE_RUN_REPLY, timeout_ms, &packet, err);
		if (n < 0)
			r = (int)n;
		else if (packet.count == 0 || !files || packet.count > reply->nfds - files->count)
			r = error_set(err, EBADMSG, "warmd sent %u of %u descriptors",
				      files ? files->count : 0, reply->nfds);
	}
	close_all(&packet);
	return r;
}

int client_receive_run(int fd, struct wire_run_reply *reply, unsigned int timeout_ms,
		       struct client_files *files, struct error *err)
{
	int r;

	if (files)
		files->count = 0;
	r = receive_run(fd, reply, timeout_ms, files, err);
	if (r < 0) {
		while (files && files->count > 0)
			close(files->fd[--files->count]);
		return r;
	}
	reply->reason[sizeof(reply->reason) - 1] = '\0';
	return 0;
}
