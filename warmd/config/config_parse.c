/* SPDX-License-Identifier: MIT */
/* config_parse.c - from the text of config.json to the settings: one function a key, and words that name the line */
#include "warmd/config/config_internal.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "pty/ring.h"
#include "warmd/config/config_text.h"

#define AGE_MAX_NS (100ULL * 366 * 24 * 3600 * NS_PER_S) /* a century, so that no sum overflows */

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
		{ "G", 1ULL << 30 }, { "T", 1ULL << 40 }, { "%", config_memory_total() / 100 },
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
		{ "", NS_PER_S },
		{ "ms", NS_PER_S / 1000 },
		{ "s", NS_PER_S },
		{ "m", 60 * NS_PER_S },
		{ "min", 60 * NS_PER_S },
		{ "h", 3600 * NS_PER_S },
		{ "d", 24 * 3600 * NS_PER_S },
		{ "w", 7 * 24 * 3600 * NS_PER_S },
	};
	const char *s = cJSON_GetStringValue(v->json);
	uint64_t ns;

	if (cJSON_IsNumber(v->json) && v->json->valuedouble >= 0 &&
	    v->json->valuedouble <= (double)(AGE_MAX_NS / NS_PER_S))
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

int config_parse(struct config *cfg, const char *file, const char *text, size_t len, struct error *err)
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
