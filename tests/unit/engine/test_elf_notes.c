/* SPDX-License-Identifier: MIT */
/* elf_notes(): what WARM_GENERATION_COUNTER() leaves, found in this very process */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "engine/elf.h"
#include "launcher/warm.h"

WARM_GENERATION_COUNTER(one);
WARM_GENERATION_COUNTER(another);

static uint64_t found[16];
static size_t nfound;

static int note(void *data, uint64_t addr, const void *desc, size_t len)
{
	int64_t distance;

	assert_ptr_equal(data, found);
	assert_int_equal(len, 8);
	/* the file's bytes are those in memory */
	assert_memory_equal(desc, (const void *)addr, len);
	memcpy(&distance, desc, 8);
	assert_true(nfound < 16);
	found[nfound++] = addr + (uint64_t)distance;
	return 0;
}

static void counters(void **state)
{
	(void)state;
	nfound = 0;
	assert_int_equal(elf_notes(getpid(), "warm", 1, note, found), 0);
	assert_int_equal(nfound, 2);
	assert_true((found[0] == (uint64_t)&one && found[1] == (uint64_t)&another) ||
		    (found[1] == (uint64_t)&one && found[0] == (uint64_t)&another));
}

static void others(void **state)
{
	(void)state;
	nfound = 0;
	assert_int_equal(elf_notes(getpid(), "warm", 2, note, found), 0);
	assert_int_equal(elf_notes(getpid(), "war", 1, note, found), 0);
	assert_int_equal(elf_notes(getpid(), "warmer", 1, note, found), 0);
	assert_int_equal(nfound, 0);
}

static int refuse(void *data, uint64_t addr, const void *desc, size_t len)
{
	(void)addr;
	(void)desc;
	(void)len;
	++*(int *)data;
	return -EBADMSG;
}

static void search_ends(void **state)
{
	int calls = 0;

	(void)state;
	assert_int_equal(elf_notes(getpid(), "warm", 1, refuse, &calls), -EBADMSG);
	assert_int_equal(calls, 1);
}

static void no_such_process(void **state)
{
	(void)state;
	assert_true(elf_notes(0x7ffffffe, "warm", 1, note, found) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counters),
		cmocka_unit_test(others),
		cmocka_unit_test(search_ends),
		cmocka_unit_test(no_such_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
