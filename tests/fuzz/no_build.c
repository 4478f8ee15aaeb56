/* SPDX-License-Identifier: MIT */
/* no_build.c - in place of warmd/build_*.c: whatever the server is told, no program is ever started */
#include <errno.h>

#include "warmd/build_queue.h"
#include "warmd/serve.h"
#include "warmd/worker.h"

bool build_pending(const struct server *s, const struct request *req)
{
	(void)s;
	(void)req;
	return false;
}

void build_forget_waiter(struct server *s, const struct connection *c)
{
	(void)s;
	(void)c;
}

void build_request(struct server *s, struct request *req, struct connection *waiter)
{
	(void)s;
	if (waiter)
		connection_reply(waiter, WIRE_COLD_ERROR, NULL, false, 0, "no builds here");
	request_free(req);
}

void build_request_later(struct server *s, struct request *req, uint64_t ns)
{
	(void)ns;
	build_request(s, req, NULL);
}

void build_give_up(struct server *s, const char *name)
{
	(void)s;
	(void)name;
}

void build_stop_all(struct server *s)
{
	(void)s;
}

bool build_pending_name(const struct server *s, const char *name)
{
	(void)s;
	(void)name;
	return false;
}

bool build_is_process(const struct server *s, pid_t pid)
{
	(void)s;
	(void)pid;
	return false;
}

void build_awaited(struct server *s, const char *name)
{
	(void)s;
	(void)name;
}

/* nor loaded from disk */
int worker_start(int (*run)(void *data, int sock), void *data, pid_t *ret_pid, int *ret_sock)
{
	(void)run;
	(void)data;
	(void)ret_pid;
	(void)ret_sock;
	return -EAGAIN;
}
