/* SPDX-License-Identifier: MIT */
/* The log does not grow without bound: messages of one kind, and the file's size */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "engine/base/log_limit.h"

static void open_log(const char *path, enum log_level level, size_t max)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	log_open_file(fd, path, level, max);
}

static void test_limit(void **state)
{
	static struct log_limit l;
	const char *format = "process %u does it again", *other = "another";
	uint64_t now = 5;
	char words[300];

	(void)state;
	for (unsigned int i = 0; i < LOG_LIMIT_BURST; i++)
		assert_true(log_limit_take(&l, format, "process 1 does it again", now));
	assert_false(log_limit_take(&l, format, "process 2 does it again", now));
	assert_false(log_limit_take(&l, format, "process 3 does it again", now));
	/* others are not held up */
	assert_true(log_limit_take(&l, other, "another", now));
	/* told when the while is over, once, and by its own kind */
	assert_false(log_limit_due(&l, NULL, now, words, sizeof(words)));
	now += LOG_LIMIT_WINDOW_NS;
	assert_false(log_limit_due(&l, other, now, words, sizeof(words)));
	assert_true(log_limit_due(&l, format, now, words, sizeof(words)));
	assert_string_equal(words, "2 more like the next were left out: process 3 does it again");
	assert_false(log_limit_due(&l, NULL, now, words, sizeof(words)));
	assert_true(log_limit_take(&l, format, "again", now));
}

static void test_many_kinds(void **state)
{
	static struct log_limit l;
	static char formats[3 * LOG_LIMIT_KINDS];
	char words[300];

	(void)state;
	for (unsigned int i = 0; i <= LOG_LIMIT_BURST; i++)
		log_limit_take(&l, &formats[0], "the first", 1);
	for (size_t i = 1; i < sizeof(formats); i++)
		assert_true(log_limit_take(&l, &formats[i], "one of many", 1 + i));
	/* what has something to tell keeps its place */
	assert_true(log_limit_due(&l, NULL, 2 + LOG_LIMIT_WINDOW_NS, words, sizeof(words)));
	assert_non_null(strstr(words, "1 more like the next were left out: the first"));
}

static size_t size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 ? 0 : (size_t)st.st_size;
}

static void test_file(void **state)
{
	char dir[] = "/tmp/test_log.XXXXXX", path[64], old[64];
	_cleanup_free_ char *text = NULL;
	struct rlimit had;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/log", dir);
	snprintf(old, sizeof(old), "%s/log" LOG_OLD, dir);
	open_log(path, LOG_LEVEL_DEBUG, 1000);
	for (int i = 0; i < 500; i++)
		log_debug("line %d", i);
	assert_in_range(size_of(path), 10, 1000);
	assert_in_range(size_of(old), 500, 1000);
	assert_int_equal(read_file(path, &text, NULL), 0);
	assert_non_null(strstr(text, "line 499\n"));
	/* no new one can be begun: the old one is emptied */
	unlink(old);
	mkdir(old, 0700);
	for (int i = 500; i < 1000; i++)
		log_debug("line %d", i);
	assert_in_range(size_of(path), 10, 1000);
	/* what is there when it starts counts */
	rmdir(old);
	for (int i = 0; i < 40; i++) {
		open_log(path, LOG_LEVEL_DEBUG, 1000);
		log_debug("line %d", i);
	}
	assert_in_range(size_of(path), 10, 1000);
	/* no descriptor for a new file: what is written is still found at the name */
	open_log(path, LOG_LEVEL_DEBUG, 1000);
	getrlimit(RLIMIT_NOFILE, &had);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 0, had.rlim_max }), 0);
	for (int i = 1000; i < 1100; i++)
		log_debug("line %d", i);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &had), 0);
	assert_in_range(size_of(path), 10, 1000);
	free(text);
	text = NULL;
	assert_int_equal(read_file(path, &text, NULL), 0);
	assert_non_null(strstr(text, "line 1099\n"));
	/* messages of one kind: as many as there may be at once */
	open_log(path, LOG_LEVEL_INFO, 1000000);
	for (int i = 0; i < 5000; i++)
		log_warning("again and again %d", i);
	assert_in_range(size_of(path), 10, 1000 + LOG_LIMIT_BURST * 100);
	/* what has no size is left alone */
	open_log("/dev/null", LOG_LEVEL_INFO, 10);
	log_info("to nobody, and longer than that");
	assert_int_equal(access("/dev/null" LOG_OLD, F_OK), -1);
	log_open(STDERR_FILENO, LOG_LEVEL_INFO);
	unlink(path);
	unlink(old);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_many_kinds),
		cmocka_unit_test(test_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
