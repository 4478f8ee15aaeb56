/* SPDX-License-Identifier: MIT */
/*
 * engine/stub - the code that runs inside somebody else's process.
 *
 * In: a mapped control file and struct stub_launch (launch.h), both made by the
 * launcher (become). Out: a process that is the program, going on where the
 * template stopped. The way there, in stub_main():
 *
 *	memory (memory.c)	everything of the launcher goes, the plan's mappings come
 *	descriptors (fd*.c)	those that the program had made
 *	process (process.c)	patches, signals, timers, names, cwd
 *	threads (threads.c)	made, their ids patched; each leaves by rt_sigreturn
 *
 * A skeleton (skeleton.c, order.c, session.c) does the first of these, then forks; its children do the rest.
 *
 * Until the program's first own effect (output replayed, threads made) a failure
 * runs the program cold: stub_fail() executes the launcher again with --cold.
 *
 * Freestanding: no libc, no relocations, no writable data but stub_data, a
 * small stack (launch.h: STUB_LAUNCH_SIZE). Nothing here may be instrumented.
 */
#ifndef WARM_ENGINE_STUB_STUB_H
#define WARM_ENGINE_STUB_STUB_H

#include <stddef.h>
#include <stdint.h>

#include "engine/stub/image.h"
#include "engine/stub/launch.h"
#include "engine/stub/order.h"
#include "arch.h"

#define HIDDEN __attribute__((visibility("hidden")))

extern struct stub_data stub_data HIDDEN;
extern const char stub_entry[] HIDDEN;

static inline void *stub_at(uint64_t offset)
{
	char *base = (char *)&stub_data;

	/* the compiler is not to know that this is one struct: tables, frames and the launch area follow it */
	__asm__("" : "+r"(base));
	return base + offset;
}

/* struct stub_launch lies at the top of the launch area, the stack below it */
static inline struct stub_launch *stub_launch_area(void)
{
	return (struct stub_launch *)((char *)stub_at(stub_data.launch) + STUB_LAUNCH_SIZE) - 1;
}

/*
 * The head (stub_data) is one for all processes of a template; every function that works on one of them is told
 * which. Those that the program calls (hooks), and that threads begin in, ask here.
 */
static inline struct stub_process *stub_self(void)
{
	return (struct stub_process *)stub_at(stub_data.processes) + stub_launch_area()->process;
}

static inline const struct stub_description *stub_description(uint32_t index)
{
	return (const struct stub_description *)stub_at(stub_data.descriptions) + index;
}

#define SYSCALL0(nr)		    stub_syscall(nr, 0, 0, 0, 0, 0, 0)
#define SYSCALL1(nr, a)		    stub_syscall(nr, (long)(a), 0, 0, 0, 0, 0)
#define SYSCALL2(nr, a, b)	    stub_syscall(nr, (long)(a), (long)(b), 0, 0, 0, 0)
#define SYSCALL3(nr, a, b, c)	    stub_syscall(nr, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define SYSCALL4(nr, a, b, c, d)    stub_syscall(nr, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define SYSCALL5(nr, a, b, c, d, e) stub_syscall(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define SYSCALL6(nr, a, b, c, d, e, f)                                                                       \
	stub_syscall(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

/** stub_fail() - run the program cold instead; @what (a literal) and @code go to stderr if even that fails */
void stub_fail(const struct stub_launch *l, const char *what, long code) HIDDEN __attribute__((noreturn));

/** stub_memory() - the launcher's memory goes, the template's comes; what only a clone may have stays out with SKELETON */
void stub_memory(struct stub_launch *l, struct stub_process *p) HIDDEN;
/** stub_memory_own() - what stub_memory() left out in a skeleton: memory that clones must not share, locks, seals */
void stub_memory_own(struct stub_launch *l, struct stub_process *p) HIDDEN;
/** stub_only_in_clones() - a mapping that a skeleton leaves to its clones */
int stub_only_in_clones(const struct stub_map *m) HIDDEN;
/** stub_set_mm() - program break, argument and environment bounds: prctl(PR_SET_MM_MAP). Return: 0 or a negative errno */
long stub_set_mm(struct stub_launch *l, struct stub_process *p) HIDDEN;
/** stub_populate() - the hot pages are made, and of a clone for which nobody waits its holder */
void stub_populate(struct stub_launch *l, struct stub_process *p) HIDDEN;
/** stub_may_hold() - shall this clone's memory have a holder? */
int stub_may_hold(const struct stub_launch *l, struct stub_process *p) HIDDEN;
/** stub_hold() - make a holder, if STUB_LAUNCH_HOLD says so; memory is as the program will find it */
void stub_hold(struct stub_launch *l, struct stub_process *p) HIDDEN;
void stub_learn(struct stub_process *p) HIDDEN;
void stub_fds(struct stub_launch *l, struct stub_process *p) HIDDEN;
/** stub_fds_outside() - what refers to descriptors of the caller: their dups, its terminal, and epolls' entries for them */
void stub_fds_outside(const struct stub_launch *l, struct stub_process *p) HIDDEN;
/** stub_start_timerfds() - their time begins at the launch */
void stub_start_timerfds(struct stub_process *p) HIDDEN;
/** stub_settle() - patches, dispositions, random state and attributes that no launch decides */
void stub_settle(const struct stub_launch *l, struct stub_process *p) HIDDEN;
/** stub_block_signals() - a mask that the program did not change came from its caller: all threads that have the build's get @blocked */
void stub_block_signals(struct stub_process *p, uint64_t blocked) HIDDEN;
/** stub_take_scheduling() - the caller's, for the calling thread. Return: NULL, or what failed, with *ret_code */
const char *stub_take_scheduling(struct stub_process *p, const struct stub_thread *t,
				 const struct stub_order *o, long *ret_code) HIDDEN;
/** stub_start() - cwd, umask and limits where the program had changed them; timers */
void stub_start(const struct stub_launch *l, struct stub_process *p) HIDDEN;
/** stub_set_generation() - @value into the counters that libraries keep of it; nothing where there are none */
void stub_set_generation(struct stub_process *p, uint64_t value) HIDDEN;
/** stub_make_threads() - all but the main thread. Of a clone they wait for stub_open_gate() */
void stub_make_threads(const struct stub_launch *l, struct stub_process *p) HIDDEN;
/** stub_set_context() - the generation, and the ready thread's result or main()'s arguments */
void stub_set_context(const struct stub_launch *l, struct stub_process *p) HIDDEN;
void stub_open_gate(struct stub_launch *l, struct stub_process *p) HIDDEN;
/** stub_place_context() - the JSON context, which @context is open on, goes to the descriptor that the program reads it from */
void stub_place_context(const struct stub_launch *l, struct stub_process *p, long context) HIDDEN;
/** stub_leave() - the main thread goes on as the program */
void stub_leave(struct stub_process *p) HIDDEN __attribute__((noreturn));
void stub_replay_outputs(void) HIDDEN;
/** stub_to_foreground() - a program that changes the terminal's settings stops in the background */
void stub_to_foreground(void) HIDDEN;
/** stub_thread_timers() - those that signal a thread other than the main one, once threads are made. Return: their number, also with @make 0 */
uint32_t stub_thread_timers(const struct stub_launch *l, struct stub_process *p, int make) HIDDEN;

/**
 * stub_session() - the caller leads a session: fork, stay as its leader, and return in the child
 * @terminal: becomes the controlling terminal, with the child's new group in its background; closed in the child
 * @sock: struct stub_session; closed in the child
 */
void stub_session(struct stub_launch *l, int32_t terminal, int32_t sock) HIDDEN;
/** stub_take_terminal() - into the foreground of @terminal, which is the controlling one; signals are blocked */
void stub_take_terminal(int32_t terminal) HIDDEN;

/** stub_skeleton() - wait for orders, fork */
void stub_skeleton(struct stub_launch *l, struct stub_process *p) HIDDEN __attribute__((noreturn));
/** stub_launch_clone() - wait for the order, apply it, go on as the program */
void stub_launch_clone(struct stub_launch *l, struct stub_process *p) HIDDEN __attribute__((noreturn));
/** stub_note() - tell warmd; what: a literal or NULL */
void stub_note(const struct stub_launch *l, uint32_t kind, long value, const char *what) HIDDEN;

/* a received packet's descriptors */
struct stub_received {
	int32_t fds[STUB_ORDER_FDS];
	uint32_t n;
};
/** stub_receive() - one packet into two pieces. Return: its bytes, 0 at end of file, -EBADMSG when it was cut off */
long stub_receive(int32_t fd, void *a, uint64_t alen, void *b, uint64_t blen, struct stub_received *ret,
		  int flags) HIDDEN;
void stub_main(struct stub_launch *l) HIDDEN __attribute__((noreturn));

struct stub_decision {
	long value;
	uint64_t function;
};
struct stub_decision stub_exit_decide(unsigned int index) HIDDEN;
uint64_t stub_exit_final(unsigned int index, int status) HIDDEN;
void *stub_mremap(uint64_t old, uint64_t old_len, uint64_t new_len, int flags, uint64_t new_addr) HIDDEN;
int stub_madvise(uint64_t addr, uint64_t len, int advice) HIDDEN;
long stub_readlink(const char *path, char *buf, uint64_t size) HIDDEN;
long stub_readlinkat(int dir, const char *path, char *buf, uint64_t size) HIDDEN;
/** stub_set_errno() - the program's, from what a system call returned */
void stub_set_errno(long r) HIDDEN;
void stub_exit_now(int status, long failed) HIDDEN __attribute__((noreturn));
/** stub_hooks() - write the hooks: those of the exit functions if @exits, and madvise's; or (@back) the exit functions' original bytes */
long stub_hooks(struct stub_process *p, int exits, int back) HIDDEN;

void *memcpy(void *to, const void *from, size_t n) HIDDEN;
void *memset(void *to, int byte, size_t n) HIDDEN;
size_t strlen(const char *s) HIDDEN;

#endif
