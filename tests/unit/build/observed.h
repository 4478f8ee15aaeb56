/* SPDX-License-Identifier: MIT */
/*
 * observed.h - the observer, with this process in the part of the traced program. Each call is told to
 * the observer at its entry, made, and told at its exit; where the entry is a boundary or is denied it is not made, as the
 * builder would do.
 */
#ifndef WARM_TESTS_OBSERVED_H
#define WARM_TESTS_OBSERVED_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/unit/scratch.h"
#include "warmd/build/observe.h"

#define OWN_FD 9

extern struct config cfg;
extern struct observe *o;
extern bool allow; /* make the call in spite of a refusal */

/** observed_setup(), observed_teardown() - a new observer, in a scratch directory that is the working directory */
int observed_setup(void **state);
int observed_teardown(void **state);

/** tell() - of one call, which is not made. Return: as observe_syscall() */
int tell(long nr, const uint64_t args[6], bool entry, int64_t ret);
/** call() - tell and make a call. Return: as the kernel does; -ECANCELED at a boundary */
long observed_call(long nr, const uint64_t a[6]);

#define A(x)	      ((uint64_t)(uintptr_t)(x))
#define call(nr, ...) observed_call(nr, (const uint64_t[6]){ __VA_ARGS__ })

int open_at(const char *path, int flags);
void stat_at(const char *path);
/** list() - as os.listdir does it; @looked: after a stat, as an importer */
void list(const char *path, bool looked);

/** dep() - what the observer recorded of @path, or NULL */
const struct dep *dep(const char *path, enum dep_kind kind);
/** fresh() - begin anew with another observer */
void fresh(void);
/** refused() - the program was, with @words; then fresh() */
void refused(bool retryable, const char *words);
/** bounded() - the last call was a boundary, with @words; then fresh() */
void bounded(const char *words);
void not_refused(void);
void finish(void);

#endif
