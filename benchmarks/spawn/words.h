/* SPDX-License-Identifier: MIT */
/* words.h - words of command lines and configurations. Return: 0 or -EINVAL, with *ret as it was */
#ifndef WARM_BENCH_WORDS_H
#define WARM_BENCH_WORDS_H

#include <stddef.h>

/** parse_number() - decimal, from @min to @max */
int parse_number(const char *s, unsigned min, unsigned max, unsigned *ret);
/** parse_unsigned() - decimal, of an option: no larger than any number of rounds or microseconds that makes sense */
int parse_unsigned(const char *s, unsigned *ret);
/** parse_word() - one of @n @names; *ret: its index */
int parse_word(const char *s, const char *const *names, size_t n, unsigned *ret);

#endif
