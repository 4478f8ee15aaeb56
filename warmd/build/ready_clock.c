/* SPDX-License-Identifier: MIT */
/* ready_clock.c - the readiness points `delay` and `idle`: the clock ends the build, wherever the threads are then (engine/trace_limit.c) */
#include <errno.h>

#include "engine/base/clock.h"
#include "warmd/build/builder_internal.h"

#define IDLE_DEFAULT_MS 100
#define IDLE_MAX_MS	60000
#define DELAY_MAX_S	3600

/* digits with at most @fraction of them behind a point, as a number of units of 10^-@fraction. Return: 0 or -EINVAL */
static int parse_number(const char *word, int fraction, uint64_t *ret)
{
	uint64_t value = 0;
	int behind = -1, digits = 0;

	for (; *word; word++) {
		if (*word == '.' && behind < 0 && fraction) {
			behind = 0;
			continue;
		}
		if (*word < '0' || *word > '9' || behind == fraction || digits > 15)
			return -EINVAL;
		value = value * 10 + (uint64_t)(*word - '0');
		digits++;
		if (behind >= 0)
			behind++;
	}
	for (behind = behind < 0 ? 0 : behind; behind < fraction; behind++)
		value *= 10;
	*ret = value;
	return digits ? 0 : -EINVAL;
}

static int delay_parse(const char *argument, uint64_t *ret_ns, struct error *err)
{
	uint64_t us;

	if (!argument)
		return error_set(err, EINVAL, "readiness point 'delay' needs a number of seconds: delay=1.5");
	if (parse_number(argument, 6, &us) < 0 || us < 1000 || us > DELAY_MAX_S * 1000000ull)
		return error_set(
			err, EINVAL,
			"readiness point 'delay=SECS': '%.60s' is no number of seconds from 0.001 to %d",
			argument, DELAY_MAX_S);
	*ret_ns = us * NS_PER_US;
	return 0;
}

static void delay_arm(struct builder *b)
{
	trace_set_limit(b->trace, clock_ns(CLOCK_MONOTONIC) + b->point.ns, 0);
}

static int idle_parse(const char *argument, uint64_t *ret_ns, struct error *err)
{
	uint64_t ms = IDLE_DEFAULT_MS;

	if (argument && (parse_number(argument, 0, &ms) < 0 || ms < 1 || ms > IDLE_MAX_MS))
		return error_set(
			err, EINVAL,
			"readiness point 'idle=MS': '%.60s' is no whole number of milliseconds from 1 to %d",
			argument, IDLE_MAX_MS);
	*ret_ns = ms * NS_PER_MS;
	return 0;
}

static void idle_arm(struct builder *b)
{
	trace_set_limit(b->trace, 0, b->point.ns);
}

const struct ready_point ready_delay = {
	.word = "delay",
	.argument = "SECS",
	.parse = delay_parse,
	.arm = delay_arm,
	.live = true,
};

const struct ready_point ready_idle = {
	.word = "idle",
	.argument = "MS",
	.may_lack_argument = true,
	.parse = idle_parse,
	.arm = idle_arm,
	.live = true,
};
