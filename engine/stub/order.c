/* SPDX-License-Identifier: MIT */
/*
 * order.c - a clone's launch: the order is read, applied, and the program goes on.
 *
 * Its context area, at stub_launch.area:
 *
 *	struct stub_order	as received
 *	raw context		docs/adaptor.md: header, thread pairs (written when the threads are made), then
 *	strings			argv, environment: received straight to here; /proc/PID/cmdline points here
 *	argv[], envp[]		for main(), where that is the readiness point
 */
#include "engine/stub/stub.h"

#include <linux/fcntl.h>
#include <linux/mman.h>
#include <sys/syscall.h>

#define EBADMSG	   74
#define E2BIG	   7
#define TARGET_MAX 256 /* numbers in wire_run.inherited_fds */

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

struct area {
	struct stub_order *order;
	struct stub_context *raw;
	char *strings;
	uint64_t size;
};

static uint64_t pages(uint64_t n)
{
	return (n + stub_data.page_size - 1) & ~(stub_data.page_size - 1);
}

/* address space for the largest order, memory for a usual one */
static struct area make_area(struct stub_launch *l, struct stub_process *p)
{
	uint64_t head = sizeof(struct stub_order) + sizeof(struct stub_context) + 8ull * p->nthreads;
	/* pointers: a string has a byte at least */
	struct area a = { .size = pages(head + STUB_ORDER_STRINGS + sizeof(struct stub_context_signals) +
					8 * (STUB_ORDER_STRINGS + 4)) };
	long at;

	if (a.size > l->area_room)
		stub_fail(l, "making room for the launch context", -E2BIG);
	at = SYSCALL6(SYS_mmap, l->area, a.size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
	if (at < 0)
		stub_fail(l, "making room for the launch context", at);
	SYSCALL3(SYS_madvise, at, pages(head + 4096), MADV_POPULATE_WRITE);
	a.order = (struct stub_order *)at;
	a.raw = (struct stub_context *)(a.order + 1);
	a.strings = (char *)a.raw + sizeof(*a.raw) + 8ull * p->nthreads;
	l->context = (uint64_t)a.raw;
	l->context_tids = (uint64_t)(a.raw + 1);
	return a;
}

static int sane(const struct area *a, long n, const struct stub_received *got)
{
	const struct stub_order *o = a->order;
	uint32_t fds = o->ntargets + !!(o->flags & STUB_ORDER_CWD) + !!(o->flags & STUB_ORDER_JSON);
	const char *p = a->strings, *end = p + o->argv_size + o->env_size;
	uint32_t strings = 0;

	if (n < (long)sizeof(*o) || o->magic != STUB_ORDER_MAGIC || o->size != (uint64_t)n ||
	    o->ntargets > STUB_ORDER_FDS || got->n != fds ||
	    (uint64_t)o->argv_size + o->env_size != (uint64_t)n - sizeof(*o) ||
	    o->argv_size + o->env_size > STUB_ORDER_STRINGS)
		return 0;
	for (uint32_t i = 0; i < o->ntargets; i++)
		if (o->targets[i] >= TARGET_MAX)
			return 0;
	if (p < end && end[-1])
		return 0;
	while (p < end)
		if (!*p++)
			strings++;
	return strings == o->argc + o->envc && o->argc;
}

/* out of the way: @fd is where another belongs */
static int32_t move_away(struct stub_launch *l, int32_t fd, int32_t high)
{
	long up = SYSCALL3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, high + 1);

	if (up < 0)
		stub_fail(l, "placing the caller's descriptors (see ulimit -n)", up);
	SYSCALL1(SYS_close, fd);
	return (int32_t)up;
}

static void place_descriptors(struct stub_launch *l, const struct stub_order *o, struct stub_received *got)
{
	uint64_t wanted[TARGET_MAX / 64] = { 0 };
	int32_t high = 2;

	for (uint32_t i = 0; i < o->ntargets; i++) {
		high = o->targets[i] > high ? o->targets[i] : high;
		wanted[o->targets[i] / 64] |= 1ull << (o->targets[i] % 64);
	}
	for (uint32_t i = 0; i < got->n; i++) {
		int32_t fd = got->fds[i];

		if (fd < TARGET_MAX && (wanted[fd / 64] >> (fd % 64) & 1) &&
		    (i >= o->ntargets || o->targets[i] != fd))
			got->fds[i] = move_away(l, fd, high);
	}
	for (uint32_t i = 0; i < o->ntargets; i++) {
		long r;

		if (got->fds[i] == o->targets[i]) {
			SYSCALL3(SYS_fcntl, got->fds[i], F_SETFD, 0);
			continue;
		}
		r = SYSCALL3(SYS_dup3, got->fds[i], o->targets[i], 0);
		if (r < 0)
			stub_fail(l, "placing the caller's descriptors", r);
		SYSCALL1(SYS_close, got->fds[i]);
	}
	/* those that the caller has closed */
	for (int32_t fd = 0; fd < 3; fd++)
		if (!(wanted[0] >> fd & 1))
			SYSCALL1(SYS_close, fd);
}

/*
 * A table of descriptors that threads share grows only after an RCU grace period (fs/file.c: expand_fdtable()),
 * 20 ms and more. So it gets its room while there is one thread.
 */
static void widen_table(const struct stub_launch *l, struct stub_process *p)
{
	long fd = p->nthreads > 1 ? SYSCALL3(SYS_fcntl, l->channel_fd, F_DUPFD_CLOEXEC, TARGET_MAX - 1) : -1;

	if (fd >= 0)
		SYSCALL1(SYS_close, fd);
}

static void place_extras(struct stub_launch *l, struct stub_process *p, const struct stub_order *o,
			 const struct stub_received *got)
{
	uint32_t at = o->ntargets;
	long r = 0;

	if (o->flags & STUB_ORDER_CWD) {
		r = SYSCALL1(SYS_fchdir, got->fds[at]);
		SYSCALL1(SYS_close, got->fds[at++]);
		if (r < 0)
			stub_fail(l, "changing to the caller's directory", r);
	}
	if (o->flags & STUB_ORDER_JSON)
		stub_place_context(l, p, got->fds[at]);
}

static void ignore_signals(struct stub_process *p, uint64_t ignored)
{
	const struct stub_sigaction *s = stub_at(p->sigactions);
	uint64_t ignore[4] = { 1 /* SIG_IGN */ };

	/* the program's own dispositions stand */
	for (uint32_t i = 0; i < p->nsigactions; i++)
		ignored &= ~(1ull << (s[i].signo - 1));
	for (int sig = 1; ignored; sig++, ignored >>= 1)
		if (ignored & 1)
			SYSCALL4(SYS_rt_sigaction, sig, ignore, 0, 8);
}

static void apply_caller(struct stub_launch *l, struct stub_process *p, const struct stub_order *o)
{
	const char *what;
	long r;

	for (uint32_t i = 0; i < 16; i++) {
		if (!(o->limits_set >> i & 1))
			continue;
		r = SYSCALL4(SYS_prlimit64, 0, i, &o->limits[i], 0);
		if (r < 0)
			stub_fail(l, "setting the caller's resource limits", r);
	}
	if (o->flags & STUB_ORDER_UMASK)
		SYSCALL1(SYS_umask, o->umask);
	what = stub_take_scheduling(p, stub_at(p->threads), o, &r);
	if (what)
		stub_fail(l, what, r);
	ignore_signals(p, o->ignored_signals);
	stub_block_signals(p, o->blocked_signals);
}

/* argv[] and envp[] behind the strings */
static void make_vectors(struct stub_launch *l, const struct area *a)
{
	const struct stub_order *o = a->order;
	const char *p = a->strings;
	uint64_t *v = (uint64_t *)(((uint64_t)p + o->argv_size + o->env_size + 15) & ~15ull);

	l->argc = o->argc;
	l->argv = (uint64_t)v;
	for (uint32_t i = 0; i < o->argc; i++, p += strlen(p) + 1)
		*v++ = (uint64_t)p;
	*v++ = 0;
	l->envp = (uint64_t)v;
	for (uint32_t i = 0; i < o->envc; i++, p += strlen(p) + 1)
		*v++ = (uint64_t)p;
	*v = 0;
}

static int tells_signals(const struct stub_order *o)
{
	return stub_data.tell_signals &&
	       stub_other_signals(&stub_data, o->ignored_signals, o->blocked_signals);
}

/* behind the strings */
static void add_signals(struct stub_launch *l, const struct area *a)
{
	const struct stub_order *o = a->order;
	struct stub_context_signals s = { o->ignored_signals, stub_data.start_ignored, o->blocked_signals,
					  stub_data.start_blocked };

	if (!tells_signals(o))
		return;
	a->raw->stdio |= STUB_OTHER_SIGNALS;
	memcpy((void *)l->env_end, &s, sizeof(s));
}

static void set_context(struct stub_launch *l, struct stub_process *p, const struct area *a)
{
	const struct stub_order *o = a->order;
	struct stub_thread *ready = (struct stub_thread *)stub_at(p->threads) + p->ready_thread;
	long r;

	l->arg_start = (uint64_t)a->strings;
	l->arg_end = l->env_start = l->arg_start + o->argv_size;
	l->env_end = l->env_start + o->env_size;
	l->context_len = sizeof(*a->raw) + 8ull * p->nthreads + o->argv_size + o->env_size +
			 (tells_signals(o) ? sizeof(struct stub_context_signals) : 0);
	if (p->context_buf && l->context_len > p->context_max)
		stub_fail(l, "giving the program its launch context", -E2BIG);
	*a->raw = (struct stub_context){
		.magic = STUB_CONTEXT_MAGIC,
		.size = (uint32_t)(l->env_end - (uint64_t)a->raw),
		.argc = o->argc,
		.envc = o->envc,
		.nthreads = p->nthreads,
		.stdio = o->stdio,
		.generation = o->generation,
	};
	add_signals(l, a);
	if (ready->resume == STUB_RESUME_MAIN)
		make_vectors(l, a);
	r = stub_set_mm(l, p);
	if (r < 0)
		stub_fail(l, "setting argument bounds (PR_SET_MM_MAP)", r);
	stub_set_context(l, p);
}

static void populate(uint64_t start, uint64_t len)
{
	uint64_t mask = stub_data.page_size - 1;

	SYSCALL3(SYS_madvise, start & ~mask, ((start + len + mask) & ~mask) - (start & ~mask),
		 MADV_POPULATE_WRITE);
}

/* what is written between the order and the program's next instruction */
static void populate_own(struct stub_process *p)
{
	const struct stub_thread *ready = (struct stub_thread *)stub_at(p->threads) + p->ready_thread;

	populate((uint64_t)stub_at(ready->frame), sizeof(struct stub_ucontext));
	populate((uint64_t)stub_at(stub_data.launch), STUB_LAUNCH_SIZE);
	if (p->context_buf)
		populate(p->context_buf, stub_data.page_size);
	/* the first page of vvar and all of vdso: what most programs ask first is the time */
	for (int i = 0; i < STUB_VDSO_PARTS; i++)
		for (uint64_t at = 0; at < p->vdso[i].len; at += stub_data.page_size)
			if (p->vdso[i].from_vdso == 0 || (i == 0 && at == 0))
				*(volatile const char *)(p->vdso[i].addr + at);
}

/* not wanted any more, or warmd died between its answer and the order */
static void __attribute__((noreturn)) end_without_order(void)
{
	uint64_t action[4] = { 0 /* SIG_DFL */ }, set = 1ull << (STUB_NO_ORDER_SIGNAL - 1);

	SYSCALL4(SYS_rt_sigaction, STUB_NO_ORDER_SIGNAL, action, 0, 8);
	SYSCALL4(SYS_rt_sigprocmask, 1 /* SIG_UNBLOCK */, &set, 0, 8);
	SYSCALL2(SYS_kill, SYSCALL0(SYS_getpid), STUB_NO_ORDER_SIGNAL);
	for (;;)
		SYSCALL1(SYS_exit_group, 125);
}

void stub_launch_clone(struct stub_launch *l, struct stub_process *p)
{
	struct area a = make_area(l, p);
	struct stub_received got;
	long n;

	populate_own(p);
	l->gate = 0;
	widen_table(l, p);
	stub_make_threads(l, p);
	if (!(l->flags & STUB_LAUNCH_QUIET))
		stub_note(l, STUB_NOTE_PARKED, SYSCALL0(SYS_getpid), NULL);
	SYSCALL1(SYS_close, l->notes_fd);
	l->notes_fd = -1;
	n = stub_receive(l->channel_fd, a.order, sizeof(*a.order), a.strings, STUB_ORDER_STRINGS, &got, 0);
	if (n == 0)
		end_without_order();
	SYSCALL1(SYS_close, l->channel_fd);
	l->channel_fd = -1;
	if (n < 0 || !sane(&a, n, &got))
		stub_fail(l, "reading the launch order", n < 0 ? n : -EBADMSG);
	place_descriptors(l, a.order, &got);
	place_extras(l, p, a.order, &got);
	if (a.order->flags & STUB_ORDER_FOREGROUND)
		stub_take_terminal(a.order->terminal_fd);
	stub_fds_outside(l, p);
	apply_caller(l, p, a.order);
	if (a.order->flags & STUB_ORDER_LEARN) {
		l->flags |= STUB_LAUNCH_LEARN;
		if (p->exit.learn_only)
			stub_hooks(p, 1, 0);
	}
	stub_start(l, p);
	stub_start_timerfds(p);
	set_context(l, p, &a);
	stub_replay_outputs();
	stub_open_gate(l, p);
	stub_leave(p);
}
