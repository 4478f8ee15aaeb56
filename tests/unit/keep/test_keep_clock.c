/* SPDX-License-Identifier: MIT */
/* times of this boot among other words */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "warmd/keep/keep_clock.h"

#define FROM 81234100000000ull
#define TO   81234600000000ull
#define AT   81234345678901ull

static struct keep_clock window;

static bool found(uint64_t word, uint64_t next)
{
	const uint64_t words[] = { 0, 1, ~0ull, word, next, 0x7f0000001000, 42 };

	return keep_clock_found(&window, words, sizeof(words) / sizeof(words[0]));
}

static uint64_t bits(double value)
{
	uint64_t word;

	memcpy(&word, &value, sizeof(word));
	return word;
}

static void each_form(void **state)
{
	(void)state;
	keep_clock_window(FROM, TO, &window);
	assert_false(found(0, 0));
	assert_true(found(AT, 0));
	assert_true(found(AT / 1000, 0));
	assert_false(found(AT / 1000000, 0));
	assert_true(found(bits((double)AT / 1e9), 0));
	assert_true(found(bits((double)AT / 1e6), 0));
	assert_true(found(bits((double)AT / 1e3), 0));
	assert_true(found(bits((double)AT), 0));
	/* CPython's int */
	assert_true(found(2, AT >> 30 << 32 | (AT & 0x3fffffff)));
	assert_true(found(2 << 3, AT >> 30 << 32 | (AT & 0x3fffffff)));
	assert_false(found(3, AT >> 30 << 32 | (AT & 0x3fffffff)));
	assert_true(found(AT / 1000000000, AT % 1000000000));
	assert_true(found(AT / 1000000000, AT % 1000000000 / 1000));
}

static void the_ends(void **state)
{
	(void)state;
	keep_clock_window(FROM, TO, &window);
	assert_true(found(FROM, 0));
	assert_true(found(TO, 0));
	assert_false(found(FROM - 1, 0));
	assert_false(found(TO + 1, 0));
	assert_false(found(bits((double)(FROM - 1000000) / 1e9), 0));
	assert_false(found(bits((double)(TO + 1000000) / 1e9), 0));
	/* seconds alone are like any other small number */
	assert_false(found(FROM / 1000000000, 5));
	assert_false(found(FROM / 1000000000, 999999999));
	assert_false(found(bits(1.0), 0));
	assert_false(found(bits(3.14), 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(each_form), cmocka_unit_test(the_ends) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
