/* SPDX-License-Identifier: MIT */
#include "engine/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int log_fd = STDERR_FILENO;
static enum log_level log_max = LOG_LEVEL_INFO;

static const char *const level_names[] = { "error", "warning", "info", "debug" };
_Static_assert(sizeof(level_names) / sizeof(level_names[0]) == LOG_LEVEL_DEBUG + 1, "a name for each level");

void log_open(int fd, enum log_level level)
{
	log_fd = fd;
	log_max = level;
}

int log_level_parse(const char *word, enum log_level *ret)
{
	for (unsigned int i = 0; i <= LOG_LEVEL_DEBUG; i++) {
		if (strcmp(word, level_names[i]) == 0) {
			*ret = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

void log_line(enum log_level level, const char *fmt, ...)
{
	int saved = errno;
	char line[1024];
	struct timespec now;
	struct tm tm;
	size_t len;
	va_list ap;

	if (level > log_max)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &tm);
	len = strftime(line, sizeof(line), "%F %T", &tm);
	len += (size_t)snprintf(line + len, sizeof(line) - len, ".%03ld %d %s: ", now.tv_nsec / 1000000,
				(int)getpid(), level_names[level]);
	va_start(ap, fmt);
	vsnprintf(line + len, sizeof(line) - len - 1, fmt, ap);
	va_end(ap);
	len = strlen(line);
	line[len++] = '\n';
	/* one write, so that lines of two processes do not mix; a full disk loses the line, not the daemon */
	if (write(log_fd, line, len) < 0)
		errno = saved;
	errno = saved;
}
