/* SPDX-License-Identifier: MIT */
#include "warmd/config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "pty/pty.h"
#include "warmd/config/config_internal.h"

#define FILE_MAX (1024 * 1024)

uint64_t config_memory_total(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

	return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 1ULL << 30;
}

/* the file's text, or *ret_text NULL when there is none */
static int config_read(const char *file, char **ret_text, size_t *ret_len, struct error *err)
{
	/* not to hang on a FIFO */
	_cleanup_close_ int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	int r;

	*ret_text = NULL;
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (fd < 0)
		return error_errno(err, errno, "%s", file);
	if (fstat(fd, &st) < 0)
		return error_errno(err, errno, "%s", file);
	if (!S_ISREG(st.st_mode))
		return error_set(err, EINVAL, "%s: not a regular file", file);
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return error_set(err, EPERM, "%s: belongs to another user (uid %u)", file, st.st_uid);
	if (st.st_mode & S_IWOTH)
		return error_set(err, EPERM, "%s: can be written by everybody (chmod o-w)", file);
	if (st.st_size > FILE_MAX)
		return error_set(err, EFBIG, "%s: larger than 1 MiB", file);
	r = read_fd(fd, ret_text, ret_len);
	return r < 0 ? error_errno(err, r, "%s", file) : 0;
}

static int default_path(char *buf, size_t size, struct error *err)
{
	const char *dir = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	struct passwd *pw;
	int len;

	if (dir && dir[0] == '/') { /* the specification: relative ones are ignored */
		len = snprintf(buf, size, "%s/warm/config.json", dir);
	} else {
		if (!home || home[0] != '/') {
			pw = getpwuid(geteuid());
			home = pw ? pw->pw_dir : "/";
		}
		len = snprintf(buf, size, "%s/.config/warm/config.json", home);
	}
	if (len < 0 || (size_t)len >= size)
		return error_set(err, ENAMETOOLONG, "the path of config.json is too long");
	return 0;
}

void config_defaults(struct config *ret)
{
	*ret = (struct config){
		.memory_budget = config_memory_total() / 4,
		.max_age_ns = 7 * 24 * 3600 * NS_PER_S,
		.build_timeout_ns = 60 * NS_PER_S,
		.templates_max = 64,
		.pool_size = 4,
		.pool_idle_ns = 300 * NS_PER_S,
		.memory_reserve = 8,
		.join_text = true,
		.keep = true,
		.keep_above_ns = NS_PER_S / 10,
		.keep_budget = 4ULL << 30,
		.scrollback = PTY_RING_BYTES,
		.log_level = LOG_LEVEL_INFO,
	};
}

int config_load(struct config *ret, const char *path, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	char file[PATH_MAX];
	struct config cfg;
	size_t len;
	int r;

	if (!path) {
		r = default_path(file, sizeof(file), err);
		if (r < 0)
			return r;
		path = file;
	}
	config_defaults(&cfg);
	r = config_read(path, &text, &len, err);
	if (r < 0)
		return r;
	if (text) {
		r = config_parse(&cfg, path, text, len, err);
		if (r < 0) {
			config_done(&cfg);
			return r;
		}
	}
	*ret = cfg;
	return 0;
}

static void list_done(struct config_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i]);
	free(list->items);
	*list = (struct config_list){ 0 };
}

void config_done(struct config *cfg)
{
	list_done(&cfg->ignore_paths);
	list_done(&cfg->ignore_variables);
	list_done(&cfg->disable);
	list_done(&cfg->keep_never);
}
