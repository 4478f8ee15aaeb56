/* SPDX-License-Identifier: MIT */
/*
 * warm.h - libwarm: for programs that want to start warm.
 *
 * Link with -lwarm (pkg-config warm), or take libwarm.a.
 */
#ifndef WARM_H
#define WARM_H

#ifdef __cplusplus
extern "C" {
#endif

/**
 * warm_ready() - the readiness point: what was done before it is done once, for all launches
 *
 * Not under warm (no WARM_FD in the environment): returns 0 at once. While a
 * template is built it does not return: the process is checkpointed here. In
 * each clone it returns 1, with working directory, umask, limits, descriptors and
 * signal dispositions of the launch in place, environ replaced by the launch's environment
 * (without WARM_FD), and warm_argc() and warm_argv() telling its arguments.
 *
 * Environment and argument strings live as long as the process. Pointers
 * from getenv(3) of before are stale in meaning, though not freed.
 *
 * Return: 0, 1, or a negative errno when the launch context could not be read.
 */
int warm_ready(void);

/** warm_argc(), warm_argv() - the launch's arguments, program name first; 0 and NULL before warm_ready() returned 1 */
int warm_argc(void);
char *const *warm_argv(void);

/** warm_generation() - a number that no other clone of this boot has; 0 outside a clone */
unsigned long long warm_generation(void);

#ifdef __cplusplus
}
#endif

#endif
