/* SPDX-License-Identifier: MIT */
/* what is counted of a clone, from its answer to its end */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/base/clock.h"
#include "warmd/pool/clone.h"

/* the answer goes before the clone's order: what has not begun has taken no time */
static void test_told_before_the_order(void **state)
{
	static struct metrics m;
	struct pools all = { .metrics = &m };
	struct clone cl = { .pools = &all, .way = WIRE_WAY_PARKED };
	uint64_t start = clock_ns(CLOCK_MONOTONIC);
	const struct latency *phases = m.phases;
	const uint64_t longest = 60 * NS_PER_S;

	(void)state;
	m.nrecent = 1;
	clone_told(&cl, start);
	assert_true(phases[METRICS_PARKED_ANSWER].count == 1 &&
		    phases[METRICS_PARKED_ANSWER].sum_ns < longest);
	assert_true(m.recent[0].order_ns == 0);
	/* one that ended before it had an order has not lived */
	clone_over(&cl, 0);
	assert_true(phases[METRICS_PARKED_LIFE].count == 0);
	clone_ordered(&cl, start);
	assert_true(phases[METRICS_PARKED_ORDER].count == 1 && phases[METRICS_PARKED_ORDER].sum_ns < longest);
	assert_true(m.recent[0].order_ns > 0 && m.recent[0].order_ns < longest);
	clone_over(&cl, 0);
	assert_true(phases[METRICS_PARKED_LIFE].count == 1 && phases[METRICS_PARKED_LIFE].sum_ns < longest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_told_before_the_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
