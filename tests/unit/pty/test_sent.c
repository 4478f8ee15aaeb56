/* SPDX-License-Identifier: MIT */
/* pty/sent: what was written since a moment, when that still fits and when it does not */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "pty/sent.h"

static int setup(void **state)
{
	*state = calloc(1, sizeof(struct sent));
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static void note(struct sent *s, uint64_t at, const char *text)
{
	sent_note(s, at, (const uint8_t *)text, strlen(text));
}

static void expect(const struct sent *s, uint64_t at, const char *text)
{
	const uint8_t *p;
	size_t n = sent_since(s, at, &p);

	assert_int_equal(n, strlen(text));
	assert_memory_equal(p, text, n);
}

static void since(void **state)
{
	struct sent *s = *state;

	expect(s, 0, "");
	note(s, 10, "one");
	note(s, 20, "two");
	note(s, 20, "three");
	expect(s, 0, "onetwothree");
	expect(s, 10, "onetwothree");
	expect(s, 11, "twothree");
	expect(s, 20, "twothree");
	expect(s, 21, "");
	expect(s, UINT64_MAX, "");
}

/* the oldest make room, whole writes of them */
static void many_writes(void **state)
{
	struct sent *s = *state;

	for (uint64_t i = 0; i < SENT_WRITES + 2; i++)
		note(s, i, i % 2 ? "b" : "a");
	expect(s, 0, "abababababababab");
	expect(s, SENT_WRITES + 1, "b");
}

static void many_bytes(void **state)
{
	struct sent *s = *state;
	uint8_t large[SENT_BYTES + 3];
	const uint8_t *p;

	memset(large, 'x', sizeof(large));
	large[sizeof(large) - 1] = 'y';
	note(s, 1, "gone");
	sent_note(s, 2, large, SENT_BYTES - 4);
	assert_int_equal(sent_since(s, 0, &p), SENT_BYTES);
	note(s, 3, "new");
	assert_int_equal(sent_since(s, 0, &p), SENT_BYTES - 4 + 3);
	sent_note(s, 4, large, sizeof(large));
	assert_int_equal(sent_since(s, 0, &p), SENT_BYTES);
	assert_int_equal(p[SENT_BYTES - 1], 'y');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(since, setup, teardown),
		cmocka_unit_test_setup_teardown(many_writes, setup, teardown),
		cmocka_unit_test_setup_teardown(many_bytes, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
