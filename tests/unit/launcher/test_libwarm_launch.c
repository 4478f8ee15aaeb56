/* SPDX-License-Identifier: MIT */
/* warm_launch() and warm_wait() of one thread, against a warmd of the test's: tests/unit/launcher/fake_warmd.h */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "launcher/libwarm.h"
#include "tests/unit/launcher/fake_warmd.h"

static int launch(const char *name, pid_t *ret_pid)
{
	struct warm_launch_options o = options(name);

	return warm_launch(w, &o, ret_pid, NULL);
}

static void open_handle(void)
{
	assert_int_equal(warm_open(&w, NULL), 0);
}

/* --- what is sent --- */

static void script_context(void)
{
	int conn = fake_accept();
	struct asked *a = fake_take(conn);
	struct stat st, tmp;

	must(strcmp(a->name, "report") == 0 && !a->ready[0] && !a->cwd[0]);
	must(a->run.flags == WIRE_LAUNCH_ENV && a->run.argc == 2 && a->run.envc == 1);
	must(strcmp(a->argv[1], "--all") == 0 && strcmp(a->envp[0], "A=b") == 0);
	must(a->run.umask == 027 && a->run.ignored_signals >> (SIGUSR2 - 1) & 1);
	must(a->run.stdio[0] == WIRE_STDIO_NULL && a->run.stdio[1] == WIRE_STDIO_PIPE &&
	     a->run.stdio[2] == WIRE_STDIO_FILE);
	must(a->run.stdio_blksize[2] > 0 && a->run.stdio_offset_nonzero == 1 << 2 && a->run.rows == 0);
	must(a->run.rlimits[RLIMIT_NOFILE][0] > 0 && a->run.scheduling.affinity);
	must(fstat(a->packet.fds[0], &st) == 0 && S_ISCHR(st.st_mode));
	must(write(a->packet.fds[1], "x", 1) == 1);
	must(lseek(a->packet.fds[2], 0, SEEK_CUR) == 3);
	must(fstat(a->packet.fds[3], &st) == 0 && stat("/tmp", &tmp) == 0 && st.st_ino == tmp.st_ino);
	fake_launched(conn, a->run.tag, 0);
	/* nothing is left from the launch before */
	a = fake_take(conn);
	must(a->run.flags == WIRE_LAUNCH_APPEND && a->run.argc == 0 && a->run.envc == 0);
	must(a->run.stdio[1] == WIRE_STDIO_NULL && a->run.stdio_offset_nonzero == 0);
	must(fstat(a->packet.fds[3], &st) == 0 && stat(".", &tmp) == 0 && st.st_ino == tmp.st_ino);
	fake_launched(conn, a->run.tag, 0);
	must(fake_ended(conn));
}

static void context(void **state)
{
	struct warm_launch_options o = options("report");
	char *argv[] = { (char *)"report", (char *)"--all", NULL }, *envp[] = { (char *)"A=b", NULL };
	char name[] = "/tmp/test.XXXXXX", byte = 0;
	int file = mkstemp(name), pair[2], pidfd = -1;
	pid_t pid = 0;

	(void)state;
	assert_true(file >= 0);
	unlink(name);
	assert_int_equal(write(file, "abc", 3), 3);
	assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
	umask(027);
	signal(SIGUSR2, SIG_IGN);
	fake_start(script_context);
	open_handle();
	umask(022);
	signal(SIGUSR2, SIG_DFL);
	o.argv = argv;
	o.envp = envp;
	o.cwd = "/tmp";
	o.fds[1] = pair[1];
	o.fds[2] = file;
	assert_int_equal(warm_launch(w, &o, &pid, &pidfd), 0);
	assert_true(pid > 0);
	assert_true(fcntl(pidfd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(read(pair[0], &byte, 1), 1);
	assert_int_equal(byte, 'x');
	assert_int_equal(launch("next", NULL), 0);
	close(pidfd);
	close(file);
	close(pair[0]);
	close(pair[1]);
	warm_close(w);
	w = NULL;
	fake_end();
}

static void bad_options(void **state)
{
	struct {
		struct warm_launch_options o;
		char more[8];
	} newer = { .o = options("t") };
	struct warm_launch_options o;
	char *empty[] = { NULL }, *long_argv[] = { NULL, NULL };
	_cleanup_free_ char *longest = malloc(WIRE_MAX_SIZE);

	(void)state;
	open_handle();
	assert_int_equal(warm_launch(w, NULL, NULL, NULL), -EINVAL);
	o = options("t");
	o.size--;
	assert_int_equal(warm_launch(w, &o, NULL, NULL), -EINVAL);
	assert_int_equal(launch(NULL, NULL), -EINVAL);
	assert_int_equal(launch("", NULL), -EINVAL);
	newer.o.size = sizeof(newer);
	newer.more[3] = 1;
	assert_int_equal(warm_launch(w, &newer.o, NULL, NULL), -E2BIG);
	o = options("t");
	o.argv = empty;
	assert_int_equal(warm_launch(w, &o, NULL, NULL), -EINVAL);
	memset(longest, 'x', WIRE_MAX_SIZE - 1);
	longest[WIRE_MAX_SIZE - 1] = '\0';
	long_argv[0] = longest;
	o.argv = long_argv;
	assert_int_equal(warm_launch(w, &o, NULL, NULL), -E2BIG);
	o = options("t");
	o.fds[1] = 4000;
	assert_int_equal(warm_launch(w, &o, NULL, NULL), -EBADF);
	assert_non_null(strstr(warm_error(w), "4000"));
	o.fds[1] = -2;
	assert_int_equal(warm_launch(w, &o, NULL, NULL), -EBADF);
	o = options("t");
	o.cwd = "/proc/nonexistent/directory";
	assert_int_equal(warm_launch(w, &o, NULL, NULL), -ENOENT);
	assert_non_null(strstr(warm_error(w), o.cwd));
	o.cwd = "/dev/null";
	assert_int_equal(warm_launch(w, &o, NULL, NULL), -ENOTDIR);
	assert_int_equal(warm_launch(NULL, &o, NULL, NULL), -EINVAL);
	assert_int_equal(warm_wait(w, 1, NULL), -ECHILD);
	assert_int_equal(warm_wait(w, -1, NULL), -ECHILD);
	assert_int_equal(warm_wait(NULL, 1, NULL), -EINVAL);
	assert_int_equal(warm_open(NULL, NULL), -EINVAL);
	/* a newer program that asks for nothing new */
	newer.more[3] = 0;
	newer.o.fds[0] = 4000;
	assert_int_equal(warm_launch(w, &newer.o, NULL, NULL), -EBADF);
}

/* --- what comes back --- */

static const struct {
	uint32_t status;
	int error;
} statuses[] = {
	{ WIRE_COLD_NONE, -ENOENT },	    { WIRE_COLD_BUILDING, -EAGAIN }, { WIRE_COLD_STALE, -EAGAIN },
	{ WIRE_COLD_REFUSED, -EOPNOTSUPP }, { WIRE_COLD_MISMATCH, -EACCES }, { WIRE_COLD_BUDGET, -ENOSPC },
	{ WIRE_COLD_ERROR, -EIO },	    { WIRE_COLD_DISABLED, -EPERM },  { WIRE_COLD_WAITS, -EAGAIN },
	{ WIRE_COLD_RIGHTS, -EACCES },
};

static void script_statuses(void)
{
	int conn = fake_accept();

	for (size_t i = 0; i < 2 * ARRAY_SIZE(statuses); i++)
		fake_refuse(conn, fake_take(conn)->run.tag, statuses[i / 2].status,
			    i % 2 ? "" : "some words");
}

static void status_mapping(void **state)
{
	pid_t pid = 77;

	(void)state;
	fake_start(script_statuses);
	open_handle();
	assert_string_equal(warm_error(w), "");
	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++) {
		assert_int_equal(launch("t", &pid), statuses[i].error);
		assert_string_equal(warm_error(w), "some words");
		assert_int_equal(launch("t", &pid), statuses[i].error);
		assert_true(strlen(warm_error(w)) > 8);
		assert_string_not_equal(warm_error(w), "some words");
	}
	assert_int_equal(pid, 77);
	fake_end();
}

/* each is wrong in one thing */
static void bad_answer(int conn, uint32_t tag, unsigned int which)
{
	struct wire_run_reply r = fake_reply(tag, WIRE_LAUNCHED);
	struct wire_exited e = { .header = r.header, .tag = tag };
	int fds[2] = { 0, 0 };
	size_t size = sizeof(r), nfds = 1;

	r.nfds = 1;
	r.pid = 12345;
	switch (which) {
	case 0:
		r.header.magic++;
		break;
	case 1:
		r.header.size++;
		break;
	case 2:
		size--;
		break;
	case 3:
		size = r.header.size = sizeof(struct wire_header);
		break;
	case 4:
		size = 3;
		break;
	case 5:
		r.header.type = WIRE_CONTROL_REPLY;
		break;
	case 6:
		r.tag++;
		break;
	case 7:
		r.status = WIRE_WARM;
		break;
	case 8:
		r.status = WIRE_COLD_NO_DAEMON;
		break;
	case 9:
		r.status = UINT32_MAX;
		break;
	case 10:
		r.pid = 0;
		break;
	case 11:
		r.pid = 0x80000001;
		break;
	case 12:
		nfds = 0;
		break;
	case 13:
		nfds = 2;
		break;
	case 14:
		r.nfds = 2;
		break;
	case 15:
		r.status = WIRE_COLD_ERROR;
		break;
	case 16:
		r.status = WIRE_COLD_ERROR, nfds = 0;
		break;
	case 17:
		r.status = WIRE_COLD_ERROR, r.nfds = 0;
		break;
	case 18:
		r.header.type = WIRE_EXITED;
		break;
	case 19: /* larger than any */ {
		char large[4096] = { 0 };

		r.header.size = sizeof(large);
		memcpy(large, &r, sizeof(r));
		fake_send(conn, large, sizeof(large), fds, nfds);
		return;
	}
	default: /* the end of a clone, with a descriptor */
		e.header.type = WIRE_EXITED;
		e.header.size = sizeof(e);
		fake_send(conn, &e, sizeof(e), fds, 1);
		return;
	}
	fake_send(conn, &r, size, fds, nfds);
}
#define BAD_ANSWERS 21

static void script_malformed(void)
{
	for (unsigned int i = 0; i < BAD_ANSWERS; i++) {
		int conn = fake_accept();

		bad_answer(conn, fake_take(conn)->run.tag, i);
		must(fake_ended(conn)); /* and what was asked for is not asked for again */
		close(conn);
	}
}

static void malformed(void **state)
{
	(void)state;
	fake_start(script_malformed);
	open_handle();
	for (unsigned int i = 0; i < BAD_ANSWERS; i++)
		assert_int_equal(launch("t", NULL), -EBADMSG);
	fake_end();
}

static void script_version(void)
{
	struct wire_header h = { WIRE_MAGIC, WIRE_VERSION_NUMBER + 1, WIRE_VERSION, sizeof(h), 0 };
	int conn = fake_accept();

	fake_take(conn);
	fake_send(conn, &h, sizeof(h), NULL, 0);
	must(fake_ended(conn));
}

static void version(void **state)
{
	(void)state;
	fake_start(script_version);
	open_handle();
	assert_int_equal(launch("t", NULL), -EPROTONOSUPPORT);
	assert_non_null(strstr(warm_error(w), "version"));
	fake_end();
}

/* --- ends --- */

static void script_ends(void)
{
	int conn = fake_accept();
	uint32_t tag[4];

	tag[0] = fake_take(conn)->run.tag;
	fake_made_up(conn, tag[0], 1001);
	fake_exited(conn, tag[0], 1001, 7 << 8);
	/* before its launch is told */
	tag[1] = fake_take(conn)->run.tag;
	fake_exited(conn, tag[1], 1002, SIGKILL);
	fake_made_up(conn, tag[1], 1002);
	/* ends that are nobody's */
	fake_exited(conn, tag[1] + 100, 1001, 1 << 8);
	fake_exited(conn, tag[0], 4711, 1 << 8);
	/* one PID twice */
	for (int i = 2; i < 4; i++) {
		tag[i] = fake_take(conn)->run.tag;
		fake_made_up(conn, tag[i], 1003);
		fake_exited(conn, tag[i], 1003, i << 8);
	}
	must(fake_ended(conn));
}

static void ends_before_waits(void **state)
{
	pid_t pids[4];
	int status;

	(void)state;
	fake_start(script_ends);
	open_handle();
	for (int i = 0; i < 4; i++)
		assert_int_equal(launch("t", &pids[i]), 0);
	assert_int_equal(warm_wait(w, pids[1], &status), 0);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_int_equal(warm_wait(w, pids[0], &status), 0);
	assert_int_equal(status, 7 << 8);
	assert_int_equal(warm_wait(w, pids[0], &status), -ECHILD);
	assert_non_null(strstr(warm_error(w), "1001"));
	assert_int_equal(warm_wait(w, pids[2], &status), 0);
	assert_int_equal(status, 2 << 8);
	assert_int_equal(warm_wait(w, pids[3], NULL), 0);
	assert_int_equal(warm_wait(w, pids[3], NULL), -ECHILD);
	warm_close(w);
	w = NULL;
	fake_end();
}

/* --- too many descriptors --- */

static void script_files(void)
{
	int conn = fake_accept();
	uint32_t tag = fake_take(conn)->run.tag;
	struct rlimit files;

	/* the directory has 61, the other end of its basket was 62: nothing is free for the pidfd */
	must(prlimit(getppid(), RLIMIT_NOFILE, NULL, &files) == 0);
	files.rlim_cur = 62;
	must(prlimit(getppid(), RLIMIT_NOFILE, &files, NULL) == 0);
	fake_launched(conn, tag, fake_clone());
	must(fake_ended(conn));
}

/* with room for what is sent, none for the pidfd */
static void no_descriptor_left(void **state)
{
	struct warm_launch_options o = options("t");
	struct rlimit before, files;
	int pidfd = -1, spare[64], n = 0;
	pid_t pid = 0;

	(void)state;
	getrlimit(RLIMIT_NOFILE, &before);
	files = before;
	files.rlim_cur = 64;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	fake_start(script_files);
	open_handle();
	while (n < 64 && (spare[n] = dup(STDERR_FILENO)) >= 0)
		n++;
	assert_true(n > 1 && n < 64);
	/* the directory, and a pair of sockets */
	for (int i = 0; i < 3; i++)
		close(spare[--n]);
	assert_int_equal(warm_launch(w, &o, &pid, &pidfd), 0);
	assert_true(pidfd >= 0);
	/* it is that process's */
	assert_int_equal(kill(pid, 0), 0);
	assert_int_equal(warm_launch(w, &o, NULL, NULL), -EMFILE);
	assert_non_null(strstr(warm_error(w), "directory"));
	close(pidfd);
	while (n)
		close(spare[--n]);
	kill(pid, SIGKILL);
	setrlimit(RLIMIT_NOFILE, &before);
	warm_close(w);
	w = NULL;
	fake_end();
}

/* --- more than one handle, thread, process --- */

static void words_of_open(void **state)
{
	struct warm *other = NULL;

	(void)state;
	assert_int_equal(warm_open(&other, "/proc/nonexistent/socket"), -ECONNREFUSED);
	assert_null(other);
	assert_non_null(strstr(warm_error(NULL), "/proc/nonexistent/socket"));
	assert_int_equal(warm_open(&other, ""), -EINVAL);
	assert_int_equal(warm_open(&other, fake_path()), 0);
	/* another's words are not this one's */
	assert_string_equal(warm_error(other), "");
	warm_close(other);
	warm_close(NULL);
}

static void script_two(void)
{
	int conn = fake_accept();

	for (int i = 0; i < 2; i++)
		fake_refuse(conn, fake_take(conn)->run.tag, WIRE_COLD_NONE, "no");
}

static void after_fork(void **state)
{
	int status;
	pid_t child;

	(void)state;
	fake_start(script_two);
	open_handle();
	assert_int_equal(launch("t", NULL), -ENOENT);
	child = fork();
	if (child == 0) {
		int ok = launch("t", NULL) == -ECHILD && warm_wait(w, 1, NULL) == -ECHILD &&
			 strstr(warm_error(w), "fork");

		warm_close(w);
		_exit(!ok);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	/* the parent's connection is as it was */
	assert_int_equal(launch("t", NULL), -ENOENT);
	fake_end();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(context),	  TEST(bad_options),	   TEST(status_mapping),     TEST(malformed),
		TEST(version),	  TEST(ends_before_waits), TEST(no_descriptor_left), TEST(words_of_open),
		TEST(after_fork),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
