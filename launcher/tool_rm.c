/* SPDX-License-Identifier: MIT */
#include "launcher/tool.h"

#include <errno.h>

#include "engine/base/fd.h"

static int print_json(const Warm__ControlReply *reply, const struct tool_args *args)
{
	cJSON *json = cJSON_CreateObject(), *removed;

	/* warmd names what it removed; an answer that does not means the names asked for */
	if (!reply || reply->n_templates == 0) {
		tool_json_list(json, "removed", (size_t)args->argc, args->argv);
		return tool_json_print(json);
	}
	removed = cJSON_AddArrayToObject(json, "removed");
	for (size_t i = 0; i < reply->n_templates; i++)
		cJSON_AddItemToArray(removed, cJSON_CreateString(reply->templates[i]->name));
	return tool_json_print(json);
}

static int run(const struct tool_command *self, int argc, char **argv)
{
	bool json = false, all = false;
	const struct tool_option options[] = { { "--json", .flag = &json },
					       { "--all", .flag = &all },
					       { 0 } };
	Warm__RemoveRequest remove = WARM__REMOVE_REQUEST__INIT;
	Warm__ControlRequest request = WARM__CONTROL_REQUEST__INIT;
	_cleanup_(tool_reply_freep) Warm__ControlReply *reply = NULL;
	struct tool_args args;
	struct error err;
	int r;

	r = tool_options(self, options, TOOL_OPERANDS_FREE, argc, argv, &args);
	if (r >= 0)
		return r;
	if (all && args.argc > 0)
		return tool_usage(self, "either names or --all");
	if (!all && args.argc == 0)
		return tool_usage(self, "which template? name one, or give --all");
	remove.n_names = (size_t)args.argc;
	remove.names = args.argv;
	remove.all = all;
	request.command_case = WARM__CONTROL_REQUEST__COMMAND_REMOVE;
	request.remove = &remove;
	r = tool_control(&request, &reply, &err);
	if (r == -ESRCH && !all)
		error_set(&err, ENOENT, "no template is named '%s': warmd is not running", args.argv[0]);
	if (r < 0 && !(r == -ESRCH && all))
		return tool_fail(&err);
	return json ? print_json(reply, &args) : 0;
}

const struct tool_command tool_rm = {
	.name = "rm",
	.run = run,
	.operands = "[--json] NAME... | --all",
	.summary = "remove templates",
	.details = "Removes templates by name or id, with their skeletons and parked clones. Programs\n"
		   "that were launched from them go on.\n"
		   "\n"
		   "  --all        all of them\n"
		   "  --json       as JSON: {\"removed\": [NAME...]}\n"
		   "\n"
		   "Examples:\n"
		   "  warm rm shop\n"
		   "  warm rm 'python3 report.py' 12\n"
		   "  warm rm --all\n",
};
