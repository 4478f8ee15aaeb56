/* SPDX-License-Identifier: MIT */
/* the observer: what a program looks at becomes a dependency */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "tests/unit/build/observed.h"

static void looks(void **state)
{
	char buf[64];
	int fd;

	(void)state;
	put("a", "one");
	put("s", "one");
	mkdir(at("d"), 0755);
	assert_int_equal(symlink("a", at("l")), 0);
	fd = open_at(at("a"), O_RDONLY);
	assert_true(fd >= 0);
	assert_int_equal(call(SYS_read, A(fd), A(buf), 3), 3);
	call(SYS_close, A(fd));
	stat_at(at("s"));
	stat_at(at("d"));
	stat_at(at("none"));
	stat_at(at("a/x"));
	assert_int_equal(open_at(at("a"), O_RDONLY | O_DIRECTORY), -ENOTDIR);
	call(SYS_readlinkat, A(AT_FDCWD), A(at("l")), A(buf), sizeof(buf));
	assert_int_equal(call(SYS_readlinkat, A(AT_FDCWD), A(at("s")), A(buf), sizeof(buf)), -EINVAL);
	assert_non_null(dep(at("a"), DEP_FILE));
	assert_non_null(dep(at("s"), DEP_FILE));
	assert_non_null(dep(at("d"), DEP_EXISTS));
	assert_non_null(dep(at("none"), DEP_ABSENT));
	assert_non_null(dep(at("a/x"), DEP_ABSENT));
	assert_non_null(dep(at("l"), DEP_FILE));
	assert_int_equal(dep_set_count(observe_deps(o)), 6);
	assert_int_equal(dep_set_check(observe_deps(o), NULL), 0);
	assert_false(observe_keys(o)->cwd);
	not_refused();
}

static void relative_paths(void **state)
{
	int dir;

	(void)state;
	put("a", "");
	mkdir(at("d"), 0755);
	put("d/b", "");
	dir = open_at(at("d"), O_RDONLY | O_DIRECTORY);
	assert_true(call(SYS_openat, A(dir), A("b"), O_RDONLY) >= 0);
	assert_non_null(dep(at("d/b"), DEP_FILE));
	assert_false(observe_keys(o)->cwd);
	open_at("a", O_RDONLY);
	assert_non_null(dep(at("a"), DEP_FILE));
	assert_true(observe_keys(o)->cwd);
	fresh();
	call(SYS_chdir, A(at("d")));
	open_at("b", O_RDONLY); /* a cwd of its own choice */
	assert_false(observe_keys(o)->cwd);
	assert_non_null(dep(at("d/b"), DEP_FILE));
	fresh();
	call(SYS_chdir, A(".."));
	assert_true(observe_keys(o)->cwd);
	assert_non_null(dep(root, DEP_EXISTS));
	fresh();
	call(SYS_getcwd, A((char[PATH_MAX]){ 0 }), PATH_MAX);
	assert_true(observe_keys(o)->cwd);
}

static void ignored_and_synthetic(void **state)
{
	char *path = strdup(at("logs"));

	(void)state;
	cfg.ignore_paths = (struct config_list){ calloc(1, sizeof(char *)), 1 };
	cfg.ignore_paths.items[0] = path;
	mkdir(at("logs"), 0755);
	put("logs/x", "");
	open_at(at("logs/x"), O_RDONLY);
	open_at("/proc/meminfo", O_RDONLY);
	open_at("/sys/kernel", O_RDONLY);
	open_at("/dev/urandom", O_RDONLY);
	assert_int_equal(symlink("/proc/self/mounts", at("mtab")), 0);
	open_at(at("mtab"), O_RDONLY);
	assert_int_equal(dep_set_count(observe_deps(o)), 1); /* the link */
	not_refused();
}

static void replaced_meanwhile(void **state)
{
	const uint64_t args[6] = { A(AT_FDCWD), A(at("a")), O_RDONLY };
	int fd;

	(void)state;
	put("a", "one");
	put("b", "two");
	tell(SYS_openat, args, true, 0);
	fd = open(at("a"), O_RDONLY);
	rename(at("b"), at("a"));
	assert_int_equal(tell(SYS_openat, args, false, fd), 1);
	close(fd);
	refused(true, "which was replaced meanwhile");
}

static void bad_pointers(void **state)
{
	(void)state;
	call(SYS_openat, A(AT_FDCWD), 8, O_RDONLY);
	call(SYS_openat, A(AT_FDCWD), 0, O_RDONLY);
	call(SYS_openat, A(1000), A("x"), O_RDONLY);
	call(SYS_renameat2, A(AT_FDCWD), 8, A(AT_FDCWD), 8, 0);
	call(SYS_connect, 3, 8, 16);
	call(SYS_sendmsg, 3, 8, 0);
	call(SYS_openat2, A(AT_FDCWD), A("/x"), 8, 24);
	assert_int_equal(dep_set_count(observe_deps(o)), 0);
	not_refused();
}

static void listings(void **state)
{
	(void)state;
	mkdir(at("mods"), 0755);
	mkdir(at("guess"), 0755);
	mkdir(at("both"), 0755);
	mkdir(at("plain"), 0755);
	list(at("mods"), true);
	list(at("guess"), true);
	list(at("both"), true);
	stat_at(at("both"));
	stat_at(at("none"));
	list(at("both"), false);
	list(at("plain"), false);
	assert_non_null(dep(at("mods"), DEP_MODULES));
	assert_non_null(dep(at("guess"), DEP_MODULES));
	assert_non_null(dep(at("both"), DEP_LISTING));
	assert_non_null(dep(at("plain"), DEP_LISTING));
	observe_modules_dir(o, at("mods"));
	observe_modules_dir(o, at("both"));
	observe_modules_dir(o, at("nowhere"));
	finish();
	assert_non_null(dep(at("mods"), DEP_MODULES));
	assert_non_null(dep(at("guess"), DEP_LISTING));
	assert_non_null(dep(at("both"), DEP_LISTING));
	not_refused();
}

/* from the leading part on each listing of the importer is told of; one more is the program's own */
static void listings_of_the_program(void **state)
{
	(void)state;
	for (int more = 0; more < 2; more++) {
		mkdir(at("mods"), 0755);
		mkdir(at("before"), 0755);
		list(at("mods"), true);
		list(at("before"), true);
		observe_phase_leading(o);
		list(at("mods"), true);
		observe_phase_adaptor(o);
		list(at("mods"), true);
		assert_non_null(dep(at("mods"), DEP_MODULES));
		observe_modules_dir(o, at("mods"));
		observe_modules_dir(o, at("before"));
		observe_modules_listed(o, at("mods"));
		observe_modules_listed(o, at("before"));
		observe_modules_listed(o, at("nowhere"));
		if (more)
			observe_modules_listed(o, at("mods/../mods"));
		finish();
		assert_non_null(dep(at("mods"), more ? DEP_MODULES : DEP_LISTING));
		assert_non_null(dep(at("before"), DEP_MODULES));
		not_refused();
		fresh();
	}
}

static void programs(void **state)
{
	const uint64_t args[6] = { A(at("script")) };

	(void)state;
	put("script", "#! /bin/sh -e\n");
	tell(SYS_execve, args, true, 0);
	tell(SYS_execve, args, false, 0);
	assert_non_null(dep(at("script"), DEP_FILE));
	/* the script, its shell and that one's loader, and the links to them */
	assert_true(dep_set_count(observe_deps(o)) >= 3);
	fresh();
	tell(SYS_execve, args, true, 0);
	tell(SYS_execve, args, false, -ENOENT); /* of the interpreter: the script is there */
	assert_non_null(dep(at("script"), DEP_FILE));
	assert_int_equal(call(SYS_execve, A(at("none")), 0, 0), -ENOENT);
	assert_non_null(dep(at("none"), DEP_ABSENT));
}

/* a child has its parent's descriptors as they were, and its own from then on */
static void children(void **state)
{
	struct observe_call c = { .nr = SYS_dup3, .args = { 1, 30 }, .ret = 30 };
	struct error err;
	pid_t pid;

	(void)state;
	tell(SYS_dup3, (uint64_t[6]){ 0, 31 }, false, 31);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pause();
		_exit(0);
	}
	tell(SYS_clone, (uint64_t[6]){ SIGCHLD }, false, pid);
	tell(SYS_close, (uint64_t[6]){ 31 }, false, 0);
	assert_int_equal(observe_fd_origin(o, getpid(), 31), -1);
	assert_int_equal(observe_fd_origin(o, pid, 31), 0);
	c.tid = pid;
	assert_int_equal(observe_syscall(o, &c, &err), 0);
	assert_int_equal(observe_fd_origin(o, pid, 30), 1);
	assert_int_equal(observe_fd_origin(o, getpid(), 30), -1);
	c = (struct observe_call){ .tid = pid, .nr = SYS_read, .args = { 31 }, .entry = true };
	assert_int_equal(observe_syscall(o, &c, &err), OBSERVE_BOUNDARY);
	assert_int_equal(observe_refusal(o)->tid, pid);
	fresh();
	tell(SYS_clone, (uint64_t[6]){ SIGCHLD }, false, pid);
	tell(SYS_kill, (uint64_t[6]){ A(pid), SIGTERM }, true, 0);
	not_refused();
	observe_exited(o, pid);
	observe_exited(o, pid);
	tell(SYS_kill, (uint64_t[6]){ A(pid), SIGTERM }, true, 0);
	bounded("sends signal 15");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void wants(void **state)
{
	(void)state;
	assert_true(observe_wants(SYS_openat));
	assert_true(observe_wants(SYS_execve));
	assert_false(observe_wants(SYS_futex));
	assert_false(observe_wants(SYS_brk));
	assert_false(observe_wants(-1));
	/* newer than warm: nobody knows what it does */
	assert_true(observe_wants(500));
	assert_true(observe_wants(100000));
	assert_false(observe_wants(462 /* mseal */));
}

static ssize_t no_memory(void *data, pid_t tid, uint64_t addr, void *buf, size_t len)
{
	(void)tid, (void)addr, (void)buf, (void)len;
	++*(int *)data;
	return -EFAULT;
}

static void reader(void **state)
{
	int count = 0;

	(void)state;
	observe_set_reader(o, no_memory, &count);
	tell(SYS_openat, (uint64_t[6]){ A(AT_FDCWD), A("/"), O_RDONLY }, false, 50);
	assert_int_equal(count, 1);
	assert_int_equal(dep_set_count(observe_deps(o)), 0);
}

static void fast(void **state)
{
	uint64_t start = clock_ns(CLOCK_MONOTONIC);
	char name[64];

	(void)state;
	for (int i = 0; i < 20000; i++) {
		snprintf(name, sizeof(name), "%.40s/f%d", root, i % 6000);
		tell(SYS_newfstatat, (uint64_t[6]){ A(AT_FDCWD), A(name), 0, 0 }, true, 0);
		tell(SYS_newfstatat, (uint64_t[6]){ A(AT_FDCWD), A(name), 0, 0 }, false, -ENOENT);
	}
	print_message("20000 calls: %.1f ms\n", (double)(clock_ns(CLOCK_MONOTONIC) - start) / 1e6);
	assert_int_equal(dep_set_count(observe_deps(o)), 6000);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, observed_setup, observed_teardown)
	const struct CMUnitTest tests[] = {
		TEST(looks),
		TEST(relative_paths),
		TEST(ignored_and_synthetic),
		TEST(replaced_meanwhile),
		TEST(bad_pointers),
		TEST(listings),
		TEST(listings_of_the_program),
		TEST(programs),
		TEST(children),
		TEST(wants),
		TEST(reader),
		TEST(fast),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
