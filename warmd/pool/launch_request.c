/* SPDX-License-Identifier: MIT */
#include "warmd/pool/launch_request.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "warmd/connection/connection.h"

/* the last descriptors are the directory and the control group, if there is one. Return: how many */
static size_t count_extras(const struct request *req)
{
	return req->run.flags & WIRE_LAUNCH_CGROUP ? 2 : 1;
}

struct launch_request *launch_request_new(struct connection *c, struct request *req, struct packet *caller,
					  uint64_t start_ns)
{
	struct launch_request *l = calloc(1, sizeof(*l));

	if (!l) {
		packet_close_fds(caller);
		request_free(req);
		return NULL;
	}
	l->request = req;
	l->caller.nfds = caller->nfds;
	memcpy(l->caller.fds, caller->fds, caller->nfds * sizeof(int));
	caller->nfds = 0;
	l->connection = c;
	l->start_ns = start_ns;
	return l;
}

void launch_request_free(struct launch_request *l)
{
	if (!l)
		return;
	packet_close_fds(&l->caller);
	request_free(l->request);
	free(l);
}

bool launch_request_wanted(const struct launch_request *l)
{
	return (l->connection && !l->connection->dead) || (l->request->run.flags & WIRE_LAUNCH_DETACH);
}

bool launch_request_is_whole(const struct request *req, const struct packet *caller)
{
	size_t n = count_extras(req);

	for (size_t i = 0; i < ARRAY_SIZE(req->run.inherited_fds); i++)
		n += (size_t)__builtin_popcountll(req->run.inherited_fds[i]);
	return n == caller->nfds;
}

int launch_request_directory(const struct launch_request *l, char *ret, size_t size)
{
	size_t extras = count_extras(l->request);
	char path[64];
	ssize_t len;

	if (l->caller.nfds < extras)
		return -ENOENT;
	/* not proc_path(): this process may have another number in the pid namespace that /proc is of */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", l->caller.fds[l->caller.nfds - extras]);
	len = readlink(path, ret, size - 1);
	if (len < 0)
		return -errno;
	ret[len] = '\0';
	return 0;
}
