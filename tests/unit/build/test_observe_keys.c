/* SPDX-License-Identifier: MIT */
/* the observer: what a program asks of its launch, and its standard descriptors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "tests/unit/build/observed.h"

#define BIT(signal) (1ull << ((signal)-1))

static void raise_nothing(int signal)
{
	(void)signal;
}

static void keys(void **state)
{
	struct rlimit lim;
	struct sigaction act;
	char buf[256];
	const struct observe_keys *k;

	(void)state;
	k = observe_keys(o);
	assert_true(!k->argv && !k->environment && !k->umask && !k->affinity && !k->rlimits && !k->signals &&
		    !k->signals_start && !k->sigmask && !k->stdio && !k->stdio_start);
	call(SYS_umask, 022);
	assert_true(k->umask);
	call(SYS_sched_getaffinity, 0, sizeof(buf), A(buf));
	assert_true(k->affinity);
	call(SYS_prlimit64, 0, RLIMIT_STACK, 0, A(&lim));
	assert_int_equal(k->rlimits, 1u << RLIMIT_STACK);
	call(SYS_prlimit64, 0, RLIMIT_CORE, A(&lim), 0);
	call(SYS_prlimit64, 0, RLIMIT_CORE, 0, A(&lim));
	assert_int_equal(k->rlimits, 1u << RLIMIT_STACK);
	tell(SYS_rt_sigaction, (uint64_t[6]){ SIGUSR1, A(&act), 0, 8 }, false, 0);
	tell(SYS_rt_sigaction, (uint64_t[6]){ SIGUSR1, 0, A(&act), 8 }, false, 0);
	assert_int_equal(k->signals_start, 0);
	tell(SYS_rt_sigaction, (uint64_t[6]){ SIGINT, A(&act), A(&act), 8 }, false, 0);
	assert_int_equal(k->signals_start, 1u << (SIGINT - 1));
	open_at("/proc/self/cmdline", O_RDONLY);
	assert_true(k->argv);
	snprintf(buf, sizeof(buf), "/proc/%d/environ", getpid());
	open_at(buf, O_RDONLY);
	assert_true(k->environment);
	assert_false(k->cwd);
	call(SYS_readlinkat, A(AT_FDCWD), A("/proc/self/cwd"), A(buf), sizeof(buf));
	assert_true(k->cwd);
}

static void machine(void **state)
{
	const struct observe_keys *k = observe_keys(o);
	struct utsname name;
	struct sysinfo info;
	const char *path;
	uint64_t value;
	size_t pos = 0;

	(void)state;
	for (int i = 0; i < FACTS; i++)
		assert_int_equal(k->facts[i], 0);
	call(SYS_uname, A(&name));
	assert_int_equal(k->facts[FACT_NAMES], fact_value(FACT_NAMES));
	call(SYS_sysinfo, A(&info));
	assert_int_equal(k->facts[FACT_MEMORY], fact_value(FACT_MEMORY));
	open_at("/sys/devices/system/cpu/online", O_RDONLY);
	assert_int_equal(k->facts[FACT_CPUS], fact_value(FACT_CPUS));
	open_at("/proc/sys/kernel/random/uuid", O_RDONLY);
	open_at("/proc/loadavg", O_RDONLY);
	assert_false(observe_fact_file(o, &pos, &path, &value));
	open_at("/proc/sys/kernel/pid_max", O_RDONLY);
	pos = 0;
	assert_true(observe_fact_file(o, &pos, &path, &value));
	assert_string_equal(path, "/proc/sys/kernel/pid_max");
	assert_int_equal(value, fact_of_file(path));
}

/* each launch looks at them all */
static void many_settings(void **state)
{
	static const char *const dirs[] = { "/proc/sys/kernel", "/proc/sys/vm", "/proc/sys/net/ipv4", NULL };
	const char *path;
	uint64_t value;
	size_t pos = 0;
	int n = 0, taken = 0;

	(void)state;
	open_at("/sys/devices/system/node/node0/meminfo", O_RDONLY);
	open_at("/sys/devices/system/node/node0/numastat", O_RDONLY);
	assert_false(observe_fact_file(o, &pos, &path, &value));
	if (access("/sys/devices/system/node/node0/meminfo", R_OK) == 0)
		assert_int_equal(observe_keys(o)->facts[FACT_MEMORY], fact_value(FACT_MEMORY));
	for (int i = 0; dirs[i]; i++) {
		DIR *dir = opendir(dirs[i]);
		struct dirent *e;
		char name[512];

		while (dir && (e = readdir(dir)) && n < 72) {
			snprintf(name, sizeof(name), "%s/%s", dirs[i], e->d_name);
			if (e->d_type != DT_REG || access(name, R_OK) < 0 || strstr(name, "last_pid"))
				continue;
			if (n < 64)
				not_refused();
			open_at(name, O_RDONLY);
			open_at(name, O_RDONLY);
			n++;
		}
		if (dir)
			closedir(dir);
	}
	/* five of them are the machine's names */
	if (n < 72)
		skip();
	pos = 0;
	while (observe_fact_file(o, &pos, &path, &value))
		taken++;
	assert_int_equal(taken, 64);
	refused(false, "reads more than 64 settings of the kernel");
}

static void scheduling(void **state)
{
	const struct observe_keys *k = observe_keys(o);

	(void)state;
	call(SYS_getpriority, PRIO_PROCESS, 1);
	call(SYS_sched_getscheduler, 1);
	call(SYS_ioprio_get, 1, 1);
	assert_true(!k->nice && !k->sched && !k->ioprio); /* another's */
	call(SYS_getpriority, PRIO_PROCESS, 0);
	assert_true(k->nice && !k->sched);
	call(SYS_sched_getscheduler, A(getpid()));
	assert_true(k->sched && !k->ioprio);
	call(SYS_ioprio_get, 1, 0);
	assert_true(k->ioprio);
	fresh();
	k = observe_keys(o);
	/* its own from then on */
	tell(SYS_setpriority, (uint64_t[6]){ PRIO_PROCESS, 0, 5 }, false, 0);
	tell(SYS_sched_setscheduler, (uint64_t[6]){ 0 }, false, 0);
	tell(SYS_ioprio_set, (uint64_t[6]){ 1, 0 }, false, 0);
	call(SYS_getpriority, PRIO_PROCESS, 0);
	call(SYS_sched_getscheduler, 0);
	call(SYS_ioprio_get, 1, 0);
	assert_true(!k->nice && !k->sched && !k->ioprio);
	open_at("/proc/self/stat", O_RDONLY);
	assert_true(k->nice && k->sched);
}

/* as an interpreter asks for all, sets some, and its program comes after it */
static void signals(void **state)
{
	struct sigaction now, ignore = { .sa_handler = SIG_IGN }, handler = { .sa_handler = raise_nothing };
	const struct observe_keys *k = observe_keys(o);

	(void)state;
	tell(SYS_rt_sigaction, (uint64_t[6]){ SIGPIPE, A(&ignore), A(&now), 8 }, false, 0);
	for (uint64_t n = SIGHUP; n <= SIGTERM; n++)
		tell(SYS_rt_sigaction, (uint64_t[6]){ n, 0, A(&now), 8 }, false, 0);
	tell(SYS_rt_sigaction, (uint64_t[6]){ SIGINT, A(&handler), A(&now), 8 }, false, 0);
	assert_int_equal(k->signals, 0);
	assert_true(k->signals_start & BIT(SIGINT) && k->signals_start & BIT(SIGTERM));
	assert_int_equal(k->signals_ignored, BIT(SIGPIPE));
	observe_phase_leading(o);
	/* whatever the caller had: the interpreter had set it without a look */
	tell(SYS_rt_sigaction, (uint64_t[6]){ SIGPIPE, A(&handler), A(&now), 8 }, false, 0);
	assert_int_equal(k->signals, 0);
	assert_int_equal(k->signals_ignored, 0);
	/* the handler of SIGINT tells that it was not ignored, and is told by the first call alone */
	tell(SYS_rt_sigaction, (uint64_t[6]){ SIGTERM, A(&ignore), 0, 8 }, false, 0);
	tell(SYS_rt_sigaction, (uint64_t[6]){ SIGINT, A(&handler), A(&now), 8 }, false, 0);
	tell(SYS_rt_sigaction, (uint64_t[6]){ SIGTERM, 0, A(&now), 8 }, false, 0);
	assert_int_equal(k->signals, BIT(SIGINT));
	assert_int_equal(k->signals_ignored, BIT(SIGTERM));
}

static void masks(void **state)
{
	uint64_t all = ~0ull, most = ~(3ull << 31), one = BIT(SIGUSR1), old;
	const struct observe_keys *k = observe_keys(o);

	(void)state;
	/* as pthread_create(3) and subprocess do it */
	tell(SYS_rt_sigprocmask, (uint64_t[6]){ SIG_BLOCK, A(&all), A(&old), 8 }, false, 0);
	tell(SYS_rt_sigprocmask, (uint64_t[6]){ SIG_SETMASK, A(&one), 0, 8 }, false, 0);
	tell(SYS_rt_sigprocmask, (uint64_t[6]){ SIG_BLOCK, A(&most), A(&old), 8 }, false, 0);
	tell(SYS_rt_sigprocmask, (uint64_t[6]){ SIG_SETMASK, A(&one), 0, 8 }, false, 0);
	assert_false(k->sigmask);
	/* what comes of it depends on what there was */
	tell(SYS_rt_sigprocmask, (uint64_t[6]){ SIG_BLOCK, A(&one), 0, 8 }, false, 0);
	assert_true(k->sigmask);
}

static void own_mask(void **state)
{
	uint64_t one = BIT(SIGUSR1), old;
	const struct observe_keys *k = observe_keys(o);

	(void)state;
	tell(SYS_rt_sigprocmask, (uint64_t[6]){ SIG_SETMASK, A(&one), 0, 8 }, false, 0);
	tell(SYS_rt_sigprocmask, (uint64_t[6]){ SIG_BLOCK, 0, A(&old), 8 }, false, 0);
	assert_false(k->sigmask);
}

static void looks_at_mask(void **state)
{
	uint64_t old;

	(void)state;
	tell(SYS_rt_sigprocmask, (uint64_t[6]){ SIG_BLOCK, 0, A(&old), 8 }, false, 0);
	assert_true(observe_keys(o)->sigmask);
}

static void keys_of_others(void **state)
{
	(void)state;
	open_at("/proc/1/cmdline", O_RDONLY);
	assert_false(observe_keys(o)->argv);
	call(SYS_prlimit64, 1, RLIMIT_STACK, 0, A((struct rlimit[1]){ { 0 } }));
	assert_int_equal(observe_keys(o)->rlimits, 0);
	bounded("limits of, process 1");
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
	bounded("reads standard input");
	fd = (int)call(SYS_fcntl, 0, F_DUPFD_CLOEXEC, 20);
	assert_int_equal(call(SYS_readv, A(fd), A(&iov), 1), -ECANCELED);
	bounded("reads standard input");
	fd = (int)call(SYS_fcntl, 0, F_DUPFD_CLOEXEC, 20);
	call(SYS_dup3, A(open_at("/dev/null", O_RDONLY)), A(fd), 0);
	call(SYS_read, A(fd), A(iov.iov_base), 8);
	call(SYS_read, OWN_FD, A(iov.iov_base), 0);
	not_refused();
	/* the builder has not seen the boundary: what was read is gone */
	tell(SYS_read, (uint64_t[6]){ 0, A(iov.iov_base), 8 }, false, 8);
	refused(false, "reads standard input before its readiness point");
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
	assert_int_equal(tell(SYS_write, (uint64_t[6]){ 1, A(root), 65536 - 79 }, true, 0), 0);
	assert_int_equal(tell(SYS_write, (uint64_t[6]){ 1, A(root), 65536 - 78 }, true, 0), OBSERVE_BOUNDARY);
	bounded("writes more than 64 KiB of output");
	iov[2].iov_len = 65536;
	tell(SYS_writev, (uint64_t[6]){ 1, A(iov), 3 }, true, 0);
	bounded("writes more than 64 KiB of output");
	tell(SYS_sendfile, (uint64_t[6]){ 1, 60, 0, 10 }, true, 0);
	bounded("writes to descriptor 1");
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, observed_setup, observed_teardown)
	const struct CMUnitTest tests[] = {
		TEST(keys),	      TEST(machine), TEST(many_settings), TEST(scheduling),
		TEST(signals),	      TEST(masks),   TEST(own_mask),	  TEST(looks_at_mask),
		TEST(keys_of_others), TEST(stdio),   TEST(input),	  TEST(output),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
