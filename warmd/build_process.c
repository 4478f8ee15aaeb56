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
#include "warmd/launch.h"
#include "warmd/pool/lease.h"
#include "warmd/pool/pool.h"
#include "warmd/serve.h"
#include "warmd/template/backoff.h"

#define BUILD_FILES_MAX 4096
#define AGAIN_NAMED	100
#define SHORT_USEC	50000 /* without a process for it */
#define SHORT_MAX	100
#define RACY_USEC	25000 /* a little more than the 20 ms of dep_set_racy() */

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
	b->result_fd = fd_close(b->result_fd);
	for (uint32_t i = 0; i < b->nfds; i++)
		fd_close(b->fds[i]);
	free(b->fds);
	b->fds = NULL;
	b->nfds = 0;
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

static int on_retry(sd_event_source *source, void *data)
{
	(void)source;
	launch_retry(data);
	return 0;
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
	/* later: whoever ends a build may be in the middle of a launch */
	if (s->waiting)
		sd_event_add_defer(s->event, NULL, on_retry, s);
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

static Warm__BuildResult *read_result(struct build *b)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	struct stat st;

	if (fstat(b->result_fd, &st) < 0 || b->report.result_size > (256u << 20) ||
	    (uint64_t)st.st_size < b->report.result_size)
		return NULL;
	bytes = malloc(b->report.result_size ? b->report.result_size : 1);
	if (!bytes || pread_full(b->result_fd, bytes, b->report.result_size, 0) < 0)
		return NULL;
	return warm__build_result__unpack(NULL, b->report.result_size, bytes);
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

/* for the statistics; @err gets words for who waits */
static void count_result(struct build *b, const Warm__BuildResult *result, struct error *err)
{
	struct server *s = b->server;

	if (!result->error) {
		s->builds_ok++;
	} else if (result->error == -EOPNOTSUPP || result->error == -EINVAL) {
		s->builds_refused++;
	} else {
		/* kept as a refusal: the same would fail again at each run */
		log_warning("build of '%s' failed: %s", b->request->argv[0], result->message);
		s->builds_failed++;
		snprintf(err->text, sizeof(err->text), "the build failed: %s%s", result->message,
			 result->error == -EFBIG ? file_limit(s) : "");
		return;
	}
	snprintf(err->text, sizeof(err->text), "%s", result->message);
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
	Warm__BuildResult *result = read_result(b);
	uint64_t took = clock_ns(CLOCK_MONOTONIC) - b->start_ns;
	struct error err = { 0 };
	struct template *t = NULL;
	struct request *req;
	int *fds = b->fds, r;
	uint32_t nfds = b->nfds, status;

	if (!result || (!result->error && nfds < 2)) {
		if (result)
			warm__build_result__free_unpacked(result, NULL);
		s->builds_failed++;
		finish(b, WIRE_COLD_ERROR, NULL, "the build's report is malformed");
		return;
	}
	b->fds = NULL;
	b->nfds = 0;
	note(b,
	     result->failed  ? BACKOFF_FAILED
	     : result->error ? BACKOFF_REFUSED
			     : BACKOFF_BUILT,
	     result->cpu_ns, result->message);
	count_result(b, result, &err);
	status = result->error ? WIRE_COLD_REFUSED : WIRE_WARM;
	/* the build keeps its own: it may be needed again, and is looked at while others make room */
	req = request_copy(b->request);
	if (req) {
		r = store_add(s->store, req, result, fds, nfds, took, &t, &err);
		/* its name may have been another's, of which clients have clones */
		lease_revoke(&s->pools, NULL);
	} else {
		for (uint32_t i = 0; i < nfds; i++)
			fd_close(fds[i]);
		free(fds);
		warm__build_result__free_unpacked(result, NULL);
		r = error_set(&err, ENOMEM, "no memory");
	}
	if (r == -ESTALE && b->again < (build_is_named(b->request) ? AGAIN_NAMED : 1)) {
		run_again(b, err.text);
		return;
	}
	if (r == 0)
		fill_pool(s, t);
	if (r < 0)
		finish(b,
		       r == -ENOSPC   ? WIRE_COLD_BUDGET
		       : r == -ESTALE ? WIRE_COLD_STALE
				      : WIRE_COLD_ERROR,
		       NULL, err.text);
	else
		finish(b, status, t, status == WIRE_WARM ? t->label : err.text);
}

static int take_fds(struct build *b, struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		if (array_reserve(&b->fds, b->nfds, n, sizeof(*b->fds)) < 0)
			return -ENOMEM;
		memcpy(b->fds + b->nfds, CMSG_DATA(c), n * sizeof(int));
		b->nfds += (uint32_t)n;
	}
	return msg->msg_flags & (MSG_CTRUNC | MSG_TRUNC) ? -EMFILE : 0;
}

/* Return: 1 complete, 0 more to come, negative: broken */
static int read_packet(struct build *b)
{
	char control[CMSG_SPACE(sizeof(int) * 253)];
	struct builder_report report = { 0 };
	struct iovec iov = { &report, sizeof(report) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	ssize_t n = recvmsg(b->sock, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	int r;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -ECONNRESET;
	r = take_fds(b, &msg);
	if (r < 0)
		return r;
	if (b->result_fd < 0) {
		if ((size_t)n != sizeof(report) || report.magic != BUILDER_MAGIC || b->nfds != 1 ||
		    report.nfds > BUILD_FILES_MAX)
			return -EBADMSG;
		b->report = report;
		b->result_fd = b->fds[0];
		b->nfds = 0;
	}
	return b->nfds >= b->report.nfds;
}

static int on_packet(sd_event_source *source, int fd, uint32_t events, void *data)
{
	struct build *b = data;
	char words[256];
	int r;

	(void)source;
	(void)fd;
	(void)events;
	r = read_packet(b);
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

/* in the child: only the socket stays */
static void become_builder(const struct build *b, int sock, pid_t warmd)
{
	sigset_t none;
	int status;

	/* cannot fail for a signal that exists: prctl(2) */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* of a warmd that had ended before, no signal comes */
	if (getppid() != warmd)
		_exit(1);
	if (dup2(sock, 3) < 0 || fcntl(3, F_SETFD, FD_CLOEXEC) < 0)
		_exit(1);
	syscall(SYS_close_range, 4, ~0u, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	status = builder_run(b->request, b->server->config, 3);
	_exit(status);
}

static int start(struct build *b)
{
	struct server *s = b->server;
	pid_t warmd = getpid();
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	b->start_ns = clock_ns(CLOCK_MONOTONIC);
	b->pid = fork();
	r = b->pid < 0 ? -errno : 0;
	if (b->pid == 0)
		become_builder(b, pair[1], warmd);
	close(pair[1]);
	b->sock = pair[0];
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
