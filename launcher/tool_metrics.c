/* SPDX-License-Identifier: MIT */
/* tool_metrics.c - `warm stats --prometheus`: what a scraper gets from metrics.sock */
#include "launcher/tool.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/runtime_dir.h"

#define METRICS_MAX (64u * 1024 * 1024)

static int open_socket(struct error *err)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = -EBADF;
	struct runtime_dir dir;
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int r = runtime_dir_find(&dir, err);

	if (r < 0)
		return r;
	r = runtime_dir_path(&dir, WIRE_METRICS, a.sun_path, sizeof(a.sun_path));
	if (r < 0)
		return error_errno(err, r, "%s", dir.path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_errno(err, errno, "socket");
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		if (errno == ENOENT || errno == ECONNREFUSED)
			return error_set(err, ESRCH, "warmd is not running");
		return error_errno(err, errno, "cannot connect to %s", a.sun_path);
	}
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || peer.uid != geteuid())
		return error_set(err, EACCES, "%s belongs to another user", a.sun_path);
	return TAKE_FD(fd);
}

/* all until the end of file. Return: bytes, or a negative errno; *ret is the caller's */
static ssize_t receive(int fd, char **ret, struct error *err)
{
	uint64_t deadline = clock_ms() + TOOL_CONNECT_MS;
	size_t len = 0, size = 0;
	ssize_t n;

	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		uint64_t now = clock_ms();

		if (now >= deadline || poll(&p, 1, (int)(deadline - now)) == 0)
			return error_set(err, ETIMEDOUT, "warmd does not answer");
		if (size - len < 4096) {
			char *more = realloc(*ret, size + 65536);

			if (!more || size > METRICS_MAX)
				return error_set(err, ENOMEM, "out of memory");
			*ret = more;
			size += 65536;
		}
		n = read(fd, *ret + len, size - len - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, errno, "reading the metrics");
		if (n == 0)
			break;
		len += (size_t)n;
	}
	(*ret)[len] = '\0';
	return (ssize_t)len;
}

int tool_metrics(void)
{
	static const char request[] = "GET /metrics HTTP/1.0\r\n\r\n";
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = -EBADF;
	struct error err;
	const char *body;
	ssize_t len;
	int r;

	fd = open_socket(&err);
	if (fd < 0)
		return tool_fail(&err);
	r = write_full(fd, request, sizeof(request) - 1);
	if (r < 0) {
		error_errno(&err, r, "asking for the metrics");
		return tool_fail(&err);
	}
	len = receive(fd, &text, &err);
	if (len < 0)
		return tool_fail(&err);
	body = strstr(text, "\r\n\r\n");
	if (body && strncmp(text, "HTTP/1.1 403 ", 13) == 0) {
		error_set(&err, EPERM, "%.*s", (int)strcspn(body + 4, "\r\n"), body + 4);
		return tool_fail(&err);
	}
	if (!body || strncmp(text, "HTTP/1.1 200 ", 13) != 0) {
		error_set(&err, EBADMSG, "warmd answered: %.*s", (int)strcspn(text, "\r\n"), text);
		return tool_fail(&err);
	}
	fwrite(body + 4, 1, (size_t)(text + len - body - 4), stdout);
	return tool_finish();
}
