/* SPDX-License-Identifier: MIT */
/* what warmd cannot give to a clone: how and where its caller runs */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sched.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/resource.h>

#include "warmd/pool/order.h"

static struct wire_run own, caller;
static char reason[256];

static void fresh(void)
{
	memset(&own, 0, sizeof(own));
	pools_own_context(&own);
	own.capabilities = 0;
	own.nice = 0;
	caller = own;
	reason[0] = '\0';
}

static bool refused(void)
{
	return order_scheduling_refusal(&own, &caller, reason, sizeof(reason));
}

/* the first processor of @cpus alone */
static void keep_first(uint64_t *cpus)
{
	bool found = false;

	for (int i = 0; i < SCHEDULING_CPU_WORDS; i++) {
		cpus[i] = found ? 0 : cpus[i] & -cpus[i];
		found |= cpus[i] != 0;
	}
}

static void processors(void **state)
{
	(void)state;
	fresh();
	assert_false(refused());
	/* a part of warmd's */
	keep_first(caller.scheduling.cpus);
	caller.scheduling.affinity = 1;
	assert_false(refused());
	/* warmd was started on one (taskset), and could have more */
	fresh();
	keep_first(own.scheduling.cpus);
	own.scheduling.affinity = 2;
	assert_false(refused());
	/* in another cpuset: not on this machine, or not in warmd's */
	fresh();
	memset(caller.scheduling.cpus, 0, sizeof(caller.scheduling.cpus));
	caller.scheduling.cpus[SCHEDULING_CPU_WORDS - 1] = 1ull << 63;
	caller.scheduling.affinity = 3;
	assert_true(refused());
	assert_non_null(strstr(reason, "warmd's cpuset"));
	/* some of them are: a clone would have those alone */
	fresh();
	caller.scheduling.cpus[SCHEDULING_CPU_WORDS - 1] |= 1ull << 63;
	caller.scheduling.affinity = 4;
	assert_true(refused());
	/* beyond what can be told */
	fresh();
	caller.scheduling.affinity = 5;
	assert_true(refused());
	assert_non_null(strstr(reason, "beyond processor"));
}

static void asking_changes_nothing(void **state)
{
	cpu_set_t before, after, one;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	CPU_ZERO(&one);
	for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
		if (CPU_ISSET(i, &before))
			CPU_SET(i, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	fresh();
	memcpy(caller.scheduling.cpus, &before, sizeof(before));
	caller.scheduling.affinity = 6;
	own.scheduling.affinity = 7;
	assert_false(refused());
	assert_int_equal(sched_getaffinity(0, sizeof(after), &after), 0);
	assert_true(CPU_EQUAL(&one, &after));
	sched_setaffinity(0, sizeof(before), &before);
}

static void others(void **state)
{
	(void)state;
	fresh();
	memset(caller.rlimits, 0, sizeof(caller.rlimits));
	caller.nice = -5;
	assert_true(refused());
	caller.rlimits[RLIMIT_NICE][0] = 25;
	assert_false(refused());
	caller.nice = 5;
	assert_false(refused());
	caller.scheduling.policy = SCHED_BATCH;
	assert_false(refused());
	caller.scheduling.policy = SCHED_FIFO;
	caller.scheduling.priority = 1;
	assert_true(refused());
	own.capabilities = 1ull << CAP_SYS_NICE;
	assert_false(refused());
	caller.scheduling.policy = 6; /* SCHED_DEADLINE */
	assert_true(refused());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(processors),
		cmocka_unit_test(asking_changes_nothing),
		cmocka_unit_test(others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
