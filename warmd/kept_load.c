/* SPDX-License-Identifier: MIT */
/*
 * kept_load.c - templates from disk to the store.
 *
 * A process of its own opens the image, looks at what has to be as it was, makes the plan and reports as a builder does.
 * store_add() checks the files, as it does for a template that was just built, and has them watched.
 *
 * A run waits for the load of a template that it fits as long as its client waits for an answer; a launch by a name
 * waits as it does for a build.
 */
#include "warmd/kept.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "warmd/build/report.h"
#include "warmd/launch.h"
#include "warmd/pool/lease.h"
#include "warmd/pool/pool.h"
#include "warmd/run.h"
#include "warmd/serve.h"
#include "warmd/template/match.h"
#include "warmd/worker.h"

#define HOLD_USEC  150000 /* clients wait for 200 ms: CLIENT_ANSWER_MS in launcher/launch.c */
#define LOAD_USEC  (20 * USEC_PER_S) /* a disk that hangs */
#define USEC_PER_S 1000000u
#define AGAIN_NS   (60 * NS_PER_S) /* a load that failed for want of something */

struct kept_load {
	struct kept_load *next;
	struct kept *kept;
	char id[KEEP_ID_SIZE]; /* "": of a folder that somebody named */
	struct keep_source source;
	char path[PATH_MAX], name[REQUEST_LABEL_MAX]; /* that it points to */
	struct connection *waiter; /* of `warm load` */
	pid_t pid;
	int sock;
	sd_event_source *io, *timer;
	struct report report;
};

/* a run that waits for the load of an entry */
struct kept_held {
	struct kept_held *next;
	struct kept *kept;
	char id[KEEP_ID_SIZE];
	struct connection *connection;
	struct request *request;
	struct packet caller;
	uint64_t start_ns;
	sd_event_source *timer; /* NULL: its client waits as long as it takes */
};

/* --- runs that wait ------------------------------------------------------------------- */

static void unlink_held(struct kept_held *h)
{
	for (struct kept_held **p = &h->kept->held; *p; p = &(*p)->next) {
		if (*p == h) {
			*p = h->next;
			return;
		}
	}
}

static void held_free(struct kept_held *h)
{
	sd_event_source_disable_unref(h->timer);
	packet_close_fds(&h->caller);
	request_free(h->request);
	free(h);
}

/* it is answered now, warm or cold */
static void release(struct kept_held *h)
{
	struct request *req = TAKE_PTR(h->request);
	struct connection *c = h->connection;
	struct packet caller = h->caller;
	uint64_t start_ns = h->start_ns;

	unlink_held(h);
	h->caller.nfds = 0;
	held_free(h);
	if (run_answer(c, req, &caller, start_ns, false))
		request_free(req);
	packet_close_fds(&caller);
}

/* whose connection may go with the answer of the one before: each begins at the list's head */
static void release_all(struct kept *k, const char *id)
{
	struct kept_held *h = k->held;

	while (h) {
		if (strcmp(h->id, id) == 0) {
			release(h);
			h = k->held;
		} else {
			h = h->next;
		}
	}
}

static int on_hold_timeout(sd_event_source *source, uint64_t usec, void *data)
{
	(void)source;
	(void)usec;
	release(data);
	return 0;
}

static int hold(struct kept *k, const char *id, struct connection *c, struct request *req,
		struct packet *caller, uint64_t start_ns)
{
	struct kept_held *h = calloc(1, sizeof(*h));
	int r = h ? 0 : -ENOMEM;

	if (r == 0 && !(req->run.flags & WIRE_RUN_BUILD))
		r = sd_event_add_time_relative(k->server->event, &h->timer, CLOCK_MONOTONIC, HOLD_USEC, 1000,
					       on_hold_timeout, h);
	if (r < 0) {
		free(h);
		return r;
	}
	snprintf(h->id, sizeof(h->id), "%s", id);
	h->kept = k;
	h->connection = c;
	h->request = req;
	h->caller = *caller;
	caller->nfds = 0;
	h->start_ns = start_ns;
	h->next = k->held;
	k->held = h;
	return 0;
}

/* --- loads ------------------------------------------------------------------------------ */

static void load_free(struct kept_load *l)
{
	for (struct kept_load **p = &l->kept->loads; *p; p = &(*p)->next) {
		if (*p == l) {
			*p = l->next;
			break;
		}
	}
	sd_event_source_disable_unref(l->io);
	sd_event_source_disable_unref(l->timer);
	fd_close(l->sock);
	if (l->pid > 0) {
		kill(l->pid, SIGKILL);
		waitpid(l->pid, NULL, 0);
	}
	report_done(&l->report);
	free(l);
}

/* whoever waits is told; @l is gone afterwards */
static void finish(struct kept_load *l, uint32_t status, const struct template *t, const char *reason)
{
	struct kept *k = l->kept;
	struct connection *waiter = TAKE_PTR(l->waiter);
	struct kept_entry *e = kept_find(k, l->id);
	char id[KEEP_ID_SIZE];

	memcpy(id, l->id, sizeof(id));
	if (e)
		e->loading = false;
	load_free(l);
	if (waiter)
		connection_reply(waiter, status, t, false, 0, reason);
	release_all(k, id);
	launch_retry(k->server);
	kept_load_ahead(k);
}

/* @code: as the loader, or store_add(), has it: is it the image's fault, so that it would be the same the next time? */
static bool is_for_good(int code)
{
	return code != -ENOMEM && code != -EMFILE && code != -ENFILE && code != -EAGAIN && code != -ENOSPC &&
	       code != -EINTR;
}

static void fail(struct kept_load *l, int code, const char *words)
{
	struct kept *k = l->kept;
	struct kept_entry *e = kept_find(k, l->id);
	char what[512];

	k->failed++;
	snprintf(what, sizeof(what), "%s", words);
	if (l->id[0] && is_for_good(code)) {
		kept_drop(k, l->id, what);
	} else if (l->id[0]) {
		log_warning("loading the kept template '%s': %s", e ? e->label : l->id, what);
		if (e)
			e->again_ns = clock_ns(CLOCK_MONOTONIC) + AGAIN_NS;
	}
	finish(l,
	       code == -ESTALE	 ? WIRE_COLD_STALE
	       : code == -ENOSPC ? WIRE_COLD_BUDGET
				 : WIRE_COLD_ERROR,
	       NULL, what);
}

/* by what was built, or loaded, meanwhile */
static bool is_served(const struct server *s, const struct request *req)
{
	char reason[256];

	for (const struct template *t = s->store->list; t; t = t->next)
		if (t->state == TEMPLATE_READY && strcmp(t->request->name, req->name) == 0 &&
		    !template_mismatch(t, req, s->config, reason, sizeof(reason)))
			return true;
	return false;
}

/* has another command its name by now? What comes later from disk does not take that away */
static bool is_of_another(const struct server *s, const struct request *req)
{
	for (const struct template *t = s->store->list; t && req->name[0]; t = t->next)
		if (strcmp(t->request->name, req->name) == 0 && !request_same_command(t->request, req))
			return true;
	return false;
}

/* what has been loaded of an entry: it may have been removed meanwhile, or something else may have taken its place */
static bool is_wanted(struct kept *k, const char *id, const struct request *req)
{
	struct kept_entry *e = kept_find(k, id);

	if (e && is_of_another(k->server, req)) {
		kept_drop(k, id, "another command has its name");
		return false;
	}
	if (e && is_served(k->server, req)) {
		e->again_ns = clock_ns(CLOCK_MONOTONIC) + AGAIN_NS;
		return false;
	}
	return e != NULL;
}

/* it is as old as it was when it was built, and was used when it was used */
static void set_times(struct template *t, const Warm__Kept *kept, const struct kept_entry *e)
{
	uint64_t now = clock_ns(CLOCK_REALTIME);
	uint64_t age = now > kept->created_ns ? now - kept->created_ns : 0;

	t->created_ns = kept->created_ns;
	/* it may have been built before this boot: the difference counts, and wraps around */
	t->born_ns = clock_ns(CLOCK_BOOTTIME) - age;
	if (e)
		t->last_used_ns = e->used_ns;
}

static void keep_pool(struct server *s, struct template *t)
{
	struct pool *p = t->request->run.pool || (t->request->run.flags & WIRE_RUN_POOL)
				 ? pool_get(&s->pools, t)
				 : NULL;

	if (p)
		pool_keep(p, p->size);
}

static void add(struct kept_load *l, Warm__BuildResult *result)
{
	struct kept *k = l->kept;
	struct server *s = k->server;
	const Warm__Kept *kept = result->kept;
	struct request *req = NULL;
	struct error err = { 0 };
	struct template *t = NULL;
	int *fds = TAKE_PTR(l->report.fds), r;
	uint32_t nfds = l->report.nfds;
	uint64_t build_ns = kept->build_ns;
	bool unwanted;

	l->report.nfds = 0;
	r = keep_entry_request(kept, &req);
	unwanted = r == 0 && l->id[0] && !is_wanted(k, l->id, req);
	if (r < 0 || unwanted) {
		for (uint32_t i = 0; i < nfds; i++)
			fd_close(fds[i]);
		free(fds);
		warm__build_result__free_unpacked(result, NULL);
		request_free(req);
		if (unwanted)
			return finish(l, WIRE_WARM, NULL, "");
		return fail(l, r, "its request makes no sense");
	}
	/* @kept is the result's, which the template has now, or which is gone */
	r = store_add(s->store, req, result, fds, nfds, build_ns, &t, &err);
	if (r < 0)
		return fail(l, r, err.text);
	lease_revoke(&s->pools, NULL);
	k->loaded++;
	set_times(t, result->kept, kept_find(k, l->id));
	snprintf(t->kept, sizeof(t->kept), "%s", l->id);
	if (!l->id[0])
		kept_superseded(k, t);
	keep_pool(s, t);
	log_info("template '%s' was loaded from %s%s%s", t->label, l->path, l->id[0] ? "/" : "", l->id);
	finish(l, WIRE_WARM, t, t->label);
}

static int on_packet(sd_event_source *source, int fd, uint32_t events, void *data)
{
	struct kept_load *l = data;
	Warm__BuildResult *result;
	int r = report_read(&l->report, fd);

	(void)source;
	(void)events;
	if (r == 0)
		return 0;
	if (r < 0) {
		fail(l, -EAGAIN, "the process that loads it died");
		return 0;
	}
	result = report_result(&l->report);
	if (result && !result->error && result->kept && l->report.nfds >= 2) {
		add(l, result);
		return 0;
	}
	fail(l, result && result->error ? result->error : -EBADMSG,
	     result && result->error ? result->message : "the report of its load is malformed");
	if (result)
		warm__build_result__free_unpacked(result, NULL);
	return 0;
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *data)
{
	(void)source;
	(void)usec;
	fail(data, -EAGAIN, "it took too long");
	return 0;
}

static int run_loader(void *data, int sock)
{
	struct kept_load *l = data;

	return keep_load_run(&l->source, l->kept->server->config, sock);
}

/* Return: NULL: no memory, or no process could be made */
static struct kept_load *start(struct kept *k, const char *id, const char *path, const char *name)
{
	struct kept_load *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return NULL;
	l->kept = k;
	l->sock = -EBADF;
	l->report = (struct report)REPORT_NONE;
	snprintf(l->id, sizeof(l->id), "%s", id);
	snprintf(l->path, sizeof(l->path), "%s", path);
	snprintf(l->name, sizeof(l->name), "%s", name);
	l->source = (struct keep_source){ .path = l->path, .id = l->id, .name = l->name };
	r = worker_start(run_loader, l, &l->pid, &l->sock);
	if (r == 0)
		r = sd_event_add_io(k->server->event, &l->io, l->sock, EPOLLIN, on_packet, l);
	if (r >= 0)
		r = sd_event_add_time_relative(k->server->event, &l->timer, CLOCK_MONOTONIC, LOAD_USEC, 0,
					       on_timeout, l);
	if (r < 0) {
		log_warning("a kept template cannot be loaded: %s", strerror(-r));
		load_free(l);
		return NULL;
	}
	l->next = k->loads;
	k->loads = l;
	return l;
}

static bool load_entry(struct kept *k, struct kept_entry *e)
{
	if (!e->loading)
		e->loading = start(k, e->id, k->path, "") != NULL;
	return e->loading;
}

bool kept_hold(struct connection *c, struct request *req, struct packet *caller, uint64_t start_ns)
{
	struct kept *k = c->server->kept;
	struct kept_entry *e = k->off ? NULL : kept_matching(k, req);

	return e && load_entry(k, e) && hold(k, e->id, c, req, caller, start_ns) == 0;
}

bool kept_awaited(struct server *s, const char *name)
{
	struct kept_entry *e = s->kept->off ? NULL : kept_named(s->kept, name);

	return e && load_entry(s->kept, e);
}

void kept_load_folder(struct connection *c, struct request *req)
{
	struct kept_load *l = start(c->server->kept, "", req->argv[0], req->name);

	if (l)
		l->waiter = c;
	else
		connection_reply(c, WIRE_COLD_ERROR, NULL, false, 0, "no process to load it with");
	request_free(req);
}

/* one at a time, and not so many that one would have to go for another */
void kept_load_ahead(struct kept *k)
{
	const struct server *s = k->server;
	uint64_t bytes = store_sealed_bytes(s->store);

	if (!k->ahead || k->off || k->loads || k->held || s->builds)
		return;
	for (struct kept_entry *e = k->entries; e; e = e->next) {
		if (!kept_is_usable(k, e))
			continue;
		if (store_count(s->store) >= s->config->templates_max ||
		    bytes + e->message->result->sealed_bytes > s->config->memory_budget)
			break;
		if (load_entry(k, e))
			return;
	}
	/* until the folder has something new */
	k->ahead = false;
}

void kept_forget(struct server *s, const struct connection *c)
{
	struct kept *k = s->kept;
	struct kept_held *next;

	for (struct kept_held *h = k->held; h; h = next) {
		next = h->next;
		if (h->connection == c) {
			unlink_held(h);
			held_free(h);
		}
	}
	for (struct kept_load *l = k->loads; l; l = l->next)
		if (l->waiter == c)
			l->waiter = NULL;
	kept_writers_forget(k, c);
}

void kept_stop_loads(struct kept *k)
{
	while (k->loads)
		load_free(k->loads);
	while (k->held) {
		struct kept_held *h = k->held;

		k->held = h->next;
		held_free(h);
	}
}

bool kept_load_is_process(const struct kept *k, pid_t pid)
{
	for (const struct kept_load *l = k->loads; l; l = l->next)
		if (l->pid == pid)
			return true;
	return false;
}
