/* SPDX-License-Identifier: MIT */
/*
 * session.c - the leader of a clone's session: order.h, "A clone with a terminal".
 *
 *	skeleton ──fork──► leader ──fork──► clone
 *
 * The leader is made before the clone has anything of its own. It drops its memory but for the stub, and
 * then waits: for the clone to stop or end, and for what whoever relays the terminal asks. All signals are
 * blocked here, so it may change the foreground group from the background (tty_ioctl(4): SIGTTOU). When the last
 * descriptor of the pty's master is closed the kernel sends SIGHUP to the leader alone (drivers/tty/tty_io.c:
 * __tty_hangup()); it passes that on, as a shell would.
 */
#include "engine/stub/stub.h"

#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <linux/fcntl.h>
#include <linux/poll.h>
#include <linux/prctl.h>
#include <linux/signal.h>
#include <linux/time.h>
#include <linux/wait.h>
#include <sys/syscall.h>

#define CHILD_EXITED  1 /* si_code: CLD_EXITED of the kernel's siginfo */
#define CHILD_STOPPED 5
#define RLIMIT_CORE   4
#define DONTWAIT      0x4040 /* MSG_DONTWAIT | MSG_NOSIGNAL */
#define PEEK	      2 /* MSG_PEEK */

struct child_info { /* siginfo_t of SIGCHLD */
	int32_t signo, error, code, pad;
	int32_t pid, uid, status;
	char rest[100];
};

struct session {
	int32_t terminal, sock;
	int32_t clone; /* PID, and its group */
	int32_t front; /* the group that was in the foreground when the clone stopped */
	int32_t released; /* the clone has no terminal any more, and shall not notice */
};

struct signal { /* struct signalfd_siginfo */
	uint32_t signo;
	char rest[124];
};

static void set_front(const struct session *s, int32_t group)
{
	SYSCALL3(SYS_ioctl, s->terminal, TIOCSPGRP, &group);
}

static void close_others(int32_t a, int32_t b)
{
	int32_t low = a < b ? a : b, high = a < b ? b : a;

	if (low > 0)
		SYSCALL3(SYS_close_range, 0, low - 1, 0);
	if (high > low + 1)
		SYSCALL3(SYS_close_range, low + 1, high - 1, 0);
	SYSCALL3(SYS_close_range, high + 1, ~0u, 0);
}

/*
 * What was typed ahead, and was not read, goes back to the terminal that it was typed at (pty/giveback.h). A leader's end
 * hangs the terminal up, and that throws it away. Only the foreground may read, so the leader is that by now.
 */
static void send_unread(const struct session *s)
{
	struct unread {
		struct stub_session m;
		char bytes[STUB_SESSION_PIECE];
	} u;
	struct {
		struct stub_session m;
		uint64_t at;
	} taken = { .m = { .kind = STUB_SESSION_TAKEN } };
	struct __kernel_timespec now;
	struct termios t;
	long n;

	if (SYSCALL3(SYS_ioctl, s->terminal, TCGETS, &t) < 0)
		return;
	u.m.kind = STUB_SESSION_UNREAD;
	u.m.value = t.c_lflag & ICANON ? 1 : 0;
	/* all that is there, an unfinished line too, and no wait for more */
	t.c_lflag &= ~(uint32_t)ICANON;
	t.c_cc[VMIN] = 0;
	t.c_cc[VTIME] = 0;
	if (SYSCALL3(SYS_ioctl, s->terminal, TCSETS, &t) < 0)
		return;
	while ((n = SYSCALL3(SYS_read, s->terminal, u.bytes, sizeof(u.bytes))) > 0)
		if (SYSCALL6(SYS_sendto, s->sock, &u, sizeof(u.m) + (unsigned long)n, DONTWAIT, 0, 0) < 0)
			return;
	SYSCALL2(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
	taken.at = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	SYSCALL6(SYS_sendto, s->sock, &taken, sizeof(taken), DONTWAIT, 0, 0);
}

/* as the clone ended; the core, if any, is the clone's */
static void __attribute__((noreturn)) end_alike(const struct session *s, const struct child_info *c)
{
	uint64_t none[2] = { 0, 0 };

	/* a leader's end is a SIGHUP to the foreground group: drivers/tty/tty_jobctrl.c, disassociate_ctty() */
	set_front(s, (int32_t)SYSCALL0(SYS_getpid));
	send_unread(s);

	if (c->code != CHILD_EXITED) {
		uint64_t unblock = 1ull << (c->status - 1);

		SYSCALL4(SYS_prlimit64, 0, RLIMIT_CORE, none, 0);
		SYSCALL5(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
		SYSCALL2(SYS_kill, SYSCALL0(SYS_getpid), c->status);
		SYSCALL4(SYS_rt_sigprocmask, SIG_UNBLOCK, &unblock, 0, 8);
	}
	for (;;)
		SYSCALL1(SYS_exit_group, c->code == CHILD_EXITED ? c->status : 128 + c->status);
}

static void look_at_clone(struct session *s)
{
	struct child_info c = { 0 };
	struct stub_session m = { .kind = STUB_SESSION_STOPPED };
	int32_t front;

	while (SYSCALL5(SYS_waitid, P_PID, s->clone, &c, WEXITED | WSTOPPED | WNOHANG, 0) == 0 && c.pid) {
		if (c.code != CHILD_STOPPED)
			end_alike(s, &c);
		if (SYSCALL3(SYS_ioctl, s->terminal, TIOCGPGRP, &front) == 0 && front != SYSCALL0(SYS_getpid))
			s->front = front;
		m.value = c.status;
		/* nobody may be there to read it */
		SYSCALL6(SYS_sendto, s->sock, &m, sizeof(m), DONTWAIT, 0, 0);
		c.pid = 0;
	}
}

static void send_groups(const struct session *s, int sig)
{
	SYSCALL2(SYS_kill, -(long)s->clone, sig);
	if (s->front != s->clone)
		SYSCALL2(SYS_kill, -(long)s->front, sig);
}

static void hang_up(struct session *s)
{
	send_groups(s, SIGHUP);
	send_groups(s, SIGCONT);
	/* once is enough */
	s->released = 1;
}

/* Return: 0 when nobody can ask any more */
static int obey(struct session *s)
{
	struct stub_session m;
	long n;

	/* a descriptor that comes with a message is closed when that is taken */
	while ((n = SYSCALL6(SYS_recvfrom, s->sock, &m, sizeof(m), DONTWAIT | PEEK, 0, 0)) > 0) {
		if (n == sizeof(m) && m.kind == STUB_SESSION_HANGUP)
			hang_up(s);
		SYSCALL6(SYS_recvfrom, s->sock, &m, sizeof(m), DONTWAIT, 0, 0);
		if (n != sizeof(m))
			continue;
		if (m.kind == STUB_SESSION_RELEASE)
			s->released = 1;
		if (m.kind != STUB_SESSION_FOREGROUND && m.kind != STUB_SESSION_BACKGROUND)
			continue;
		set_front(s, m.kind == STUB_SESSION_FOREGROUND ? s->front : (int32_t)SYSCALL0(SYS_getpid));
		send_groups(s, SIGCONT);
	}
	return n != 0;
}

static void take_signals(struct session *s, int32_t fd)
{
	struct signal sig[2];
	long n = SYSCALL3(SYS_read, fd, sig, sizeof(sig));

	for (long i = 0; i < n / (long)sizeof(sig[0]); i++) {
		if (sig[i].signo == SIGHUP && !s->released)
			hang_up(s);
	}
}

static void __attribute__((noreturn)) lead(struct session *s)
{
	uint64_t mask = 1ull << (SIGCHLD - 1) | 1ull << (SIGHUP - 1);
	struct pollfd p[2] = { { .events = POLLIN }, { .events = POLLIN } };

	close_others(s->terminal, s->sock);
	SYSCALL1(SYS_chdir, "/"); /* keeps no file system busy */
	SYSCALL5(SYS_prctl, PR_SET_NAME, "warm-session", 0, 0, 0);
	SYSCALL2(SYS_munmap, 0, stub_data.keep_start);
	SYSCALL2(SYS_munmap, stub_data.keep_end, stub_data.task_size - stub_data.keep_end);
	p[0].fd = (int)SYSCALL4(SYS_signalfd4, -1, &mask, 8, O_CLOEXEC | O_NONBLOCK);
	p[1].fd = s->sock;
	for (;;) {
		/* the state that is waited for may be there already */
		look_at_clone(s);
		SYSCALL5(SYS_ppoll, p, 2, 0, 0, 8);
		if (p[1].revents && !obey(s))
			p[1].fd = -1;
		if (p[0].revents)
			take_signals(s, p[0].fd);
	}
}

void stub_session(struct stub_launch *l, int32_t terminal, int32_t sock)
{
	struct session s = { .terminal = terminal, .sock = sock };
	long r = SYSCALL3(SYS_ioctl, terminal, TIOCSCTTY, 0), pid;

	if (r < 0)
		stub_fail(l, "making the pty the controlling terminal", r);
	pid = SYSCALL5(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (pid < 0)
		stub_fail(l, "forking below the session's leader", pid);
	s.clone = s.front = (int32_t)pid;
	if (pid)
		lead(&s);
	l->pid = (uint32_t)SYSCALL0(SYS_getpid);
	SYSCALL2(SYS_setpgid, 0, 0);
	SYSCALL1(SYS_close, terminal);
	SYSCALL1(SYS_close, sock);
}

void stub_take_terminal(int32_t terminal)
{
	struct session s = { .terminal = terminal };

	set_front(&s, (int32_t)SYSCALL0(SYS_getpid));
}
