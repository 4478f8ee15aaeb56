/* SPDX-License-Identifier: MIT */
#include "warmd/config/config.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "pty/pty.h"
#include "pty/ring.h"
#include "warmd/config/config_text.h"

#define SECOND_NS  1000000000ULL
#define FILE_MAX   (1024 * 1024)
#define AGE_MAX_NS (100ULL * 366 * 24 * 3600 * SECOND_NS) /* a century, so that no sum overflows */

/* what a terminal, a session or a supervisor sets anew each time; TERM and the locale are not among it, programs act on those */
static const char *const volatile_variables[] = {
	"PWD",
	"OLDPWD",
	"SHLVL",
	"_",
	"COLUMNS",
	"LINES",
	"WARM_*",
	/* terminals and multiplexers */
	"TERM_SESSION_ID",
	"TERM_PROGRAM",
	"TERM_PROGRAM_VERSION",
	"WINDOWID",
	"WINDOW",
	"STY",
	"TMUX",
	"TMUX_PANE",
	"GPG_TTY",
	"VTE_VERSION",
	"ITERM_SESSION_ID",
	"KITTY_PID",
	"KITTY_WINDOW_ID",
	"KITTY_LISTEN_ON",
	"ALACRITTY_*",
	"WEZTERM_PANE",
	"WEZTERM_UNIX_SOCKET",
	"KONSOLE_DBUS_*",
	"GNOME_TERMINAL_*",
	"TILIX_ID",
	"WT_SESSION",
	"ZELLIJ_*",
	"VSCODE_*",
	"STARSHIP_SESSION_KEY",
	/* sessions */
	"SSH_*",
	"XDG_SESSION_*",
	"XDG_VTNR",
	"XDG_SEAT",
	"XDG_SEAT_PATH",
	"DBUS_SESSION_BUS_ADDRESS",
	"SESSION_MANAGER",
	"DESKTOP_STARTUP_ID",
	"XDG_ACTIVATION_TOKEN",
	/* service managers and test runners */
	"INVOCATION_ID",
	"JOURNAL_STREAM",
	"SYSTEMD_*",
	"MANAGERPID",
	"NOTIFY_SOCKET",
	"LISTEN_PID",
	"LISTEN_FDS",
	"LISTEN_FDNAMES",
	"WATCHDOG_PID",
	"WATCHDOG_USEC",
	"MAKELEVEL",
	"PYTEST_CURRENT_TEST",
};

/* a value under way into the configuration: what is needed to say where it is wrong */
struct value {
	struct config *cfg;
	const char *file, *text;
	const char *at; /* of the value, in the text */
	const char *key;
	const cJSON *json;
	struct error *err;
};

__attribute__((format(printf, 2, 3))) static int bad_value(const struct value *v, const char *fmt, ...)
{
	char words[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(words, sizeof(words), fmt, ap);
	va_end(ap);
	return error_set(v->err, EINVAL, "%s:%u: \"%s\" %s", v->file, text_line(v->text, v->at), v->key,
			 words);
}

static uint64_t memory_total(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

	return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 1ULL << 30;
}

struct unit {
	const char *name;
	uint64_t factor;
};

/* digits and one of @units. Return: false if it is something else, or too much */
static bool parse_quantity(const char *s, const struct unit *units, size_t nunits, uint64_t max,
			   uint64_t *ret)
{
	unsigned long long n;
	char *end;

	if (s[0] < '0' || s[0] > '9')
		return false;
	errno = 0;
	n = strtoull(s, &end, 10);
	if (errno)
		return false;
	for (size_t i = 0; i < nunits; i++) {
		if (strcmp(end, units[i].name) != 0)
			continue;
		if (n > max / units[i].factor)
			return false;
		*ret = n * units[i].factor;
		return true;
	}
	return false;
}

/* Return: false: neither a number of bytes nor one with a unit; "%" is the last of @units, where it is one */
static bool parse_bytes(const cJSON *json, const struct unit *units, size_t nunits, uint64_t *ret)
{
	const char *s = cJSON_GetStringValue(json);

	if (cJSON_IsNumber(json) && json->valuedouble >= 0 && json->valuedouble < 9e18) {
		*ret = (uint64_t)json->valuedouble;
		return true;
	}
	return s && parse_quantity(s, units, nunits, INT64_MAX, ret) &&
	       (s[strlen(s) - 1] != '%' || strtoul(s, NULL, 10) <= 100);
}

static int take_budget(const struct value *v)
{
	const struct unit units[] = {
		{ "", 1 },	     { "K", 1ULL << 10 }, { "M", 1ULL << 20 },
		{ "G", 1ULL << 30 }, { "T", 1ULL << 40 }, { "%", memory_total() / 100 },
	};

	if (!parse_bytes(v->json, units, ARRAY_SIZE(units), &v->cfg->memory_budget))
		return bad_value(v, "takes a number of bytes, \"512M\", \"2G\" or \"25%%\" of all memory");
	return 0;
}

static int take_keep_budget(const struct value *v)
{
	const struct unit units[] = {
		{ "", 1 }, { "K", 1ULL << 10 }, { "M", 1ULL << 20 }, { "G", 1ULL << 30 }, { "T", 1ULL << 40 }
	};

	if (!parse_bytes(v->json, units, ARRAY_SIZE(units), &v->cfg->keep_budget))
		return bad_value(v, "takes a number of bytes, \"512M\" or \"2G\"");
	return 0;
}

static int take_duration(const struct value *v, bool may_be_zero, uint64_t *ret_ns)
{
	static const struct unit units[] = {
		{ "", SECOND_NS },
		{ "ms", SECOND_NS / 1000 },
		{ "s", SECOND_NS },
		{ "m", 60 * SECOND_NS },
		{ "min", 60 * SECOND_NS },
		{ "h", 3600 * SECOND_NS },
		{ "d", 24 * 3600 * SECOND_NS },
		{ "w", 7 * 24 * 3600 * SECOND_NS },
	};
	const char *s = cJSON_GetStringValue(v->json);
	uint64_t ns;

	if (cJSON_IsNumber(v->json) && v->json->valuedouble >= 0 &&
	    v->json->valuedouble <= (double)(AGE_MAX_NS / SECOND_NS))
		ns = (uint64_t)(v->json->valuedouble * 1e9);
	else if (!s || !parse_quantity(s, units, ARRAY_SIZE(units), AGE_MAX_NS, &ns))
		return bad_value(v, "takes seconds, or a time such as \"90s\", \"12h\" or \"7d\"");
	if (ns == 0 && !may_be_zero)
		return bad_value(v, "must be more than 0");
	*ret_ns = ns;
	return 0;
}

static int take_max_age(const struct value *v)
{
	return take_duration(v, true, &v->cfg->max_age_ns);
}

static int take_build_timeout(const struct value *v)
{
	return take_duration(v, false, &v->cfg->build_timeout_ns);
}

static int take_idle_exit(const struct value *v)
{
	return take_duration(v, true, &v->cfg->idle_exit_ns);
}

static int take_templates_max(const struct value *v)
{
	double n = v->json->valuedouble;

	if (!cJSON_IsNumber(v->json) || n < 1 || n > 100000 || n != (unsigned int)n)
		return bad_value(v, "takes a whole number from 1 to 100000");
	v->cfg->templates_max = (unsigned int)n;
	return 0;
}

static int take_pool_size(const struct value *v)
{
	double n = v->json->valuedouble;

	if (!cJSON_IsNumber(v->json) || n < 0 || n > 10000 || n != (unsigned int)n)
		return bad_value(v, "takes a whole number from 0 to 10000");
	v->cfg->pool_size = (unsigned int)n;
	return 0;
}

static int take_pool_idle(const struct value *v)
{
	return take_duration(v, true, &v->cfg->pool_idle_ns);
}

static int take_memory_reserve(const struct value *v)
{
	double n = v->json->valuedouble;

	if (!cJSON_IsNumber(v->json) || n < 0 || n > 100 || n != (unsigned int)n)
		return bad_value(v, "takes a whole number from 0 to 100: percent of all memory");
	v->cfg->memory_reserve = (unsigned int)n;
	return 0;
}

static int take_scrollback(const struct value *v)
{
	const struct unit units[] = {
		{ "", 1 }, { "K", 1ULL << 10 }, { "M", 1ULL << 20 }, { "G", 1ULL << 30 }
	};
	const char *s = cJSON_GetStringValue(v->json);
	double n = v->json->valuedouble;
	uint64_t bytes = 0;

	if (cJSON_IsNumber(v->json) && n >= 0 && n <= RING_MAX_BYTES)
		bytes = (uint64_t)n;
	else if (!s || !parse_quantity(s, units, ARRAY_SIZE(units), RING_MAX_BYTES, &bytes))
		bytes = 0;
	if (bytes < RING_MIN_BYTES)
		return bad_value(v, "takes bytes, or a string with a unit (\"1M\"), from 64K to 1G");
	v->cfg->scrollback = (size_t)bytes;
	return 0;
}

static int take_keep(const struct value *v)
{
	if (!cJSON_IsBool(v->json))
		return bad_value(v, "takes true or false");
	v->cfg->keep = cJSON_IsTrue(v->json);
	return 0;
}

static int take_keep_above(const struct value *v)
{
	return take_duration(v, true, &v->cfg->keep_above_ns);
}

static int take_join_text(const struct value *v)
{
	if (!cJSON_IsBool(v->json))
		return bad_value(v, "takes true or false");
	v->cfg->join_text = cJSON_IsTrue(v->json);
	return 0;
}

static int take_hugetlb(const struct value *v)
{
	if (!cJSON_IsBool(v->json))
		return bad_value(v, "takes true or false");
	v->cfg->hugetlb = cJSON_IsTrue(v->json);
	return 0;
}

static int take_log_level(const struct value *v)
{
	const char *s = cJSON_GetStringValue(v->json);

	if (!s || log_level_parse(s, &v->cfg->log_level) < 0)
		return bad_value(v, "takes \"error\", \"warning\", \"info\" or \"debug\"");
	return 0;
}

static const char *fault_of_path(const char *s)
{
	return s[0] == '/' ? NULL : "is not an absolute path";
}

static const char *fault_of_variable(const char *s)
{
	size_t len = strcspn(s, "*=");

	if (s[0] == '\0' || strcmp(s, "*") == 0 || s[len] == '=' || (s[len] == '*' && s[len + 1]))
		return "is neither NAME nor PREFIX*";
	return NULL;
}

static const char *fault_of_command(const char *s)
{
	return s[0] ? NULL : "is empty";
}

/* an array of strings; a slash at the end of a path means no more than the path */
static int take_list(const struct value *v, struct config_list *list, const char *(*fault_of)(const char *))
{
	struct text_scan scan = text_enter(v->text, v->at);
	struct value element = *v;
	const cJSON *json;

	if (!cJSON_IsArray(v->json))
		return bad_value(v, "takes a list of strings");
	list->items = calloc((size_t)cJSON_GetArraySize(v->json) + 1, sizeof(*list->items));
	if (!list->items)
		return error_set(v->err, ENOMEM, "out of memory");
	cJSON_ArrayForEach(json, v->json)
	{
		const char *fault, *s = cJSON_GetStringValue(json);
		size_t len;

		text_element(&scan, &element.at);
		if (!s)
			return bad_value(&element, "takes a list of strings");
		fault = fault_of(s);
		if (fault)
			return bad_value(&element, "has \"%s\", which %s", s, fault);
		len = strlen(s);
		while (len > 1 && s[len - 1] == '/')
			len--;
		list->items[list->count] = strndup(s, len);
		if (!list->items[list->count])
			return error_set(v->err, ENOMEM, "out of memory");
		list->count++;
	}
	return 0;
}

static int take_ignore_paths(const struct value *v)
{
	return take_list(v, &v->cfg->ignore_paths, fault_of_path);
}

static int take_ignore_variables(const struct value *v)
{
	return take_list(v, &v->cfg->ignore_variables, fault_of_variable);
}

static int take_disable(const struct value *v)
{
	return take_list(v, &v->cfg->disable, fault_of_command);
}

static int take_keep_never(const struct value *v)
{
	return take_list(v, &v->cfg->keep_never, fault_of_command);
}

static const struct key {
	const char *name;
	int (*take)(const struct value *v);
} keys[] = {
	{ "memory_budget", take_budget },
	{ "max_age", take_max_age },
	{ "ignore_paths", take_ignore_paths },
	{ "ignore_variables", take_ignore_variables },
	{ "log_level", take_log_level },
	{ "build_timeout", take_build_timeout },
	{ "idle_exit", take_idle_exit },
	{ "templates_max", take_templates_max },
	{ "disable", take_disable },
	{ "join_text", take_join_text },
	{ "hugetlb", take_hugetlb },
	{ "pool_size", take_pool_size },
	{ "pool_idle", take_pool_idle },
	{ "scrollback", take_scrollback },
	{ "memory_reserve", take_memory_reserve },
	{ "keep", take_keep },
	{ "keep_never", take_keep_never },
	{ "keep_above", take_keep_above },
	{ "keep_budget", take_keep_budget },
};

static int unknown_key(const char *file, unsigned int line, const char *name, struct error *err)
{
	unsigned int least = 4; /* further away it is another word, not a slip */
	const char *near = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		unsigned int distance = text_distance(name, keys[i].name);

		if (distance < least) {
			least = distance;
			near = keys[i].name;
		}
	}
	if (near)
		return error_set(err, EINVAL, "%s:%u: unknown key \"%s\" (did you mean \"%s\"?)", file, line,
				 name, near);
	return error_set(err, EINVAL, "%s:%u: unknown key \"%s\"", file, line, name);
}

static int take_members(struct config *cfg, const char *file, const char *text, const cJSON *json,
			struct error *err)
{
	struct text_scan scan = text_enter(text, text);
	bool seen[ARRAY_SIZE(keys)] = { false };
	const cJSON *member;

	cJSON_ArrayForEach(member, json)
	{
		struct value v = { .cfg = cfg,
				   .file = file,
				   .text = text,
				   .key = member->string,
				   .json = member,
				   .err = err };
		const char *key_at = text;
		size_t i = 0;
		int r;

		text_member(&scan, &key_at, &v.at);
		while (i < ARRAY_SIZE(keys) && strcmp(keys[i].name, member->string) != 0)
			i++;
		if (i == ARRAY_SIZE(keys))
			return unknown_key(file, text_line(text, key_at), member->string, err);
		if (seen[i])
			return error_set(err, EINVAL, "%s:%u: \"%s\" stands here a second time", file,
					 text_line(text, key_at), member->string);
		seen[i] = true;
		r = keys[i].take(&v);
		if (r < 0)
			return r;
	}
	return 0;
}

static int config_parse(struct config *cfg, const char *file, const char *text, size_t len, struct error *err)
{
	const char *end = text;
	cJSON *json;
	int r;

	if (strlen(text) != len)
		return error_set(err, EINVAL, "%s:%u: a NUL byte in the text", file,
				 text_line(text, text + strlen(text)));
	json = cJSON_ParseWithLengthOpts(text, len + 1, &end, true);
	if (!json)
		return error_set(err, EINVAL, "%s:%u: not valid JSON at column %u", file,
				 text_line(text, end), text_column(text, end));
	if (cJSON_IsObject(json))
		r = take_members(cfg, file, text, json, err);
	else
		r = error_set(err, EINVAL, "%s:1: the settings must be an object: { ... }", file);
	cJSON_Delete(json);
	return r;
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
		.memory_budget = memory_total() / 4,
		.max_age_ns = 7 * 24 * 3600 * SECOND_NS,
		.build_timeout_ns = 60 * SECOND_NS,
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

/* NAME or PREFIX* */
static bool variable_matches(const char *pattern, const char *name, size_t len)
{
	size_t n = strlen(pattern);

	if (pattern[n - 1] == '*')
		return len >= n - 1 && memcmp(name, pattern, n - 1) == 0;
	return len == n && memcmp(name, pattern, n) == 0;
}

bool config_ignores_listed_variable(const struct config *cfg, const char *name, size_t len)
{
	for (size_t i = 0; i < cfg->ignore_variables.count; i++) {
		if (variable_matches(cfg->ignore_variables.items[i], name, len))
			return true;
	}
	return false;
}

bool config_ignores_variable(const struct config *cfg, const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(volatile_variables); i++) {
		if (variable_matches(volatile_variables[i], name, len))
			return true;
	}
	return config_ignores_listed_variable(cfg, name, len);
}

bool config_ignores_path(const struct config *cfg, const char *path)
{
	for (size_t i = 0; i < cfg->ignore_paths.count; i++) {
		const char *pattern = cfg->ignore_paths.items[i];

		/* LEADING_DIR: what is below a match matches; "/" is the one that ends in a slash */
		if (strcmp(pattern, "/") == 0 || fnmatch(pattern, path, FNM_PATHNAME | FNM_LEADING_DIR) == 0)
			return true;
	}
	return false;
}

/* a glob without a slash is compared with the last component */
static bool names_command(const struct config_list *list, const char *command)
{
	const char *slash = strrchr(command, '/');

	for (size_t i = 0; i < list->count; i++) {
		const char *pattern = list->items[i];
		const char *name = strchr(pattern, '/') || !slash ? command : slash + 1;

		if (fnmatch(pattern, name, 0) == 0)
			return true;
	}
	return false;
}

bool config_disables(const struct config *cfg, const char *command)
{
	return names_command(&cfg->disable, command);
}

bool config_keeps(const struct config *cfg, const char *command)
{
	return cfg->keep && !names_command(&cfg->keep_never, command);
}
