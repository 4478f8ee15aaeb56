/* SPDX-License-Identifier: MIT */
#include "launcher/tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/fd.h"
#include "launcher/wire/words.h"

#define SHOWN 12 /* lines of a long list without -v */

static void field(const char *name, const char *value)
{
	printf("%-14s", name);
	tool_print_safe(stdout, value);
	putchar('\n');
}

/* the heading of a list. Return: how many of @n entries to print */
static size_t heading(const char *name, size_t n, bool all)
{
	printf("%s (%zu)\n", name, n);
	return all || n <= SHOWN ? n : SHOWN;
}

static void more(size_t shown, size_t n)
{
	if (shown < n)
		printf("  ... %zu more: -v shows all\n", n - shown);
}

static void print_pool(const Warm__Template *t)
{
	const Warm__Pool *p = t->pool;
	char text[TOOL_TEXT_MAX];

	field("running", tool_number(t->running, text));
	if (!p)
		return;
	printf("%-14s%u of %u", "parked", p->parked, p->wanted);
	if (p->making)
		printf(", %u being made", p->making);
	putchar('\n');
	printf("%-14s%s", "skeleton", p->skeleton);
	if (p->skeleton_pid)
		printf(", process %u", p->skeleton_pid);
	if (p->reason[0])
		fputs(": ", stdout);
	tool_print_safe(stdout, p->reason);
	printf(" (%" PRIu64 " started)\n", p->skeletons);
	printf("%-14s%" PRIu64 " hits, %" PRIu64 " misses\n", "pool", p->hits, p->misses);
}

static void print_fields(const Warm__Template *t)
{
	_cleanup_free_ char *command = tool_command_line(t->n_argv, t->argv);
	char text[TOOL_TEXT_MAX];

	field("name", t->name);
	field("id", tool_number(t->id, text));
	field("state", t->state);
	if (t->reason[0])
		field("reason", t->reason);
	field("command", command ? command : "?");
	field("directory", t->cwd);
	field("ready", t->ready);
	if (t->boundary[0])
		field("stands before", t->boundary);
	field("age", tool_since(t->created_ns, text));
	field("used", tool_since(t->last_used_ns, text));
	field("launches", tool_number(t->launches, text));
	field("built in", tool_duration(t->build_ns, text));
	field("memory", tool_bytes(t->sealed_bytes, text));
	if (t->kept[0])
		field("kept on disk", t->kept);
	if (t->huge_bytes || t->huge_note[0])
		field("huge pages", t->huge_bytes ? tool_bytes(t->huge_bytes, text) : t->huge_note);
	field("mappings", tool_number(t->mappings, text));
	field("threads", tool_number(t->threads, text));
	field("files held", tool_number(t->files, text));
	print_pool(t);
}

static void print_clone(const Warm__Clone *c, const struct tool_memory *m)
{
	char text[TOOL_TEXT_MAX];

	field("process", tool_number(c->pid, text));
	field("template", c->template_name);
	field("template id", tool_number(c->template_id, text));
	field("state", c->state);
	if (c->way[0])
		field("way", c->way);
	field(c->way[0] ? "launched" : "made", tool_since(c->since_ns, text));
	if (c->client)
		field("client", tool_number(c->client, text));
	if (c->detached)
		field("detached", "yes");
	if (!m)
		return;
	field("PSS", tool_bytes(m->pss, text));
	field("private", tool_bytes(m->own, text));
	field("shared", tool_bytes(m->shared, text));
	field("RSS", tool_bytes(m->rss, text));
}

static int show_clone(const Warm__Clone *clone, bool json)
{
	struct tool_memory memory;
	bool measured;
	struct error err;

	if (strcmp(clone->way, wire_way_name(WIRE_WAY_BECOME)) == 0 && !tool_is_clone(clone)) {
		error_set(&err, ENOENT, "process %u is no clone any more; 'warm explain %u' tells how it was",
			  clone->pid, clone->pid);
		return tool_fail(&err);
	}
	measured = tool_memory(clone->pid, &memory);
	if (json)
		return tool_json_print(tool_json_clone(clone, measured ? &memory : NULL));
	print_clone(clone, measured ? &memory : NULL);
	return tool_finish();
}

static void print_lists(const Warm__Template *t, bool all)
{
	size_t n;

	n = heading("\na launch must agree in", t->n_keys, all);
	for (size_t i = 0; i < n; i++) {
		fputs("  ", stdout);
		tool_print_safe(stdout, t->keys[i]);
		putchar('\n');
	}
	more(n, t->n_keys);

	n = heading("\ndependencies", t->n_dependencies, all);
	for (size_t i = 0; i < n; i++) {
		printf("  %-8s  ", t->dependencies[i]->kind);
		tool_print_safe(stdout, t->dependencies[i]->path);
		putchar('\n');
	}
	more(n, t->n_dependencies);

	n = heading("\ndescriptors", t->n_descriptors, all);
	for (size_t i = 0; i < n; i++) {
		printf("  %4d  %-10s  ", t->descriptors[i]->fd, t->descriptors[i]->kind);
		tool_print_safe(stdout, t->descriptors[i]->target);
		printf("  flags 0%o  offset %" PRIu64 "\n", t->descriptors[i]->flags,
		       t->descriptors[i]->offset);
	}
	more(n, t->n_descriptors);

	n = heading("\nmemory", t->n_memory, all);
	for (size_t i = 0; i < n; i++) {
		const Warm__Mapping *m = t->memory[i];
		char text[TOOL_TEXT_MAX];

		printf("  %012" PRIx64 "-%012" PRIx64 "  %-4s  %8s stored  ", m->start, m->end, m->prot,
		       tool_bytes(m->stored_bytes, text));
		tool_print_safe(stdout, m->source);
		putchar('\n');
	}
	more(n, t->n_memory);
}

static int run(const struct tool_command *self, int argc, char **argv)
{
	bool json = false, all = false;
	const struct tool_option options[] = { { "--json", .flag = &json }, { "-v", .flag = &all }, { 0 } };
	_cleanup_(tool_reply_freep) Warm__ControlReply *reply = NULL;
	Warm__Template *template;
	Warm__Clone *clone = NULL;
	struct tool_args args;
	struct error err;
	int r;

	r = tool_options(self, options, TOOL_OPERANDS_FREE, argc, argv, &args);
	if (r >= 0)
		return r;
	if (args.argc != 1)
		return tool_usage(self, args.argc == 0 ? "which one? give a template's name or id, or a PID"
						       : "one at a time");
	r = tool_inspected(args.argv[0], &reply, &template, &clone, &err);
	if (r == -ESRCH)
		error_set(&err, ENOENT, "no template is named '%s': warmd is not running", args.argv[0]);
	if (r < 0)
		return tool_fail(&err);
	if (clone)
		return show_clone(clone, json);
	if (json)
		return tool_json_print(tool_json_template(template, true));
	print_fields(template);
	print_lists(template, all);
	return tool_finish();
}

const struct tool_command tool_inspect = {
	.name = "inspect",
	.run = run,
	.operands = "[-v] [--json] NAME | PID",
	.summary = "show all about one template, or one clone",
	.details = "NAME is a template's name or id. Shows its state, the call that it stands before if it\n"
		   "was taken early, its pool, what a launch must agree in, the files it depends on, its\n"
		   "descriptors and its memory.\n"
		   "PID is a clone's, a parked clone's or a skeleton's. Shows its template, state, way, age\n"
		   "and memory. A number that is a template's id is taken for that.\n"
		   "\n"
		   "  -v           long lists in full\n"
		   "  --json       as JSON, always in full\n"
		   "\n"
		   "Examples:\n"
		   "  warm inspect shop\n"
		   "  warm inspect $(warm launch --detach shop)\n"
		   "  warm inspect --json 'python3 report.py' | jq -r '.dependencies[].path'\n",
};
