/* SPDX-License-Identifier: MIT */
/* the observer: what a program asks of its launch, and its standard descriptors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/unit/observed.h"

static void keys(void **state)
{
	struct rlimit lim;
	struct sigaction act;
	char buf[256];
	const struct observe_keys *k;

	(void)state;
	k = observe_keys(o);
	assert_true(!k->argv && !k->environment && !k->umask && !k->affinity && !k->identity && !k->rlimits &&
		    !k->signals && !k->sigmask && !k->stdio && !k->stdio_start);
	call(SYS_umask, 022);
	assert_true(k->umask);
	call(SYS_sched_getaffinity, 0, sizeof(buf), A(buf));
	assert_true(k->affinity);
	call(SYS_getgroups, 0, 0);
	assert_true(k->identity);
	call(SYS_prlimit64, 0, RLIMIT_STACK, 0, A(&lim));
	assert_int_equal(k->rlimits, 1u << RLIMIT_STACK);
	call(SYS_prlimit64, 0, RLIMIT_CORE, A(&lim), 0);
	call(SYS_prlimit64, 0, RLIMIT_CORE, 0, A(&lim));
	assert_int_equal(k->rlimits, 1u << RLIMIT_STACK);
	tell(SYS_rt_sigaction, (uint64_t[6]){ SIGUSR1, A(&act), 0, 8 }, false, 0);
	tell(SYS_rt_sigaction, (uint64_t[6]){ SIGUSR1, 0, A(&act), 8 }, false, 0);
	assert_int_equal(k->signals, 0);
	tell(SYS_rt_sigaction, (uint64_t[6]){ SIGINT, A(&act), A(&act), 8 }, false, 0);
	assert_int_equal(k->signals, 1u << (SIGINT - 1));
	call(SYS_rt_sigprocmask, SIG_BLOCK, 0, A(buf), 8);
	assert_true(k->sigmask);
	open_at("/proc/self/cmdline", O_RDONLY);
	assert_true(k->argv);
	snprintf(buf, sizeof(buf), "/proc/%d/environ", getpid());
	open_at(buf, O_RDONLY);
	assert_true(k->environment);
	assert_false(k->cwd);
	call(SYS_readlinkat, A(AT_FDCWD), A("/proc/self/cwd"), A(buf), sizeof(buf));
	assert_true(k->cwd);
}

static void keys_of_others(void **state)
{
	(void)state;
	open_at("/proc/1/cmdline", O_RDONLY);
	call(SYS_prlimit64, 1, RLIMIT_STACK, 0, A((struct rlimit[1]){ { 0 } }));
	assert_false(observe_keys(o)->argv);
	assert_int_equal(observe_keys(o)->rlimits, 0);
	not_refused();
}

static void stdio(void **state)
{
	const struct observe_keys *k = observe_keys(o);
	struct stat st;
	char buf[64], path[64];
	int fd;

	(void)state;
	call(SYS_ioctl, 0, TIOCGWINSZ, A(buf));
	assert_int_equal(k->stdio_start, 1);
	call(SYS_fstat, 1, A(&st));
	assert_int_equal(k->stdio_start, 3);
	observe_phase_leading(o);
	assert_int_equal(k->stdio, 0);
	call(SYS_newfstatat, 2, A(""), A(&st), AT_EMPTY_PATH);
	assert_int_equal(k->stdio, 4);
	fd = (int)call(SYS_dup, 1);
	call(SYS_lseek, A(fd), 0, SEEK_CUR);
	assert_int_equal(k->stdio, 6);
	assert_int_equal(observe_fd_origin(o, getpid(), fd), 1);
	call(SYS_close, A(fd));
	assert_int_equal(observe_fd_origin(o, getpid(), fd), -1);
	call(SYS_faccessat, A(AT_FDCWD), A("/proc/self/fd/0"), R_OK);
	assert_int_equal(k->stdio, 7);
	assert_int_equal(dep_set_count(observe_deps(o)), 0);
	not_refused();
	/* a file of its own is no standard descriptor */
	fd = (int)call(SYS_openat, A(AT_FDCWD), A("/dev/null"), O_RDONLY);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	call(SYS_readlinkat, A(AT_FDCWD), A(path), A(buf), sizeof(buf));
	not_refused();
	call(SYS_close, A(fd));
	/* the name differs in each launch */
	call(SYS_readlinkat, A(AT_FDCWD), A("/proc/self/fd/0"), A(buf), sizeof(buf));
	refused(false, "asks for the name of its standard descriptor 0");
	call(SYS_readlinkat, A(AT_FDCWD), A("/dev/fd/2"), A(buf), sizeof(buf));
	refused(false, "asks for the name of its standard descriptor 2");
}

static void input(void **state)
{
	struct iovec iov = { (char[8]){ 0 }, 8 };
	int fd;

	(void)state;
	assert_int_equal(call(SYS_read, 0, A(iov.iov_base), 8), -ECANCELED);
	refused(false, "reads standard input before its readiness point");
	fd = (int)call(SYS_fcntl, 0, F_DUPFD_CLOEXEC, 20);
	assert_int_equal(call(SYS_readv, A(fd), A(&iov), 1), -ECANCELED);
	refused(false, "reads standard input");
	fd = (int)call(SYS_fcntl, 0, F_DUPFD_CLOEXEC, 20);
	call(SYS_dup3, A(open_at("/dev/null", O_RDONLY)), A(fd), 0);
	call(SYS_read, A(fd), A(iov.iov_base), 8);
	call(SYS_read, OWN_FD, A(iov.iov_base), 0);
	not_refused();
	observe_effects(o, false); /* what was read is gone, whatever the readiness point */
	call(SYS_read, 0, A(iov.iov_base), 8);
	refused(false, "reads standard input");
}

static void output(void **state)
{
	struct iovec iov[3] = { { (char[]){ "ab" }, 2 }, { NULL, 0 }, { (char[]){ "cdef" }, 4 } };
	const struct observe_output *out;
	int fds[2], fd;
	size_t n;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	/* the calls are told, not made, so that the test's own output stays clean; 5 of 6 bytes were taken */
	tell(SYS_write, (uint64_t[6]){ 1, A("hello"), 5 }, true, 0);
	tell(SYS_write, (uint64_t[6]){ 1, A("hello"), 5 }, false, 3);
	tell(SYS_writev, (uint64_t[6]){ 2, A(iov), 3 }, false, 5);
	tell(SYS_write, (uint64_t[6]){ 1, A("x"), 1 }, false, -EAGAIN);
	call(SYS_write, A(fds[1]), A("inside"), 6);
	fd = (int)call(SYS_dup, 1);
	tell(SYS_write, (uint64_t[6]){ A(fd), A("!"), 1 }, false, 1);
	call(SYS_close, A(fd));
	out = observe_output(o, &n);
	assert_int_equal(n, 3);
	assert_int_equal(out[0].fd, 1);
	assert_int_equal(out[0].len, 3);
	assert_memory_equal(out[0].data, "hel", 3);
	assert_int_equal(out[1].fd, 2);
	assert_memory_equal(out[1].data, "abcde", 5);
	assert_int_equal(out[2].fd, 1);
	assert_memory_equal(out[2].data, "!", 1);
	not_refused();
	for (int i = 0; i < 70; i++)
		tell(SYS_write, (uint64_t[6]){ 1, A(out), 1024 }, false, observe_refusal(o) ? 0 : 1);
	not_refused();
	tell(SYS_write, (uint64_t[6]){ 1, A(root), sizeof(root) }, false, sizeof(root));
	for (int i = 0; i < 20 && !observe_refusal(o); i++)
		tell(SYS_write, (uint64_t[6]){ 1, A(root), sizeof(root) }, false, sizeof(root));
	refused(false, "writes more than 64 KiB of output");
	assert_int_equal(tell(SYS_sendfile, (uint64_t[6]){ 1, 60, 0, 10 }, true, 0), 1);
	refused(false, "writes to descriptor 1");
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, observed_setup, observed_teardown)
	const struct CMUnitTest tests[] = {
		TEST(keys), TEST(keys_of_others), TEST(stdio), TEST(input), TEST(output),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
