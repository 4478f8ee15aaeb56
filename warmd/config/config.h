/* SPDX-License-Identifier: MIT */
/*
 * config.h - the user's settings: $XDG_CONFIG_HOME/warm/config.json
 * (~/.config/warm/config.json). No file: the defaults. A file that is not
 * understood in full is refused, and the words name the line.
 *
 * key               value                                         default
 * memory_budget     bytes, or "512M", "2G", "25%" of all memory   "25%"
 * max_age           seconds, or "12h", "7d"; 0: none              "7d"
 * ignore_paths      absolute paths or globs, with all below them  []
 * ignore_variables  NAME or PREFIX*, added to the built-in list   []
 * log_level         "error", "warning", "info", "debug"           "info"
 * build_timeout     as max_age, not 0                             "60s"
 * idle_exit         as max_age; 0: never                          0
 * templates_max     how many templates at most                    64
 * join_text         true, false: text and read-only data of a     true
 *                   library in one mapping
 * hugetlb           true, false: large read-only memory in        false
 *                   hugetlb pages, where some are free
 * pool_size         clones that --pool keeps parked; 0: none, so    4
 *                   that launches are forks unless `build --pool`
 * pool_idle         as max_age: without a launch for so long,     "5m"
 *                   parked clones go; 0: never
 * memory_reserve    percent of all memory: when less is available 8
 *                   parked clones go; 0: never, 100: at once
 * scrollback        bytes that are kept of what a clone prints    "256K"
 *                   to a terminal of its own
 * disable           globs of commands that are always cold        []
 * keep              true, false: templates are kept on disk, and  true
 *                   serve after a restart
 * keep_never        globs of commands that are not                []
 * keep_above        as max_age: builds that took less are not     "100ms"
 * keep_budget       bytes, or "512M", "2G" on disk for all        "4G"
 */
#ifndef WARM_WARMD_CONFIG_CONFIG_H
#define WARM_WARMD_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "engine/base/log.h"

struct config_list {
	char **items;
	size_t count;
};

struct config {
	uint64_t memory_budget; /* bytes */
	uint64_t max_age_ns; /* 0: none */
	uint64_t build_timeout_ns;
	uint64_t idle_exit_ns; /* 0: never */
	unsigned int templates_max;
	unsigned int pool_size;
	uint64_t pool_idle_ns; /* 0: parked clones stay */
	unsigned int memory_reserve; /* percent */
	size_t scrollback; /* bytes of a terminal's ring */
	bool join_text;
	bool hugetlb;
	bool keep; /* templates on disk: warmd/keep/keep.h */
	uint64_t keep_above_ns, keep_budget; /* bytes */
	enum log_level log_level;
	struct config_list ignore_paths, ignore_variables, disable, keep_never;
};

/** config_defaults() - what holds when nothing is said */
void config_defaults(struct config *ret);

/**
 * config_load() - read the settings
 * @ret: filled on success only; released by config_done()
 * @path: NULL: the default place. A file that does not exist means the defaults.
 *
 * Return: 0, -EINVAL (bad contents: err says "FILE:LINE: ..."), -EPERM (owned by
 * another user but root, or writable by all), or another negative errno.
 */
int config_load(struct config *ret, const char *path, struct error *err);
void config_done(struct config *cfg);

/**
 * config_ignores_variable() - is the environment variable one that differs from terminal to terminal?
 * @name: @len bytes, without "=value"
 *
 * For programs whose reads of the environment are unknown, so that all variables count. One that the
 * program was seen to read counts, whatever this says, unless the user listed it.
 */
bool config_ignores_variable(const struct config *cfg, const char *name, size_t len);
/** config_ignores_listed_variable() - the same for the user's own list only */
bool config_ignores_listed_variable(const struct config *cfg, const char *name, size_t len);

/** config_ignores_path() - do dependencies on this absolute path not count? */
bool config_ignores_path(const struct config *cfg, const char *path);

/** config_disables() - is the command (as named or resolved) always cold? Globs without a slash match its last component. */
bool config_disables(const struct config *cfg, const char *command);

/** config_keeps() - may a template of the command be kept on disk? Globs as above */
bool config_keeps(const struct config *cfg, const char *command);

#endif
