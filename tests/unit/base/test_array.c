/* SPDX-License-Identifier: MIT */
/* Arrays that grow, and paths in /proc */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/array.h"
#include "engine/base/fd.h"
#include "engine/base/proc_path.h"

static void test_append(void **state)
{
	unsigned int moved = 0;
	int *v = NULL, *before;
	size_t n = 0;

	(void)state;
	for (int i = 0; i < 10000; i++) {
		int *last;

		before = v;
		last = array_append(&v, &n, sizeof(*v));
		assert_non_null(last);
		assert_ptr_equal(last, v + i);
		assert_int_equal(*last, 0);
		*last = i;
		moved += before != v;
	}
	assert_int_equal(n, 10000);
	for (int i = 0; i < 10000; i++)
		assert_int_equal(v[i], i);
	assert_true(moved <= 12);
	free(v);
}

static void test_reserve(void **state)
{
	char *v = NULL, *before;

	(void)state;
	assert_int_equal(array_reserve(&v, 0, 100, 1), 0);
	before = v;
	assert_int_equal(array_reserve(&v, 100, 28, 1), 0);
	assert_ptr_equal(v, before);
	/* what cannot be had leaves the array as it was */
	assert_int_equal(array_reserve(&v, 100, SIZE_MAX - 50, 1), -ENOMEM);
	assert_int_equal(array_reserve(&v, 100, SIZE_MAX - 200, 1), -ENOMEM);
	assert_int_equal(array_reserve(&v, 100, 1000, SIZE_MAX / 1000), -ENOMEM);
	assert_ptr_equal(v, before);
	free(v);
}

static void test_proc_path(void **state)
{
	_cleanup_close_ int fd = proc_open(getpid(), O_RDONLY, "task/%d/comm", (int)getpid());

	(void)state;
	assert_string_equal(proc_path(12, "fd/%d", 7).text, "/proc/12/fd/7");
	assert_string_equal(proc_path(12, "%s", "").text, "/proc/12/");
	assert_string_equal(proc_path(12, "%0100d", 1).text, "");
	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(proc_open(getpid(), O_RDONLY, "no such file"), -ENOENT);
	assert_int_equal(proc_open(getpid(), O_RDONLY, "%0100d", 1), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_append),
		cmocka_unit_test(test_reserve),
		cmocka_unit_test(test_proc_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
