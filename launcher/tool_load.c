/* SPDX-License-Identifier: MIT */
#include "launcher/tool.h"

#include <limits.h>
#include <unistd.h>

#include "engine/base/fd.h"

static int report_json(const struct wire_run_reply *reply)
{
	cJSON *json = cJSON_CreateObject();
	bool ready = reply->status == WIRE_WARM;
	int r;

	tool_json_text(json, "status", ready ? "ready" : wire_status_name(reply->status));
	if (ready) {
		tool_json_text(json, "name", reply->reason);
		tool_json_number(json, "id", reply->template_id);
	}
	tool_json_text(json, "reason", ready ? "" : reply->reason);
	r = tool_json_print(json);
	return ready ? r : TOOL_FAILED;
}

static int run(const struct tool_command *self, int argc, char **argv)
{
	const char *name = NULL;
	bool json = false;
	const struct tool_option options[] = { { "--name", .value = &name },
					       { "--json", .flag = &json },
					       { 0 } };
	struct wire_run_reply reply;
	struct tool_args args;
	char path[PATH_MAX], *folder = path;
	struct error err;
	int r;

	r = tool_options(self, options, TOOL_OPERANDS_FREE, argc, argv, &args);
	if (r >= 0)
		return r;
	if (args.argc != 1)
		return tool_usage(self, args.argc ? "one image at a time" : "which image? name its folder");
	if (name && !*name)
		return tool_usage(self, "--name needs a name, not ''");
	r = tool_absolute(args.argv[0], path, &err);
	if (r == 0)
		r = tool_run_request(WIRE_RUN_BUILD | WIRE_RUN_LOAD, name, NULL, 0, 1, &folder, true, 0, NULL,
				     &reply, &err);
	if (r < 0)
		return tool_fail(&err);
	if (json)
		return report_json(&reply);
	if (reply.status != WIRE_WARM) {
		error_set(&err, 1, "%s was not loaded: %s", args.argv[0],
			  reply.reason[0] ? reply.reason : wire_status_name(reply.status));
		return tool_fail(&err);
	}
	/* the template's name is what a build's answer has there, too */
	tool_print_safe(stdout, reply.reason);
	putchar('\n');
	return tool_finish();
}

const struct tool_command tool_load = {
	.name = "load",
	.run = run,
	.operands = "[--name N] [--json] DIR",
	.summary = "make a template of an image that 'warm build --out' wrote",
	.details = "Reads the image in the folder DIR, and all of it: what is damaged is refused. It is\n"
		   "refused too if a file or a setting that the program took in while it was built is\n"
		   "another now, or if the kernel, the processor or warm itself is another. The image has\n"
		   "to stay as long as the template does: its pages are read when they are needed.\n"
		   "\n"
		   "  --name N     name of the template (default: the name that it was built with)\n"
		   "  --json       as JSON: status, name, id, reason\n"
		   "\n"
		   "Exit status: 0 when it is ready; 125 when it was refused, with the reason.\n"
		   "\n"
		   "Examples:\n"
		   "  warm load /srv/images/report\n"
		   "  warm load --name report ./report.image && warm launch report\n",
};
