/* SPDX-License-Identifier: MIT */
/* tool_json.c - protobuf to JSON. The keys are the field names of control.proto. */
#include "launcher/tool.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/fd.h"

/* Return: bytes of the UTF-8 sequence at @p, 0 if there is none (RFC 3629: no overlong ones, no surrogates) */
static size_t utf8_length(const unsigned char *p)
{
	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		return (p[1] & 0xc0) == 0x80 ? 2 : 0;
	if (p[0] >= 0xe0 && p[0] <= 0xef) {
		if ((p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80 || (p[0] == 0xe0 && p[1] < 0xa0) ||
		    (p[0] == 0xed && p[1] > 0x9f))
			return 0;
		return 3;
	}
	if (p[0] >= 0xf0 && p[0] <= 0xf4) {
		if ((p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80 || (p[3] & 0xc0) != 0x80 ||
		    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
			return 0;
		return 4;
	}
	return 0;
}

static cJSON *text_item(const char *text)
{
	static const char replacement[] = "\xef\xbf\xbd";
	_cleanup_free_ char *clean = malloc(strlen(text) * 3 + 1);
	char *at = clean;

	if (!clean)
		return NULL;
	while (*text) {
		size_t n = utf8_length((const unsigned char *)text);

		if (n == 0) {
			memcpy(at, replacement, 3);
			at += 3;
			text++;
		} else {
			memcpy(at, text, n);
			at += n;
			text += n;
		}
	}
	*at = '\0';
	return cJSON_CreateString(clean);
}

void tool_json_text(cJSON *object, const char *key, const char *text)
{
	cJSON_AddItemToObject(object, key, text_item(text));
}

void tool_json_number(cJSON *object, const char *key, uint64_t number)
{
	char text[TOOL_TEXT_MAX];

	cJSON_AddRawToObject(object, key, tool_number(number, text));
}

void tool_json_list(cJSON *object, const char *key, size_t n, char *const *texts)
{
	cJSON *array = cJSON_AddArrayToObject(object, key);

	for (size_t i = 0; i < n; i++)
		cJSON_AddItemToArray(array, text_item(texts[i]));
}

static cJSON *add_object(cJSON *array)
{
	cJSON *object = cJSON_CreateObject();

	cJSON_AddItemToArray(array, object);
	return object;
}

static void add_details(cJSON *json, const Warm__Template *t)
{
	cJSON *dependencies = cJSON_AddArrayToObject(json, "dependencies");
	cJSON *descriptors = cJSON_AddArrayToObject(json, "descriptors");
	cJSON *memory = cJSON_AddArrayToObject(json, "memory");

	for (size_t i = 0; i < t->n_dependencies; i++) {
		cJSON *o = add_object(dependencies);

		tool_json_text(o, "path", t->dependencies[i]->path);
		tool_json_text(o, "kind", t->dependencies[i]->kind);
	}
	for (size_t i = 0; i < t->n_descriptors; i++) {
		cJSON *o = add_object(descriptors);

		cJSON_AddNumberToObject(o, "fd", t->descriptors[i]->fd);
		tool_json_text(o, "kind", t->descriptors[i]->kind);
		tool_json_text(o, "target", t->descriptors[i]->target);
		tool_json_number(o, "flags", t->descriptors[i]->flags);
		tool_json_number(o, "offset", t->descriptors[i]->offset);
	}
	for (size_t i = 0; i < t->n_memory; i++) {
		cJSON *o = add_object(memory);

		tool_json_number(o, "start", t->memory[i]->start);
		tool_json_number(o, "end", t->memory[i]->end);
		tool_json_text(o, "prot", t->memory[i]->prot);
		tool_json_text(o, "source", t->memory[i]->source);
		tool_json_number(o, "stored_bytes", t->memory[i]->stored_bytes);
	}
}

cJSON *tool_json_template(const Warm__Template *t, bool details)
{
	cJSON *json = cJSON_CreateObject();

	tool_json_number(json, "id", t->id);
	tool_json_text(json, "name", t->name);
	tool_json_list(json, "argv", t->n_argv, t->argv);
	tool_json_text(json, "cwd", t->cwd);
	tool_json_text(json, "ready", t->ready);
	tool_json_text(json, "state", t->state);
	tool_json_text(json, "reason", t->reason);
	tool_json_number(json, "created_ns", t->created_ns);
	tool_json_number(json, "last_used_ns", t->last_used_ns);
	tool_json_number(json, "launches", t->launches);
	tool_json_number(json, "sealed_bytes", t->sealed_bytes);
	tool_json_number(json, "mappings", t->mappings);
	tool_json_number(json, "threads", t->threads);
	tool_json_number(json, "files", t->files);
	tool_json_number(json, "build_ns", t->build_ns);
	tool_json_number(json, "generation", t->generation);
	tool_json_list(json, "keys", t->n_keys, t->keys);
	if (details)
		add_details(json, t);
	return json;
}

cJSON *tool_json_stats(const Warm__Stats *s)
{
	cJSON *json = cJSON_CreateObject(), *launches, *latencies;

	tool_json_number(json, "uptime_ns", s->uptime_ns);
	launches = cJSON_AddObjectToObject(json, "launches");
	for (size_t i = 0; i < s->n_launches; i++)
		tool_json_number(launches, s->launches[i]->name, s->launches[i]->count);
	tool_json_number(json, "builds_ok", s->builds_ok);
	tool_json_number(json, "builds_refused", s->builds_refused);
	tool_json_number(json, "builds_failed", s->builds_failed);
	tool_json_number(json, "templates", s->templates);
	tool_json_number(json, "sealed_bytes", s->sealed_bytes);
	tool_json_number(json, "budget_bytes", s->budget_bytes);
	tool_json_number(json, "dropped_stale", s->dropped_stale);
	tool_json_number(json, "dropped_budget", s->dropped_budget);
	tool_json_number(json, "dropped_age", s->dropped_age);
	tool_json_number(json, "watches", s->watches);
	tool_json_number(json, "connections", s->connections);
	tool_json_number(json, "bad_messages", s->bad_messages);
	latencies = cJSON_AddArrayToObject(json, "latencies");
	for (size_t i = 0; i < s->n_latencies; i++) {
		cJSON *o = add_object(latencies);

		tool_json_text(o, "phase", s->latencies[i]->phase);
		tool_json_number(o, "count", s->latencies[i]->count);
		tool_json_number(o, "p50_ns", s->latencies[i]->p50_ns);
		tool_json_number(o, "p90_ns", s->latencies[i]->p90_ns);
		tool_json_number(o, "p99_ns", s->latencies[i]->p99_ns);
		tool_json_number(o, "max_ns", s->latencies[i]->max_ns);
	}
	return json;
}

int tool_json_print(cJSON *json)
{
	_cleanup_free_ char *text = cJSON_Print(json);

	cJSON_Delete(json);
	if (!text) {
		fputs("warm: out of memory\n", stderr);
		return TOOL_FAILED;
	}
	puts(text);
	return tool_finish();
}
