/* SPDX-License-Identifier: MIT */
#include "warmd/keep/keep_clock.h"

#include <string.h>

#include "engine/base/clock.h"

#define DIGIT_BITS 30
#define US_PER_S   1000000ull

/* two digits, as a little-endian word: the order of times stays */
static uint64_t as_digits(uint64_t ns)
{
	return ns >> DIGIT_BITS << 32 | (ns & ((1u << DIGIT_BITS) - 1));
}

void keep_clock_window(uint64_t from_ns, uint64_t to_ns, struct keep_clock *ret)
{
	const uint64_t ends[2] = { from_ns, to_ns };

	for (int i = 0; i < 2; i++) {
		double ns = (double)ends[i];

		ret->ns[i] = ends[i];
		ret->us[i] = ends[i] / NS_PER_US;
		ret->digits[i] = as_digits(ends[i]);
		ret->ns_float[i] = ns;
		ret->us_float[i] = ns / 1e3;
		ret->ms_float[i] = ns / 1e6;
		ret->s_float[i] = ns / 1e9;
	}
}

static bool within(uint64_t value, const uint64_t range[2])
{
	return value >= range[0] && value <= range[1];
}

static bool float_within(double value, const double range[2])
{
	return value >= range[0] && value <= range[1];
}

/* seconds in one word, what is less than a second in the next */
static bool is_pair(const struct keep_clock *c, uint64_t seconds, uint64_t rest)
{
	if (seconds < c->ns[0] / NS_PER_S || seconds > c->ns[1] / NS_PER_S)
		return false;
	return (rest < NS_PER_S && within(seconds * NS_PER_S + rest, c->ns)) ||
	       (rest < US_PER_S && within(seconds * US_PER_S + rest, c->us));
}

static bool is_time(const struct keep_clock *c, uint64_t word)
{
	double value;

	if (within(word, c->ns) || within(word, c->us))
		return true;
	memcpy(&value, &word, sizeof(value));
	return float_within(value, c->s_float) || float_within(value, c->ms_float) ||
	       float_within(value, c->us_float) || float_within(value, c->ns_float);
}

/* ob_size until CPython 3.11, lv_tag from 3.12 on: without it any pair of small numbers could be one */
static bool is_int(const struct keep_clock *c, const uint64_t *words, size_t i)
{
	return within(words[i], c->digits) && (i == 0 || words[i - 1] == 2 || words[i - 1] == 2 << 3);
}

bool keep_clock_found(const struct keep_clock *clock, const uint64_t *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (words[i] && (is_time(clock, words[i]) || is_int(clock, words, i) ||
				 (i + 1 < n && is_pair(clock, words[i], words[i + 1]))))
			return true;
	return false;
}
