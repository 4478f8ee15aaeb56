/* SPDX-License-Identifier: MIT */
/*
 * error.h - an error that carries a code and words.
 *
 * Functions that can fail in ways a person must read about take a trailing
 * `struct error *err`. They return a negative errno and fill *err; on success
 * they return 0 (or a count) and leave *err alone. err may be NULL: then only
 * the code is reported. Libraries return, they do not log.
 */
#ifndef WARM_ENGINE_BASE_ERROR_H
#define WARM_ENGINE_BASE_ERROR_H

struct error {
	int code; /* negative errno; 0: no error */
	char text[512]; /* one line for a person, no trailing newline */
};

/**
 * error_set() - fill *err and return its code
 * @err: filled if not NULL
 * @code: an errno, of either sign; 0 is taken as EIO
 * @fmt: printf(3) format of the words; strerror is not appended
 *
 * Return: -abs(code), so that `return error_set(err, errno, ...)` works.
 */
int error_set(struct error *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/** error_errno() - as error_set() with ": strerror(code)" appended */
int error_errno(struct error *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/** error_prefix() - put "prefix: " before the words that *err has. Return: err->code. */
int error_prefix(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
