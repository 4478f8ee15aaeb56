/* SPDX-License-Identifier: MIT */
/* launch.c - launches that warmd makes: from the message to the pool, and the answer */
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "engine/base/basket.h"
#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "warmd/kept.h"
#include "warmd/peer.h"
#include "warmd/pool/pool.h"
#include "warmd/pool/terminal.h"
#include "warmd/variant.h"

#define BUILDS_FOR_ONE 8 /* of a template whose inputs change all the time */

void launch_free(struct launch *l)
{
	if (!l)
		return;
	packet_close_fds(&l->caller);
	request_free(l->request);
	free(l);
}

bool launch_wanted(const struct launch *l)
{
	return (l->connection && !l->connection->dead) || (l->request->run.flags & WIRE_LAUNCH_DETACH);
}

int launch_directory(const struct launch *l, char *ret, size_t size)
{
	size_t extras = l->request->run.flags & WIRE_LAUNCH_CGROUP ? 2 : 1;
	char path[64];
	ssize_t len;

	if (l->caller.nfds < extras)
		return -ENOENT;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", l->caller.fds[l->caller.nfds - extras]);
	len = readlink(path, ret, size - 1);
	if (len < 0)
		return -errno;
	ret[len] = '\0';
	return 0;
}

/* the directory comes as a descriptor: what the request says is for templates that `warm run` makes */
static bool directory_differs(const struct template *t, const struct launch *l, char *reason, size_t size)
{
	char cwd[PATH_MAX];

	/* at the readiness point `call` the program is told of it, and of its arguments */
	if (!(t->result->keys & TEMPLATE_KEY_CWD) || strcmp(t->result->ready, "call") == 0)
		return false;
	if (launch_directory(l, cwd, sizeof(cwd)) == 0 && strcmp(cwd, t->request->cwd) == 0)
		return false;
	snprintf(reason, size, "another working directory, which was read at the start: launch it in %.150s",
		 t->request->cwd);
	return true;
}

/* what the client runs cold; it runs where it is, so a template that is for another directory has none */
static struct wire_command *find_command(struct server *s, const struct launch *l, char *reason, size_t size)
{
	struct template *t = l->by_name ? store_find(s->store, l->request->name) : NULL;
	struct wire_command *command = NULL;
	char ignored[256];
	int r;

	if (!t)
		return NULL;
	r = directory_differs(t, l, ignored, sizeof(ignored)) ? -EXDEV
							      : launch_command(l, t->request, &command);
	if (r == -EXDEV && !strstr(reason, "launch it in ")) {
		size_t n = strlen(reason);

		snprintf(reason + n, size - n, "; launch it in %.100s, where its command can run cold",
			 t->request->cwd);
	}
	return command;
}

void launch_answer(struct launch *l, uint32_t status, struct clone *cl, const char *reason)
{
	struct wire_run_reply reply = {
		.header = { .magic = WIRE_MAGIC,
			    .version = WIRE_VERSION_NUMBER,
			    .type = WIRE_RUN_REPLY,
			    .size = sizeof(reply) },
		.status = status,
		.tag = l->request->run.tag,
		.nfds = cl ? 1 : 0,
	};
	_cleanup_free_ struct wire_command *command = NULL;
	struct connection *c = l->connection;
	int fds[1 + WIRE_TERMINAL_FDS], r;

	if (!c)
		return;
	snprintf(reply.reason, sizeof(reply.reason), "%s", reason);
	if (!cl && (l->request->run.flags & WIRE_LAUNCH_COLD) && c->checked)
		command = find_command(c->server, l, reply.reason, sizeof(reply.reason));
	reply.command = command ? command->header.size : 0;
	if (cl) {
		reply.template_id = cl->template_id;
		reply.pid = (uint32_t)cl->pid;
		reply.way = cl->way;
		fds[0] = cl->pidfd;
		if (terminal_wanted(l) && cl->terminal->writer == c) {
			reply.terminal = 1;
			reply.nfds += (uint32_t)terminal_descriptors(cl->terminal, true, fds + 1);
		}
	}
	server_note_launch(c->server, c->pid, l->request, status, reason, l->start_ns);
	r = connection_send(c, &reply, sizeof(reply), fds, reply.nfds);
	if (r == 0 && command)
		r = connection_send(c, command, command->header.size, NULL, 0);
	if (cl)
		metrics_told(c->server, cl, l);
	if (r < 0) {
		log_debug("process %u is not answered: %s", c->pid, strerror(-r));
		connection_end(c);
	}
}

/* a stale template is built anew behind the launches that named it: they wait for that */
static void wait_for_build(struct server *s, struct launch *l)
{
	struct launch **end = &s->waiting;

	while (*end)
		end = &(*end)->next;
	l->next = NULL;
	*end = l;
	build_awaited(s, l->request->name);
}

/*
 * What libraries look at when they are loaded (libgfortran: all three) must not bind a named template to one kind
 * of file or pipe. Whether it is a terminal is what programs decide by.
 */
static bool streams_differ(const struct template *t, const struct launch *l, char *reason, size_t size)
{
	static const char *const names[3] = { "standard input", "standard output", "standard error" };
	const struct wire_run *a = &t->request->run, *b = &l->request->run;

	for (int i = 0; i < 3; i++) {
		bool looked_at = t->result->stdio_keys >> i & 1;
		const char *what = NULL;

		if (looked_at && (a->stdio[i] == WIRE_STDIO_TTY) != (b->stdio[i] == WIRE_STDIO_TTY))
			what = "a terminal";
		if (template_stream_counts(t, i) &&
		    (a->stdio[i] == WIRE_STDIO_CLOSED) != (b->stdio[i] == WIRE_STDIO_CLOSED))
			what = "closed";
		if (what) {
			snprintf(reason, size,
				 "%s is %s in one of build and launch, which was looked at at the start",
				 names[i], what);
			return true;
		}
	}
	return false;
}

/* a program that failed in its build, whose wait is over. Return: true: it is built */
static bool may_build_again(struct server *s, const struct template *t)
{
	struct request *again;
	char words[256];
	uint64_t ns;

	if (t->state != TEMPLATE_REFUSED || !t->result->failed ||
	    store_waits(s->store, t->request, &ns, words, sizeof(words)))
		return false;
	again = request_copy(t->request);
	if (again)
		build_request(s, again, NULL);
	/* it may have been dropped: for want of memory, or as one too many */
	return again && build_pending_name(s, t->label);
}

/* once is enough, unless a template went stale meanwhile: it may be the one that was built */
static bool may_have_built(const struct server *s, const struct launch *l)
{
	return !l->built_for || (l->built_for < BUILDS_FOR_ONE && l->built_stale != s->store->dropped_stale);
}

/*
 * The name was given to a command, and its template is gone: for want of memory, of age, its build failed, or it went
 * stale and nobody was known to want the next one (on_gone() of server.c).
 */
static bool build_promised(struct server *s, struct launch *l)
{
	const struct request *promised = promise_of_label(s->store->promises, l->request->name);
	struct request *copy = promised && may_have_built(s, l) ? request_copy(promised) : NULL;

	if (!copy)
		return false;
	l->built_for++;
	l->built_stale = s->store->dropped_stale;
	copy->promised = true;
	build_request(s, copy, NULL);
	return build_pending_name(s, l->request->name);
}

/* what another template of the same command would be built with: variant_kind(). A program that asks for its context is told its environment */
static bool context_differs(const struct server *s, const struct template *t, const struct launch *l,
			    char *reason, size_t size)
{
	const struct request *req = l->request;

	return ((req->run.flags & WIRE_LAUNCH_ENV) &&
		template_environment_differs(t, req, s->config, template_asks_for_context(t), reason,
					     size)) ||
	       template_looked_at_differs(t, req, reason, size) || streams_differ(t, l, reason, size) ||
	       template_descriptors_clash(t, req, reason, size);
}

/* one who brings no environment is served with the template's, which for one of another context is not the name's */
static bool takes_its_environment(const struct launch *l, const struct template *t,
				  const struct request *promised)
{
	return !(l->request->run.flags & WIRE_LAUNCH_ENV) && !request_same_environment(t->request, promised);
}

/* of the command that has the name now; numbers, and what labels are made of, are nobody's to give */
static bool is_of_name(const struct template *t, const struct launch *l, const struct request *promised)
{
	return store_is_named(t, l->request->name) &&
	       (!promised || request_same_command(t->request, promised));
}

/*
 * @ret_own: whether what the name was given to is there itself, and not only what was built beside it for other contexts
 * Return: the template of that name that fits; else one that does not, with @reason, or NULL
 */
static struct template *find_by_name(struct server *s, const struct launch *l, bool *ret_fits, bool *ret_own,
				     char *reason, size_t size)
{
	const struct request *promised = promise_of_name(s->store->promises, l->request->name);
	struct template *refused = NULL, *first = NULL;
	char words[256];

	*ret_fits = *ret_own = false;
	for (struct template *t = s->store->list; t; t = t->next) {
		if (!is_of_name(t, l, promised))
			continue;
		*ret_own |= !t->request->variant;
		if (t->state == TEMPLATE_REFUSED) {
			refused = refused ? refused : t;
			continue;
		}
		*ret_fits = !context_differs(s, t, l, words, sizeof(words)) &&
			    !(t->request->variant && promised && takes_its_environment(l, t, promised));
		if (*ret_fits)
			return t;
		if (!first || (first->request->variant && !t->request->variant)) {
			first = t;
			snprintf(reason, size, "%s", words);
		}
	}
	return first ? first : refused;
}

static void refuse(struct launch *l, uint32_t status, const char *reason)
{
	launch_answer(l, status, NULL, reason);
	launch_free(l);
}

static void by_name(struct server *s, struct launch *l)
{
	const struct request *req = l->request;
	char reason[256];
	struct template *t;
	bool fits, own;

	watch_drain(s->store->watch);
	t = find_by_name(s, l, &fits, &own, reason, sizeof(reason));
	if (t && t->state == TEMPLATE_READY && !store_check(t))
		t = NULL;
	if (t && may_build_again(s, t))
		t = NULL;
	if ((!t || (!fits && !own)) &&
	    (kept_awaited(s, req->name) || build_pending_name(s, req->name) || build_promised(s, l))) {
		wait_for_build(s, l);
		return;
	}
	if (!t) {
		snprintf(reason, sizeof(reason), "there is no template '%.100s' ('warm ls' lists them)",
			 req->name);
		return refuse(l, WIRE_COLD_NONE, reason);
	}
	if (t->state == TEMPLATE_REFUSED) {
		snprintf(reason, sizeof(reason), "it cannot be a template: %.200s", t->result->message);
		return refuse(l, WIRE_COLD_REFUSED, reason);
	}
	if (!fits) {
		variant_note(s, t, l);
		return refuse(l, WIRE_COLD_MISMATCH, reason);
	}
	if (directory_differs(t, l, reason, sizeof(reason)) ||
	    template_arguments_differ(t, req, reason, sizeof(reason)) ||
	    order_refusal(s, t, l, reason, sizeof(reason)))
		return refuse(l, WIRE_COLD_MISMATCH, reason);
	launch_on(s, t, l);
}

void launch_on(struct server *s, struct template *t, struct launch *l)
{
	struct pool *p = pool_get(s, t);

	if (!p) {
		launch_answer(l, WIRE_COLD_ERROR, NULL, "no memory for its pool");
		launch_free(l);
		return;
	}
	t->launches++;
	t->last_used_ns = clock_ns(CLOCK_REALTIME);
	pool_launch(p, l);
}

void launch_request(struct connection *c, struct request *req, struct packet *caller, uint64_t start_ns)
{
	struct launch *l = launch_new(c, req, caller, start_ns);
	struct error err = { 0 };

	if (!l)
		return;
	l->by_name = true;
	if (peer_launcher(c, &err) < 0) {
		launch_answer(l, WIRE_COLD_RIGHTS, NULL, err.text);
		launch_free(l);
		return;
	}
	l->oom_score_adj = c->oom_score_adj;
	memcpy(l->hard_limits, c->hard_limits, sizeof(l->hard_limits));
	by_name(c->server, l);
}

static bool is_launch(const struct wire_run *run, size_t len)
{
	return len >= sizeof(*run) && (run->header.type == WIRE_LAUNCH ||
				       (run->header.type == WIRE_RUN && (run->flags & WIRE_RUN_POOL) &&
					!(run->flags & WIRE_RUN_BUILD)));
}

int launch_take_descriptors(const void *message, struct packet *packet)
{
	struct packet inner;
	int basket, r;

	if (!is_launch(message, packet->len))
		return 0;
	if (packet->nfds != 1)
		return -EBADMSG;
	basket = packet->fds[0];
	packet->nfds = 0;
	r = basket_take(basket, &inner);
	fd_close(basket);
	if (r < 0)
		return r == -ECANCELED ? r : -EBADMSG;
	memcpy(packet->fds, inner.fds, inner.nfds * sizeof(*inner.fds));
	packet->nfds = inner.nfds;
	return 0;
}

bool launch_is_whole(const struct request *req, const struct packet *caller)
{
	size_t n = req->run.flags & WIRE_LAUNCH_CGROUP ? 2 : 1;

	for (size_t i = 0; i < ARRAY_SIZE(req->run.inherited_fds); i++)
		n += (size_t)__builtin_popcountll(req->run.inherited_fds[i]);
	return n == caller->nfds;
}

struct launch *launch_new(struct connection *c, struct request *req, struct packet *caller, uint64_t start_ns)
{
	struct launch *l = calloc(1, sizeof(*l));

	if (!l) {
		packet_close_fds(caller);
		request_free(req);
		connection_close(c);
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

void launch_stale(struct server *s, struct launch *l)
{
	if (l->by_name && (build_pending_name(s, l->request->name) || build_promised(s, l))) {
		wait_for_build(s, l);
		return;
	}
	launch_answer(l, WIRE_COLD_STALE, NULL, "its template is gone");
	launch_free(l);
}

bool launch_waits_for(const struct server *s, const char *name)
{
	for (const struct launch *l = s->waiting; l; l = l->next)
		if (strcmp(l->request->name, name) == 0 && launch_wanted(l))
			return true;
	return false;
}

void launch_retry(struct server *s)
{
	struct launch *l = s->waiting;

	s->waiting = NULL;
	while (l) {
		struct launch *next = l->next;

		l->next = NULL;
		if (launch_wanted(l))
			by_name(s, l);
		else
			launch_free(l);
		l = next;
	}
}

static void forget(struct launch *l, const struct connection *c)
{
	for (; l; l = l->next)
		if (l->connection == c)
			l->connection = NULL;
}

void launch_forget(struct server *s, const struct connection *c)
{
	forget(s->waiting, c);
	for (struct template *t = s->store->list; t; t = t->next) {
		if (!t->pool)
			continue;
		forget(t->pool->waiting, c);
		for (struct clone *cl = t->pool->making; cl; cl = cl->next)
			forget(cl->launch, c);
	}
}

/* what a child of warmd has unless it is told otherwise */
void launch_own_context(struct wire_run *own)
{
	_cleanup_free_ char *status = NULL;
	int code = personality(0xffffffff);

	for (int i = 0; i < WIRE_RLIMITS; i++) {
		struct rlimit r = { 0, 0 };

		getrlimit((__rlimit_resource_t)i, &r);
		own->rlimits[i][0] = r.rlim_cur;
		own->rlimits[i][1] = r.rlim_max;
	}
	own->nice = getpriority(PRIO_PROCESS, 0);
	scheduling_get(&own->scheduling);
	own->personality = code > 0 ? (uint32_t)code : 0;
	if (read_file("/proc/self/status", &status, NULL) == 0) {
		const char *line = strstr(status, "\nCapEff:");

		own->capabilities = line ? strtoull(line + 8, NULL, 16) : 0;
	}
}
