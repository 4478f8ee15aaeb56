/* SPDX-License-Identifier: MIT */
/* which way a process is stolen, on made-up sessions; and a process that is seized and let go */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "engine/base/fd.h"
#include "engine/frozen.h"
#include "engine/steal/steal.h"
#include "engine/swap.h"

/* a shell 10 with job 20 | 21, job 30, and 40, which has child 41; 50 is a child of 30 in a session of its own */
static struct steal_process made_up[] = {
	{ .pid = 1, .ppid = 0, .group = 1, .session = 1, .state = 'S' },
	{ .pid = 10, .ppid = 1, .group = 10, .session = 10, .state = 'S' },
	{ .pid = 20, .ppid = 10, .group = 20, .session = 10, .state = 'S' },
	{ .pid = 21, .ppid = 10, .group = 20, .session = 10, .state = 'S' },
	{ .pid = 30, .ppid = 10, .group = 30, .session = 10, .state = 'T' },
	{ .pid = 31, .ppid = 30, .group = 30, .session = 10, .state = 'Z' },
	{ .pid = 40, .ppid = 10, .group = 40, .session = 10, .state = 'S' },
	{ .pid = 41, .ppid = 40, .group = 40, .session = 10, .state = 'S' },
	{ .pid = 50, .ppid = 30, .group = 50, .session = 50, .state = 'S' },
};

static enum steal_way way_of(pid_t pid)
{
	struct steal st = { .all = { made_up, ARRAY_SIZE(made_up) } };
	const char *why = NULL;
	enum steal_way way;

	st.target = *steal_process_find(&st.all, pid);
	way = steal_choose(&st, &why);
	assert_non_null(why);
	return way;
}

static void ways(void **state)
{
	(void)state;
	assert_int_equal(way_of(10), STEAL_TERMINAL); /* leads the session */
	assert_int_equal(way_of(20), STEAL_TERMINAL); /* leads a pipeline */
	assert_int_equal(way_of(21), STEAL_PROCESS); /* the end of one */
	assert_int_equal(way_of(30), STEAL_PROCESS); /* its children are a zombie, and elsewhere */
	assert_int_equal(way_of(40), STEAL_TERMINAL); /* has a child */
	assert_int_equal(way_of(41), STEAL_PROCESS);
}

static void orphans(void **state)
{
	const struct steal_processes all = { made_up, ARRAY_SIZE(made_up) };

	(void)state;
	assert_false(steal_group_orphaned(&all, 20));
	assert_false(steal_group_orphaned(&all, 40));
	assert_true(steal_group_orphaned(&all, 10)); /* its parent is of another session */
	assert_true(steal_group_orphaned(&all, 50));
	assert_true(steal_descends(&all, steal_process_find(&all, 41), 10));
	assert_false(steal_descends(&all, steal_process_find(&all, 41), 30));
}

static void stat_lines(void **state)
{
	struct steal_process p;

	(void)state;
	assert_int_equal(steal_parse_stat("77 (a) S (b) T 5 70 60 34820 70 0 0", &p), 0);
	assert_int_equal(p.pid, 77);
	assert_string_equal(p.name, "a) S (b");
	assert_int_equal(p.state, 'T');
	assert_int_equal(p.ppid, 5);
	assert_int_equal(p.group, 70);
	assert_int_equal(p.session, 60);
	assert_int_equal(p.tty, makedev(136, 4));
	assert_int_equal(p.foreground, 70);
	/* a minor number of more than 8 bits, and no foreground */
	assert_int_equal(steal_parse_stat("7 (x) S 5 7 7 1083400 -1 0", &p), 0);
	assert_int_equal(p.tty, makedev(136, 264));
	assert_int_equal(p.foreground, -1);
	assert_int_equal(steal_parse_stat("", &p), -EBADMSG);
	assert_int_equal(steal_parse_stat("7 (x", &p), -EBADMSG);
	assert_int_equal(steal_parse_stat("7 (x) S 5", &p), -EBADMSG);
}

/* --- a child that copies what it reads from one pipe to another, in upper case ------------------------- */

struct child {
	pid_t pid;
	int to, from;
	int input; /* its number in there */
};

static void child_start(struct child *c)
{
	int in[2], out[2];

	assert_int_equal(pipe(in) | pipe(out), 0);
	c->pid = fork();
	assert_true(c->pid >= 0);
	if (c->pid == 0) {
		char byte;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(in[1]);
		while (read(in[0], &byte, 1) == 1) {
			byte ^= 0x20;
			if (write(out[1], &byte, 1) != 1)
				break;
		}
		_exit(3);
	}
	close(in[0]);
	close(out[1]);
	c->to = in[1];
	c->from = out[0];
	c->input = in[0];
}

static void child_answers(const struct child *c)
{
	struct pollfd p = { c->from, POLLIN, 0 };
	char byte = 'a';

	assert_int_equal(write(c->to, &byte, 1), 1);
	assert_int_equal(poll(&p, 1, 20000), 1);
	assert_int_equal(read(c->from, &byte, 1), 1);
	assert_int_equal(byte, 'A');
}

static void child_end(struct child *c)
{
	int status;

	close(c->to);
	assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 3);
	close(c->from);
}

static void calls_leave_no_trace(void **state)
{
	struct error err = { 0 };
	struct frozen_process *s = NULL;
	struct child c;
	uint64_t page = 0, again = 0;
	int64_t result = 0;

	(void)state;
	child_start(&c);
	child_answers(&c);
	for (int times = 0; times < 3; times++) {
		/* in its read, or on the way there: it makes no difference */
		assert_int_equal(frozen_seize(&s, c.pid, &err), 0);
		assert_int_equal(frozen_stop(s, &err), 0);
		assert_int_equal(frozen_call(s, NULL, &result, &err, SYS_getpid, 0, 0, 0, 0, 0, 0), 0);
		assert_int_equal(result, c.pid);
		assert_int_equal(frozen_call(s, NULL, &result, &err, SYS_close, 9999, 0, 0, 0, 0, 0), 0);
		assert_int_equal(result, -EBADF);
		assert_int_equal(frozen_scratch(s, &page, &err), 0);
		assert_int_equal(frozen_scratch(s, &again, &err), 0);
		assert_true(page && page == again);
		frozen_run(s);
		child_answers(&c);
		frozen_thaw(s);
		child_answers(&c);
	}
	child_end(&c);
}

static void stopped_stays_stopped(void **state)
{
	struct error err = { 0 };
	struct frozen_process *s = NULL;
	struct child c;
	int64_t result;
	int status;

	(void)state;
	child_start(&c);
	kill(c.pid, SIGSTOP);
	assert_int_equal(waitpid(c.pid, &status, WUNTRACED), c.pid);
	assert_true(WIFSTOPPED(status));
	assert_int_equal(frozen_seize(&s, c.pid, &err), 0);
	assert_int_equal(frozen_stop(s, &err), 0);
	assert_int_equal(frozen_call(s, NULL, &result, &err, SYS_getppid, 0, 0, 0, 0, 0, 0), 0);
	assert_int_equal(result, getpid());
	frozen_thaw(s);
	/* its stop is reported once more to its parent, or not at all; what counts is that it goes on now */
	kill(c.pid, SIGCONT);
	child_answers(&c);
	child_end(&c);
}

static void pending_signal_survives(void **state)
{
	struct error err = { 0 };
	struct frozen_process *s = NULL;
	struct child c;
	int64_t result;
	int status;

	(void)state;
	child_start(&c);
	assert_int_equal(frozen_seize(&s, c.pid, &err), 0);
	assert_int_equal(frozen_stop(s, &err), 0);
	assert_int_equal(frozen_call(s, NULL, &result, &err, SYS_getpid, 0, 0, 0, 0, 0, 0), 0);
	kill(c.pid, SIGUSR1);
	assert_int_equal(frozen_call(s, NULL, &result, &err, SYS_getpid, 0, 0, 0, 0, 0, 0), 0);
	assert_int_equal(result, c.pid);
	frozen_thaw(s);
	assert_int_equal(waitpid(c.pid, &status, 0), c.pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1);
	close(c.to);
	close(c.from);
}

static void swapped_and_back(void **state)
{
	struct error err = { 0 };
	struct swap w = { .nfds = 1, .nfiles = 1 };
	struct frozen_process *s = NULL;
	struct child c;
	int other[2], back;

	(void)state;
	child_start(&c);
	/* behind the fork: the child must not have its writing end */
	assert_int_equal(pipe(other), 0);
	assert_int_equal(frozen_seize(&s, c.pid, &err), 0);
	assert_int_equal(frozen_stop(s, &err), 0);
	w.s = s;
	w.fds[0] = (struct swap_fd){ .fd = c.input };
	w.files[0] = other[0];
	assert_int_equal(swap_prepare(&w, &err), 0);
	assert_int_equal(swap_apply(&w, &err), 0);
	swap_undo(&w);
	swap_finish(&w);
	frozen_thaw(s);
	child_answers(&c);

	assert_int_equal(frozen_seize(&s, c.pid, &err), 0);
	assert_int_equal(frozen_stop(s, &err), 0);
	w.s = s;
	assert_int_equal(swap_prepare(&w, &err), 0);
	assert_int_equal(swap_apply(&w, &err), 0);
	swap_finish(&w);
	frozen_thaw(s);
	/* now from the other pipe, though it was blocked in a read of the first */
	back = c.to;
	c.to = other[1];
	child_answers(&c);
	close(other[0]);
	close(back);
	c.to = other[1];
	child_end(&c);
}

static void nobody_there(void **state)
{
	struct error err = { 0 };
	struct frozen_process *s = NULL;
	struct steal st;
	struct child c;

	(void)state;
	child_start(&c);
	child_end(&c);
	assert_int_equal(frozen_seize(&s, c.pid, &err), -ESRCH);
	assert_null(s);
	assert_int_equal(steal_find(&st, c.pid, &err), -ESRCH);
	assert_non_null(strstr(err.text, "there is no process"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ways),
		cmocka_unit_test(orphans),
		cmocka_unit_test(stat_lines),
		cmocka_unit_test(calls_leave_no_trace),
		cmocka_unit_test(stopped_stays_stopped),
		cmocka_unit_test(pending_signal_survives),
		cmocka_unit_test(swapped_and_back),
		cmocka_unit_test(nobody_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
