/* SPDX-License-Identifier: MIT */
#include "engine/base/runtime_dir.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

_Static_assert(sizeof(((struct sockaddr_un *)0)->sun_path) == RUNTIME_PATH_MAX, "unix(7)");

/* "a" + "b" into a buffer, without stdio */
static int join(char *buf, size_t size, const char *a, const char *b)
{
	size_t na = strlen(a), nb = strlen(b);

	if (na + nb + 1 > size)
		return -ENAMETOOLONG;
	memcpy(buf, a, na);
	memcpy(buf + na, b, nb + 1);
	return 0;
}

/* "/tmp/warm-" and the uid: 10 + 10 digits, always fits */
static void default_dir(char *buf, uid_t uid)
{
	static const char start[] = "/tmp/warm-";
	char digits[12];
	size_t n = sizeof(digits);

	digits[--n] = '\0';
	do
		digits[--n] = (char)('0' + uid % 10);
	while (uid /= 10);
	memcpy(buf, start, sizeof(start) - 1);
	memcpy(buf + sizeof(start) - 1, digits + n, sizeof(digits) - n);
}

/*
 * Is @path a directory that only @uid may use? Links are followed where the user
 * named the path, not below /tmp, where others make names.
 */
static int check_dir(struct runtime_dir *dir, uid_t uid, int follow, struct error *err)
{
	struct stat st;

	dir->exists = 0;
	if ((follow ? stat(dir->path, &st) : lstat(dir->path, &st)) < 0) {
		if (errno == ENOENT)
			return 0;
		return error_errno(err, errno, "cannot look at the runtime directory %s", dir->path);
	}
	if (!S_ISDIR(st.st_mode))
		return error_set(err, ENOTDIR, "the runtime directory %s is not a directory; remove it",
				 dir->path);
	if (st.st_uid != uid)
		return error_set(err, EACCES,
				 "the runtime directory %s belongs to uid %u, not to uid %u; "
				 "set WARM_RUNTIME_DIR to a directory of your own",
				 dir->path, (unsigned int)st.st_uid, (unsigned int)uid);
	if (st.st_mode & 077)
		return error_set(err, EACCES,
				 "others may use the runtime directory %s (mode %04o); run: chmod 700 %s",
				 dir->path, (unsigned int)(st.st_mode & 07777), dir->path);
	dir->exists = 1;
	return 0;
}

/* Return: 1 if XDG_RUNTIME_DIR serves (ret->path is set), 0 if not */
static int xdg_dir(struct runtime_dir *ret, uid_t uid)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	struct stat st;

	if (!xdg || xdg[0] != '/' || join(ret->path, sizeof(ret->path), xdg, "/warm") < 0)
		return 0;
	if (stat(ret->path, &st) == 0 && st.st_uid == uid)
		return 1;
	/* nothing there, or not ours: is the parent ours to make it in? */
	return stat(xdg, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == uid;
}

int runtime_dir_find(struct runtime_dir *ret, struct error *err)
{
	const char *own = getenv("WARM_RUNTIME_DIR");
	uid_t uid = geteuid();

	if (own) {
		if (own[0] != '/')
			return error_set(err, EINVAL, "WARM_RUNTIME_DIR must be an absolute path, not '%s'",
					 own);
		if (join(ret->path, sizeof(ret->path), own, "") < 0)
			return error_set(err, ENAMETOOLONG,
					 "WARM_RUNTIME_DIR is too long for a socket's address: "
					 "%zu bytes, at most %d",
					 strlen(own), RUNTIME_DIR_MAX - 1);
		return check_dir(ret, uid, 1, err);
	}
	if (xdg_dir(ret, uid))
		return check_dir(ret, uid, 1, err);
	default_dir(ret->path, uid);
	return check_dir(ret, uid, 0, err);
}

int runtime_dir_path(const struct runtime_dir *dir, const char *name, char *ret, size_t size)
{
	size_t len = strlen(dir->path);

	if (len + 1 >= size)
		return -ENAMETOOLONG;
	memcpy(ret, dir->path, len);
	return join(ret + len, size - len, "/", name);
}
