/* SPDX-License-Identifier: MIT */
/*
 * build_process.c - builds: one process at a time, and what comes back. The queue is in build_queue.c.
 *
 * A build's process reports on a socket (builder.h) and ends. It may die at any moment, be
 * killed or hang: then its socket closes or its time runs out, and whoever
 * waits is told.
 */
#include "warmd/build_process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "engine/base/array.h"
#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "warmd/kept.h"
#include "warmd/launch.h"
#include "warmd/pool/lease.h"
#include "warmd/pool/pool.h"
#include "warmd/serve.h"
#include "warmd/template/backoff.h"
#include "warmd/worker.h"

#define AGAIN_NAMED 100
#define SHORT_USEC  50000 /* without a process for it */
#define SHORT_MAX   100
#define RACY_USEC   25000 /* a little more than the 20 ms of dep_set_racy() */

static void end_process(struct build *b)
{
	b->io = sd_event_source_disable_unref(b->io);
	b->timer = sd_event_source_disable_unref(b->timer);
	b->child = sd_event_source_disable_unref(b->child);
	b->sock = fd_close(b->sock);
	if (b->pid > 0) {
		/* it has nothing more to say; what it traced dies with it (PTRACE_O_EXITKILL) */
		struct rusage used = { 0 };

		kill(b->pid, SIGKILL);
		if (wait4(b->pid, NULL, 0, &used) == b->pid)
			b->cpu_ns = rusage_ns(&used);
		b->pid = 0;
	}
	report_done(&b->report);
}

void build_free(struct build *b)
{
	struct server *s = b->server;

	end_process(b);
	for (struct build **p = &s->builds; *p; p = &(*p)->next) {
		if (*p == b) {
			*p = b->next;
			break;
		}
	}
	request_free(b->request);
	free(b->waiters);
	free(b);
}

/* @cpu_ns: as the build's process counted; 0: it could not, and its own is known */
static void note(struct build *b, enum backoff_outcome outcome, uint64_t cpu_ns, const char *why)
{
	b->ending = true;
	end_process(b);
	backoff_built(b->server->store->backoff, backoff_program(b->request), outcome,
		      cpu_ns > b->cpu_ns ? cpu_ns : b->cpu_ns, why, clock_ns(CLOCK_MONOTONIC));
}

/* everybody who waits is told; the build is gone afterwards */
static void finish(struct build *b, uint32_t status, const struct template *t, const char *reason)
{
	struct server *s = b->server;

	b->ending = true;
	/* one that cannot be told is closed, and forgotten as often as it waits here */
	while (b->nwaiters)
		connection_reply(b->waiters[--b->nwaiters], status, t, false, 0, reason);
	build_free(b);
	build_start_next(s);
	launch_retry(s);
}

static int on_again(sd_event_source *source, uint64_t usec, void *data)
{
	struct build *b = data;

	(void)source;
	(void)usec;
	b->timer = sd_event_source_disable_unref(b->timer);
	b->retrying = false;
	build_start_next(b->server);
	return 0;
}

/* the first of the queue is started after a while, or at once if there is no memory for a timer */
static void start_later(struct build *b, uint64_t usec)
{
	b->retrying = sd_event_add_time_relative(b->server->event, &b->timer, CLOCK_MONOTONIC, usec, 1000,
						 on_again, b) >= 0;
	if (!b->retrying)
		build_start_next(b->server);
}

static void run_again(struct build *b, const char *why)
{
	log_info("build of '%s' again: %s", b->request->argv[0], why);
	end_process(b);
	b->ending = false;
	b->again++;
	/* a program in C is built again within the time that a file counts as racy: dep_set_racy() */
	start_later(b, RACY_USEC);
}

/* what may be the reason of a failure to write: memfds count too, and warmd's own limit cannot be raised by it */
static const char *file_limit(const struct server *s)
{
	return s->pools.own.rlimits[RLIMIT_FSIZE][0] == RLIM_INFINITY
		       ? ""
		       : ": warmd may not write files as large as that (ulimit -f of whoever started it); end it with "
			 "'warm stop', and start it from elsewhere";
}

bool build_is_named(const struct request *req)
{
	return req->name[0] || req->run.pool || (req->run.flags & WIRE_RUN_POOL);
}

static uint32_t status_of(int r)
{
	return r == -ENOSPC ? WIRE_COLD_BUDGET : r == -ESTALE ? WIRE_COLD_STALE : WIRE_COLD_ERROR;
}

/* the words of a result that is an error; "": it is none */
static void count_result(struct build *b, const Warm__BuildResult *result, struct error *err)
{
	struct server *s = b->server;

	if (!result->error) {
		s->builds_ok++;
		return;
	}
	snprintf(err->text, sizeof(err->text), "%s", result->message);
	if (result->error == -EOPNOTSUPP || result->error == -EINVAL) {
		s->builds_refused++;
		return;
	}
	log_warning("build of '%s' failed: %s", b->request->argv[0], result->message);
	s->builds_failed++;
	/* kept as a refusal: the same would fail again at each run */
	snprintf(err->text, sizeof(err->text), "the build failed: %s%s", result->message,
		 result->error == -EFBIG ? file_limit(s) : "");
}

/* @result is taken over, and the descriptors of @report. Return: as store_add() */
static int add(struct build *b, struct report *report, Warm__BuildResult *result, struct template **ret,
	       struct error *err)
{
	struct server *s = b->server;
	uint64_t took = clock_ns(CLOCK_MONOTONIC) - b->start_ns;
	/* the build keeps its own: it may be needed again, and is looked at while others make room */
	struct request *req = request_copy(b->request);
	int r;

	if (!req) {
		warm__build_result__free_unpacked(result, NULL);
		return error_set(err, ENOMEM, "no memory");
	}
	/* the next one, when a file has changed, is nobody's wish to have an image */
	request_strip_out(req);
	r = store_add(s->store, req, result, TAKE_PTR(report->fds), report->nfds, took, ret, err);
	report->nfds = 0;
	/* its name may have been another's, of which clients have clones */
	lease_revoke(&s->pools, NULL);
	return r;
}

/* images of a template that is ready: who asked for one waits for that */
static void write_images(struct build *b, struct kept_writer *w, struct template *t, uint64_t cpu_ns)
{
	kept_superseded(b->server->kept, t);
	if (!w || !kept_writer_go(w, t, b->request, cpu_ns))
		return;
	while (b->nwaiters && kept_writer_wait(w, b->waiters[b->nwaiters - 1]))
		b->nwaiters--;
}

/* clones are made ahead of the first launch if the build was asked for with a pool */
static void fill_pool(struct server *s, struct template *t)
{
	struct pool *p;

	if (t->state != TEMPLATE_READY || !(t->request->run.pool || (t->request->run.flags & WIRE_RUN_POOL)))
		return;
	p = pool_get(&s->pools, t);
	if (p)
		pool_keep(p, p->size);
}

static void complete(struct build *b)
{
	struct server *s = b->server;
	Warm__BuildResult *result = report_result(&b->report);
	struct kept_writer *writer = NULL;
	struct report report;
	struct error err = { 0 };
	struct template *t = NULL;
	uint32_t status;
	uint64_t cpu_ns;
	int r;

	if (!result || (!result->error && b->report.nfds < 2)) {
		if (result)
			warm__build_result__free_unpacked(result, NULL);
		s->builds_failed++;
		finish(b, WIRE_COLD_ERROR, NULL, "the build's report is malformed");
		return;
	}
	status = result->error ? WIRE_COLD_REFUSED : WIRE_WARM;
	cpu_ns = result->cpu_ns;
	count_result(b, result, &err);
	/* past the end of its process */
	report = b->report;
	b->report = (struct report)REPORT_NONE;
	if (!result->error) {
		/* its process has what an image is made of */
		b->io = sd_event_source_disable_unref(b->io);
		writer = kept_writer_new(s, b->pid, TAKE_FD(b->sock));
		b->pid = 0;
	}
	note(b,
	     result->failed  ? BACKOFF_FAILED
	     : result->error ? BACKOFF_REFUSED
			     : BACKOFF_BUILT,
	     cpu_ns, result->message);
	r = add(b, &report, result, &t, &err);
	report_done(&report);
	if (r == 0 && t->state == TEMPLATE_READY)
		write_images(b, writer, t, cpu_ns);
	else
		kept_writer_free(writer);
	if (r == -ESTALE && b->again < (build_is_named(b->request) ? AGAIN_NAMED : 1)) {
		run_again(b, err.text);
		return;
	}
	if (r == 0)
		fill_pool(s, t);
	if (r < 0)
		finish(b, status_of(r), NULL, err.text);
	else
		finish(b, status, t, status == WIRE_WARM ? t->label : err.text);
}

static int on_packet(sd_event_source *source, int fd, uint32_t events, void *data)
{
	struct build *b = data;
	char words[256];
	int r;

	(void)source;
	(void)fd;
	(void)events;
	r = report_read(&b->report, b->sock);
	if (r == 1) {
		complete(b);
	} else if (r < 0) {
		log_warning("the build of '%s' ended without a report: %s", b->request->argv[0],
			    strerror(-r));
		b->server->builds_failed++;
		snprintf(words, sizeof(words), "the build's process died%s", file_limit(b->server));
		note(b, BACKOFF_FAILED, 0, words);
		finish(b, WIRE_COLD_ERROR, NULL, words);
	}
	return 0;
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *data)
{
	struct build *b = data;
	char words[128];

	(void)source;
	(void)usec;
	snprintf(words, sizeof(words), "it did not reach its readiness point within %llu s (build_timeout)",
		 (unsigned long long)(b->server->config->build_timeout_ns / 1000000000u));
	log_warning("the build of '%s': %s", b->request->argv[0], words);
	b->server->builds_failed++;
	note(b, BACKOFF_FAILED, 0, words);
	finish(b, WIRE_COLD_ERROR, NULL, words);
	return 0;
}

static int run_builder(void *data, int sock)
{
	const struct build *b = data;

	return builder_run(b->request, b->server->config, keep_write_serve, sock);
}

static int start(struct build *b)
{
	struct server *s = b->server;
	int r;

	b->start_ns = clock_ns(CLOCK_MONOTONIC);
	r = worker_start(run_builder, b, &b->pid, &b->sock);
	if (r < 0)
		return r;
	b->timer = sd_event_source_disable_unref(b->timer);
	r = sd_event_add_io(s->event, &b->io, b->sock, EPOLLIN, on_packet, b);
	if (r >= 0)
		r = sd_event_add_time_relative(s->event, &b->timer, CLOCK_MONOTONIC,
					       s->config->build_timeout_ns / 1000, 100000, on_timeout, b);
	return r < 0 ? r : 0;
}

void build_start_next(struct server *s)
{
	struct build *b = s->builds;
	char words[128];
	int r;

	/* one that is ending has its turn until it is gone: what it tells may ask for the next */
	if (!b || b->pid > 0 || b->retrying || b->ending)
		return;
	log_debug("building '%s'", b->request->argv[0]);
	r = start(b);
	if (r == 0)
		return;
	end_process(b);
	/* RLIMIT_NPROC, pids.max, RLIMIT_NOFILE: it passes, and who waits for the name would find no template */
	if ((r == -EAGAIN || r == -ENOMEM || r == -EMFILE || r == -ENFILE) && ++b->shortages < SHORT_MAX) {
		start_later(b, SHORT_USEC);
		return;
	}
	log_error("starting a build: %s", strerror(-r));
	s->builds_failed++;
	snprintf(words, sizeof(words), "the build could not be started: %s", strerror(-r));
	finish(b, WIRE_COLD_ERROR, NULL, words);
}
