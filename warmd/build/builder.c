/* SPDX-License-Identifier: MIT */
/*
 * builder.c - run a program to its readiness point, dump it, report.
 *
 * import and call end in a read of the readiness descriptor, seen at its system call entry; delay and idle by the
 * clock, wherever the threads are then.
 */
#include "warmd/build/builder.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "engine/base/array.h"
#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/trace.h"
#include "snapshot/dump/dump.h"
#include "snapshot/plan/plan.h"
#include "warmd/build/adaptor.h"
#include "warmd/build/builder_child.h"
#include "warmd/build/builder_internal.h"
#include "warmd/build/observe.h"

static bool reads(long nr)
{
	return nr == SYS_read || nr == SYS_readv || nr == SYS_recvfrom || nr == SYS_recvmsg;
}

int builder_drain(struct builder *b, struct error *err)
{
	char buf[4096];
	ssize_t n;

	while ((n = recv(b->warm_outer, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
		int r = adaptor_feed(&b->lines, buf, (size_t)n, err);

		if (r < 0)
			return r;
	}
	if (b->lines.refuse)
		return error_set(err, EOPNOTSUPP, "%s", b->lines.refuse);
	return 0;
}

static int on_syscall(void *data, struct tracee *t, bool entry, int64_t ret, struct error *err)
{
	struct builder *b = data;
	struct observe_call call = { .tid = t->tid, .nr = t->nr, .ret = ret, .entry = entry };
	bool warm = t->tgid == trace_root(b->trace) && (int64_t)t->args[0] == b->child.warm_fd;
	char words[64];
	int r;

	if (entry && b->observe && t->foreign)
		return builder_boundary(b, t, "makes a system call of another architecture", err);
	if (entry && b->observe && b->stop_at_redirection && builder_redirects(b, t) >= 0) {
		snprintf(words, sizeof(words), "closes or redirects descriptor %d", builder_redirects(b, t));
		return builder_boundary(b, t, words, err);
	}
	if (entry && b->stop_at && t->making == b->stop_at && t->origin == 0 && trace_makes_task(t->nr))
		return builder_boundary(b, t, b->stop_words, err);
	if (entry && warm && t->nr == SYS_write && b->adaptor_used)
		observe_phase_adaptor(b->observe);
	if (entry && warm && (reads(t->nr) || t->nr == SYS_close)) {
		r = builder_drain(b, err);
		if (r < 0)
			return r;
		if (reads(t->nr) && b->lines.ready) {
			b->ready = t;
			return 1;
		}
	}
	if (!b->observe || !observe_wants(t->nr))
		return 0;
	memcpy(call.args, t->args, sizeof(call.args));
	r = observe_syscall(b->observe, &call, err);
	switch (r) {
	case OBSERVE_DENIED:
		r = trace_deny(t, observe_denied(b->observe));
		return r < 0 ? error_errno(err, r, "denying a system call") : 0;
	case OBSERVE_BOUNDARY:
		return builder_boundary(b, t, observe_refusal(b->observe)->text, err);
	case OBSERVE_REFUSED:
		return error_set(err, EOPNOTSUPP, "%s", observe_refusal(b->observe)->text);
	default:
		return r;
	}
}

static void on_exited(void *data, pid_t tid, unsigned int origin)
{
	struct builder *b = data;
	struct builder_ended *added = array_append(&b->ended, &b->nended, sizeof(*added));

	if (added)
		*added = (struct builder_ended){ tid, origin };
	if (b->observe)
		observe_exited(b->observe, tid);
}

static const struct trace_ops ops = { .exited = on_exited,
				      .syscall = on_syscall,
				      .exec = builder_on_exec,
				      .breakpoint = builder_on_breakpoint };

static int parse_point(struct builder *b, struct error *err)
{
	int r = ready_parse(b->req->ready, &b->point, err);

	if (r == 0 && builder_is_live(b) && b->point.ns >= b->cfg->build_timeout_ns)
		return error_set(
			err, EINVAL,
			"readiness point '%.60s' comes later than the %llu s that a build may take (build_timeout)",
			b->req->ready, (unsigned long long)(b->cfg->build_timeout_ns / NS_PER_S));
	return r;
}

static int start(struct builder *b, struct error *err)
{
	struct rlimit nofile;
	int pair[2], r;

	r = parse_point(b, err);
	if (r == 0)
		r = builder_stdio_open(b->req, &b->child.stdio, err);
	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return error_errno(err, errno, "socketpair");
	b->warm_outer = pair[0];
	b->child.req = b->req;
	b->child.warm_inner = pair[1];
	b->child.announce = b->point.kind->asks;
	getrlimit(RLIMIT_NOFILE, &nofile);
	if (b->req->run.rlimits[RLIMIT_NOFILE][0] < nofile.rlim_cur)
		nofile.rlim_cur = b->req->run.rlimits[RLIMIT_NOFILE][0];
	/*
	 * High, so that the program's own descriptors get the numbers that they have cold; with numbers above it, where
	 * the stub makes descriptors before it places them.
	 */
	b->child.warm_fd = nofile.rlim_cur >= 1024 ? 999 : (int)(nofile.rlim_cur - nofile.rlim_cur / 4);
	while (request_inherits(b->req, b->child.warm_fd) && b->child.warm_fd > 3)
		b->child.warm_fd--;
	for (int i = 0; i < 3; i++) {
		char path[64];
		ssize_t n;

		if (b->child.stdio.inner[i] < 0)
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", b->child.stdio.inner[i]);
		n = readlink(path, b->stdio_links[i], sizeof(b->stdio_links[i]) - 1);
		b->stdio_links[i][n > 0 ? n : 0] = '\0';
	}
	builder_child_session(&b->child);
	r = trace_start(&b->trace, &ops, b, builder_child_start, &b->child, err);
	if (r < 0)
		return r;
	b->child.warm_inner = fd_close(b->child.warm_inner);
	for (int i = 0; i < 3; i++)
		b->child.stdio.inner[i] = fd_close(b->child.stdio.inner[i]);
	/* the child places its descriptors before its exec: what it has then is from outside */
	return 0;
}

static int build_once(struct builder *b, struct error *err)
{
	int r = start(b, err);

	if (r < 0)
		return r;
	r = trace_run(b->trace, err);
	if (r == -ECHILD) {
		struct error words;

		/* its last words may be a reason */
		if (builder_drain(b, &words) < 0)
			r = error_set(err, words.code, "%s", words.text);
		else
			r = -EOPNOTSUPP;
		b->failed = !b->lines.refuse;
	}
	if (r <= 0)
		return r < 0 ? r : error_set(err, EIO, "the trace ended without a reason");
	r = builder_split_arguments(b, err);
	return r < 0 ? r : builder_take(b, err);
}

/* for another build by the same process: what the one before has left */
static void begin_anew(struct builder *b)
{
	trace_free(TAKE_PTR(b->trace));
	observe_free(TAKE_PTR(b->observe));
	adaptor_done(&b->lines);
	b->lines = (struct adaptor_lines){ .argv = LONG_MAX };
	builder_stdio_close(&b->child.stdio);
	b->child.stdio.terminal = -1;
	b->warm_outer = fd_close(b->warm_outer);
	for (size_t i = 0; i < b->nenv; i++)
		free(b->env[i]);
	b->nenv = b->nended = 0;
	b->env_visible = true;
	b->adaptor_used = b->early = false;
	b->ready = NULL;
	b->leave = (struct builder_leave){ 0 };
	b->boundary[0] = '\0';
	b->next = NULL;
	b->language = NULL;
	free(TAKE_PTR(b->language_data));
}

static int build(struct builder *b, struct error *err)
{
	for (;;) {
		int r = build_once(b, err);

		if (r != -ERESTART)
			return r;
		model_free(TAKE_PTR(b->model));
		model_files_done(&b->files);
		begin_anew(b);
		b->attempts++;
	}
}

int builder_run(const struct request *req, const struct config *cfg,
		void (*reported)(const struct builder_made *made, int sock), int sock)
{
	struct builder b = {
		.req = req,
		.cfg = cfg,
		.env_visible = true,
		.warm_outer = -EBADF,
		.argv_count = -1,
		.point = { .kind = ready_points[0] },
		.context_fd = -1,
		.plan = { .control = -EBADF, .pages = -EBADF, .huge = -EBADF },
	};
	struct error err = { 0 };
	int r, status;

	b.clock_start_ns = clock_ns(CLOCK_MONOTONIC);
	prctl(PR_SET_NAME, "warmd-build");
	/* orphans of the program's children come here and die with us */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (int i = 0; i < 3; i++)
		b.child.stdio.inner[i] = b.child.stdio.outer[i] = -EBADF;
	b.child.stdio.terminal = -1;
	b.child.warm_inner = -EBADF;
	b.lines.argv = LONG_MAX;
	r = build(&b, &err);
	status = builder_report_send(&b, r, &err, reported, sock);
	/* memory, files and what else there is end with this process */
	return status;
}
