/* SPDX-License-Identifier: MIT */
#include "warmd/connection/oom_score.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "engine/base/proc_path.h"

int oom_score_read(pid_t pid, int *ret)
{
	_cleanup_close_ int fd = proc_open(pid, O_RDONLY, "oom_score_adj");
	char text[16];
	ssize_t n;

	if (fd < 0)
		return fd;
	n = read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return n < 0 ? -errno : -ENODATA;
	text[n] = '\0';
	*ret = atoi(text);
	return 0;
}

int oom_score_write(pid_t pid, int value)
{
	_cleanup_close_ int fd = proc_open(pid, O_WRONLY, "oom_score_adj");
	char text[16];
	int n = snprintf(text, sizeof(text), "%d", value);

	if (fd < 0)
		return fd;
	return write(fd, text, (size_t)n) < 0 ? -errno : 0;
}
