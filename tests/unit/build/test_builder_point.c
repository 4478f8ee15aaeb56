/* SPDX-License-Identifier: MIT */
/* the words of --ready */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "warmd/build/builder_internal.h"

static void points(void **state)
{
	static const struct {
		const char *word;
		struct builder_point point;
	} cases[] = {
		{ "", { READY_AUTO, 0 } },
		{ "auto", { READY_AUTO, 0 } },
		{ "main", { READY_MAIN, 0 } },
		{ "import", { READY_IMPORT, 0 } },
		{ "call", { READY_CALL, 0 } },
		{ "delay=2", { READY_DELAY, 2 * NS_PER_S } },
		{ "delay=0.001", { READY_DELAY, NS_PER_MS } },
		{ "delay=.5", { READY_DELAY, 500 * NS_PER_MS } },
		{ "delay=1.", { READY_DELAY, NS_PER_S } },
		{ "delay=1.250000", { READY_DELAY, 1250 * NS_PER_MS } },
		{ "delay=3600", { READY_DELAY, 3600 * NS_PER_S } },
		{ "idle", { READY_IDLE, 100 * NS_PER_MS } },
		{ "idle=1", { READY_IDLE, NS_PER_MS } },
		{ "idle=60000", { READY_IDLE, 60 * NS_PER_S } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct builder_point p;
		struct error err;

		assert_int_equal(builder_parse_point(cases[i].word, &p, &err), 0);
		assert_int_equal(p.kind, cases[i].point.kind);
		assert_int_equal(p.ns, cases[i].point.ns);
	}
}

static void wrong(void **state)
{
	static const char *const words[] = {
		"Main",
		"mains",
		"delay",
		"delay=",
		"delay=.",
		"delay=0",
		"delay=0.0001",
		"delay=1e3",
		"delay= 1",
		"delay=1s",
		"delay=1..2",
		"delay=-1",
		"delay=+1",
		"delay=3600.1",
		"delay=nan",
		"delay=0x10",
		"delay=1,5",
		"delay=1.0000001",
		"idle=",
		"idle=0",
		"idle=1.5",
		"idle=60001",
		"idle=-1",
		"idle=100ms",
		"idling",
		"delay=99999999999999999999",
		"idle=18446744073709551617",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		struct builder_point p = { .ns = 7 };
		struct error err = { 0 };

		assert_int_equal(builder_parse_point(words[i], &p, &err), -EINVAL);
		assert_int_equal(p.ns, 7);
		/* the words name what is wrong */
		assert_non_null(
			strstr(err.text, strchr(words[i], '=') ? strchr(words[i], '=') + 1 : words[i]));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(points),
		cmocka_unit_test(wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
