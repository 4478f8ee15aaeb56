/* SPDX-License-Identifier: MIT */
#include "warmd/socket.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/fd.h"

int socket_listen_in(int dir, const char *name, int type, int backlog)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t mask;
	int r;

	if (fd < 0)
		return -errno;
	/* there is no bindat(2). The descriptor's link leads to the directory that was looked at, whatever its path leads to by now */
	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/%s", dir, name);
	unlinkat(dir, name, 0);
	mask = umask(0177);
	r = bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ? -errno : 0;
	umask(mask);
	if (r < 0)
		return r;
	return listen(fd, backlog) < 0 ? -errno : TAKE_FD(fd);
}
