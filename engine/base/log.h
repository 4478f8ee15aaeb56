/* SPDX-License-Identifier: MIT */
/*
 * log.h - the daemon's log: one line a message, with a level and a time.
 * Only programs log (warmd, the tools); libraries return errors.
 *
 * It does not grow without bound: a message that comes again and again is counted after a while instead of written
 * (log_limit.h), and a file that is full becomes FILE.1 (LOG_OLD), in the place of the one before.
 */
#ifndef WARM_ENGINE_BASE_LOG_H
#define WARM_ENGINE_BASE_LOG_H

#include <stddef.h>

#define LOG_OLD ".1"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/** log_open() - log to @fd (taken over, not closed) from @level on; before it, stderr and INFO */
void log_open(int fd, enum log_level level);
/**
 * log_open_file() - as log_open(), for the end of the file @path, on which @fd is open for appending
 * @max: bytes of it; then it is renamed. No matter for what is no regular file
 */
void log_open_file(int fd, const char *path, enum log_level level, size_t max);
/** log_flush() - tell of messages that were left out; once a second or so */
void log_flush(void);
/** log_level_parse() - "error", "warning", "info", "debug". Return: 0 or -EINVAL. */
int log_level_parse(const char *word, enum log_level *ret);
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)	 log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)	 log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)	 log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
