/* SPDX-License-Identifier: MIT */
/* keep_folder.c - the folder of kept templates: whose it is, what is in it, what has to go */
#include "warmd/keep/keep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/array.h"
#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "warmd/keep/keep_internal.h"

#define ID_DIGITS (KEEP_ID_SIZE - 1)
#define BLOCK	  512 /* st_blocks: stat(3type) */

int keep_folder_path(char ret[PATH_MAX], struct error *err)
{
	const char *own = getenv("WARM_CACHE_DIR"), *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	int n;

	if (own && own[0] == '/')
		n = snprintf(ret, PATH_MAX, "%s", own);
	else if (own && own[0])
		return error_set(err, EINVAL, "WARM_CACHE_DIR must be an absolute path, not '%s'", own);
	else if (cache && cache[0] == '/') /* the specification: relative ones are ignored */
		n = snprintf(ret, PATH_MAX, "%s/warm", cache);
	else if (home && home[0] == '/')
		n = snprintf(ret, PATH_MAX, "%s/.cache/warm", home);
	else
		return error_set(err, ENOENT, "neither XDG_CACHE_HOME nor HOME is set");
	if (n >= PATH_MAX)
		return error_set(err, ENAMETOOLONG, "the path of the cache is too long");
	while (n > 1 && ret[n - 1] == '/')
		ret[--n] = '\0';
	return 0;
}

/* as `mkdir -p`; whoever makes one meanwhile is right too */
static int make_folders(const char *path)
{
	char part[PATH_MAX];

	for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
		if (mkdir(part, 0700) < 0 && errno != EEXIST)
			return -errno;
	}
	return mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

int keep_folder_open(const char *path, bool make, struct error *err)
{
	_cleanup_close_ int fd = -EBADF;
	struct stat st;
	int r = make ? make_folders(path) : 0;

	if (r < 0)
		return error_errno(err, r, "making %s", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOTDIR && lstat(path, &st) == 0 && S_ISLNK(st.st_mode))
		return error_set(err, ELOOP, "%s is a symbolic link", path);
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(err, errno, "opening %s", path);
	if (st.st_uid != geteuid())
		return error_set(err, EACCES, "%s belongs to uid %u, not to uid %u", path, st.st_uid,
				 geteuid());
	if (st.st_mode & 022)
		return error_set(err, EACCES, "others may write to %s (mode %04o); run: chmod 700 %s", path,
				 st.st_mode & 07777, path);
	if ((st.st_mode & 077) && fchmod(fd, 0700) < 0)
		return error_errno(err, errno, "closing %s to others", path);
	return TAKE_FD(fd);
}

int keep_folder_lock(int folder)
{
	/* an open file description of its own: flock(2) is of that, and @folder's may be shared with other processes */
	_cleanup_close_ int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	while (flock(fd, LOCK_EX) < 0)
		if (errno != EINTR)
			return -errno;
	return TAKE_FD(fd);
}

int keep_folder_new_id(char ret[KEEP_ID_SIZE])
{
	uint64_t n;

	if (getrandom(&n, sizeof(n), 0) != sizeof(n))
		return -errno;
	snprintf(ret, KEEP_ID_SIZE, "%016llx", (unsigned long long)n);
	return 0;
}

static bool is_id(const char *name)
{
	return strspn(name, "0123456789abcdef") == ID_DIGITS && name[ID_DIGITS] == '\0';
}

/* "ID.kept". Return: false: it is no entry */
static bool id_of_entry(const char *name, char ret[KEEP_ID_SIZE])
{
	snprintf(ret, KEEP_ID_SIZE, "%s", name);
	return is_id(ret) && strcmp(name + ID_DIGITS, KEEP_ENTRY_SUFFIX) == 0;
}

static uint64_t image_bytes(int folder, const char *id)
{
	_cleanup_close_ int fd = openat(folder, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fd_names(fd);
	const struct dirent *e;
	uint64_t bytes = 0;
	struct stat st;

	while (dir && (e = readdir(dir)))
		if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
			bytes += (uint64_t)st.st_blocks * BLOCK;
	if (dir)
		closedir(dir);
	return bytes;
}

int keep_folder_list(int folder, struct keep_listed **ret)
{
	struct keep_listed *list = NULL, *added;
	size_t n = 0;
	DIR *dir = fd_names(folder);
	const struct dirent *e;
	char id[KEEP_ID_SIZE];
	struct stat st;

	if (!dir)
		return -errno;
	while ((e = readdir(dir))) {
		if (!id_of_entry(e->d_name, id) || fstatat(folder, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISREG(st.st_mode))
			continue;
		added = array_append(&list, &n, sizeof(*added));
		if (!added) {
			free(list);
			closedir(dir);
			return -ENOMEM;
		}
		added->used_ns = timespec_ns(&st.st_mtim);
		added->bytes = (uint64_t)st.st_blocks * BLOCK + image_bytes(folder, id);
		memcpy(added->id, id, sizeof(id));
	}
	closedir(dir);
	*ret = list;
	return (int)n;
}

static int by_age(const void *a, const void *b)
{
	const struct keep_listed *x = a, *y = b;

	return x->used_ns < y->used_ns ? -1 : x->used_ns > y->used_ns;
}

int keep_folder_make_room(int folder, uint64_t bytes, uint64_t budget, const char *keep)
{
	_cleanup_free_ struct keep_listed *list = NULL;
	int n, gone = 0;
	uint64_t total = bytes;

	if (bytes > budget)
		return -ENOSPC;
	n = keep_folder_list(folder, &list);
	if (n < 0)
		return n;
	if (n)
		qsort(list, (size_t)n, sizeof(*list), by_age);
	for (int i = 0; i < n; i++)
		total += list[i].bytes;
	for (int i = 0; i < n && total > budget; i++) {
		if (keep && strcmp(list[i].id, keep) == 0)
			continue;
		keep_folder_remove(folder, list[i].id);
		total -= list[i].bytes;
		gone++;
	}
	return gone;
}

void keep_folder_remove(int folder, const char *id)
{
	char entry[KEEP_ENTRY_NAME_SIZE];

	/* the entry first: what has none is nothing */
	unlinkat(folder, keep_entry_name(id, entry), 0);
	keep_image_remove(folder, id);
}

void keep_folder_sweep(int folder)
{
	char entry[KEEP_ENTRY_NAME_SIZE], id[KEEP_ID_SIZE];
	DIR *dir = fd_names(folder);
	const struct dirent *e;
	struct stat st;

	while (dir && (e = readdir(dir))) {
		if (strncmp(e->d_name, KEEP_ENTRY_TEMPORARY, strlen(KEEP_ENTRY_TEMPORARY)) == 0)
			unlinkat(folder, e->d_name, 0);
		else if (is_id(e->d_name) &&
			 fstatat(folder, keep_entry_name(e->d_name, entry), &st, AT_SYMLINK_NOFOLLOW) < 0)
			keep_image_remove(folder, e->d_name);
		else if (id_of_entry(e->d_name, id) && fstatat(folder, id, &st, AT_SYMLINK_NOFOLLOW) < 0)
			unlinkat(folder, e->d_name, 0);
	}
	if (dir)
		closedir(dir);
}

void keep_folder_used(int folder, const char *id, uint64_t ns)
{
	struct timespec times[2];
	char entry[KEEP_ENTRY_NAME_SIZE];

	times[0] = times[1] = (struct timespec){ (time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S) };
	utimensat(folder, keep_entry_name(id, entry), times, AT_SYMLINK_NOFOLLOW);
}
