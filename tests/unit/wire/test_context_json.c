/* SPDX-License-Identifier: MIT */
/* context_json(): what it writes, read by Python's json as a program would */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "launcher/wire/context_json.h"

static char *json;
static size_t json_len;

static void make(char *const *argv, char *const *envp)
{
	int argc = 0, fd;

	while (argv[argc])
		argc++;
	fd = context_json(argc, argv, envp, NULL, 18446744073709551615ull, NULL);
	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
	free(json);
	assert_int_equal(read_fd(fd, &json, &json_len), 0);
	close(fd);
	/* one line */
	assert_ptr_equal(memchr(json, '\n', json_len), json + json_len - 1);
	assert_int_equal(strlen(json), json_len);
}

static int teardown(void **state)
{
	(void)state;
	free(json);
	json = NULL;
	return 0;
}

/*
 * Python decodes it as a program does, encodes each string by surrogateescape,
 * and compares with what it got as real arguments and environment.
 */
static void same_as_execve(char *const *words, char *const *envp)
{
	static char code[] =
		"import json, os, sys\n"
		"context = json.loads(os.read(0, 1 << 24).decode('utf-8'))\n"
		"arguments = sys.argv[1:]\n"
		"environment = dict(os.environ)\n"
		"assert context['argv'] == arguments, (context['argv'], arguments)\n"
		"assert context['env'] == environment, (context['env'], environment)\n"
		"assert context['cwd'] == os.getcwd(), context['cwd']\n"
		"assert context['generation'] == 18446744073709551615\n"
		"assert [os.fsencode(a) for a in context['argv']] == [os.fsencode(a) for a in arguments]\n";
	/* its own additions to the environment would be in the way: locale coercion, bytecode */
	char *argv[300] = { (char *)"/usr/bin/python3",
			    (char *)"-E",
			    (char *)"-S",
			    (char *)"-X",
			    (char *)"utf8",
			    (char *)"-c",
			    code };
	int pipe_fds[2], status, n = 7;
	pid_t pid;

	for (int i = 0; words[i]; i++)
		argv[n++] = words[i];
	make(words, envp);
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	fcntl(pipe_fds[1], F_SETPIPE_SZ, 1 << 20);
	assert_true(json_len < (1 << 16) || fcntl(pipe_fds[1], F_GETPIPE_SZ) >= (int)json_len);
	pid = fork();
	if (pid == 0) {
		dup2(pipe_fds[0], 0);
		execve(argv[0], argv, envp);
		_exit(77);
	}
	close(pipe_fds[0]);
	assert_int_equal(write_full(pipe_fds[1], json, json_len), 0);
	close(pipe_fds[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(status, 0);
}

static char *locale = (char *)"LC_ALL=C.UTF-8";

static void plain(void **state)
{
	char *argv[] = { (char *)"prog", (char *)"", (char *)"a b", (char *)"--x=1", NULL };
	char *envp[] = { locale, (char *)"A=1", (char *)"EMPTY=", (char *)"B=x=y", NULL };

	(void)state;
	same_as_execve(argv, envp);
	assert_ptr_equal(strstr(json, "{\"argv\":[\"prog\",\"\",\"a b\",\"--x=1\"],\"env\":{\"LC_ALL\":"),
			 json);
}

static void nothing(void **state)
{
	char *argv[] = { (char *)"p", NULL }, *envp[] = { locale, NULL }, *none[] = { NULL };

	(void)state;
	same_as_execve(argv, envp);
	make(argv, none);
	assert_non_null(strstr(json, "\"env\":{},"));
	make(none, none);
	assert_non_null(strstr(json, "\"argv\":[],"));
}

static void control_characters(void **state)
{
	char all[256] = "", value[300];
	char *argv[] = { all, (char *)"\"\\/\b\f\n\r\t", (char *)"\x7f\x1b[0m", NULL };
	char *envp[] = { locale, value, NULL };

	(void)state;
	for (int i = 1; i < 128; i++)
		all[i - 1] = (char)i;
	snprintf(value, sizeof(value), "ALL=%s", all);
	same_as_execve(argv, envp);
	for (const char *p = json; p < json + json_len - 1; p++)
		assert_true((unsigned char)*p >= 32 && *p != 127);
}

static void utf8(void **state)
{
	char *argv[] = { (char *)"\xc3\xa4\xc3\xb6", (char *)"\xe2\x82\xac",	 (char *)"\xf0\x9f\x98\x80",
			 (char *)"\xc2\x80",	     (char *)"\xdf\xbf",	 (char *)"\xe0\xa0\x80",
			 (char *)"\xed\x9f\xbf",     (char *)"\xee\x80\x80",	 (char *)"\xef\xbf\xbf",
			 (char *)"\xf0\x90\x80\x80", (char *)"\xf4\x8f\xbf\xbf", NULL };
	char *envp[] = { locale, (char *)"N\xc3\xa4ME=\xc3\xa4", NULL };

	(void)state;
	same_as_execve(argv, envp);
}

static void not_utf8(void **state)
{
	char *argv[] = { (char *)"\x80",
			 (char *)"\xff\xfe",
			 (char *)"a\xc3",
			 (char *)"\xc3(",
			 (char *)"\xe2\x82",
			 (char *)"\xe2\x82z",
			 (char *)"\xf0\x9f\x98",
			 (char *)"\xc0\x80",
			 (char *)"\xc1\xbf",
			 (char *)"\xe0\x80\x80",
			 (char *)"\xe0\x9f\xbf",
			 (char *)"\xed\xa0\x80",
			 (char *)"\xed\xbf\xbf",
			 (char *)"\xf0\x80\x80\x80",
			 (char *)"\xf0\x8f\xbf\xbf",
			 (char *)"\xf4\x90\x80\x80",
			 (char *)"\xf5\x80\x80\x80",
			 (char *)"\xf8\x88\x80\x80\x80",
			 (char *)"\xc3\xa4\xff\xc3\xa4",
			 NULL };
	char *envp[] = { locale, (char *)"BAD=\xff", (char *)"\xfeN=\xe2", (char *)"X\xc3=\xa4", NULL };

	(void)state;
	same_as_execve(argv, envp);
	assert_non_null(strstr(json, "\"\\udc80\",\"\\udcff\\udcfe\",\"a\\udcc3\""));
}

static void every_pair_of_bytes(void **state)
{
	static char words[256][3 * 256 + 1];
	char *argv[257], *envp[] = { locale, NULL };

	(void)state;
	for (int i = 1; i < 256; i++) {
		char *p = words[i];

		for (int j = 1; j < 256; j++) {
			*p++ = (char)i;
			*p++ = (char)j;
			*p++ = '.';
		}
		argv[i - 1] = words[i];
	}
	argv[255] = NULL;
	same_as_execve(argv, envp);
}

static void longer_than_the_buffer(void **state)
{
	static char a[5000], b[4096], c[100001];
	char *argv[] = { a, b, c, NULL }, *envp[] = { locale, NULL };

	(void)state;
	memset(a, 'a', sizeof(a) - 1);
	memset(b, '\x01', sizeof(b) - 1);
	for (size_t i = 0; i + 3 < sizeof(c); i += 3)
		memcpy(c + i, "\xe2\x82\xac", 3);
	same_as_execve(argv, envp);
}

static void odd_environment(void **state)
{
	char *argv[] = { (char *)"p", NULL };
	char *envp[] = { (char *)"NOEQUALS", (char *)"A=1", (char *)"B=2", NULL };

	(void)state;
	make(argv, envp);
	assert_non_null(strstr(json, "\"env\":{\"A\":\"1\",\"B\":\"2\"}"));
}

/* os.environ and getenv(3) take the first; a parser of JSON would take the last */
static void two_of_a_name(void **state)
{
	char *argv[] = { (char *)"p", NULL };
	char *envp[] = { (char *)"A=1",	 (char *)"AB=2", (char *)"A=3", locale,
			 (char *)"AB=4", (char *)"A",	 (char *)"B=5", NULL };

	(void)state;
	same_as_execve(argv, envp);
	assert_non_null(strstr(json, "{\"A\":\"1\",\"AB\":\"2\",\"LC_ALL\":\"C.UTF-8\",\"B\":\"5\"}"));
}

static void odd_directory(void **state)
{
	char dir[] = "/tmp/test_json.XXXXXX", path[64], *argv[] = { (char *)"p", NULL },
	     *envp[] = { locale, NULL };
	_cleanup_close_ int back = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/a\xff\"\n", dir);
	assert_int_equal(mkdir(path, 0755), 0);
	assert_int_equal(chdir(path), 0);
	same_as_execve(argv, envp);
	/* removed below us */
	rmdir(path);
	make(argv, envp);
	assert_non_null(strstr(json, "\"cwd\":\"/\""));
	assert_int_equal(fchdir(back), 0);
	rmdir(dir);
}

#define T(f) cmocka_unit_test_teardown(f, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(plain),
		T(nothing),
		T(control_characters),
		T(utf8),
		T(not_utf8),
		T(every_pair_of_bytes),
		T(longer_than_the_buffer),
		T(odd_environment),
		T(two_of_a_name),
		T(odd_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
