/* SPDX-License-Identifier: MIT */
/* the observer: what children can have read of the launch's environment */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/build/observed.h"

extern char **environ;

static pid_t child;

static int setup(void **state)
{
	child = fork();
	if (child == 0) {
		for (;;)
			pause();
	}
	return child < 0 ? -1 : observed_setup(state);
}

static int teardown(void **state)
{
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	return observed_teardown(state);
}

/* @tid executes a program with this environment, which its memory has at the same place as ours */
static void execute(pid_t tid, char **envp)
{
	static char *argv[] = { (char *)"true", NULL };
	struct observe_call c = {
		.tid = tid, .nr = SYS_execve, .args = { A("/bin/true"), A(argv), A(envp) }, .entry = true
	};
	struct error err;

	assert_int_equal(observe_syscall(o, &c, &err), 0);
	c.entry = false;
	assert_int_equal(observe_syscall(o, &c, &err), 0);
}

/* a child whose memory is as ours is now */
static void renew(void)
{
	observe_exited(o, child);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	child = fork();
	if (child == 0) {
		for (;;)
			pause();
	}
}

static bool is_listed(bool (*next)(const struct observe *, size_t *, const char **), const char *name)
{
	const char *at;
	size_t pos = 0;

	while (next(o, &pos, &at))
		if (strcmp(at, name) == 0)
			return true;
	return false;
}

/* the launch's, and what it is not to be confused with */
static char *copied(const char *name)
{
	char setting[4096];

	assert_non_null(getenv(name));
	snprintf(setting, sizeof(setting), "%s=%s", name, getenv(name));
	return strdup(setting);
}

static void handed_on(void **state)
{
	(void)state;
	execute(getpid(), environ); /* the program itself is the builder's to compare */
	assert_false(observe_keys(o)->children_environment);
	execute(child, environ);
	assert_true(observe_keys(o)->children_environment);
	assert_false(is_listed(observe_set_variable, "PATH"));
}

/* some of it is the program's own: as after putenv(3) and unsetenv(3) */
static void handed_on_changed(void **state)
{
	char *first[] = { environ[0], (char *)"NEW=1", (char *)"PATH=/other", NULL };
	char *second[] = { environ[0], (char *)"PATH=/another", NULL };

	(void)state;
	renew();
	execute(child, first);
	assert_true(observe_keys(o)->children_environment);
	assert_true(is_listed(observe_set_variable, "NEW") && is_listed(observe_set_variable, "PATH"));
	/* in another child's eyes NEW is the launch's */
	observe_exited(o, child);
	execute(child, second);
	assert_true(is_listed(observe_set_variable, "PATH"));
	assert_false(is_listed(observe_set_variable, "NEW"));
	/* and in this one's PATH, too */
	observe_exited(o, child);
	execute(child, environ);
	assert_false(is_listed(observe_set_variable, "PATH"));
}

/* copied as a shell does it, string by string */
static void copied_whole(void **state)
{
	size_t n = 0, size = 0;
	char **all;

	(void)state;
	while (environ[n])
		n++;
	all = calloc(n + 2, sizeof(*all));
	for (; size < n; size++)
		all[size] = strdup(environ[size]);
	all[size++] = strdup("MORE=1");
	renew();
	execute(child, all);
	assert_true(observe_keys(o)->children_environment);
	assert_true(is_listed(observe_set_variable, "MORE"));
	while (size)
		free(all[--size]);
	free(all);
}

/* subprocess with env=: what has the launch's value counts, and a grandchild sees no more than that */
static void made_by_the_program(void **state)
{
	static char *made[3], *nothing[] = { NULL };

	(void)state;
	made[0] = copied("PATH");
	made[1] = strdup("LEVEL=1");
	renew();
	execute(child, made);
	assert_false(observe_keys(o)->children_environment);
	assert_true(is_listed(observe_child_variable, "PATH"));
	assert_false(is_listed(observe_child_variable, "LEVEL"));
	execute(child, environ);
	assert_false(observe_keys(o)->children_environment);
	observe_exited(o, child);
	execute(child, nothing);
	assert_false(observe_keys(o)->children_environment);
	free(made[0]);
	free(made[1]);
}

static void forked(void **state)
{
	(void)state;
	/* threads, vfork(2), posix_spawn(3) */
	tell(SYS_clone, (uint64_t[6]){ CLONE_VM | CLONE_VFORK | SIGCHLD }, false, child);
	assert_false(observe_keys(o)->children_environment);
	tell(SYS_clone3, (uint64_t[6]){ A(&(struct clone_args){ .flags = CLONE_VM }) }, false, child);
	assert_false(observe_keys(o)->children_environment);
	tell(SYS_clone, (uint64_t[6]){ SIGCHLD }, false, child);
	assert_true(observe_keys(o)->children_environment);
	fresh();
	tell(SYS_clone3, (uint64_t[6]){ A(&(struct clone_args){ .exit_signal = SIGCHLD }) }, false, child);
	assert_true(observe_keys(o)->children_environment);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(handed_on), TEST(handed_on_changed), TEST(copied_whole), TEST(made_by_the_program),
		TEST(forked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
