/* SPDX-License-Identifier: MIT */
#include "engine/base/runtime_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/fd.h"

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

/* is @st a directory that only @uid may use? */
static int judge(const char *path, const struct stat *st, uid_t uid, struct error *err)
{
	if (!S_ISDIR(st->st_mode))
		return error_set(err, ENOTDIR, "the runtime directory %s is not a directory; remove it",
				 path);
	if (st->st_uid != uid)
		return error_set(err, EACCES,
				 "the runtime directory %s belongs to uid %u, not to uid %u; "
				 "set WARM_RUNTIME_DIR to a directory of your own",
				 path, (unsigned int)st->st_uid, (unsigned int)uid);
	if (st->st_mode & 077)
		return error_set(err, EACCES,
				 "others may use the runtime directory %s (mode %04o); run: chmod 700 %s",
				 path, (unsigned int)(st->st_mode & 07777), path);
	return 0;
}

/* where others can make names, a link of theirs would lead into a directory of ours that is for something else */
static int judge_link(const char *path, const struct stat *st, uid_t uid, struct error *err)
{
	if (st->st_uid == uid || st->st_uid == 0)
		return 0;
	return error_set(
		err, EACCES,
		"the runtime directory %s is a link that belongs to uid %u; set WARM_RUNTIME_DIR to a "
		"directory of your own",
		path, (unsigned int)st->st_uid);
}

/* what is there now: for who connects, and looks at whom it has reached then. See runtime_dir_open() */
static int look(struct runtime_dir *dir, uid_t uid, struct error *err)
{
	struct stat st;
	int r = lstat(dir->path, &st) < 0 ? -errno : 0;

	dir->exists = 0;
	if (r == 0 && S_ISLNK(st.st_mode)) {
		r = judge_link(dir->path, &st, uid, err);
		if (r < 0)
			return r;
		r = stat(dir->path, &st) < 0 ? -errno : 0;
	}
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return error_errno(err, r, "cannot look at the runtime directory %s", dir->path);
	r = judge(dir->path, &st, uid, err);
	dir->exists = r == 0;
	return r;
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
		/* behind a slash, a link would be followed: path_resolution(7) */
		for (size_t n = strlen(ret->path); n > 1 && ret->path[n - 1] == '/'; n--)
			ret->path[n - 1] = '\0';
		return look(ret, uid, err);
	}
	if (xdg_dir(ret, uid))
		return look(ret, uid, err);
	default_dir(ret->path, uid);
	return look(ret, uid, err);
}

int runtime_dir_path(const struct runtime_dir *dir, const char *name, char *ret, size_t size)
{
	size_t len = strlen(dir->path);

	if (len + 1 >= size)
		return -ENAMETOOLONG;
	memcpy(ret, dir->path, len);
	return join(ret + len, size - len, "/", name);
}

/* Return: the directory that a link of the user's or root's leads to, or a negative errno with *err set */
static int open_link(const char *path, struct error *err)
{
	_cleanup_close_ int link = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	char target[RUNTIME_DIR_MAX + PATH_MAX];
	size_t at = 0;
	struct stat st;
	ssize_t n;
	int r;

	if (link < 0 || fstat(link, &st) < 0)
		return error_errno(err, errno, "cannot open the runtime directory %s", path);
	if (!S_ISLNK(st.st_mode))
		return error_set(err, ENOTDIR, "the runtime directory %s is not a directory; remove it",
				 path);
	r = judge_link(path, &st, geteuid(), err);
	if (r < 0)
		return r;
	/* of the very link that was looked at: an empty name (readlinkat(2), Linux 2.6.39) */
	n = readlinkat(link, "", target + RUNTIME_DIR_MAX, PATH_MAX - 1);
	if (n <= 0)
		return error_errno(err, n ? errno : ENOENT, "cannot read the link %s", path);
	target[RUNTIME_DIR_MAX + n] = '\0';
	/* a relative one begins where the link is */
	if (target[RUNTIME_DIR_MAX] != '/')
		at = (size_t)(strrchr(path, '/') + 1 - path);
	memmove(target + at, target + RUNTIME_DIR_MAX, (size_t)n + 1);
	memcpy(target, path, at);
	r = open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return r < 0 ? error_errno(err, errno, "cannot open the runtime directory %s", path) : r;
}

int runtime_dir_open(const struct runtime_dir *dir, int make, struct error *err)
{
	_cleanup_close_ int fd = -EBADF;
	struct stat st;
	int r;

	/* the umask can only take bits away that are not asked for. Whoever made it meanwhile: it is judged below */
	if (make && mkdir(dir->path, 0700) < 0 && errno != EEXIST)
		return error_errno(err, errno, "cannot make the runtime directory %s", dir->path);
	fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	/* open(2): ELOOP for a link, ENOTDIR if a directory is asked for too */
	if (fd < 0 && (errno == ELOOP || errno == ENOTDIR))
		fd = open_link(dir->path, err);
	else if (fd < 0)
		return error_errno(err, errno, "cannot open the runtime directory %s", dir->path);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return error_errno(err, errno, "cannot look at the runtime directory %s", dir->path);
	r = judge(dir->path, &st, geteuid(), err);
	return r < 0 ? r : TAKE_FD(fd);
}

int runtime_dir_file(int dir, const char *name, int flags, struct error *err)
{
	/* O_NONBLOCK: a FIFO that somebody put there must not stop us */
	_cleanup_close_ int fd = openat(
		dir, name, flags | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);
	struct stat st;

	if (fd < 0)
		return error_errno(err, errno, "opening %s in the runtime directory", name);
	if (fstat(fd, &st) < 0)
		return error_errno(err, errno, "looking at %s in the runtime directory", name);
	/* made when the directory was open to others: what is written would be theirs, or go elsewhere too */
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_nlink != 1)
		return error_set(
			err, EACCES,
			"%s in the runtime directory is not a file of this user's with one name; remove it",
			name);
	if ((st.st_mode & 077) && fchmod(fd, 0600) < 0)
		return error_errno(err, errno, "closing %s in the runtime directory to others", name);
	return TAKE_FD(fd);
}
