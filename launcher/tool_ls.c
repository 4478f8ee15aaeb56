/* SPDX-License-Identifier: MIT */
#include "launcher/tool.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/fd.h"

static int add_row(struct tool_table *table, const Warm__Template *t)
{
	_cleanup_free_ char *command = tool_command_line(t->n_argv, t->argv);
	char age[TOOL_TEXT_MAX], used[TOOL_TEXT_MAX], launches[TOOL_TEXT_MAX], memory[TOOL_TEXT_MAX],
		parked[TOOL_TEXT_MAX];

	return tool_table_row(table, t->name, t->state, t->ready, tool_since(t->created_ns, age),
			      tool_since(t->last_used_ns, used), tool_number(t->launches, launches),
			      t->pool ? tool_number(t->pool->parked, parked) : "-",
			      tool_bytes(t->sealed_bytes, memory), command ? command : "?");
}

static int print_table(const Warm__ControlReply *reply)
{
	_cleanup_(tool_table_free) struct tool_table table = { .columns = 9, .right = 0xf8 };
	int r;

	r = tool_table_row(&table, "NAME", "STATE", "READY", "AGE", "USED", "LAUNCHES", "PARKED", "MEMORY",
			   "COMMAND");
	for (size_t i = 0; r == 0 && reply && i < reply->n_templates; i++)
		r = add_row(&table, reply->templates[i]);
	return tool_table_finish(&table, r, tool_width(STDOUT_FILENO));
}

static int print_json(const Warm__ControlReply *reply)
{
	cJSON *json = cJSON_CreateArray();

	for (size_t i = 0; reply && i < reply->n_templates; i++)
		cJSON_AddItemToArray(json, tool_json_template(reply->templates[i], false));
	return tool_json_print(json);
}

static int run(const struct tool_command *self, int argc, char **argv)
{
	Warm__ListRequest list = WARM__LIST_REQUEST__INIT;
	Warm__ControlRequest request = WARM__CONTROL_REQUEST__INIT;
	_cleanup_(tool_reply_freep) Warm__ControlReply *reply = NULL;
	struct error err;
	bool json;
	int r;

	r = tool_options_json(self, argc, argv, &json);
	if (r >= 0)
		return r;
	request.command_case = WARM__CONTROL_REQUEST__COMMAND_LIST;
	request.list = &list;
	r = tool_control(&request, &reply, &err);
	if (r < 0 && r != -ESRCH) /* no daemon: no templates */
		return tool_fail(&err);
	return json ? print_json(reply) : print_table(reply);
}

const struct tool_command tool_ls = {
	.name = "ls",
	.run = run,
	.operands = "[--json]",
	.summary = "list the templates",
	.details =
		"One template a line: its name, state (building, ready, refused, waits, stale), readiness\n"
		"point, age, time since it was last used, launches, parked clones ('-': no pool), memory\n"
		"held, and command.\n"
		"\n"
		"  --json       as JSON, an array with an object for each template\n"
		"\n"
		"Examples:\n"
		"  warm ls\n"
		"  warm ls --json | jq -r '.[] | select(.state == \"refused\") | .name + \": \" + .reason'\n",
};
