/* SPDX-License-Identifier: MIT */
#include "engine/base/proc_path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>

static struct proc_path make_path(pid_t pid, const char *format, va_list args)
{
	struct proc_path p;
	int n = snprintf(p.text, sizeof(p.text), "/proc/%d/", (int)pid);
	int more = vsnprintf(p.text + n, sizeof(p.text) - (size_t)n, format, args);

	if (more < 0 || (size_t)(n + more) >= sizeof(p.text))
		p.text[0] = '\0';
	return p;
}

struct proc_path proc_path(pid_t pid, const char *format, ...)
{
	struct proc_path p;
	va_list args;

	va_start(args, format);
	p = make_path(pid, format, args);
	va_end(args);
	return p;
}

int proc_open(pid_t pid, int flags, const char *format, ...)
{
	struct proc_path p;
	va_list args;
	int fd;

	va_start(args, format);
	p = make_path(pid, format, args);
	va_end(args);
	fd = open(p.text, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}
