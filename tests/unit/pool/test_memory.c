/* SPDX-License-Identifier: MIT */
/* memory that is short: the machine's, a control group's, one's above it; both versions of the controller */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/unit/scratch.h"
#include "warmd/pool/memory.h"

#define MIB "048576" /* behind a number: so many MiB and some */

static char names[3][PATH_MAX];
static struct memory_files files = { names[0], names[1], names[2] };

static void make(const char *dir)
{
	assert_int_equal(mkdir(at(dir), 0700), 0);
}

static int setup(void **state)
{
	(void)state;
	if (scratch_make() < 0)
		return -1;
	strcpy(names[0], at("meminfo"));
	strcpy(names[1], at("cgroup"));
	strcpy(names[2], at("fs"));
	put("meminfo", "MemTotal:  1000000 kB\nMemFree: 10 kB\nMemAvailable:  500000 kB\n");
	put("cgroup", "4:memory:/a/b\n0::/c/d\n");
	make("fs");
	make("fs/c");
	make("fs/c/d");
	make("fs/memory");
	make("fs/memory/a");
	make("fs/memory/a/b");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return scratch_remove();
}

static void machine(void **state)
{
	(void)state;
	assert_false(memory_is_short(&files, 8));
	assert_false(memory_is_short(&files, 50));
	assert_true(memory_is_short(&files, 51));
	put("meminfo", "nothing\n");
	assert_false(memory_is_short(&files, 100));
}

static void own_group(void **state)
{
	(void)state;
	put("fs/c/d/memory.max", "max\n");
	put("fs/c/d/memory.current", "99" MIB "\n");
	assert_false(memory_is_short(&files, 8));
	put("fs/c/d/memory.max", "100" MIB "\n");
	assert_true(memory_is_short(&files, 8));
	put("fs/c/d/memory.current", "50" MIB "\n");
	assert_false(memory_is_short(&files, 8));
	/* more than the limit, as it may be for a moment */
	put("fs/c/d/memory.current", "101" MIB "\n");
	assert_true(memory_is_short(&files, 8));
}

static void page_cache_is_available(void **state)
{
	(void)state;
	put("fs/c/d/memory.max", "100" MIB "\n");
	put("fs/c/d/memory.current", "99" MIB "\n");
	put("fs/c/d/memory.stat", "anon 1\nfile 30" MIB "\ninactive_file 20" MIB "\nactive_file 10" MIB "\n");
	assert_false(memory_is_short(&files, 8));
	assert_true(memory_is_short(&files, 40));
}

static void group_above(void **state)
{
	(void)state;
	put("fs/c/d/memory.max", "100" MIB "\n");
	put("fs/c/d/memory.current", "1" MIB "\n");
	put("fs/c/memory.max", "10" MIB "\n");
	put("fs/c/memory.current", "9" MIB "\n");
	assert_false(memory_is_short(&files, 8));
	assert_true(memory_is_short(&files, 20));
	/* as a container sees its own */
	put("cgroup", "0::/\n");
	put("fs/memory.max", "10" MIB "\n");
	put("fs/memory.current", "9" MIB "\n");
	assert_true(memory_is_short(&files, 20));
	assert_false(memory_is_short(&files, 8));
}

static void first_version(void **state)
{
	(void)state;
	/* what it says when there is no limit */
	put("fs/memory/memory.limit_in_bytes", "9223372036854771712\n");
	put("fs/memory/memory.usage_in_bytes", "99" MIB "\n");
	put("fs/memory/a/b/memory.limit_in_bytes", "100" MIB "\n");
	put("fs/memory/a/b/memory.usage_in_bytes", "99" MIB "\n");
	assert_true(memory_is_short(&files, 8));
	put("fs/memory/a/b/memory.stat", "cache 1\ntotal_inactive_file 40" MIB "\n");
	assert_false(memory_is_short(&files, 8));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(machine, setup, teardown),
		cmocka_unit_test_setup_teardown(own_group, setup, teardown),
		cmocka_unit_test_setup_teardown(page_cache_is_available, setup, teardown),
		cmocka_unit_test_setup_teardown(group_above, setup, teardown),
		cmocka_unit_test_setup_teardown(first_version, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
