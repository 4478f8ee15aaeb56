/* SPDX-License-Identifier: MIT */
/* memory.c - memory.h */
#include "warmd/pool/memory.h"

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/fd.h"

const struct memory_files memory_of_system = { "/proc/meminfo", "/proc/self/cgroup", "/sys/fs/cgroup" };

/* one version of the memory controller: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst */
struct version {
	const char *line; /* how its line in /proc/PID/cgroup goes on behind the hierarchy's number */
	const char *under[2]; /* of the mounts; the first that has the group */
	const char *limit, *used;
	const char *cache[2]; /* in memory.stat */
};

static const struct version versions[] = {
	{ "::/",
	  { "", "/unified" },
	  "memory.max",
	  "memory.current",
	  { "\ninactive_file ", "\nactive_file " } },
	{ ":memory:/",
	  { "/memory", NULL },
	  "memory.limit_in_bytes",
	  "memory.usage_in_bytes",
	  { "\ntotal_inactive_file ", "\ntotal_active_file " } },
};

/* the number behind @key. Return: false: it is not there */
static bool number_behind(const char *text, const char *key, uint64_t *ret)
{
	const char *at = strstr(text, key);

	if (!at)
		return false;
	*ret = strtoull(at + strlen(key), NULL, 10);
	return true;
}

static char *read_in(const char *dir, const char *name)
{
	char path[PATH_MAX], *text;

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path) ||
	    read_file(path, &text, NULL) < 0)
		return NULL;
	return text;
}

/* Return: false: no such number there, or "max" */
static bool number_in(const char *dir, const char *name, uint64_t *ret)
{
	_cleanup_free_ char *text = read_in(dir, name);
	char *end;

	if (!text)
		return false;
	*ret = strtoull(text, &end, 10);
	return end != text;
}

/* @total: of the machine, bytes: a limit above it is none */
static bool group_is_short(const struct version *v, const char *dir, uint64_t total, unsigned int percent)
{
	uint64_t limit, used, cache = 0, n;
	_cleanup_free_ char *stat = NULL;

	if (!number_in(dir, v->limit, &limit) || limit >= total || !number_in(dir, v->used, &used))
		return false;
	stat = read_in(dir, "memory.stat");
	for (int i = 0; stat && i < 2; i++)
		cache += number_behind(stat, v->cache[i], &n) ? n : 0;
	cache = cache < used ? cache : used;
	used -= cache;
	return used >= limit || limit - used < limit / 100 * percent;
}

/* the group and those above it, up to the mount's own */
static bool groups_are_short(const struct version *v, const char *mount, const char *group, size_t len,
			     uint64_t total, unsigned int percent)
{
	size_t base = strlen(mount);
	char dir[PATH_MAX];

	if (snprintf(dir, sizeof(dir), "%s%.*s", mount, (int)len, group) >= (int)sizeof(dir))
		return false;
	for (;;) {
		char *slash;

		if (group_is_short(v, dir, total, percent))
			return true;
		slash = strrchr(dir, '/');
		if (!slash || (size_t)(slash - dir) < base)
			return false;
		*slash = '\0';
	}
}

static bool limits_are_short(const struct memory_files *f, uint64_t total, unsigned int percent)
{
	_cleanup_free_ char *groups = NULL;

	if (read_file(f->cgroup, &groups, NULL) < 0)
		return false;
	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		const struct version *v = &versions[i];
		const char *at = strstr(groups, v->line);
		char mount[PATH_MAX];

		if (!at)
			continue;
		at += strlen(v->line) - 1; /* the path begins with the slash */
		for (int j = 0; j < 2 && v->under[j]; j++) {
			snprintf(mount, sizeof(mount), "%s%s", f->mounts, v->under[j]);
			if (groups_are_short(v, mount, at, strcspn(at, "\n"), total, percent))
				return true;
		}
	}
	return false;
}

bool memory_is_short(const struct memory_files *f, unsigned int percent)
{
	_cleanup_free_ char *text = NULL;
	uint64_t total, available;

	if (read_file(f->meminfo, &text, NULL) < 0 || !number_behind(text, "MemTotal:", &total) ||
	    !number_behind(text, "MemAvailable:", &available))
		return false;
	return available < total / 100 * percent || limits_are_short(f, total * 1024, percent);
}
