/* SPDX-License-Identifier: MIT */
/* tool_json.c - protobuf to JSON. The keys are the field names of control.proto. */
#include "launcher/tool.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/fd.h"
#include "engine/base/utf8.h"

static cJSON *text_item(const char *text)
{
	_cleanup_free_ char *clean = malloc(strlen(text) * 3 + 1);
	char *at = clean;

	if (!clean)
		return NULL;
	while (*text) {
		size_t n = utf8_length(text);

		if (n == 0) {
			memcpy(at, UTF8_REPLACEMENT, 3);
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

static void add_pool(cJSON *json, const Warm__Pool *p)
{
	cJSON *o = cJSON_AddObjectToObject(json, "pool");

	tool_json_number(o, "wanted", p->wanted);
	tool_json_number(o, "parked", p->parked);
	tool_json_number(o, "making", p->making);
	tool_json_text(o, "skeleton", p->skeleton);
	tool_json_number(o, "skeleton_pid", p->skeleton_pid);
	tool_json_text(o, "reason", p->reason);
	tool_json_number(o, "hits", p->hits);
	tool_json_number(o, "misses", p->misses);
	tool_json_number(o, "skeletons", p->skeletons);
}

cJSON *tool_json_template(const Warm__Template *t, bool details)
{
	cJSON *json = cJSON_CreateObject();

	tool_json_number(json, "id", t->id);
	tool_json_text(json, "name", t->name);
	tool_json_list(json, "argv", t->n_argv, t->argv);
	tool_json_text(json, "cwd", t->cwd);
	tool_json_text(json, "ready", t->ready);
	tool_json_text(json, "boundary", t->boundary);
	tool_json_text(json, "state", t->state);
	tool_json_text(json, "reason", t->reason);
	tool_json_number(json, "created_ns", t->created_ns);
	tool_json_number(json, "last_used_ns", t->last_used_ns);
	tool_json_number(json, "launches", t->launches);
	tool_json_number(json, "sealed_bytes", t->sealed_bytes);
	tool_json_number(json, "huge_bytes", t->huge_bytes);
	tool_json_text(json, "huge_note", t->huge_note);
	tool_json_number(json, "mappings", t->mappings);
	tool_json_number(json, "threads", t->threads);
	tool_json_number(json, "files", t->files);
	tool_json_number(json, "build_ns", t->build_ns);
	tool_json_number(json, "build_wait_ns", t->build_wait_ns);
	tool_json_number(json, "running", t->running);
	tool_json_number(json, "parked", t->pool ? t->pool->parked : 0);
	if (t->pool)
		add_pool(json, t->pool);
	tool_json_text(json, "kept", t->kept);
	tool_json_list(json, "keys", t->n_keys, t->keys);
	if (details)
		add_details(json, t);
	return json;
}

cJSON *tool_json_clone(const Warm__Clone *c, const struct tool_memory *memory)
{
	cJSON *json = cJSON_CreateObject();

	tool_json_number(json, "pid", c->pid);
	tool_json_text(json, "template", c->template_name);
	tool_json_number(json, "template_id", c->template_id);
	tool_json_text(json, "state", c->state);
	tool_json_text(json, "way", c->way);
	tool_json_number(json, "since_ns", c->since_ns);
	cJSON_AddBoolToObject(json, "detached", c->detached);
	tool_json_number(json, "client_pid", c->client);
	if (memory) {
		tool_json_number(json, "pss_bytes", memory->pss);
		tool_json_number(json, "private_bytes", memory->own);
		tool_json_number(json, "shared_bytes", memory->shared);
		tool_json_number(json, "rss_bytes", memory->rss);
	}
	return json;
}

static void add_counts(cJSON *json, const char *key, size_t n, Warm__Count *const *counts)
{
	cJSON *o = cJSON_AddObjectToObject(json, key);

	for (size_t i = 0; i < n; i++)
		tool_json_number(o, counts[i]->name, counts[i]->count);
}

static void add_memory(cJSON *json, const Warm__Stats *s, const struct tool_memory *memory)
{
	cJSON *array = cJSON_AddArrayToObject(json, "by_template");

	for (size_t i = 0; i < s->n_by_template; i++) {
		const Warm__Template *t = s->by_template[i];
		cJSON *o = add_object(array);

		tool_json_number(o, "id", t->id);
		tool_json_text(o, "name", t->name);
		tool_json_text(o, "state", t->state);
		tool_json_number(o, "launches", t->launches);
		tool_json_number(o, "running", t->running);
		tool_json_number(o, "parked", t->pool ? t->pool->parked : 0);
		if (t->pool)
			add_pool(o, t->pool);
		tool_json_number(o, "sealed_bytes", t->sealed_bytes);
		if (memory) {
			tool_json_number(o, "shared_bytes", memory[i].shared);
			tool_json_number(o, "private_bytes", memory[i].own);
		}
	}
}

static void add_latencies(cJSON *json, const Warm__Stats *s)
{
	cJSON *array = cJSON_AddArrayToObject(json, "latencies");

	for (size_t i = 0; i < s->n_latencies; i++) {
		const Warm__Latency *l = s->latencies[i];
		cJSON *o = add_object(array);

		tool_json_text(o, "way", l->way);
		tool_json_text(o, "phase", l->phase);
		tool_json_number(o, "count", l->count);
		tool_json_number(o, "sum_ns", l->sum_ns);
		tool_json_number(o, "p50_ns", l->p50_ns);
		tool_json_number(o, "p90_ns", l->p90_ns);
		tool_json_number(o, "p99_ns", l->p99_ns);
		tool_json_number(o, "max_ns", l->max_ns);
	}
}

/* templates on disk, loaded or not */
static void add_kept(cJSON *json, const Warm__Stats *s)
{
	cJSON *o = cJSON_AddObjectToObject(json, "kept");

	tool_json_number(o, "count", s->kept);
	tool_json_number(o, "bytes", s->kept_bytes);
	tool_json_number(o, "budget", s->kept_budget);
	tool_json_text(o, "path", s->kept_path);
	tool_json_number(o, "written", s->kept_written);
	tool_json_number(o, "loaded", s->kept_loaded);
	tool_json_number(o, "failed", s->kept_failed);
}

cJSON *tool_json_stats(const Warm__Stats *s, const struct tool_memory *memory)
{
	cJSON *json = cJSON_CreateObject(), *pool;

	tool_json_number(json, "uptime_ns", s->uptime_ns);
	add_counts(json, "launches", s->n_launches, s->launches);
	add_counts(json, "ways", s->n_ways, s->ways);
	add_counts(json, "refused", s->n_refused, s->refused);
	pool = cJSON_AddObjectToObject(json, "pool");
	tool_json_number(pool, "hits", s->pool_hits);
	tool_json_number(pool, "misses", s->pool_misses);
	tool_json_number(pool, "skeletons", s->skeletons);
	tool_json_number(json, "running", s->running);
	tool_json_number(json, "builds_ok", s->builds_ok);
	tool_json_number(json, "builds_refused", s->builds_refused);
	tool_json_number(json, "builds_failed", s->builds_failed);
	tool_json_number(json, "builds_deferred", s->builds_deferred);
	tool_json_number(json, "build_cpu_ns", s->build_cpu_ns);
	tool_json_number(json, "programs_waiting", s->programs_waiting);
	tool_json_number(json, "templates", s->templates);
	tool_json_number(json, "sealed_bytes", s->sealed_bytes);
	tool_json_number(json, "budget_bytes", s->budget_bytes);
	tool_json_number(json, "dropped_stale", s->dropped_stale);
	tool_json_number(json, "dropped_budget", s->dropped_budget);
	tool_json_number(json, "dropped_age", s->dropped_age);
	tool_json_number(json, "watches", s->watches);
	tool_json_number(json, "connections", s->connections);
	tool_json_number(json, "bad_messages", s->bad_messages);
	tool_json_number(json, "overfull", s->overfull);
	tool_json_number(json, "refused_connections", s->refused_connections);
	tool_json_number(json, "accept_failures", s->accept_failures);
	add_kept(json, s);
	add_latencies(json, s);
	add_memory(json, s, memory);
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
