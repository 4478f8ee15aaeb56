/* SPDX-License-Identifier: MIT */
#include "engine/stub/stub.h"

#include <asm/ioctls.h>
#include <linux/fcntl.h>
#include <sys/syscall.h>

void *memcpy(void *to, const void *from, size_t n)
{
	stub_copy(to, from, n);
	return to;
}

void *memset(void *to, int byte, size_t n)
{
	char *t = to;

	while (n--)
		*t++ = (char)byte;
	return to;
}

size_t strlen(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

static void say(const char *words)
{
	SYSCALL3(SYS_write, 2, words, strlen(words));
}

/* a clone has no launcher to go back to: warmd is told, and whoever was given as standard error in an order that waits */
static void fail_clone(const struct stub_launch *l, const char *what, long code)
{
	struct stub_order order;
	struct stub_received got;
	long n;

	stub_note(l, STUB_NOTE_FAILED, code, what);
	if (l->channel_fd < 0)
		return;
	/* its strings are of no use here: cut off, it says -EBADMSG */
	n = stub_receive(l->channel_fd, &order, sizeof(order), NULL, 0, &got, 0x40 /* MSG_DONTWAIT */);
	for (uint32_t i = 0; (n > 0 || n == -74) && i < got.n && i < order.ntargets; i++)
		if (order.targets[i] == 2)
			SYSCALL3(SYS_dup3, got.fds[i], 2, 0);
}

void stub_fail(const struct stub_launch *l, const char *what, long code)
{
	char digits[24];
	char *p = digits + sizeof(digits);

	if (l->flags & (STUB_LAUNCH_FORKED | STUB_LAUNCH_SKELETON))
		fail_clone(l, what, code);
	else
		SYSCALL4(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &l->sigmask, 0, 8);
	/*
	 * "warm run --cold -- ...": the launcher executed again finds the program
	 * as a cold start would; descriptors, cwd and limits are still the caller's.
	 */
	if (l->flags & (STUB_LAUNCH_FORKED | STUB_LAUNCH_SKELETON))
		;
	else if (l->launcher_exe >= 0)
		SYSCALL5(SYS_execveat, l->launcher_exe, "", l->cold_argv, l->envp, AT_EMPTY_PATH);
	else
		SYSCALL3(SYS_execve, "/proc/self/exe", l->cold_argv, l->envp);
	*--p = '\0';
	*--p = '\n';
	for (code = code < 0 ? -code : code; code > 9; code /= 10)
		*--p = (char)('0' + code % 10);
	*--p = (char)('0' + code);
	say("warm: cannot become the program: ");
	say(what);
	say(": errno ");
	say(p);
	for (;;)
		SYSCALL1(SYS_exit_group, 125);
}

void stub_replay_outputs(void)
{
	const struct stub_output *o = stub_at(stub_data.outputs);

	for (uint32_t i = 0; i < stub_data.noutputs; i++, o++) {
		const char *p = stub_at(o->data);
		uint64_t left = o->len;

		if (o->kind == STUB_OUTPUT_TERMIOS) {
			SYSCALL3(SYS_ioctl, o->fd, TCSETS, p);
			continue;
		}
		while (left) {
			long n = SYSCALL3(SYS_write, o->fd, p, left);

			if (n == -4 /* EINTR */)
				continue;
			if (n <= 0)
				break; /* the program met the same error, and chose to go on */
			p += n;
			left -= (uint64_t)n;
		}
	}
}

/*
 * All signals are blocked here, and a process that blocks SIGTTOU may change the terminal of others. So that is tried
 * first as the program would: setting what is set already (tty_ioctl(4), POSIX.1-2017 11.1.4).
 */
void stub_to_foreground(void)
{
	const struct stub_output *o = stub_at(stub_data.outputs);
	uint64_t ttou = 1ull << (22 - 1);
	char termios[64];

	for (uint32_t i = 0; i < stub_data.noutputs; i++, o++) {
		if (o->kind != STUB_OUTPUT_TERMIOS)
			continue;
		if (SYSCALL3(SYS_ioctl, o->fd, TCGETS, termios) < 0)
			return;
		SYSCALL4(SYS_rt_sigprocmask, 1 /* SIG_UNBLOCK */, &ttou, 0, 8);
		SYSCALL3(SYS_ioctl, o->fd, TCSETS, termios);
		SYSCALL4(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, &ttou, 0, 8);
		return;
	}
}

void stub_main(struct stub_launch *l)
{
	struct stub_process *p = stub_self();
	stub_memory(l, p);
	if (l->flags & STUB_LAUNCH_SKELETON)
		stub_skeleton(l, p);
	stub_memory_own(l, p);
	stub_fds(l, p);
	if (!(l->sigmask >> (22 - 1) & 1))
		stub_to_foreground();
	stub_settle(l, p);
	stub_block_signals(p, l->sigmask);
	stub_hooks(p,
		   (l->flags & STUB_LAUNCH_EXIT_HOOKS) &&
			   (!p->exit.learn_only || (l->flags & STUB_LAUNCH_LEARN)),
		   0);
	if (l->launcher_exe >= 0)
		SYSCALL1(SYS_close, l->launcher_exe);
	stub_start(l, p);
	stub_start_timerfds(p);
	stub_replay_outputs();
	/* the context is complete before anybody can run, but for the ids of threads, which come below */
	stub_set_context(l, p);
	stub_make_threads(l, p);
	if (stub_thread_timers(l, p, 0))
		stub_open_gate(l, p);
	stub_leave(p);
}
