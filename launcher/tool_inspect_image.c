/* SPDX-License-Identifier: MIT */
/* tool_inspect_image.c - `warm inspect DIR`: what is in an image. Nothing but its manifest is read */
#include "launcher/tool.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/base/fd.h"
#include "engine/proc.h"
#include "launcher/wire/kept.h"
#include "snapshot/image/image.h"
#include "snapshot/model/model.h"

#define SHOWN 12 /* lines of a long list without -v */

struct inspected {
	const char *dir;
	const struct image *image;
	const struct model *model;
	struct image_info info;
	uint64_t disk; /* bytes that it takes */
	Warm__Kept *kept; /* what warmd knows of a template; NULL: it is none, or of another version */
};

/* memory by kind: what a person tells apart */
enum kind { CODE, FILE_DATA, SHARED_FILE, ANONYMOUS, SHARED_ANONYMOUS, STACK, KINDS };

static const char *const kind_words[KINDS] = {
	[CODE] = "code of files",  [FILE_DATA] = "data of files",	    [SHARED_FILE] = "shared files",
	[ANONYMOUS] = "anonymous", [SHARED_ANONYMOUS] = "shared anonymous", [STACK] = "stack",
};

struct sum {
	uint64_t mappings, bytes, stored;
};

static enum kind kind_of(const struct model_vma *v)
{
	if (v->vmflags & VMF_GROWSDOWN)
		return STACK;
	if (v->object == MODEL_NONE)
		return v->shared ? SHARED_ANONYMOUS : ANONYMOUS;
	if (v->shared)
		return SHARED_FILE;
	return v->prot & PROT_EXEC ? CODE : FILE_DATA;
}

/* bytes of it that are in the page file */
static uint64_t stored_of(const struct model_vma *v)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < v->nruns; i++)
		if (v->runs[i].offset != MODEL_NO_OFFSET)
			bytes += v->runs[i].end - v->runs[i].start;
	return bytes;
}

static void sum_up(const struct model_space *s, struct sum sums[KINDS])
{
	memset(sums, 0, KINDS * sizeof(*sums));
	for (size_t i = 0; i < s->nvmas; i++) {
		struct sum *sum = &sums[kind_of(&s->vmas[i])];

		sum->mappings++;
		sum->bytes += s->vmas[i].end - s->vmas[i].start;
		sum->stored += stored_of(&s->vmas[i]);
	}
}

/* what a descriptor leads to, in words */
static const char *target_of(const struct model_description *d)
{
	if (d->kind == MODEL_FD_PATH)
		return d->path.path;
	if (d->kind == MODEL_FD_TTY && d->outside.path)
		return d->outside.path;
	return "";
}

static const char *state_word(const struct model_process *p)
{
	static const char *const words[] = { "running", "stopped", "ended" };

	_Static_assert(ARRAY_SIZE(words) == MODEL_STATES, "a word for each state");
	return words[p->state];
}

static const char *program_of(const struct inspected *i, const struct model_process *p)
{
	return p->space == MODEL_NONE ? "" : i->model->objects[i->model->spaces[p->space].exe_object].path;
}

/* Return: NULL: none, or not as this warm has them */
static Warm__Kept *unpack_facts(const struct image *image)
{
	size_t size;
	const uint8_t *facts = image_facts(image, &size);

	if (!facts || size < sizeof(struct kept_head) ||
	    memcmp(facts, KEPT_MAGIC, sizeof(KEPT_MAGIC) - 1) != 0)
		return NULL;
	return warm__kept__unpack(NULL, size - sizeof(struct kept_head), facts + sizeof(struct kept_head));
}

/* --- for people ---------------------------------------------------------------------- */

static void field(const char *name, const char *value)
{
	printf("%-14s", name);
	tool_print_safe(stdout, value);
	putchar('\n');
}

static void print_head(const struct inspected *i)
{
	const struct model_entry *e = &i->model->entry;
	_cleanup_free_ char *command = tool_command_line(e->build_argc, e->build_argv);
	const Warm__BuildResult *result = i->kept ? i->kept->result : NULL;
	char text[TOOL_TEXT_MAX];
	size_t facts;

	field("image", i->dir);
	field("of", image_facts(i->image, &facts) ? "a template" : "a checkpoint");
	field("command", command ? command : "?");
	field("directory", e->start_cwd ? e->start_cwd : i->model->filesystems[0].cwd);
	if (result)
		field("ready", result->ready);
	if (result && result->boundary[0])
		field("stands before", result->boundary);
	field("written", tool_since(i->info.created_ns, text));
	printf("%-14swarm ", "by");
	tool_print_safe(stdout, i->info.version);
	printf(", format %u\n", i->info.format);
	printf("%-14s%s, Linux ", "machine", i->info.architecture);
	tool_print_safe(stdout, i->info.kernel);
	printf(", pages of %u bytes\n", i->info.page_size);
	if (i->kept)
		field("built in", tool_duration(i->kept->build_ns, text));
	field("on disk", tool_bytes(i->disk, text));
	printf("%-14s%s of pages", "memory", tool_bytes(i->info.pages_stored, text));
	printf(", %s of manifest\n", tool_bytes(i->info.manifest_size, text));
}

static void print_memory(const struct model_space *s)
{
	struct sum sums[KINDS];

	sum_up(s, sums);
	printf("  %-18s%10s%10s%10s\n", "MEMORY", "MAPPINGS", "SIZE", "IN IMAGE");
	for (size_t k = 0; k < KINDS; k++) {
		char bytes[TOOL_TEXT_MAX], stored[TOOL_TEXT_MAX];

		if (sums[k].mappings)
			printf("  %-18s%10" PRIu64 "%10s%10s\n", kind_words[k], sums[k].mappings,
			       tool_bytes(sums[k].bytes, bytes), tool_bytes(sums[k].stored, stored));
	}
}

static void print_processes(const struct inspected *i)
{
	for (size_t n = 0; n < i->model->nprocesses; n++) {
		const struct model_process *p = &i->model->processes[n];

		printf("\nprocess %d, %s, %zu thread%s: ", (int)p->pid, state_word(p), p->nthreads,
		       p->nthreads == 1 ? "" : "s");
		tool_print_safe(stdout, program_of(i, p));
		putchar('\n');
		if (p->space != MODEL_NONE)
			print_memory(&i->model->spaces[p->space]);
	}
}

/* the heading of a list. Return: how many of @n entries to print */
static size_t heading(const char *name, size_t n, bool all)
{
	printf("\n%s (%zu)\n", name, n);
	return all || n <= SHOWN ? n : SHOWN;
}

static void more(size_t shown, size_t n)
{
	if (shown < n)
		printf("  ... %zu more: -v shows all\n", n - shown);
}

static void print_lists(const struct inspected *i, bool all)
{
	const struct model *m = i->model;
	size_t n;

	for (size_t t = 0; t < m->nfd_tables; t++) {
		const struct model_fd_table *table = &m->fd_tables[t];

		n = heading("descriptors", table->nfds, all);
		for (size_t j = 0; j < n; j++) {
			const struct model_description *d = &m->descriptions[table->fds[j].description];

			printf("  %4d  %-10s  ", table->fds[j].fd, model_fd_word(d->kind));
			tool_print_safe(stdout, target_of(d));
			printf("  flags 0%o\n", d->flags);
		}
		more(n, table->nfds);
	}
	n = heading("mapped files", m->nobjects, all);
	for (size_t j = 0; j < n; j++) {
		fputs("  ", stdout);
		tool_print_safe(stdout, m->objects[j].path);
		putchar('\n');
	}
	more(n, m->nobjects);
}

/* --- JSON ------------------------------------------------------------------------------ */

static cJSON *json_memory(const struct model_space *s)
{
	cJSON *list = cJSON_CreateArray();
	struct sum sums[KINDS];

	sum_up(s, sums);
	for (size_t k = 0; k < KINDS; k++) {
		cJSON *o;

		if (!sums[k].mappings)
			continue;
		o = cJSON_CreateObject();
		tool_json_text(o, "kind", kind_words[k]);
		tool_json_number(o, "mappings", sums[k].mappings);
		tool_json_number(o, "bytes", sums[k].bytes);
		tool_json_number(o, "stored_bytes", sums[k].stored);
		cJSON_AddItemToArray(list, o);
	}
	return list;
}

static cJSON *json_mappings(const struct inspected *i, const struct model_space *s)
{
	cJSON *list = cJSON_CreateArray();

	for (size_t n = 0; n < s->nvmas; n++) {
		const struct model_vma *v = &s->vmas[n];
		const char prot[] = { v->prot & PROT_READ ? 'r' : '-', v->prot & PROT_WRITE ? 'w' : '-',
				      v->prot & PROT_EXEC ? 'x' : '-', v->shared ? 's' : 'p', 0 };
		cJSON *o = cJSON_CreateObject();

		tool_json_number(o, "start", v->start);
		tool_json_number(o, "end", v->end);
		tool_json_text(o, "prot", prot);
		tool_json_text(o, "source",
			       v->object == MODEL_NONE ? v->name : i->model->objects[v->object].path);
		tool_json_number(o, "stored_bytes", stored_of(v));
		cJSON_AddItemToArray(list, o);
	}
	return list;
}

static cJSON *json_descriptors(const struct inspected *i, const struct model_fd_table *table)
{
	cJSON *list = cJSON_CreateArray();

	for (size_t n = 0; n < table->nfds; n++) {
		const struct model_description *d = &i->model->descriptions[table->fds[n].description];
		cJSON *o = cJSON_CreateObject();

		cJSON_AddNumberToObject(o, "fd", table->fds[n].fd);
		tool_json_text(o, "kind", model_fd_word(d->kind));
		tool_json_text(o, "target", target_of(d));
		tool_json_number(o, "flags", d->flags);
		cJSON_AddItemToArray(list, o);
	}
	return list;
}

static cJSON *json_process(const struct inspected *i, const struct model_process *p)
{
	cJSON *o = cJSON_CreateObject();

	cJSON_AddNumberToObject(o, "pid", p->pid);
	tool_json_text(o, "state", state_word(p));
	tool_json_text(o, "program", program_of(i, p));
	tool_json_number(o, "threads", p->nthreads);
	if (p->state == MODEL_ZOMBIE)
		return o;
	tool_json_text(o, "cwd", i->model->filesystems[p->fs].cwd);
	cJSON_AddItemToObject(o, "memory", json_memory(&i->model->spaces[p->space]));
	cJSON_AddItemToObject(o, "mappings", json_mappings(i, &i->model->spaces[p->space]));
	cJSON_AddItemToObject(o, "descriptors", json_descriptors(i, &i->model->fd_tables[p->fd_table]));
	return o;
}

static void json_template(cJSON *json, const Warm__Kept *kept)
{
	const Warm__BuildResult *r = kept->result;

	tool_json_number(json, "build_ns", kept->build_ns);
	if (!r)
		return;
	tool_json_text(json, "ready", r->ready);
	tool_json_text(json, "boundary", r->boundary);
	tool_json_number(json, "build_cpu_ns", r->cpu_ns);
	tool_json_list(json, "environment_keys", r->n_environment, r->environment);
}

static cJSON *json_of(const struct inspected *i)
{
	const struct model_entry *e = &i->model->entry;
	cJSON *json = cJSON_CreateObject(), *list;
	size_t facts;

	tool_json_text(json, "image", i->dir);
	tool_json_text(json, "of", image_facts(i->image, &facts) ? "template" : "checkpoint");
	tool_json_list(json, "argv", e->build_argc, e->build_argv);
	tool_json_text(json, "cwd", e->start_cwd ? e->start_cwd : i->model->filesystems[0].cwd);
	tool_json_number(json, "created_ns", i->info.created_ns);
	tool_json_text(json, "version", i->info.version);
	tool_json_number(json, "format", i->info.format);
	tool_json_text(json, "architecture", i->info.architecture);
	tool_json_text(json, "kernel", i->info.kernel);
	tool_json_text(json, "processor", i->info.processor);
	tool_json_number(json, "page_size", i->info.page_size);
	tool_json_number(json, "disk_bytes", i->disk);
	tool_json_number(json, "pages_bytes", i->info.pages_size);
	tool_json_number(json, "stored_bytes", i->info.pages_stored);
	tool_json_number(json, "manifest_bytes", i->info.manifest_size);
	if (i->kept)
		json_template(json, i->kept);
	list = cJSON_AddArrayToObject(json, "processes");
	for (size_t n = 0; n < i->model->nprocesses; n++)
		cJSON_AddItemToArray(list, json_process(i, &i->model->processes[n]));
	list = cJSON_AddArrayToObject(json, "files");
	for (size_t n = 0; n < i->model->nobjects; n++) {
		const struct model_object *o = &i->model->objects[n];
		cJSON *f = cJSON_CreateObject();

		tool_json_text(f, "path", o->path);
		tool_json_number(f, "size", o->size);
		tool_json_number(f, "mtime_ns", o->mtime_ns);
		cJSON_AddItemToArray(list, f);
	}
	return json;
}

int tool_inspect_image(const char *dir, bool json, bool all)
{
	_cleanup_(image_freep) struct image *image = NULL;
	struct inspected i = { .dir = dir };
	struct error err;
	int r = image_open(AT_FDCWD, dir, 0, &image, &err);

	if (r == 0)
		r = image_size(AT_FDCWD, dir, &i.disk, &err);
	if (r < 0)
		return tool_fail(&err);
	i.image = image;
	i.model = image_model(image);
	i.info = image_info(image);
	i.kept = unpack_facts(image);
	if (json) {
		r = tool_json_print(json_of(&i));
	} else {
		print_head(&i);
		print_processes(&i);
		print_lists(&i, all);
		r = tool_finish();
	}
	if (i.kept)
		warm__kept__free_unpacked(i.kept, NULL);
	return r;
}
