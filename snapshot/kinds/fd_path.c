/* SPDX-License-Identifier: MIT */
/* fd_path.c - files, folders and devices without a state of their own: opened again by their names, at their offsets */
#include "snapshot/kinds/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "engine/base/fd.h"

static bool is(const struct fd_source *s)
{
	if (s->dup_of >= 0 || fd_link_is(s, "anon_inode:"))
		return false;
	return (S_ISREG(s->st.st_mode) && !fd_link_is(s, "/memfd:")) || S_ISDIR(s->st.st_mode) ||
	       S_ISCHR(s->st.st_mode);
}

/*
 * What a clone opens for the file at the link. What lies below /proc/PID belongs to one process: a clone has its own in the
 * place of the program's. Its first thread opens them, so for that one there is a name; for the others, and for other
 * processes, there is none. Return: 0, 1 if there is none, or -ENOMEM
 */
static int path_in_clone(const struct fd_source *s, char **ret)
{
	const char *rest;
	char *end;
	long pid;

	if (!fd_link_is(s, "/proc/") || s->link[6] < '0' || s->link[6] > '9') {
		*ret = strdup(s->link);
		return *ret ? 0 : -ENOMEM;
	}
	pid = strtol(s->link + 6, &end, 10);
	if (pid != s->pid || (*end && *end != '/'))
		return 1;
	rest = end;
	if (strncmp(rest, "/task/", 6) != 0)
		return asprintf(ret, "/proc/self%s", rest) < 0 ? -ENOMEM : 0;
	pid = strtol(rest + 6, &end, 10);
	if (pid != s->pid || (*end && *end != '/'))
		return 1;
	return asprintf(ret, "/proc/thread-self%s", end) < 0 ? -ENOMEM : 0;
}

/*
 * A device whose open file is more than its name: a tun interface, an ALSA stream. What is opened again by its name is
 * known to have no such state (Documentation/admin-guide/devices.txt): null, zero, full, random, urandom, kmsg for
 * writing, and terminals.
 */
static bool device_has_state(const struct model_description *d, dev_t dev)
{
	if (d->flags & O_PATH)
		return false;
	if (major(dev) == 1)
		switch (minor(dev)) {
		case 3:
		case 5:
		case 7:
		case 8:
		case 9:
			return false;
		case 11:
			return (d->flags & O_ACCMODE) != O_WRONLY;
		}
	return major(dev) != 4 && major(dev) != 5;
}

static int dump(const struct fd_source *s, struct model_description *d)
{
	_cleanup_close_ int again = -EBADF;
	_cleanup_free_ char *path = NULL;
	struct stat now;
	int r;

	if (S_ISCHR(s->st.st_mode) && device_has_state(d, s->st.st_rdev))
		return fd_refuse(s, "a device that keeps a state for who has it open");
	if (stat(s->link, &now) < 0 || now.st_dev != s->st.st_dev || now.st_ino != s->st.st_ino)
		return fd_refuse(s, "a file that was deleted or replaced");
	r = path_in_clone(s, &path);
	if (r != 0)
		return r < 0 ? r : fd_refuse(s, "a file of /proc that belongs to another process or thread");
	d->path.path = TAKE_PTR(path);
	d->path.offset = fd_info_number(s, "pos:\t", 10);
	d->path.dev = s->st.st_dev;
	d->path.ino = s->st.st_ino;
	/* what only made sense when it was first opened */
	d->flags &= ~(uint32_t)(O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY);
	/* its mode may allow less than when the program opened it */
	again = open(s->link, (int)d->flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	return again < 0 ? fd_refuse(s, "a file that cannot be opened again") : 0;
}

static void plan(const struct model_description *d, struct stub_description *ret, struct fd_bytes *ret_data)
{
	ret->b = d->path.offset;
	*ret_data = (struct fd_bytes){ d->path.path, strlen(d->path.path) + 1 };
}

const struct fd_kind fd_kind_PATH = { .is = is, .dump = dump, .plan = plan };
