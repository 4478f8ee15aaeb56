/* SPDX-License-Identifier: MIT */
#include "engine/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/stat.h>

#include "engine/base/clock.h"
#include "engine/base/log_limit.h"

static struct {
	int fd;
	enum log_level level;
	pid_t owner; /* children write to it too, and only that */
	char path[PATH_MAX]; /* "": its size is not looked at */
	size_t max;
	struct log_limit limit;
} the_log = { .fd = STDERR_FILENO, .level = LOG_LEVEL_INFO };

static const char *const level_names[] = { "error", "warning", "info", "debug" };
_Static_assert(sizeof(level_names) / sizeof(level_names[0]) == LOG_LEVEL_DEBUG + 1, "a name for each level");

void log_open(int fd, enum log_level level)
{
	the_log.fd = fd;
	the_log.level = level;
	the_log.owner = getpid();
	the_log.path[0] = '\0';
}

void log_open_file(int fd, const char *path, enum log_level level, size_t max)
{
	struct stat st;

	log_open(fd, level);
	/* terminals, pipes and /dev/null have no size */
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
	    strlen(path) + sizeof(LOG_OLD) > sizeof(the_log.path))
		return;
	strcpy(the_log.path, path);
	the_log.max = max;
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

/*
 * The file becomes the old one, and a new one is begun. Where no new one can be made beside it, it is emptied: children hold
 * it open for appending, so that works. Builds that run go on in the old one.
 */
static void rotate(void)
{
	char old[PATH_MAX];
	bool renamed;
	int fd = -1;

	snprintf(old, sizeof(old), "%.*s" LOG_OLD, (int)(sizeof(old) - sizeof(LOG_OLD)), the_log.path);
	renamed = rename(the_log.path, old) == 0;
	if (renamed)
		fd = open(the_log.path, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
			  0600);
	/*
	 * Without a descriptor for a new file (EMFILE) lines would go on into the old one, and nobody would find them at the
	 * name. EEXIST: somebody else has made a file of that name, which is his.
	 */
	if (renamed && fd < 0 && errno != EEXIST && rename(old, the_log.path) < 0)
		the_log.path[0] = '\0';
	if (fd >= 0) {
		close(the_log.fd);
		the_log.fd = fd;
	} else if (ftruncate(the_log.fd, 0) < 0) {
		the_log.path[0] = '\0'; /* nothing can be done about it */
	}
}

static bool is_full(size_t more)
{
	struct stat st;

	return the_log.path[0] && getpid() == the_log.owner && fstat(the_log.fd, &st) == 0 &&
	       (size_t)st.st_size + more > the_log.max;
}

static void write_line(enum log_level level, const char *text)
{
	char line[1200];
	struct timespec now;
	struct tm tm;
	size_t len;

	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &tm);
	len = strftime(line, sizeof(line), "%F %T", &tm);
	len += (size_t)snprintf(line + len, sizeof(line) - len, ".%03ld %d %s: ", now.tv_nsec / 1000000,
				(int)getpid(), level_names[level]);
	snprintf(line + len, sizeof(line) - len - 1, "%s", text);
	len = strlen(line);
	line[len++] = '\n';
	if (is_full(len))
		rotate();
	/* one write, so that lines of two processes do not mix; a full disk loses the line, not the daemon */
	if (write(the_log.fd, line, len) < 0)
		return;
}

void log_line(enum log_level level, const char *fmt, ...)
{
	int saved = errno;
	uint64_t now;
	char text[1024], words[256];
	va_list ap;

	if (level > the_log.level)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	now = clock_ns(CLOCK_MONOTONIC);
	/* "debug" is asked for to see all */
	if (level == LOG_LEVEL_DEBUG || getpid() != the_log.owner) {
		write_line(level, text);
	} else {
		while (log_limit_due(&the_log.limit, fmt, now, words, sizeof(words)))
			write_line(level, words);
		if (log_limit_take(&the_log.limit, fmt, text, now))
			write_line(level, text);
	}
	errno = saved;
}

void log_flush(void)
{
	char words[256];

	while (log_limit_due(&the_log.limit, NULL, clock_ns(CLOCK_MONOTONIC), words, sizeof(words)))
		write_line(LOG_LEVEL_WARNING, words);
}
