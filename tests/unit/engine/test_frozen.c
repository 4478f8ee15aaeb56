/* SPDX-License-Identifier: MIT */
/* both ways into a frozen process show the same, and it goes on as if nothing had been */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/frozen.h"
#include "engine/proc.h"
#include "engine/trace.h"

#define MARK	      1000
#define FUTEX_WAIT    0
#define TIMEOUT_MS    400
#define DEADLINE_MS   20000
#define NTHREADS      200
#define MARKED_MEMORY 0x1234567890abcdefull

/* what a program and the test tell each other */
static struct shared {
	_Atomic int ready, go, done, created, aborts;
	int result, code;
	uint64_t elapsed_ms;
	uint32_t word;
} * sh;

static uint64_t marked_memory;
static struct trace *tr;
static struct error err;
static struct frozen_process *p;
static bool marked;

/* --- programs: they run in a child of the test ---------------------------------------------------- */

/* "I am here", for both ways: a call that nobody else makes, and a word in shared memory */
static void ready(void)
{
	syscall(SYS_getpriority, MARK, 0);
	sh->ready = 1;
}

static void await_go(void)
{
	while (!sh->go)
		sched_yield();
}

static void *hour(void *arg)
{
	struct timespec ts = { .tv_sec = 3600 };

	sh->created = (int)syscall(SYS_gettid);
	syscall(SYS_nanosleep, &ts, NULL);
	return arg;
}

static int two_threads(void *arg)
{
	pthread_t t;

	marked_memory = MARKED_MEMORY;
	if (pthread_create(&t, NULL, hour, arg) != 0)
		return 9;
	ready();
	pause();
	return 9;
}

static long call_nanosleep(void)
{
	struct timespec ts = { .tv_nsec = TIMEOUT_MS * NS_PER_MS };

	return syscall(SYS_nanosleep, &ts, NULL);
}
static long call_poll(void)
{
	return poll(NULL, 0, TIMEOUT_MS);
}
static long call_futex(void)
{
	struct timespec ts = { .tv_nsec = TIMEOUT_MS * NS_PER_MS };

	return syscall(SYS_futex, &sh->word, FUTEX_WAIT, 0, &ts);
}

static int timed(void *arg)
{
	long (*const *call)(void) = arg;
	uint64_t start;

	ready();
	start = clock_ms();
	errno = 0;
	sh->result = (int)(*call)();
	sh->code = errno;
	sh->elapsed_ms = clock_ms() - start;
	sh->done = 1;
	await_go();
	return 3;
}

static int filtered(void *arg)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = ARRAY_SIZE(code), .filter = code };

	(void)arg;
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		return 9;
	ready();
	await_go();
	syscall(SYS_getppid);
	return 3;
}

static int waiting(void *arg)
{
	(void)arg;
	ready();
	await_go();
	return 3;
}

/* it is always in a restartable sequence, but for the few instructions that begin it again and count its aborts */
extern char sequence_start[], sequence_end[], sequence_abort[];

static int in_rseq(void *arg)
{
	char *rseq = (char *)__builtin_thread_pointer() + __rseq_offset;
	static struct {
		uint32_t version, flags;
		uint64_t start, length, abort;
	} cs __attribute__((aligned(32)));

	(void)arg;
	cs.start = (uint64_t)sequence_start;
	cs.length = (uint64_t)(sequence_end - sequence_start);
	cs.abort = (uint64_t)sequence_abort;
	ready();
	__asm__ volatile("1:\n"
			 "mov %[cs], 8(%[rseq])\n"
			 ".globl sequence_start, sequence_end, sequence_abort\n"
			 "sequence_start:\n"
			 "2: cmpl $0, (%[go])\n"
			 "je 2b\n"
			 "sequence_end:\n"
			 "movq $0, 8(%[rseq])\n"
			 "jmp 3f\n"
			 ".long 0x53053053\n" /* RSEQ_SIG */
			 "sequence_abort:\n"
			 "lock incl (%[aborts])\n"
			 "jmp 1b\n"
			 "3:\n"
			 :
			 : [cs] "r"(&cs), [rseq] "r"(rseq), [go] "r"(&sh->go), [aborts] "r"(&sh->aborts)
			 : "memory", "cc");
	return 3;
}

static void *count(void *arg)
{
	sh->created++;
	return arg;
}

/* each of four threads makes 50 one after the other */
static void *creator(void *arg)
{
	for (int i = 0; i < NTHREADS / 4; i++) {
		pthread_t t;

		if (pthread_create(&t, NULL, count, NULL) != 0)
			_exit(9);
		if (i % 2)
			pthread_join(t, NULL);
		else
			pthread_detach(t);
	}
	return arg;
}

static int creating(void *arg)
{
	pthread_t t[4];

	ready();
	for (int i = 0; i < 4; i++)
		if (pthread_create(&t[i], NULL, creator, arg) != 0)
			return 9;
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	while (sh->created < NTHREADS)
		sched_yield();
	sh->done = 1;
	await_go();
	return 3;
}

/* --- the two ways in --------------------------------------------------------------------------------- */

static int on_syscall(void *data, struct tracee *t, bool entry, int64_t ret, struct error *e)
{
	(void)data;
	(void)ret;
	(void)e;
	/* a call that is undone is made again, and is none of ours then */
	if (!entry || marked || t->nr != SYS_getpriority || t->args[0] != MARK)
		return 0;
	marked = true;
	return 1;
}

static int on_exec(void *data, struct tracee *t, struct error *e)
{
	(void)data;
	(void)t;
	(void)e;
	return 0;
}

static const struct trace_ops ops = { .syscall = on_syscall, .exec = on_exec };

static int reset(void **state)
{
	(void)state;
	memset(sh, 0, sizeof(*sh));
	memset(&err, 0, sizeof(err));
	tr = NULL;
	p = NULL;
	marked = false;
	return 0;
}

static char state_of(pid_t pid, pid_t tid)
{
	_cleanup_free_ char *text = NULL;
	char path[64], *end;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
	if (read_file(path, &text, NULL) < 0)
		return 0;
	end = strrchr(text, ')');
	return end ? end[2] : 0;
}

static void await_state(pid_t pid, pid_t tid, char state)
{
	uint64_t deadline = clock_ms() + DEADLINE_MS;

	while (state_of(pid, tid) != state) {
		assert_true(clock_ms() < deadline);
		sched_yield();
	}
}

static void trace_it(int (*program)(void *), void *arg)
{
	if (trace_start(&tr, &ops, NULL, program, arg, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(trace_run(tr, &err), 1);
}

/* on, until it sleeps */
static void trace_to_sleep(void)
{
	trace_set_limit(tr, 0, 5 * NS_PER_MS);
	assert_int_equal(trace_run(tr, &err), TRACE_LIMIT);
	trace_set_limit(tr, 0, 0);
}

static void freeze_traced(void)
{
	if (trace_freeze(tr, &p, &err) < 0)
		fail_msg("%s", err.text);
}

static void traced_ends(const char *words)
{
	assert_int_equal(trace_run(tr, &err), -ECHILD);
	if (!strstr(err.text, words))
		fail_msg("%s", err.text);
	trace_free(tr);
	tr = NULL;
}

static pid_t start(int (*program)(void *), void *arg)
{
	pid_t pid = fork();
	uint64_t deadline = clock_ms() + DEADLINE_MS;

	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(program(arg));
	}
	while (!sh->ready) {
		assert_true(clock_ms() < deadline);
		sched_yield();
	}
	return pid;
}

static void freeze_seized(pid_t pid)
{
	if (frozen_seize(&p, pid, &err) < 0 || frozen_stop(p, &err) < 0)
		fail_msg("%s", err.text);
}

static void ends_with(pid_t pid, int status)
{
	int got;

	sh->go = 1;
	assert_int_equal(waitpid(pid, &got, 0), pid);
	assert_true(WIFEXITED(got));
	assert_int_equal(WEXITSTATUS(got), status);
}

/* a few calls in every thread; registers are what they were */
static void make_calls(void)
{
	uint64_t page = 0, word = 77, back = 0;
	int64_t result = 0;

	for (size_t i = 0; i < p->n; i++) {
		struct frozen_thread *t = &p->threads[i];
		arch_regs before, after;
		uint64_t mask, same;

		assert_int_equal(frozen_registers(t, &before), 0);
		assert_int_equal(frozen_sigmask(t, &mask), 0);
		assert_int_equal(frozen_call(p, t, &result, &err, SYS_gettid, 0, 0, 0, 0, 0, 0), 0);
		assert_int_equal(result, t->tid);
		assert_int_equal(frozen_call(p, t, &result, &err, SYS_close, 9999, 0, 0, 0, 0, 0), 0);
		assert_int_equal(result, -EBADF);
		assert_int_equal(frozen_registers(t, &after), 0);
		assert_memory_equal(&before, &after, sizeof(before));
		assert_int_equal(frozen_sigmask(t, &same), 0);
		assert_int_equal(mask, same);
	}
	assert_int_equal(frozen_scratch(p, &page, &err), 0);
	assert_int_equal(frozen_write(p, page, &word, sizeof(word)), 0);
	assert_int_equal(frozen_read(p, page, &back, sizeof(back)), 0);
	assert_int_equal(back, 77);
	assert_int_equal(frozen_read(p, 8, &back, sizeof(back)), -EFAULT);
}

/* --- tests ---------------------------------------------------------------------------------------------- */

struct view {
	size_t n;
	struct {
		uint64_t pc, sp, result, nr, mask;
	} threads[4];
	uint64_t memory;
};

static void look(struct view *v)
{
	memset(v, 0, sizeof(*v));
	v->n = p->n;
	assert_true(p->n <= ARRAY_SIZE(v->threads));
	for (size_t i = 0; i < p->n; i++) {
		arch_regs regs;

		assert_true(p->threads[i].stopped);
		assert_int_equal(p->threads[i].stop_signal, SIGTRAP);
		assert_int_equal(frozen_registers(&p->threads[i], &regs), 0);
		assert_int_equal(frozen_sigmask(&p->threads[i], &v->threads[i].mask), 0);
		v->threads[i].pc = arch_pc(&regs);
		/* the main thread's is as deep as the two ways in call the program */
		v->threads[i].sp = i ? arch_sp(&regs) : 0;
		v->threads[i].result = arch_result(&regs);
		v->threads[i].nr = (uint64_t)p->threads[i].in.nr;
	}
	assert_int_equal(p->threads[0].tid, p->pid);
	assert_int_equal(frozen_read(p, (uint64_t)&marked_memory, &v->memory, sizeof(v->memory)), 0);
}

static void same_view(void **state)
{
	struct view traced, seized;
	pid_t pid;

	(void)state;
	trace_it(two_threads, NULL);
	trace_to_sleep();
	freeze_traced();
	look(&traced);
	make_calls();
	frozen_kill(p);
	traced_ends("signal 9");

	reset(NULL);
	pid = start(two_threads, NULL);
	await_state(pid, pid, 'S');
	while (!sh->created)
		sched_yield();
	await_state(pid, sh->created, 'S');
	freeze_seized(pid);
	look(&seized);
	make_calls();
	frozen_kill(p);
	assert_int_equal(waitpid(pid, NULL, 0), pid);

	assert_int_equal(traced.n, 2);
	assert_int_equal(traced.threads[0].nr, SYS_pause);
	assert_int_equal(traced.threads[1].nr, SYS_nanosleep);
	assert_int_equal(traced.memory, MARKED_MEMORY);
	assert_memory_equal(&traced, &seized, sizeof(traced));
}

static void check_timed(void)
{
	assert_true(sh->elapsed_ms >= TIMEOUT_MS - 1 && sh->elapsed_ms < TIMEOUT_MS + DEADLINE_MS / 2);
}

/* seized again and again until its time is over: had one of the stops begun it anew, it would never be */
static void times_of_seized(long (*call)(void), int result, int code)
{
	uint64_t deadline = clock_ms() + DEADLINE_MS;
	pid_t pid = start(timed, &call);

	await_state(pid, pid, 'S');
	while (!sh->done && frozen_seize(&p, pid, &err) == 0) {
		assert_true(clock_ms() < deadline);
		if (frozen_stop(p, &err) == 0)
			make_calls();
		frozen_thaw(p);
	}
	ends_with(pid, 3);
	assert_int_equal(sh->result, result);
	assert_int_equal(sh->code, code);
	check_timed();
}

static void times_of_traced(long (*call)(void), int result, int code)
{
	reset(NULL);
	sh->go = 1;
	trace_it(timed, &call);
	trace_to_sleep();
	for (int i = 0; i < 3; i++) {
		freeze_traced();
		make_calls();
		frozen_thaw(p);
	}
	traced_ends("status 3");
	assert_int_equal(sh->result, result);
	assert_int_equal(sh->code, code);
	check_timed();
}

static void in_nanosleep(void **state)
{
	(void)state;
	times_of_seized(call_nanosleep, 0, 0);
	times_of_traced(call_nanosleep, 0, 0);
}

static void in_poll(void **state)
{
	(void)state;
	times_of_seized(call_poll, 0, 0);
	times_of_traced(call_poll, 0, 0);
}

static void in_futex(void **state)
{
	(void)state;
	times_of_seized(call_futex, -1, ETIMEDOUT);
	times_of_traced(call_futex, -1, ETIMEDOUT);
}

static void aborts_once_more(void)
{
	uint64_t deadline = clock_ms() + DEADLINE_MS;
	int before = sh->aborts;

	/* had the kernel forgotten the sequence, it would be in there for ever, and none of its preemptions would count */
	while (sh->aborts == before) {
		assert_true(clock_ms() < deadline);
		sched_yield();
	}
}

static void not_in_sequence(void)
{
	arch_regs regs;

	assert_int_equal(frozen_registers(p->threads, &regs), 0);
	assert_false(arch_pc(&regs) - (uint64_t)sequence_start < (uint64_t)(sequence_end - sequence_start));
}

static void in_a_restartable_sequence(void **state)
{
	pid_t pid;

	(void)state;
	if (!__rseq_size)
		skip();
	pid = start(in_rseq, NULL);
	for (int i = 0; i < 5; i++) {
		freeze_seized(pid);
		not_in_sequence();
		make_calls();
		frozen_thaw(p);
		aborts_once_more();
	}
	ends_with(pid, 3);

	reset(NULL);
	trace_it(in_rseq, NULL);
	trace_set_limit(tr, clock_ns(CLOCK_MONOTONIC) + 20 * NS_PER_MS, 0);
	assert_int_equal(trace_run(tr, &err), TRACE_LIMIT);
	freeze_traced();
	not_in_sequence();
	make_calls();
	frozen_thaw(p);
	sh->go = 1;
	trace_set_limit(tr, 0, 0);
	traced_ends("status 3");
}

/* of the test: may it suspend filters? */
static bool may_suspend(void)
{
	_cleanup_free_ char *text = NULL;
	uint64_t caps = 0, mode = 1;

	assert_int_equal(read_file("/proc/self/status", &text, NULL), 0);
	proc_status_hex(text, "CapEff:", &caps);
	proc_status_hex(text, "Seccomp:", &mode);
	return caps >> 21 /* CAP_SYS_ADMIN */ & 1 && mode == 0;
}

static void call_that_kills(void)
{
	int64_t result = 0;

	assert_int_equal(frozen_call(p, NULL, &result, &err, SYS_getppid, 0, 0, 0, 0, 0, 0), 0);
	assert_int_equal(result, getpid());
	make_calls();
	frozen_thaw(p);
}

static void under_a_filter_seized(void **state)
{
	pid_t pid = start(filtered, NULL);
	int status;

	(void)state;
	if (may_suspend()) {
		freeze_seized(pid);
		call_that_kills();
	} else {
		assert_int_equal(frozen_seize(&p, pid, &err), -EPERM);
		assert_non_null(strstr(err.text, "has a seccomp filter"));
	}
	/* it lives, and its filter does */
	assert_int_equal(kill(pid, 0), 0);
	sh->go = 1;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
}

static void under_a_filter_traced(void **state)
{
	(void)state;
	trace_it(filtered, NULL);
	if (!may_suspend()) {
		assert_int_equal(trace_freeze(tr, &p, &err), -EOPNOTSUPP);
		assert_non_null(strstr(err.text, "seccomp filter"));
		trace_free(tr);
		return;
	}
	freeze_traced();
	call_that_kills();
	sh->go = 1;
	traced_ends("signal 31");
}

static void stopped_by_a_signal(void **state)
{
	pid_t pid = start(waiting, NULL);
	int status;

	(void)state;
	kill(pid, SIGSTOP);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	for (int i = 0; i < 3; i++) {
		freeze_seized(pid);
		assert_int_equal(p->threads[0].stop_signal, SIGSTOP);
		make_calls();
		frozen_thaw(p);
		await_state(pid, pid, 'T');
	}
	/* and by one that comes in the middle */
	kill(pid, SIGCONT);
	freeze_seized(pid);
	make_calls();
	kill(pid, SIGSTOP);
	make_calls();
	frozen_thaw(p);
	await_state(pid, pid, 'T');
	kill(pid, SIGCONT);
	ends_with(pid, 3);
}

static void stopped_while_traced(void **state)
{
	pid_t pid;

	(void)state;
	trace_it(waiting, NULL);
	pid = trace_root(tr);
	kill(pid, SIGSTOP);
	trace_set_limit(tr, clock_ns(CLOCK_MONOTONIC) + 50 * NS_PER_MS, 0);
	assert_int_equal(trace_run(tr, &err), TRACE_LIMIT);
	freeze_traced();
	assert_int_equal(p->threads[0].stop_signal, SIGSTOP);
	make_calls();
	frozen_thaw(p);
	/* it would end at once if it ran */
	sh->go = 1;
	trace_set_limit(tr, clock_ns(CLOCK_MONOTONIC) + 50 * NS_PER_MS, 0);
	assert_int_equal(trace_run(tr, &err), TRACE_LIMIT);
	kill(pid, SIGCONT);
	trace_set_limit(tr, 0, 0);
	traced_ends("status 3");
}

/* every thread that there is has been stopped by us */
static void none_missed(pid_t pid)
{
	char path[64];
	struct dirent *e;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	assert_non_null(dir);
	while ((e = readdir(dir))) {
		pid_t tid = atoi(e->d_name);
		char state = tid > 0 ? state_of(pid, tid) : 0;
		size_t i = 0;

		if (!state || state == 'Z' || state == 'X')
			continue;
		while (i < p->n && p->threads[i].tid != tid)
			i++;
		assert_true(i < p->n && p->threads[i].stopped);
		assert_int_equal(state, 't');
	}
	closedir(dir);
}

static void threads_being_created(void **state)
{
	uint64_t deadline = clock_ms() + DEADLINE_MS;
	pid_t pid = start(creating, NULL);
	int times = 0;

	(void)state;
	do {
		int created;

		assert_true(clock_ms() < deadline);
		freeze_seized(pid);
		created = sh->created;
		none_missed(pid);
		make_calls();
		none_missed(pid);
		assert_int_equal(sh->created, created);
		frozen_thaw(p);
		times++;
		/* some of them are made, or it would only ever be stopped */
		while (sh->created == created && !sh->done)
			sched_yield();
	} while (!sh->done);
	assert_true(times > 1);
	ends_with(pid, 3);
	assert_int_equal(sh->created, NTHREADS);
}

static void trees(void **state)
{
	struct frozen_tree tree = { 0 };
	pid_t pids[2];
	int status;

	(void)state;
	for (int i = 0; i < 2; i++) {
		pids[i] = start(waiting, NULL);
		freeze_seized(pids[i]);
		assert_int_equal(frozen_tree_add(&tree, p, i - 1), i);
		sh->ready = 0;
	}
	assert_int_equal(tree.n, 2);
	assert_int_equal(tree.parents[0], -1);
	assert_int_equal(tree.parents[1], 0);
	frozen_tree_thaw(&tree);
	assert_int_equal(tree.n, 0);
	for (int i = 0; i < 2; i++) {
		freeze_seized(pids[i]);
		frozen_tree_add(&tree, p, i - 1);
	}
	frozen_tree_kill(&tree);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	}
}

static void not_while_it_runs(void **state)
{
	pid_t pid = start(waiting, NULL);
	int64_t result;

	(void)state;
	assert_int_equal(frozen_seize(&p, pid, &err), 0);
	assert_int_equal(frozen_call(p, NULL, &result, &err, SYS_getpid, 0, 0, 0, 0, 0, 0), -EBUSY);
	frozen_thaw(p);
	frozen_thaw(NULL);
	frozen_kill(NULL);
	ends_with(pid, 3);
}

#define T(f) cmocka_unit_test_setup(f, reset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(same_view),
		T(in_nanosleep),
		T(in_poll),
		T(in_futex),
		T(in_a_restartable_sequence),
		T(under_a_filter_seized),
		T(under_a_filter_traced),
		T(stopped_by_a_signal),
		T(stopped_while_traced),
		T(threads_being_created),
		T(trees),
		T(not_while_it_runs),
	};

	sigset_t child;

	/* trace_set_limit() and frozen_seize() do so: programs of both ways shall begin with the same mask */
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sh == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
