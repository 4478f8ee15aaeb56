/* SPDX-License-Identifier: MIT */
/* tracing real programs (child.c): calls, breakpoints, exec, children, freezing, remote calls */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/elf.h"
#include "engine/trace.h"

#define MARK	 1000
#define NTHREADS 12 /* of child.c's mode "threads", main included */

static char program[PATH_MAX];
static const char *mode;
static struct trace *tr;
static struct error err;

/* what was seen */
static unsigned int entries, exits, execs, hits, thread_hits;
static long last_nr;
static bool break_at_touch;
static uint64_t touch_addr;
static struct tracee *marked;

static int on_syscall(void *data, struct tracee *t, bool entry, int64_t ret, struct error *e)
{
	(void)data;
	(void)e;
	assert_int_equal(t->stop, entry ? STOP_ENTRY : STOP_EXIT);
	assert_int_equal(t->in_call, entry);
	if (entry) {
		assert_int_equal(ret, 0);
		assert_true(t->entered_ns > 0);
		entries++;
	} else {
		exits++;
	}
	last_nr = t->nr;
	if (!entry || t->nr != SYS_getpriority || t->args[0] != MARK)
		return 0;
	marked = t;
	return 1;
}

static int on_exec(void *data, struct tracee *t, struct error *e)
{
	struct elf_query q = { .name = "touch" };

	(void)data;
	execs++;
	assert_int_equal(t->tid, trace_root(tr));
	if (!break_at_touch)
		return 0;
	assert_int_equal(elf_lookup(t->tid, &q, 1), 0);
	assert_true(q.addr && q.in_exe == q.addr);
	touch_addr = q.addr;
	return trace_breakpoint(tr, 2, q.addr, e);
}

static int on_breakpoint(void *data, struct tracee *t, int slot, struct error *e)
{
	arch_regs regs;

	(void)data;
	(void)e;
	assert_int_equal(slot, 2);
	assert_int_equal(t->stop, STOP_BREAKPOINT);
	assert_int_equal(arch_get_regs(t->tid, &regs), 0);
	assert_int_equal(arch_pc(&regs), touch_addr);
	hits++;
	thread_hits += t->tid != t->tgid;
	return 0;
}

static const struct trace_ops ops = { .syscall = on_syscall, .exec = on_exec, .breakpoint = on_breakpoint };

static int execute(void *arg)
{
	int null = open("/dev/null", O_RDWR);

	(void)arg;
	/* what it says (abort's words, LSan's of a traced process) is not a test's output */
	dup2(null, 1);
	dup2(null, 2);
	execl(program, program, mode, NULL);
	return 127;
}

static void start(const char *word, bool breakpoint)
{
	mode = word;
	entries = exits = execs = hits = thread_hits = 0;
	marked = NULL;
	break_at_touch = breakpoint;
	memset(&err, 0, sizeof(err));
	if (trace_start(&tr, &ops, NULL, execute, NULL, &err) < 0)
		fail_msg("%s", err.text);
}

static void run_to_mark(void)
{
	int r = trace_run(tr, &err);

	if (r != 1)
		fail_msg("%d: %s", r, err.text);
	assert_non_null(marked);
}

static int teardown(void **state)
{
	pid_t root = tr ? trace_root(tr) : 0;

	(void)state;
	trace_free(tr);
	tr = NULL;
	/* all gone and reaped */
	if (root && (kill(root, 0) != -1 || waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD))
		return -1;
	return 0;
}

static void to_the_end(void **state)
{
	(void)state;
	start("", false);
	assert_int_equal(trace_run(tr, &err), -ECHILD);
	assert_int_equal(execs, 1);
	assert_non_null(strstr(err.text, "status 7"));
	assert_int_equal(last_nr, SYS_exit_group);
	/* of all but the last call the end was seen; the exec's own entry is before the first look or not */
	assert_true(entries >= exits && entries - exits <= 2 && exits > 5);
}

static void killed_by_a_signal(void **state)
{
	(void)state;
	start("die", false);
	assert_int_equal(trace_run(tr, &err), -ECHILD);
	assert_non_null(strstr(err.text, "signal 6"));
}

static void signals_are_delivered(void **state)
{
	(void)state;
	start("signal", false);
	assert_int_equal(trace_run(tr, &err), -ECHILD);
	assert_non_null(strstr(err.text, "status 6"));
}

static void cannot_be_executed(void **state)
{
	char kept[PATH_MAX];

	(void)state;
	strcpy(kept, program);
	strcpy(program, "/proc/nonexistent");
	start("", false);
	assert_int_equal(trace_run(tr, &err), -ECHILD);
	assert_non_null(strstr(err.text, "status 127"));
	assert_int_equal(execs, 0);
	strcpy(program, kept);
}

static void breakpoints(void **state)
{
	(void)state;
	start("touch", true);
	run_to_mark();
	assert_int_equal(hits, 3);
	assert_int_equal(thread_hits, 1);
	/* lifted again; the program did its work */
	assert_int_equal(trace_breakpoint(tr, 2, 0, &err), 0);
	assert_int_equal(trace_run(tr, &err), -ECHILD);
	assert_non_null(strstr(err.text, "status 0"));
}

static void exec_again(void **state)
{
	(void)state;
	/* breakpoints are gone with the program, and set anew by the callback */
	start("exec", true);
	run_to_mark();
	assert_int_equal(execs, 2);
	assert_int_equal(hits, 3);
}

static void children_are_counted(void **state)
{
	pid_t other = 0;
	size_t n = 0;

	(void)state;
	start("fork", true);
	assert_int_equal(trace_others(tr, &other), 0);
	run_to_mark();
	assert_int_equal(trace_others(tr, &other), 3);
	assert_true(other > 0 && other != trace_root(tr) && kill(other, 0) == 0);
	for (const struct tracee *t = trace_tracees(tr); t; t = t->next)
		n++;
	assert_int_equal(n, 4);
	assert_int_equal(trace_tracees(tr)->tid, trace_root(tr));
	/* breakpoints are for the root process */
	assert_int_equal(hits, 0);
}

static void skipped_call(void **state)
{
	arch_regs regs;

	(void)state;
	start("skip", false);
	run_to_mark();
	assert_int_equal(trace_skip(tr, marked, &err), 0);
	assert_int_equal(marked->stop, STOP_EVENT);
	assert_false(marked->in_call);
	assert_int_equal(arch_get_regs(marked->tid, &regs), 0);
	assert_int_equal(trace_run(tr, &err), -ECHILD);
	assert_non_null(strstr(err.text, "status 5"));
}

static void freeze(void)
{
	struct frozen_process *frozen;

	if (trace_freeze(tr, &frozen, &err) < 0)
		fail_msg("%s", err.text);
}

static size_t count_frozen(void)
{
	size_t n = 0;

	for (const struct tracee *t = trace_tracees(tr); t; t = t->next) {
		char path[64], *text, *p;

		assert_true(t->frozen && t->stop != STOP_NONE);
		/* the kernel says so too: tracing stop */
		snprintf(path, sizeof(path), "/proc/%d/stat", t->tid);
		assert_int_equal(read_file(path, &text, NULL), 0);
		p = strrchr(text, ')');
		assert_int_equal(p[2], 't');
		free(text);
		n++;
	}
	return n;
}

static void frozen_threads(void **state)
{
	(void)state;
	start("threads", false);
	run_to_mark();
	freeze();
	assert_int_equal(count_frozen(), NTHREADS);
}

static void calls_in_frozen_threads(void **state)
{
	struct tracee *root;
	arch_regs before, after;
	char name[16];
	int64_t ret;
	uint64_t at;

	(void)state;
	start("threads", false);
	run_to_mark();
	assert_int_equal(trace_skip(tr, marked, &err), 0);
	freeze();
	root = trace_tracees(tr);
	for (struct tracee *t = root; t; t = t->next) {
		assert_int_equal(arch_get_regs(t->tid, &before), 0);
		assert_int_equal(trace_syscall(tr, t, &ret, &err, SYS_gettid, 0, 0, 0, 0, 0, 0), 0);
		assert_int_equal(ret, t->tid);
		assert_int_equal(trace_syscall(tr, t, &ret, &err, SYS_close, 999, 0, 0, 0, 0, 0), 0);
		assert_int_equal(ret, -EBADF);
		assert_int_equal(arch_get_regs(t->tid, &after), 0);
		assert_memory_equal(&before, &after, sizeof(before));
	}
	/* all six arguments */
	assert_int_equal(trace_syscall(tr, root, &ret, &err, SYS_mmap, 0, 8192, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, (uint64_t)-1, 0),
			 0);
	assert_true(ret > 0);
	at = (uint64_t)ret;
	assert_int_equal(trace_write(root->tid, at, "a name", 7), 0);
	assert_int_equal(trace_read(root->tid, at, name, 7), 0);
	assert_string_equal(name, "a name");
	assert_int_equal(trace_read_string(root->tid, at, name, sizeof(name)), 6);
	assert_int_equal(trace_syscall(tr, root, &ret, &err, SYS_munmap, at + 4096, 4096, 0, 0, 0, 0), 0);
	assert_int_equal(ret, 0);
	assert_int_equal(trace_read(root->tid, at + 4090, name, 6), 0);
	assert_true(trace_read(root->tid, at + 4090, name, 7) < 0);
	assert_true(trace_write(root->tid, 8, name, 1) < 0);
}

/* functions of the program's libraries; one that would wait for a lock is given up, and the thread is where it was */
static void functions_in_frozen_threads(void **state)
{
	struct elf_query q[] = { { .name = "umask" }, { .name = "pthread_mutex_lock" } };
	const uint32_t locked = 2;
	struct tracee *root;
	arch_regs before, after;
	_cleanup_free_ char *status = NULL;
	char path[64];
	uint64_t mutex;
	int64_t ret;

	(void)state;
	start("threads", false);
	run_to_mark();
	assert_int_equal(trace_skip(tr, marked, &err), 0);
	freeze();
	root = trace_tracees(tr);
	assert_int_equal(elf_lookup(root->tid, q, 2), 0);
	if (!q[0].addr || !q[1].addr)
		skip(); /* static and stripped */
	assert_int_equal(arch_get_regs(root->tid, &before), 0);
	assert_int_equal(trace_call(tr, root, 3, q[0].addr, 0124, 0, &err), 0);
	snprintf(path, sizeof(path), "/proc/%d/status", root->tid);
	assert_int_equal(read_file(path, &status, NULL), 0);
	assert_non_null(strstr(status, "Umask:\t0124\n"));
	assert_int_equal(trace_syscall(tr, root, &ret, &err, SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, (uint64_t)-1, 0),
			 0);
	mutex = (uint64_t)ret;
	assert_int_equal(trace_call(tr, root, 3, q[1].addr, mutex, 0, &err), 0);
	assert_int_equal(trace_write(root->tid, mutex, &locked, sizeof(locked)), 0);
	assert_int_equal(trace_call(tr, root, 3, q[1].addr, mutex, 0, &err), -EDEADLK);
	assert_int_equal(arch_get_regs(root->tid, &after), 0);
	assert_memory_equal(&before, &after, sizeof(before));
}

/* freezing while other processes and busy threads run, again and again */
static void freeze_in_a_crowd(void **state)
{
	(void)state;
	for (int i = 0; i < 10; i++) {
		start("threads", false);
		run_to_mark();
		freeze();
		assert_int_equal(count_frozen(), NTHREADS);
		assert_int_equal(teardown(NULL), 0);
	}
	start("fork", false);
	run_to_mark();
	freeze();
	assert_true(trace_tracees(tr)->frozen);
}

static void ends_at_a_time(void **state)
{
	uint64_t at;

	(void)state;
	start("spin", false);
	run_to_mark();
	/* it makes no call, but that is no waiting */
	at = clock_ns(CLOCK_MONOTONIC) + 20 * NS_PER_MS;
	trace_set_limit(tr, at, 1);
	assert_int_equal(trace_run(tr, &err), TRACE_LIMIT);
	assert_true(clock_ns(CLOCK_MONOTONIC) >= at);
	freeze();
	assert_true(trace_tracees(tr)->frozen);
}

static void ends_when_quiet(void **state)
{
	(void)state;
	start("pause", false);
	run_to_mark();
	trace_set_limit(tr, 0, 5 * NS_PER_MS);
	assert_int_equal(trace_run(tr, &err), TRACE_LIMIT);
	freeze();
	assert_int_equal(trace_tracees(tr)->nr, SYS_pause);
}

static void freed_in_the_middle(void **state)
{
	(void)state;
	start("threads", false);
	assert_int_equal(teardown(NULL), 0);
	start("fork", false);
	run_to_mark();
	assert_int_equal(teardown(NULL), 0);
	trace_free(NULL);
}

static void strings(void **state)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *p = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	_cleanup_free_ char *buf = malloc(3 * page);
	uint64_t at = (uint64_t)p;
	pid_t self = getpid();

	(void)state;
	assert_true(p != MAP_FAILED && buf);
	assert_int_equal(mprotect(p + 2 * page, page, PROT_NONE), 0);
	memset(p, 'x', 2 * page);
	strcpy(p + 2 * page - 4, "end");
	/* up to the last byte that is there */
	assert_int_equal(trace_read_string(self, at + 2 * page - 4, buf, 3 * page), 3);
	assert_string_equal(buf, "end");
	/* across a page */
	assert_int_equal(trace_read_string(self, at + page - 10, buf, 3 * page), page + 10 - 1);
	assert_int_equal(strlen(buf), page + 9);
	/* exactly as long as the room, and one less */
	assert_int_equal(trace_read_string(self, at + 2 * page - 4, buf, 4), 3);
	assert_int_equal(trace_read_string(self, at + 2 * page - 4, buf, 3), -ENAMETOOLONG);
	/* no end */
	p[2 * page - 1] = 'x';
	assert_int_equal(trace_read_string(self, at, buf, 3 * page), -EFAULT);
	assert_int_equal(trace_read_string(self, 8, buf, 10), -EFAULT);
	munmap(p, 3 * page);
}

static int setup_all(void **state)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	(void)state;
	self[n > 0 ? n : 0] = '\0';
	snprintf(program, sizeof(program), "%.4000s/child_glibc", dirname(self));
	return access(program, X_OK);
}

#define T(f) cmocka_unit_test_teardown(f, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(to_the_end),
		T(killed_by_a_signal),
		T(signals_are_delivered),
		T(cannot_be_executed),
		T(breakpoints),
		T(exec_again),
		T(children_are_counted),
		T(skipped_call),
		T(frozen_threads),
		T(calls_in_frozen_threads),
		T(functions_in_frozen_threads),
		T(freeze_in_a_crowd),
		T(ends_at_a_time),
		T(ends_when_quiet),
		T(freed_in_the_middle),
		T(strings),
	};

	return cmocka_run_group_tests(tests, setup_all, NULL);
}
