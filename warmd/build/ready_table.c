/* SPDX-License-Identifier: MIT */
/* ready_table.c - the readiness points that there are; nothing else is in this file, so that a test can be linked with a table of its own */
#include "warmd/build/ready.h"

const struct ready_point *const ready_points[] = { &ready_auto,	 &ready_main, &ready_import, &ready_call,
						   &ready_delay, &ready_idle, NULL };
