/* SPDX-License-Identifier: MIT */
/*
 * pty/giveback: bytes put into the queue of a terminal that we control, by each of the ways, and read there by who
 * comes next. A child leads the session on the pty; we, its parent, have the master, as a terminal emulator does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "pty/giveback.h"

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

/* what the host may refuse: TIOCSTI as with dev.tty.legacy_tiocsti=0, pidfd_getfd(2) as with Yama */
static void forbid(bool tiocsti, bool getfd)
{
	struct sock_filter rules[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pidfd_getfd, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, getfd ? SECCOMP_RET_ERRNO | EPERM : SECCOMP_RET_ALLOW),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TIOCSTI, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, tiocsti ? SECCOMP_RET_ERRNO | EIO : SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = { sizeof(rules) / sizeof(rules[0]), rules };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		_exit(99);
}

struct expected { /* one read(2) */
	const char *bytes;
	size_t n;
};

/* the next one at the terminal, with lines if @settings has them, finds all, and in these pieces */
static int check(int tty, const struct termios *settings, const struct expected *e)
{
	char buf[256];

	if (tcsetattr(tty, TCSANOW, settings) < 0 || fcntl(tty, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
		return 90;
	for (int i = 0; e[i].bytes; i++) {
		ssize_t n = read(tty, buf, sizeof(buf));

		if (n != (ssize_t)e[i].n || memcmp(buf, e[i].bytes, e[i].n) != 0)
			return 1 + i;
	}
	return read(tty, buf, sizeof(buf)) < 0 && errno == EAGAIN ? 0 : 91;
}

struct given {
	const char *bytes, *typed;
	size_t n;
	bool lines;
	bool canonical; /* the settings of the next one */
	bool no_tiocsti, no_getfd;
	int result;
	const char *echo;
};

static void give(const struct given *g, const struct expected *e)
{
	const struct giveback what = { .unread = (const uint8_t *)g->bytes,
				       .n = g->n,
				       .lines = g->lines,
				       .typed = (const uint8_t *)g->typed,
				       .typed_n = g->typed ? strlen(g->typed) : 0 };
	struct termios settings;
	ssize_t shown;
	char echoed[32];
	int master, tty, status;
	pid_t pid;

	assert_int_equal(openpty(&master, &tty, NULL, NULL, NULL), 0);
	assert_int_equal(tcgetattr(tty, &settings), 0);
	if (!g->canonical)
		settings.c_lflag &= ~(tcflag_t)ICANON;
	pid = fork();
	if (pid == 0) {
		if (setsid() < 0 || ioctl(tty, TIOCSCTTY, 0) < 0)
			_exit(98);
		close(master);
		forbid(g->no_tiocsti, g->no_getfd);
		if (giveback(tty, &settings, &what) != g->result)
			_exit(97);
		_exit(check(tty, &settings, e));
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	/* nothing was shown a second time */
	assert_int_equal(fcntl(master, F_SETFL, O_NONBLOCK), 0);
	shown = read(master, echoed, sizeof(echoed));
	assert_int_equal(shown, g->echo ? (ssize_t)strlen(g->echo) : -1);
	if (g->echo)
		assert_memory_equal(echoed, g->echo, strlen(g->echo));
	close(master);
	close(tty);
}

static const struct expected lines[] = {
	{ "one\n", 4 }, { "two\n", 4 }, { "", 0 }, { "three\n", 6 }, { NULL, 0 }
};
/* unfinished: read by who takes bytes, as readline does */
static const struct expected whole[] = { { "one\ntw\x03\x16o\x7f\r", 12 }, { NULL, 0 } };

#define LINES .bytes = "one\ntwo\n\0three\n", .n = 15, .lines = true, .canonical = true
#define WHOLE .bytes = "one\ntw\x03\x16o\x7f\r", .n = 12

static void by_tiocsti(void **state)
{
	(void)state;
	give(&(struct given){ LINES }, lines);
	give(&(struct given){ WHOLE }, whole);
}

static void by_the_master(void **state)
{
	(void)state;
	give(&(struct given){ LINES, .no_tiocsti = true }, lines);
	give(&(struct given){ WHOLE, .no_tiocsti = true }, whole);
}

static void by_no_way(void **state)
{
	const struct expected none[] = { { NULL, 0 } };

	(void)state;
	give(&(struct given){ LINES, .no_tiocsti = true, .no_getfd = true, .result = -EPERM }, none);
}

/* a NUL that was typed where bytes are read is no end of file; Ctrl-D among lines, which is one, stays apart from it */
static void nul_is_a_byte(void **state)
{
	const struct expected e[] = { { "a\0\x04\n", 4 }, { NULL, 0 } };

	(void)state;
	give(&(struct given){ .bytes = "a\0\x04\n", .n = 4, .canonical = true }, e);
}

/* what the program's terminal has not seen is edited and shown here */
static void typed_behind(void **state)
{
	const struct expected e[] = { { "one more\n", 9 }, { "", 0 }, { NULL, 0 } };

	(void)state;
	for (int no_tiocsti = 0; no_tiocsti <= 1; no_tiocsti++)
		give(&(struct given){ .bytes = "one m",
				      .n = 5,
				      .lines = true,
				      .canonical = true,
				      .typed = "pp\x7f\x7fore\r\x04",
				      .no_tiocsti = no_tiocsti,
				      .echo = "pp\b \b\b \bore\r\n" },
		     e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_tiocsti),	cmocka_unit_test(by_the_master), cmocka_unit_test(by_no_way),
		cmocka_unit_test(typed_behind), cmocka_unit_test(nul_is_a_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
