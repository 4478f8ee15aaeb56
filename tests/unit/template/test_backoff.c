/* SPDX-License-Identifier: MIT */
/* Builds that bring nothing: how long the next one waits, and what makes it come sooner. The clock is the test's */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "engine/base/clock.h"
#include "warmd/template/backoff.h"

#define A 1001
#define B 1002

static uint64_t now;
static char words[300];

static uint64_t waits(const struct backoff *b, uint64_t program)
{
	uint64_t left;

	words[0] = '\0';
	assert_true(backoff_waits(b, program, now, &left, words, sizeof(words)) == (left > 0));
	return left;
}

static int setup(void **state)
{
	*state = backoff_new();
	now = 1;
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	backoff_free(*state);
	return 0;
}

static void test_failures(void **state)
{
	struct backoff *b = *state;
	uint64_t expected = BACKOFF_FAILED_NS;

	assert_int_equal(waits(b, A), 0);
	for (int i = 0; i < 40; i++) {
		backoff_built(b, A, BACKOFF_FAILED, NS_PER_S, "it ended with status 3", now);
		assert_true(waits(b, A) == expected);
		assert_non_null(strstr(words, "it ended with status 3"));
		/* others are not concerned, and the wait ends */
		assert_int_equal(waits(b, B), 0);
		now += expected - 1;
		assert_int_equal(waits(b, A), 1);
		now++;
		assert_int_equal(waits(b, A), 0);
		expected = expected * 2 < BACKOFF_MAX_NS ? expected * 2 : BACKOFF_MAX_NS;
	}
	/* one that succeeds, or is refused for another reason, has the next failure wait as the first */
	backoff_built(b, A, BACKOFF_BUILT, NS_PER_S, "", now);
	assert_int_equal(waits(b, A), 0);
	backoff_built(b, A, BACKOFF_FAILED, NS_PER_S, "x", now);
	assert_true(waits(b, A) == BACKOFF_FAILED_NS);
	backoff_built(b, A, BACKOFF_REFUSED, NS_PER_S, "", now);
	assert_int_equal(waits(b, A), 0);
}

static void test_what_ends_a_wait(void **state)
{
	struct backoff *b = *state;

	for (int i = 0; i < 5; i++)
		backoff_built(b, A, BACKOFF_FAILED, NS_PER_S, "x", now);
	assert_true(waits(b, A) > BACKOFF_FAILED_NS);
	backoff_stale(b, A, "/script.py", 0, now);
	assert_int_equal(waits(b, A), 0);
	for (int i = 0; i < 5; i++)
		backoff_built(b, A, BACKOFF_FAILED, NS_PER_S, "x", now);
	backoff_forget(b, A);
	assert_int_equal(waits(b, A), 0);
	backoff_built(b, A, BACKOFF_FAILED, NS_PER_S, "x", now);
	assert_true(waits(b, A) == BACKOFF_FAILED_NS);
}

/* a template that serves one launch, which makes it stale */
static void use_once(struct backoff *b, const char *path, uint64_t launches)
{
	backoff_built(b, A, BACKOFF_BUILT, NS_PER_S / 2, "", now);
	backoff_stale(b, A, path, launches, now);
}

static void test_churn(void **state)
{
	struct backoff *b = *state;
	uint64_t expected = BACKOFF_COST_TIMES * NS_PER_S / 2;

	use_once(b, "/cache", 1);
	assert_int_equal(waits(b, A), 0);
	for (int i = 0; i < 30; i++) {
		use_once(b, "/cache", 1);
		assert_true(waits(b, A) == expected);
		assert_non_null(strstr(words, "each time /cache changed"));
		now += expected;
		assert_int_equal(waits(b, A), 0);
		expected = expected * 2 < BACKOFF_MAX_NS ? expected * 2 : BACKOFF_MAX_NS;
	}
	/* one that was worth it */
	use_once(b, "/cache", BACKOFF_WORTH);
	assert_int_equal(waits(b, A), 0);
	use_once(b, "/cache", 0);
	assert_int_equal(waits(b, A), 0);
	/* that it is another path each time changes nothing: a folder that is listed, and gets a new file */
	for (unsigned int i = 2; i < 8; i++) {
		char path[32];

		snprintf(path, sizeof(path), "/folder/%u", i);
		use_once(b, path, 1);
		assert_true(waits(b, A) == (BACKOFF_COST_TIMES * NS_PER_S / 2) << (i - 2));
		assert_non_null(strstr(words, path));
		assert_null(strstr(words, "each time"));
		now += waits(b, A);
	}
}

/* somebody edits one file and runs it, again and again: less than a build in sixteen times what it costs */
static void test_edits_by_hand(void **state)
{
	struct backoff *b = *state;

	for (int i = 0; i < 20; i++) {
		use_once(b, i % 3 ? "/script.py" : "/module.py", i % 2);
		assert_int_equal(waits(b, A), 0);
		now += 9 * NS_PER_S;
	}
}

/* templates of one program for other arguments: one edit is one, and counts for nothing when one of them was worth it */
static void test_one_edit_of_many(void **state)
{
	struct backoff *b = *state;

	for (int edit = 0; edit < 2; edit++) {
		assert_int_equal(waits(b, A), 0);
		for (int i = 0; i < 4; i++)
			backoff_built(b, A, BACKOFF_BUILT, NS_PER_S / 2, "", now);
		for (int i = 0; i < 4; i++)
			backoff_stale(b, A, "/script.py", 0, now);
	}
	assert_true(waits(b, A) == BACKOFF_COST_TIMES * NS_PER_S / 2);
	backoff_built(b, A, BACKOFF_BUILT, NS_PER_S / 2, "", now);
	for (int i = 0; i < 3; i++)
		backoff_stale(b, A, "/script.py", i == 1 ? BACKOFF_WORTH : 0, now);
	assert_int_equal(waits(b, A), 0);
}

/* changes that have become rare */
static void test_churn_goes(void **state)
{
	struct backoff *b = *state;
	uint64_t before;

	for (int i = 0; i < 10; i++)
		use_once(b, "/cache", 0);
	before = waits(b, A);
	now += 5 * before;
	use_once(b, "/cache", 0);
	assert_true(waits(b, A) < before && waits(b, A) > 0);
}

/* a program that fails, and writes what it reads: each edit ends the wait for failures, but not for ever */
static void test_failure_and_churn(void **state)
{
	struct backoff *b = *state;

	for (int i = 0; i < 6; i++) {
		backoff_built(b, A, BACKOFF_FAILED, NS_PER_S, "x", now);
		backoff_stale(b, A, "/log", 0, now);
	}
	assert_true(waits(b, A) > BACKOFF_FAILED_NS);
}

static void test_cheap_builds_and_dear_ones(void **state)
{
	struct backoff *b = *state;

	for (int i = 0; i < 2; i++) {
		backoff_built(b, A, BACKOFF_BUILT, 1000, "", now);
		backoff_stale(b, A, "/x", 0, now);
		backoff_built(b, B, BACKOFF_BUILT, UINT64_MAX / 2, "", now);
		backoff_stale(b, B, "/x", 0, now);
	}
	assert_true(waits(b, A) == BACKOFF_CHURN_NS);
	assert_true(waits(b, B) == BACKOFF_MAX_NS);
}

static void test_bounded(void **state)
{
	struct backoff *b = *state;
	struct backoff_totals t;

	for (uint64_t i = 1; i <= 3 * BACKOFF_PROGRAMS; i++) {
		backoff_built(b, i, BACKOFF_FAILED, 10, "x", now);
		now++;
		/* one that is heard of again and again is kept */
		backoff_built(b, A, BACKOFF_FAILED, 10, "x", now);
	}
	backoff_totals(b, now, &t);
	assert_int_equal(t.programs, BACKOFF_PROGRAMS);
	assert_int_equal(t.build_cpu_ns, 2 * 3 * BACKOFF_PROGRAMS * 10);
	assert_true(waits(b, A) == BACKOFF_MAX_NS);
	assert_int_equal(waits(b, 1), 0);
	assert_true(waits(b, 3 * BACKOFF_PROGRAMS) > 0);
}

static uint64_t program(const char *cwd, char **argv)
{
	struct request r = { .name = "", .ready = "", .cwd = cwd, .argv = argv };

	while (argv[r.run.argc])
		r.run.argc++;
	return backoff_program(&r);
}

#define P(cwd, ...) program(cwd, (char *[]){ __VA_ARGS__, NULL })

static void test_program(void **state)
{
	(void)state;
	assert_true(P("/", "python3", "/a.py", "x") == P("/tmp", "python3", "/a.py", "y", "z"));
	assert_true(P("/", "python3", "a.py") != P("/tmp", "python3", "a.py"));
	assert_true(P("/", "python3", "-m", "a", "x") != P("/", "python3", "-m", "b", "x"));
	assert_true(P("/", "python3", "-B", "/a.py") != P("/", "python3", "/a.py"));
	assert_true(P("/", "python3") != P("/", "python3", ""));
	assert_true(P("/", "tool", "x") != P("/", "toolx"));
	assert_true(P("/", "tool") == P("/elsewhere", "tool"));
	assert_true(P("/", "/bin/tool", "-v") == P("/elsewhere", "/bin/tool", "-v"));
	assert_true(P("/a", "./configure") != P("/b", "./configure"));
	assert_true(P("/a", "../configure", "--prefix=/x") != P("/b", "../configure", "--prefix=/x"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_ends_a_wait, setup, teardown),
		cmocka_unit_test_setup_teardown(test_churn, setup, teardown),
		cmocka_unit_test_setup_teardown(test_edits_by_hand, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_edit_of_many, setup, teardown),
		cmocka_unit_test_setup_teardown(test_churn_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failure_and_churn, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cheap_builds_and_dear_ones, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bounded, setup, teardown),
		cmocka_unit_test(test_program),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
