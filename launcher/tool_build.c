/* SPDX-License-Identifier: MIT */
#include "launcher/tool.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/fd.h"

#define POOL_MAX 10000

static int report_json(const struct wire_run_reply *reply, const char *name)
{
	cJSON *json = cJSON_CreateObject();
	int r;

	tool_json_text(json, "status",
		       reply->status == WIRE_WARM ? "ready" : wire_status_name(reply->status));
	if (reply->status == WIRE_WARM) {
		tool_json_text(json, "name", name);
		tool_json_number(json, "id", reply->template_id);
	}
	tool_json_text(json, "reason", reply->reason);
	r = tool_json_print(json);
	return reply->status == WIRE_WARM ? r : TOOL_FAILED;
}

static int refused(const struct wire_run_reply *reply)
{
	struct error err;

	error_set(&err, 1, "no template was built: %s",
		  reply->reason[0] ? reply->reason : wire_status_name(reply->status));
	return tool_fail(&err);
}

static int run(const struct tool_command *self, int argc, char **argv)
{
	const char *name = NULL, *ready = NULL, *pool = NULL, *out = NULL;
	bool json = false, rebuild = false;
	const struct tool_option options[] = {
		{ "--name", .value = &name },
		{ "--ready", .value = &ready },
		{ "--pool", .value = &pool },
		{ "--json", .flag = &json },
		{ "--rebuild", .flag = &rebuild },
		{ "--out", .value = &out },
		{ 0 },
	};
	_cleanup_(tool_reply_freep) Warm__ControlReply *inspected = NULL;
	Warm__Template *template;
	struct wire_run_reply reply;
	struct tool_args args;
	struct error err;
	char id[TOOL_TEXT_MAX], path[PATH_MAX];
	uint32_t flags = WIRE_RUN_BUILD;
	unsigned long clones = 0;
	char *end;
	int r;

	r = tool_options(self, options, TOOL_OPERANDS_COMMAND, argc, argv, &args);
	if (r >= 0)
		return r;
	if (args.argc == 0)
		return tool_usage(self, "which command? none is given");
	if (name && !*name)
		return tool_usage(self, "--name needs a name, not ''");
	if (pool)
		clones = strtoul(pool, &end, 10);
	if (pool && (*end || clones < 1 || clones > POOL_MAX))
		return tool_usage(self, "--pool needs a number from 1 to %d, not '%s'", POOL_MAX, pool);
	if (out && !*out)
		return tool_usage(self, "--out needs a folder, not ''");
	/* what an image is made of is there at the end of a build alone */
	if (rebuild || out)
		flags |= WIRE_RUN_REBUILD;
	r = out ? tool_absolute(out, path, &err) : 0;
	if (r < 0)
		return tool_fail(&err);
	r = tool_run_request(flags, name, ready, (unsigned int)clones, args.argc, args.argv, true, 0,
			     out ? path : NULL, &reply, &err);
	if (r < 0)
		return tool_fail(&err);
	/* the answer carries the id only; the name may have been made up by warmd */
	tool_number(reply.template_id, id);
	if (reply.status == WIRE_WARM && !name && tool_template(id, &inspected, &template, &err) == 0)
		name = template->name;
	if (json)
		return report_json(&reply, name ? name : id);
	if (reply.status != WIRE_WARM)
		return refused(&reply);
	tool_print_safe(stdout, name ? name : id);
	putchar('\n');
	return tool_finish();
}

const struct tool_command tool_build = {
	.name = "build",
	.run = run,
	.operands = "[--name N] [--ready P] [--pool K] [--out DIR] [--rebuild] [--json] [--] CMD [ARG...]",
	.summary = "build a template and wait until it is ready",
	.details = "Runs CMD up to its readiness point, keeps it there as a template and prints the\n"
		   "template's name. If CMD comes to a call that would have an effect outside before, the\n"
		   "template stands in front of it ('warm inspect' names the call). CMD's own output goes\n"
		   "nowhere. Ctrl-C stops waiting. The name and the options stay CMD's until 'warm rm'.\n"
		   "\n"
		   "  --name N     name of the template (default: made of the command)\n"
		   "  --ready P    readiness point: auto (default), main, import, call,\n"
		   "               delay=SECS, idle[=MS]\n"
		   "  --pool K     keep K clones parked for 'warm launch' and 'warm run --pool'\n"
		   "  --out DIR    build anew, and write the template as an image to the folder DIR, in\n"
		   "               place of an image that is there: for 'warm load', 'warm inspect'\n"
		   "  --rebuild    build anew even if a template serves\n"
		   "  --json       as JSON: status, name, id, reason\n"
		   "\n"
		   "Exit status: 0 when it is ready; 125 when it was refused, with the reason.\n"
		   "\n"
		   "Examples:\n"
		   "  warm build python3 report.py\n"
		   "  warm build --name shop --ready call -- ./shop-server --port 8080\n"
		   "  warm build --name report --pool 8 -- python3 report.py\n"
		   "  warm build --out /srv/images/report python3 report.py\n"
		   "  warm build --rebuild --json python3 -m pytest\n",
};
