/* SPDX-License-Identifier: MIT */
/*
 * keys.h - which properties of a launch a template depends on, apart from files: BuildResult.keys.
 *
 * The builder sets a bit for each property that the program asked for while it was built; a later launch is compared in
 * those alone (warmd/template/match.h).
 */
#ifndef WARM_WARMD_STALE_KEYS_H
#define WARM_WARMD_STALE_KEYS_H

enum template_key {
	TEMPLATE_KEY_CWD = 1 << 0,
	TEMPLATE_KEY_UMASK = 1 << 1,
	TEMPLATE_KEY_AFFINITY = 1 << 2,
	TEMPLATE_KEY_WINSIZE = 1 << 3,
	TEMPLATE_KEY_TERMIOS = 1 << 4,
	TEMPLATE_KEY_NICE = 1 << 5,
	TEMPLATE_KEY_SCHED = 1 << 6,
	TEMPLATE_KEY_IOPRIO = 1 << 7,
	TEMPLATE_KEY_SIGMASK = 1 << 8,
	TEMPLATE_KEY_ARGV = 1 << 9, /* its own command line, through /proc */
};

/*
 * Bits of personality(2) in which build and launch may differ: ADDR_NO_RANDOMIZE and ADDR_COMPAT_LAYOUT say where memory
 * lies, and a clone's lies where the template's does.
 */
#define TEMPLATE_LAYOUT_ONLY 0x0240000u

#endif
