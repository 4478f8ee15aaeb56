/* SPDX-License-Identifier: MIT */
/* engine/base: errors with words, descriptors that clean up */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/error.h"
#include "engine/base/fd.h"
#include "engine/base/log.h"

static void errors(void **state)
{
	struct error err = { 0 };

	(void)state;
	assert_int_equal(error_set(&err, ENOENT, "no %s", "file"), -ENOENT);
	assert_int_equal(err.code, -ENOENT);
	assert_string_equal(err.text, "no file");
	assert_int_equal(error_set(&err, -ENOENT, "again"), -ENOENT);
	assert_int_equal(error_set(&err, 0, "nothing"), -EIO);
	assert_int_equal(err.code, -EIO);
	assert_int_equal(error_errno(&err, -EPERM, "opening %d", 5), -EPERM);
	assert_string_equal(err.text, "opening 5: Operation not permitted");
	assert_int_equal(error_prefix(&err, "%s", "template 't'"), -EPERM);
	assert_string_equal(err.text, "template 't': opening 5: Operation not permitted");
	assert_int_equal(error_set(NULL, EBUSY, "x"), -EBUSY);
	assert_int_equal(error_errno(NULL, EBUSY, "x"), -EBUSY);
	assert_true(error_prefix(NULL, "x") < 0);
}

static void long_words(void **state)
{
	struct {
		struct error err;
		char behind[16];
	} e = { .behind = "untouched" };
	char words[2000];

	(void)state;
	memset(words, 'w', sizeof(words) - 1);
	words[sizeof(words) - 1] = '\0';
	assert_int_equal(error_errno(&e.err, EPERM, "%s", words), -EPERM);
	assert_int_equal(strlen(e.err.text), sizeof(e.err.text) - 1);
	error_prefix(&e.err, "%s", words);
	error_prefix(&e.err, "short");
	assert_int_equal(strlen(e.err.text), sizeof(e.err.text) - 1);
	assert_memory_equal(e.err.text, "short: www", 10);
	assert_string_equal(e.behind, "untouched");
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void closing(void **state)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), kept, scoped;

	(void)state;
	assert_true(fd >= 0);
	errno = ENOTTY;
	kept = TAKE_FD(fd);
	assert_int_equal(fd, -EBADF);
	assert_true(is_open(kept));
	assert_int_equal(fd_close(fd), -EBADF);
	fd = fd_close(kept);
	assert_int_equal(fd, -EBADF);
	assert_false(is_open(kept));
	{
		_cleanup_close_ int inner = open("/dev/null", O_RDONLY | O_CLOEXEC);
		_cleanup_close_ int none = -EBADF;

		scoped = inner;
		assert_true(is_open(scoped) && none < 0);
	}
	assert_false(is_open(scoped));
	errno = ENOTTY;
	fd_close(scoped); /* fails inside */
	assert_int_equal(errno, ENOTTY);
}

static void pointers(void **state)
{
	_cleanup_free_ char *p = strdup("x"), *q = NULL;

	(void)state;
	q = TAKE_PTR(p);
	assert_null(p);
	assert_string_equal(q, "x");
}

struct pump {
	int fd;
	size_t len;
	int ret;
};

static void *pump(void *arg)
{
	struct pump *p = arg;
	char *buf = malloc(p->len);

	for (size_t i = 0; i < p->len; i++)
		buf[i] = (char)(i * 7);
	p->ret = write_full(p->fd, buf, p->len);
	free(buf);
	close(p->fd);
	return NULL;
}

static void through_a_pipe(void **state)
{
	const size_t len = 1 << 20; /* more than a pipe holds: writes come in pieces */
	char *buf = malloc(len), byte;
	int fds[2];
	struct pump p;
	pthread_t thread;

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	p = (struct pump){ fds[1], len, -1 };
	assert_int_equal(pthread_create(&thread, NULL, pump, &p), 0);
	assert_int_equal(read_full(fds[0], buf, len), 0);
	for (size_t i = 0; i < len; i++)
		assert_true(buf[i] == (char)(i * 7));
	assert_int_equal(read_full(fds[0], &byte, 1), -ENODATA);
	pthread_join(thread, NULL);
	assert_int_equal(p.ret, 0);
	close(fds[0]);
	free(buf);
	assert_int_equal(read_full(-1, &byte, 1), -EBADF);
	assert_int_equal(write_full(-1, &byte, 1), -EBADF);
	assert_int_equal(read_full(-1, &byte, 0), 0);
}

static void at_offsets(void **state)
{
	_cleanup_close_ int fd = memfd_create("test", MFD_CLOEXEC);
	char buf[8] = "";

	(void)state;
	assert_int_equal(pwrite_full(fd, "abcdef", 6, 10), 0);
	assert_int_equal(pread_full(fd, buf, 6, 10), 0);
	assert_string_equal(buf, "abcdef");
	assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
	assert_int_equal(pread_full(fd, buf, 7, 10), -ENODATA);
	assert_int_equal(pread_full(-1, buf, 1, 0), -EBADF);
	assert_int_equal(pwrite_full(-1, buf, 1, 0), -EBADF);
}

static void whole_files(void **state)
{
	static const size_t sizes[] = { 0, 1, 4094, 4095, 4096, 4097, 8191, 8192, 100000 };
	char *text = NULL;
	size_t len = 1;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		_cleanup_close_ int fd = memfd_create("test", MFD_CLOEXEC);
		char *bytes = calloc(1, sizes[i] + 1);

		memset(bytes, 'z', sizes[i]);
		assert_int_equal(write_full(fd, bytes, sizes[i]), 0);
		assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
		assert_int_equal(read_fd(fd, &text, &len), 0);
		assert_int_equal(len, sizes[i]);
		assert_int_equal(text[len], 0);
		assert_memory_equal(text, bytes, len);
		free(text);
		free(bytes);
	}
	/* a file that says its size is 0 */
	assert_int_equal(read_file("/proc/self/maps", &text, NULL), 0);
	assert_non_null(strstr(text, "[stack]"));
	free(text);
	text = NULL;
	assert_int_equal(read_file("/proc/nonexistent/x", &text, &len), -ENOENT);
	assert_int_equal(read_file("/", &text, &len), -EISDIR);
	assert_null(text);
}

static void log_lines(void **state)
{
	_cleanup_close_ int fd = memfd_create("test", MFD_CLOEXEC);
	_cleanup_free_ char *text = NULL;
	enum log_level level;
	char words[3000];
	size_t len;

	(void)state;
	assert_int_equal(log_level_parse("warning", &level), 0);
	assert_int_equal(level, LOG_LEVEL_WARNING);
	assert_int_equal(log_level_parse("Warning", &level), -EINVAL);
	assert_int_equal(log_level_parse("", &level), -EINVAL);
	memset(words, 'x', sizeof(words) - 1);
	words[sizeof(words) - 1] = '\0';
	log_open(fd, LOG_LEVEL_WARNING);
	errno = ENOTTY;
	log_info("not this");
	log_warning("this %d", 1);
	log_error("%s", words);
	assert_int_equal(errno, ENOTTY);
	log_open(STDERR_FILENO, LOG_LEVEL_INFO);
	lseek(fd, 0, SEEK_SET);
	assert_int_equal(read_fd(fd, &text, &len), 0);
	assert_null(strstr(text, "not this"));
	assert_non_null(strstr(text, " warning: this 1\n"));
	/* one line each, however long, with an end */
	assert_int_equal(text[len - 1], '\n');
	assert_null(memchr(strchr(text, '\n') + 1, '\n', len - 2 - (size_t)(strchr(text, '\n') - text)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(errors),      cmocka_unit_test(long_words),	 cmocka_unit_test(closing),
		cmocka_unit_test(pointers),    cmocka_unit_test(through_a_pipe), cmocka_unit_test(at_offsets),
		cmocka_unit_test(whole_files), cmocka_unit_test(log_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
