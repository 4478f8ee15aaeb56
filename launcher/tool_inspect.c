/* SPDX-License-Identifier: MIT */
#include "launcher/tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "engine/base/fd.h"

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
	field("age", tool_since(t->created_ns, text));
	field("used", tool_since(t->last_used_ns, text));
	field("launches", tool_number(t->launches, text));
	field("built in", tool_duration(t->build_ns, text));
	field("memory", tool_bytes(t->sealed_bytes, text));
	field("mappings", tool_number(t->mappings, text));
	field("threads", tool_number(t->threads, text));
	field("files held", tool_number(t->files, text));
	field("generation", tool_number(t->generation, text));
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
	struct tool_args args;
	struct error err;
	int r;

	r = tool_options(self, options, TOOL_OPERANDS_FREE, argc, argv, &args);
	if (r >= 0)
		return r;
	if (args.argc != 1)
		return tool_usage(self, args.argc == 0 ? "which template? give its name or id"
						       : "one template at a time");
	r = tool_template(args.argv[0], &reply, &template, &err);
	if (r == -ESRCH)
		error_set(&err, ENOENT, "no template is named '%s': warmd is not running", args.argv[0]);
	if (r < 0)
		return tool_fail(&err);
	if (json)
		return tool_json_print(tool_json_template(template, true));
	print_fields(template);
	print_lists(template, all);
	return tool_finish();
}

const struct tool_command tool_inspect = {
	.name = "inspect",
	.run = run,
	.operands = "[-v] [--json] NAME",
	.summary = "show all about one template",
	.details = "NAME is a template's name or id. Shows its state, what a launch must agree in,\n"
		   "the files it depends on, its descriptors and its memory.\n"
		   "\n"
		   "  -v           long lists in full\n"
		   "  --json       as JSON, always in full\n"
		   "\n"
		   "Examples:\n"
		   "  warm inspect shop\n"
		   "  warm inspect --json 'python3 report.py' | jq -r '.dependencies[].path'\n",
};
