/* SPDX-License-Identifier: MIT */
/* quantiles of the last samples, and the ring of the last launches */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "warmd/metrics/metrics.h"

static void test_quantiles(void **state)
{
	static struct latency l;
	struct quantiles q;

	(void)state;
	assert_false(latency_quantiles(&l, &q));
	latency_add(&l, 7);
	assert_true(latency_quantiles(&l, &q));
	assert_true(q.p50_ns == 7 && q.p90_ns == 7 && q.p99_ns == 7 && q.max_ns == 7);
	memset(&l, 0, sizeof(l));
	for (uint64_t i = 100; i > 0; i--)
		latency_add(&l, i);
	assert_true(latency_quantiles(&l, &q));
	assert_true(q.p50_ns == 51 && q.p90_ns == 91 && q.p99_ns == 100 && q.max_ns == 100);
	assert_true(l.count == 100 && l.sum_ns == 5050);
	/* the old ones make room; longer than 32 bits can tell */
	for (int i = 0; i < LATENCY_SAMPLES; i++)
		latency_add(&l, 86400ull * 1000000000);
	assert_true(latency_quantiles(&l, &q));
	assert_true(q.p50_ns == 86400ull * 1000000000 && q.max_ns == q.p50_ns);
	assert_true(l.count == 100 + LATENCY_SAMPLES);
}

/* one is found by its number until as many others have come, and no other is taken for it */
static void test_recent(void **state)
{
	static struct metrics m;
	char *argv[] = { (char *)"report.py", (char *)"--month", NULL };
	struct request req = { .run = { .header = { .type = WIRE_RUN }, .argc = 2 }, .argv = argv };
	struct recent_launch *first;
	uint64_t number;

	(void)state;
	assert_null(recent_launch_by_number(&m, 0));
	metrics_answer(&m, 77, &req, WIRE_COLD_NONE, "no template yet", 0);
	first = recent_launch_last(&m);
	number = m.nrecent;
	assert_ptr_equal(recent_launch_by_number(&m, number), first);
	assert_int_equal(first->pid, 77);
	assert_string_equal(first->what, "report.py --month");
	assert_string_equal(first->reason, "no template yet");
	for (int i = 1; i < RECENT_LAUNCHES; i++)
		metrics_answer(&m, 78, &req, WIRE_WARM, "'report.py'", 0);
	assert_ptr_equal(recent_launch_by_number(&m, number), first);
	metrics_answer(&m, 78, &req, WIRE_WARM, "'report.py'", 0);
	assert_null(recent_launch_by_number(&m, number));
	assert_int_equal(first->pid, 78);
	assert_true(m.launches[WIRE_COLD_NONE] == 1 && m.launches[WIRE_WARM] == RECENT_LAUNCHES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_quantiles),
		cmocka_unit_test(test_recent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
