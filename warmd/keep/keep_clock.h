/* SPDX-License-Identifier: MIT */
/*
 * keep_clock.h - does memory hold a time of this boot?
 *
 * CLOCK_MONOTONIC and CLOCK_BOOTTIME begin with the machine. A program that has read one and keeps what it read (the time that a module was
 * loaded at, so that it can tell how long ago that was) would find less than nothing after a restart of the machine. Whether
 * it reads a clock says little: CPython does for each lock that it takes, and forgets it. So its memory is searched for
 * times between the start of its build and its readiness point, in the forms that clocks come in.
 */
#ifndef WARM_WARMD_KEEP_KEEP_CLOCK_H
#define WARM_WARMD_KEEP_KEEP_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* from and to, as they read in each form; both ends belong to it */
struct keep_clock {
	uint64_t ns[2], us[2]; /* of 64 bits; milliseconds are like many other numbers */
	uint64_t digits
		[2]; /* ns as CPython keeps an int: 30 bits each in 32, behind a word that tells there are two */
	double s_float[2], ms_float[2], us_float[2], ns_float[2];
};

/** keep_clock_window() - times from @from_ns to @to_ns */
void keep_clock_window(uint64_t from_ns, uint64_t to_ns, struct keep_clock *ret);

/**
 * keep_clock_found() - is there one among @n aligned words?
 *
 * A struct timespec or timeval counts as well: seconds, and in the next word what is less than a second. A word that happens to look like one is
 * taken for one.
 */
bool keep_clock_found(const struct keep_clock *clock, const uint64_t *words, size_t n);

#endif
