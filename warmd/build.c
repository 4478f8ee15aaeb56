/* SPDX-License-Identifier: MIT */
/*
 * build.c - builds: a queue, one process at a time, and what comes back.
 *
 * Whoever waits for a build (`warm build`) gets his turn, however many there are, and before what runs have built behind
 * them: of those no more wait than BACKGROUND_MAX, and none that backoff.h advises against.
 *
 * A build's process reports on a socket (builder.h) and ends. It may die at any moment, be
 * killed or hang: then its socket closes or its time runs out, and whoever
 * waits is told.
 */
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

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "warmd/backoff.h"
#include "warmd/builder.h"
#include "warmd/lease.h"
#include "warmd/pool.h"
#include "warmd/server.h"

#define BACKGROUND_MAX	16
#define BUILD_FILES_MAX 4096
#define AGAIN_NAMED	100
#define SHORT_USEC	50000 /* without a process for it */
#define SHORT_MAX	100
#define RACY_USEC	25000 /* a little more than the 20 ms of dep_set_racy() */

struct build {
	struct build *next;
	struct server *server;
	struct request *request;
	struct connection **waiters;
	unsigned int nwaiters, waiters_size;
	bool background; /* wanted whether or not anybody waits */
	bool ending; /* whoever is told may go away meanwhile */
	bool retrying; /* timer: until it is started again */
	unsigned int shortages; /* how often it could not be started for want of processes or descriptors */
	uint64_t cpu_ns; /* of its process, once that is reaped */
	unsigned int again; /* how often an input changed during the build, so that it was made once more */
	/* while it runs */
	pid_t pid;
	int sock;
	sd_event_source *io, *timer, *child;
	uint64_t start_ns;
	struct builder_report report;
	int result_fd;
	int *fds;
	uint32_t nfds;
};

static void start_next(struct server *s);

static bool same_context(const struct request *a, const struct request *b)
{
	return a->run.strings_size == b->run.strings_size && a->run.argc == b->run.argc &&
	       a->run.envc == b->run.envc && memcmp(a->bytes, b->bytes, a->run.strings_size) == 0;
}

static bool same_command(const struct request *a, const struct request *b)
{
	if (a->run.argc != b->run.argc || strcmp(a->name, b->name) != 0 || strcmp(a->ready, b->ready) != 0 ||
	    strcmp(a->cwd, b->cwd) != 0)
		return false;
	for (uint32_t i = 0; i < a->run.argc; i++)
		if (strcmp(a->argv[i], b->argv[i]) != 0)
			return false;
	return true;
}

bool build_pending(const struct server *s, const struct request *req)
{
	for (const struct build *b = s->builds; b; b = b->next)
		if (same_command(b->request, req))
			return true;
	return false;
}

static bool has_name(const struct build *list, const char *name)
{
	char label[REQUEST_LABEL_MAX];

	for (const struct build *b = list; b; b = b->next) {
		request_label(b->request, label, sizeof(label));
		if (strcmp(b->request->name[0] ? b->request->name : label, name) == 0)
			return true;
	}
	return false;
}

bool build_pending_name(const struct server *s, const char *name)
{
	return has_name(s->builds, name) || has_name(s->later, name);
}

bool build_is_process(const struct server *s, pid_t pid)
{
	for (const struct build *b = s->builds; b; b = b->next)
		if (b->pid == pid)
			return true;
	return false;
}

static void build_free(struct build *b);

void build_forget_waiter(struct server *s, const struct connection *c)
{
	struct build *next;

	for (struct build *b = s->builds; b; b = next) {
		unsigned int kept = 0, had = b->nwaiters;

		next = b->next;
		for (unsigned int i = 0; i < b->nwaiters; i++)
			if (b->waiters[i] != c)
				b->waiters[kept++] = b->waiters[i];
		b->nwaiters = kept;
		/* one that has begun goes on: it is nearly there */
		if (had && !kept && !b->background && !b->ending && b->pid <= 0)
			build_free(b);
	}
	start_next(s);
}

static bool add_waiter(struct build *b, struct connection *c)
{
	if (b->nwaiters == b->waiters_size) {
		unsigned int size = b->waiters_size ? 2 * b->waiters_size : 4;
		struct connection **more = realloc(b->waiters, size * sizeof(*more));

		if (!more)
			return false;
		b->waiters = more;
		b->waiters_size = size;
	}
	b->waiters[b->nwaiters++] = c;
	return true;
}

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
			b->cpu_ns = (uint64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * NS_PER_S +
				    (uint64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * NS_PER_US;
		b->pid = 0;
	}
	b->result_fd = fd_close(b->result_fd);
	for (uint32_t i = 0; i < b->nfds; i++)
		fd_close(b->fds[i]);
	free(b->fds);
	b->fds = NULL;
	b->nfds = 0;
}

static void build_free(struct build *b)
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
	start_next(s);
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
	start_next(b->server);
	return 0;
}

/* the first of the queue is started after a while, or at once if there is no memory for a timer */
static void start_later(struct build *b, uint64_t usec)
{
	b->retrying = sd_event_add_time_relative(b->server->event, &b->timer, CLOCK_MONOTONIC, usec, 1000,
						 on_again, b) >= 0;
	if (!b->retrying)
		start_next(b->server);
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
	return s->own.rlimits[RLIMIT_FSIZE][0] == RLIM_INFINITY
		       ? ""
		       : ": warmd may not write files as large as that (ulimit -f of whoever started it); end it with "
			 "'warm stop', and start it from elsewhere";
}

/* launches come by its name, and cannot run cold: it is worth waiting until nobody writes any more */
static bool is_named(const struct request *req)
{
	return req->name[0] || req->run.pool || (req->run.flags & WIRE_RUN_POOL);
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
	if (result->error && result->error != -EOPNOTSUPP && result->error != -EINVAL) {
		log_warning("build of '%s' failed: %s", b->request->argv[0], result->message);
		s->builds_failed++;
		snprintf(err.text, sizeof(err.text), "the build failed: %s%s", result->message,
			 result->error == -EFBIG ? file_limit(s) : "");
		/* kept as a refusal: the same would fail again at each run */
	}
	status = result->error ? WIRE_COLD_REFUSED : WIRE_WARM;
	if (result->error == -EOPNOTSUPP || result->error == -EINVAL)
		s->builds_refused++;
	else if (!result->error)
		s->builds_ok++;
	if (!err.text[0])
		snprintf(err.text, sizeof(err.text), "%s", result->message);
	/* the build keeps its own: it may be needed again, and is looked at while others make room */
	req = request_copy(b->request);
	if (req) {
		r = store_add(s->store, req, result, fds, nfds, took, &t, &err);
		/* its name may have been another's, of which clients have clones */
		lease_revoke(s, NULL);
	} else {
		for (uint32_t i = 0; i < nfds; i++)
			fd_close(fds[i]);
		free(fds);
		warm__build_result__free_unpacked(result, NULL);
		r = error_set(&err, ENOMEM, "no memory");
	}
	if (r == -ESTALE && b->again < (is_named(b->request) ? AGAIN_NAMED : 1)) {
		run_again(b, err.text);
		return;
	}
	if (r == 0 && t->state == TEMPLATE_READY &&
	    (t->request->run.pool || (t->request->run.flags & WIRE_RUN_POOL))) {
		struct pool *p = pool_get(s, t);

		if (p)
			pool_keep(p, p->size);
	}
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
		int *more;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		more = realloc(b->fds, (b->nfds + n) * sizeof(int));
		if (!more)
			return -ENOMEM;
		b->fds = more;
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
static void become_builder(const struct build *b, int sock)
{
	sigset_t none;
	int status;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (dup2(sock, 3) < 0)
		_exit(1);
	fcntl(3, F_SETFD, FD_CLOEXEC);
	syscall(SYS_close_range, 4, ~0u, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	status = builder_run(b->request, b->server->config, 3);
	_exit(status);
}

static int start(struct build *b)
{
	struct server *s = b->server;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	b->start_ns = clock_ns(CLOCK_MONOTONIC);
	b->pid = fork();
	r = b->pid < 0 ? -errno : 0;
	if (b->pid == 0)
		become_builder(b, pair[1]);
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

static void start_next(struct server *s)
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

/* behind the one that runs, and those that somebody waits for stay in front of the others */
static void enqueue(struct server *s, struct build *b)
{
	struct build **at = &s->builds;

	while (*at && ((*at)->pid > 0 || (*at)->retrying || (*at)->ending || (*at)->nwaiters || !b->nwaiters))
		at = &(*at)->next;
	b->next = *at;
	*at = b;
}

/* Return: it waits for @b; false: no memory, and it was told so */
static bool join(struct build *b, struct connection *waiter)
{
	if (!waiter) {
		b->background = true;
		return true;
	}
	/* what changed before this request is not its fault: it gets its own second try */
	b->again = 0;
	if (add_waiter(b, waiter))
		return true;
	connection_reply(waiter, WIRE_COLD_ERROR, NULL, false, 0, "no memory for one who waits for a build");
	return false;
}

void build_request(struct server *s, struct request *req, struct connection *waiter)
{
	unsigned int background = 0;
	struct build *b;

	for (b = s->builds; b; b = b->next) {
		background += b->background && !b->nwaiters && !is_named(b->request);
		if (same_context(b->request, req)) {
			request_free(req);
			join(b, waiter);
			return;
		}
	}
	if (waiter)
		backoff_forget(s->store->backoff, backoff_program(req));
	b = waiter || is_named(req) || background < BACKGROUND_MAX ? calloc(1, sizeof(*b)) : NULL;
	if (!b) {
		request_free(req);
		if (waiter)
			connection_reply(waiter, WIRE_COLD_ERROR, NULL, false, 0, "no memory for a build");
		return;
	}
	b->server = s;
	b->request = req;
	b->sock = b->result_fd = -EBADF;
	if (!join(b, waiter)) {
		request_free(req);
		free(b);
		return;
	}
	enqueue(s, b);
	start_next(s);
}

static void drop_later(struct build *b)
{
	struct build **at = &b->server->later;

	while (*at != b)
		at = &(*at)->next;
	*at = b->next;
	sd_event_source_disable_unref(b->timer);
	free(b);
}

static int on_later(sd_event_source *source, uint64_t usec, void *data)
{
	struct build *b = data;
	struct server *s = b->server;
	struct request *req = b->request;

	(void)source;
	(void)usec;
	drop_later(b);
	build_request(s, req, NULL);
	return 0;
}

void build_request_later(struct server *s, struct request *req, uint64_t ns)
{
	struct build *b = calloc(1, sizeof(*b));

	if (b) {
		b->server = s;
		b->request = req;
	}
	if (!b || sd_event_add_time_relative(s->event, &b->timer, CLOCK_MONOTONIC, ns / NS_PER_US, 0,
					     on_later, b) < 0) {
		free(b);
		build_request(s, req, NULL);
		return;
	}
	b->next = s->later;
	s->later = b;
}

void build_give_up(struct server *s, const char *name)
{
	struct build *next;

	for (struct build *b = s->builds; b; b = next) {
		next = b->next;
		if (!b->nwaiters && b->request->name[0] && strcmp(b->request->name, name) == 0)
			build_free(b);
	}
	start_next(s);
}

void build_stop_all(struct server *s)
{
	while (s->later) {
		request_free(s->later->request);
		drop_later(s->later);
	}
	while (s->builds) {
		s->builds->nwaiters = 0;
		build_free(s->builds);
	}
}
