/* SPDX-License-Identifier: MIT */
/*
 * holder.c - a clone's memory goes after its end, not before anybody hears of it.
 *
 * The last process that uses an address space takes it down, and its parent hears of its end only then (kernel/exit.c: exit_mm()
 * comes before exit_notify()): 1.0 to 1.5 ms for a clone with pandas, with 280 mappings and 7,000 mapped pages.
 * So a parked clone of a large template has a sibling that shares its memory, and nothing else:
 *
 *	skeleton ──fork──► clone ──clone(CLONE_VM | CLONE_PARENT)──► holder	(both are children of warmd)
 *
 * The clone's end only drops a reference; the holder ends behind it, and pays. It has no descriptors, blocks all signals as
 * the clone does here, and has a session of its own. Nobody knows its PID: clone_reap_unknown() of warmd reaps it.
 * One that somebody waits for has none: it would begin 0.1 to 0.3 ms later, also if the holder made hot pages meanwhile.
 *
 * What it waits for is the word that the kernel clears when the main thread leaves its memory, by an end or by execve(2)
 * (CLONE_CHILD_CLEARTID; kernel/fork.c: mm_release()). That is the C library's, glibc's thread id. A thread may wait there
 * too, as pthread_join(3) of the main thread does, and the kernel wakes only one: each wake-up is passed on. A main thread
 * that leaves by pthread_exit(3) sends the holder away, and then the memory goes as it would without one.
 */
#include "engine/stub/stub.h"

#include <linux/futex.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/signal.h>
#include <sys/syscall.h>

/*
 * From where it pays: a holder costs 40 us of a processor. Python without a library has 55 mappings, C programs 20; 1 MiB of
 * pages takes as long to free.
 */
#define LARGE_MAPS  64
#define LARGE_BYTES (1ull << 20)

#define LINGER_NS     1000000 /* behind the clone's end: who waits for that needs the processors first */
#define CHECK_SECONDS 60 /* for a program that has called set_tid_address(2) itself */
#define EINTR	      4
#define ETIMEDOUT     110

static int is_large(struct stub_process *p)
{
	const struct stub_range *r = stub_at(p->hot);
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < p->nhot; i++)
		bytes += r[i].len & ~STUB_HOT_READ;
	return p->nmaps >= LARGE_MAPS || bytes >= LARGE_BYTES;
}

int stub_may_hold(const struct stub_launch *l, struct stub_process *p)
{
	const struct stub_thread *t = stub_at(p->threads);

	/* musl's is the word of a lock */
	return t->clear_tid && t->clear_tid == t->tid_addr && !(l->flags & STUB_LAUNCH_SECCOMP) &&
	       is_large(p);
}

/* never reads the word itself: the program may have unmapped it */
static void wait_for_end(uint64_t word, uint32_t tid)
{
	const int64_t check[2] = { CHECK_SECONDS, 0 };
	long r;

	do {
		r = SYSCALL6(SYS_futex, word, FUTEX_WAIT, tid, check, 0, 0);
		if (r == 0)
			SYSCALL6(SYS_futex, word, FUTEX_WAKE, 0x7fffffff, 0, 0, 0);
		if (r == -ETIMEDOUT)
			r = SYSCALL2(SYS_kill, tid, 0);
	} while (r == 0 || r == -EINTR);
}

/* on the room in front of the main thread's frame, which that does not need: 1 KiB */
static void hold(void *arg)
{
	struct stub_process *p = stub_self();
	const struct stub_launch *l = arg;
	const struct stub_thread *t = stub_at(p->threads);
	const int64_t linger[2] = { 0, LINGER_NS };

	/* the clone's signals are not its own */
	SYSCALL0(SYS_setsid);
	SYSCALL5(SYS_prctl, PR_SET_NAME, "warm-holder", 0, 0, 0);
	if (SYSCALL3(SYS_close_range, 0, ~0u, 0) == 0) {
		wait_for_end(t->clear_tid, l->pid);
		SYSCALL2(SYS_nanosleep, linger, 0);
	}
	for (;;)
		SYSCALL1(SYS_exit, 0);
}

void stub_hold(struct stub_launch *l, struct stub_process *p)
{
	const struct stub_thread *t = stub_at(p->threads);

	if (!(l->flags & STUB_LAUNCH_HOLD))
		return;
	/* as adopt(p) in threads.c will do once more: from here on the clone may be killed */
	*(volatile uint32_t *)t->clear_tid = (uint32_t)SYSCALL1(SYS_set_tid_address, t->clear_tid);
	/* without one its end is slower */
	stub_clone_thread(CLONE_VM | CLONE_PARENT | SIGCHLD, stub_at(t->frame), 0, 0, 0, hold, l);
}
