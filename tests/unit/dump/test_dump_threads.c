/* SPDX-License-Identifier: MIT */
/* what is recorded of threads that wait in all kinds of calls, in glibc's and musl's processes (child.c) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/trace.h"
#include "snapshot/dump/dump.h"

#define MARK	 1000
#define NTHREADS 12
#define HOUR_NS	 3600000000000ull

static char dir[PATH_MAX], program[PATH_MAX + 32];
static struct trace *tr;
static struct tracee *marked;
static struct model *rec;
static struct model_process *p;
static uint64_t start_ns;

static int on_syscall(void *data, struct tracee *t, bool entry, int64_t ret, struct error *err)
{
	(void)data;
	(void)ret;
	(void)err;
	if (!entry || t->nr != SYS_getpriority || t->args[0] != MARK)
		return 0;
	marked = t;
	return 1;
}

static int on_exec(void *data, struct tracee *t, struct error *err)
{
	(void)data;
	(void)t;
	(void)err;
	return 0;
}

static int execute(void *arg)
{
	(void)arg;
	execl(program, program, "threads", NULL);
	return 127;
}

static void dump(const char *name)
{
	static const struct trace_ops ops = { .syscall = on_syscall, .exec = on_exec };
	struct dump_options o = { .resume = MODEL_RESUME_MAIN, .skip_fd = -1 };
	struct frozen_process *frozen = NULL;
	struct error err = { 0 };
	int r;

	snprintf(program, sizeof(program), "%s/%s", dir, name);
	if (access(program, X_OK) < 0)
		skip();
	start_ns = clock_ns(CLOCK_MONOTONIC);
	r = trace_start(&tr, &ops, NULL, execute, NULL, &err);
	if (r == 0)
		r = trace_run(tr, &err) == 1 ? 0 : -EIO;
	if (r == 0)
		r = trace_skip(tr, marked, &err);
	if (r == 0)
		r = trace_freeze(tr, &frozen, &err);
	rec = model_new(1);
	p = &rec->processes[0];
	p->pid = trace_root(tr);
	o.ready = marked ? marked->tid : 0;
	if (r == 0)
		r = dump_threads(frozen, &o, p, &err);
	if (r < 0)
		fail_msg("%s", err.text);
	assert_int_equal(p->nthreads, NTHREADS);
}

static int teardown(void **state)
{
	(void)state;
	model_free(rec);
	trace_free(tr);
	rec = NULL;
	tr = NULL;
	return 0;
}

static const struct model_thread *thread(const char *name)
{
	for (size_t i = 1; i < p->nthreads; i++)
		if (strcmp(p->threads[i].comm, name) == 0)
			return &p->threads[i];
	fail_msg("no thread '%s'", name);
	return NULL;
}

/* the id that a libc keeps is found, and is where it is said to be */
static void check_ids(void)
{
	for (size_t i = 0; i < p->nthreads; i++) {
		const struct model_thread *t = &p->threads[i];
		uint32_t id = 0;

		assert_true(t->tid_addr);
		assert_true(t->clear_tid);
		assert_int_equal(trace_read(p->pid, t->tid_addr, &id, sizeof(id)), 0);
		assert_int_equal(id, t->tid);
		for (size_t j = 0; j < i; j++)
			assert_true(p->threads[j].tid_addr != t->tid_addr && p->threads[j].tid != t->tid);
	}
	assert_int_equal(p->threads[0].tid, p->pid);
}

static void check_timed(const char *name, int arg, bool ms, long nr)
{
	const struct model_thread *t = thread(name);
	uint64_t spent = clock_ns(CLOCK_MONOTONIC) - start_ns;

	assert_int_equal(t->timeout_arg, arg);
	assert_int_equal(t->timeout_ms, ms);
	assert_true(t->timeout_ns <= HOUR_NS && t->timeout_ns + spent >= HOUR_NS);
	/* it will be made again */
	assert_int_equal(t->regs.rax, nr);
}

static void check_again(const char *name, long nr)
{
	const struct model_thread *t = thread(name);
	uint8_t insn[2];

	assert_int_equal(t->timeout_arg, -1);
	assert_int_equal(t->regs.rax, nr);
	assert_int_equal(trace_read(p->pid, arch_pc(&t->regs), insn, 2), 0);
	assert_int_equal(arch_find_syscall(insn, 2), 0);
}

static void check_calls(void)
{
	check_timed("nanosleep", 0, false, SYS_nanosleep);
	check_timed("futex_timed", 3, false, SYS_futex);
	check_timed("poll_timed", 2, true, SYS_poll);
	/* musl has epoll_wait as epoll_pwait */
	check_timed("epoll", 3, true, (long)thread("epoll_forever")->regs.rax);
	check_timed("sigtimedwait", 2, false, SYS_rt_sigtimedwait);
	check_again("sleep_abs", SYS_clock_nanosleep);
	check_again("futex", SYS_futex);
	check_again("poll", SYS_poll);
	check_again("read", SYS_read);
	assert_int_equal(thread("epoll_forever")->timeout_arg, -1);
	assert_int_equal(thread("running")->timeout_arg, -1);
}

static void check_rest(void)
{
	for (size_t i = 0; i < p->nthreads; i++) {
		const struct model_thread *t = &p->threads[i];

		assert_true(t->xstate && t->xstate_len >= 576);
		/* the others block everything (but for what a libc keeps for itself) */
		assert_true(i == 0 ? !(t->sigmask >> 9 & 1) : t->sigmask >> 9 & 1);
		assert_int_equal(t->resume, i == 0 ? MODEL_RESUME_MAIN : MODEL_RESUME_FRAME);
		assert_true(t->regs.fs_base);
		assert_true(t->affinity[0]);
		assert_int_equal(t->nice, p->threads[0].nice);
	}
}

static void glibc(void **state)
{
	(void)state;
	dump("child_glibc");
	check_ids();
	/* the thread descriptor's own word is the one that the kernel clears */
	for (size_t i = 0; i < p->nthreads; i++) {
		assert_int_equal(p->threads[i].tid_addr, p->threads[i].clear_tid);
		assert_true(p->threads[i].robust_list);
	}
	check_calls();
	check_rest();
}

static void musl(void **state)
{
	(void)state;
	dump("child_musl");
	check_ids();
	/* a lock of the library's, not the id */
	for (size_t i = 0; i < p->nthreads; i++) {
		assert_true(p->threads[i].tid_addr != p->threads[i].clear_tid);
		assert_int_equal(p->threads[i].rseq_addr, 0);
	}
	check_calls();
	check_rest();
}

static int setup_all(void **state)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	(void)state;
	self[n > 0 ? n : 0] = '\0';
	strcpy(dir, dirname(self));
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(glibc, teardown),
		cmocka_unit_test_teardown(musl, teardown),
	};

	return cmocka_run_group_tests(tests, setup_all, NULL);
}
