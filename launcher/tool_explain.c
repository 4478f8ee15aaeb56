/* SPDX-License-Identifier: MIT */
#include "launcher/tool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/fd.h"

/* what a launch would do, by enum wire_status */
static const char *const outcomes[] = {
	[WIRE_WARM] = "would run warm: a template serves",
	[WIRE_COLD_NONE] = "would run cold, and build a template for the next time: there is none",
	[WIRE_COLD_BUILDING] = "would run cold: its template is being built",
	[WIRE_COLD_STALE] = "would run cold, and build anew: what the template had read has changed",
	[WIRE_COLD_REFUSED] = "would run cold: this program cannot be a template",
	[WIRE_COLD_MISMATCH] =
		"would run cold, and build one for this context: the templates there are for another",
	[WIRE_COLD_BUDGET] = "would run cold: the memory budget for templates is used up",
	[WIRE_COLD_ERROR] = "would run cold: warmd failed",
	[WIRE_COLD_DISABLED] = "would run cold: the configuration says so",
	[WIRE_COLD_WAITS] = "would run cold: there is no template, and the next build waits",
	[WIRE_COLD_RIGHTS] =
		"would run cold: templates are built with warmd's rights, and this process has others",
	[WIRE_COLD_NO_DAEMON] = "would run cold, and start warmd, which builds a template for the next time",
	[WIRE_COLD_TIMEOUT] = "would run cold: warmd does not answer",
	[WIRE_COLD_VERSION] = "would run cold: warmd is of another version; run 'warm stop'",
	[WIRE_COLD_FAILED] = "would run cold: the template could not be taken",
};
_Static_assert(ARRAY_SIZE(outcomes) == WIRE_STATUS_COUNT, "words for each status");

/* failures of the connection are outcomes here: `warm run` would run cold for them */
static bool status_of(int error, uint32_t *ret)
{
	switch (error) {
	case -ESRCH:
		*ret = WIRE_COLD_NO_DAEMON;
		return true;
	case -ETIMEDOUT:
		*ret = WIRE_COLD_TIMEOUT;
		return true;
	case -EPROTONOSUPPORT:
		*ret = WIRE_COLD_VERSION;
		return true;
	case -EBADMSG:
	case -ECONNRESET:
	case -EACCES:
	case -E2BIG:
		*ret = WIRE_COLD_ERROR;
		return true;
	default:
		return false;
	}
}

static int print_words(uint32_t status, const char *reason, const Warm__Template *t)
{
	char text[TOOL_TEXT_MAX];

	puts(outcomes[status]);
	if (reason[0]) {
		fputs("because: ", stdout);
		tool_print_safe(stdout, reason);
		putchar('\n');
	}
	if (!t)
		return tool_finish();
	fputs("template: ", stdout);
	tool_print_safe(stdout, t->name);
	printf(", %s at '%s', ", t->state, t->ready);
	printf("%s old, ", tool_since(t->created_ns, text));
	printf("%s\n", tool_bytes(t->sealed_bytes, text));
	if (t->kept[0]) {
		fputs("it is kept on disk: ", stdout);
		tool_print_safe(stdout, t->kept);
		putchar('\n');
	}
	if (t->boundary[0]) {
		fputs("it was taken early, because the program ", stdout);
		tool_print_safe(stdout, t->boundary);
		puts(": no build does that, each launch does");
	}
	if (t->n_keys > 0)
		puts("it serves launches that agree in:");
	for (size_t i = 0; i < t->n_keys; i++) {
		fputs("  ", stdout);
		tool_print_safe(stdout, t->keys[i]);
		putchar('\n');
	}
	return tool_finish();
}

static int print_json(uint32_t status, const char *reason, const Warm__Template *t,
		      const struct tool_args *args)
{
	cJSON *json = cJSON_CreateObject();

	tool_json_list(json, "command", (size_t)args->argc, args->argv);
	tool_json_text(json, "status", wire_status_name(status));
	tool_json_text(json, "outcome", outcomes[status]);
	tool_json_text(json, "reason", reason);
	if (t)
		cJSON_AddItemToObject(json, "template", tool_json_template(t, false));
	return tool_json_print(json);
}

static int explain_command(const char *name, const char *ready, const struct tool_args *args, bool json)
{
	_cleanup_(tool_reply_freep) Warm__ControlReply *inspected = NULL;
	Warm__Template *template = NULL;
	struct wire_run_reply reply;
	struct error err, ignored;
	uint32_t status;
	char id[TOOL_TEXT_MAX];
	int r;

	r = tool_run_request(WIRE_RUN_EXPLAIN | WIRE_RUN_NO_BUILD, name, ready, 0, args->argc, args->argv,
			     false, TOOL_CONNECT_MS, NULL, &reply, &err);
	if (r < 0) {
		if (!status_of(r, &status))
			return tool_fail(&err);
		return json ? print_json(status, err.text, NULL, args) : print_words(status, err.text, NULL);
	}
	if (reply.template_id != 0)
		(void)tool_template(tool_number(reply.template_id, id), &inspected, &template, &ignored);
	return json ? print_json(reply.status, reply.reason, template, args)
		    : print_words(reply.status, reply.reason, template);
}

/* a PID or a template. Return: 0, or a negative errno */
static int ask(const char *what, Warm__ControlReply **ret, struct error *err)
{
	Warm__ExplainRequest explain = WARM__EXPLAIN_REQUEST__INIT;
	Warm__ControlRequest request = WARM__CONTROL_REQUEST__INIT;

	explain.what = (char *)what;
	request.command_case = WARM__CONTROL_REQUEST__COMMAND_EXPLAIN;
	request.explain = &explain;
	return tool_control(&request, ret, err);
}

static int print_lines(const Warm__ControlReply *reply, const char *what, bool json)
{
	if (json) {
		cJSON *object = cJSON_CreateObject();

		tool_json_text(object, "what", what);
		tool_json_list(object, "lines", reply->n_lines, reply->lines);
		return tool_json_print(object);
	}
	for (size_t i = 0; i < reply->n_lines; i++) {
		tool_print_safe(stdout, reply->lines[i]);
		putchar('\n');
	}
	return tool_finish();
}

static bool is_number(const char *text)
{
	return text[0] != '\0' && text[strspn(text, "0123456789")] == '\0';
}

static int run(const struct tool_command *self, int argc, char **argv)
{
	const char *name = NULL, *ready = NULL;
	bool json = false;
	const struct tool_option options[] = {
		{ "--name", .value = &name },
		{ "--ready", .value = &ready },
		{ "--json", .flag = &json },
		{ 0 },
	};
	_cleanup_(tool_reply_freep) Warm__ControlReply *reply = NULL;
	struct tool_args args;
	struct error err;
	int r;

	r = tool_options(self, options, TOOL_OPERANDS_COMMAND, argc, argv, &args);
	if (r >= 0)
		return r;
	if (args.argc == 0)
		return tool_usage(self, "explain what? give a command, a PID or a template's name");
	if (args.dashes || args.argc > 1 || name || ready)
		return explain_command(name, ready, &args, json);
	/* one word: a PID, else a template of that name, else a command without arguments */
	r = ask(args.argv[0], &reply, &err);
	if (r == 0)
		return print_lines(reply, args.argv[0], json);
	if (r == -EPERM) /* warmd does not tell this process anything */
		return tool_fail(&err);
	if (is_number(args.argv[0])) {
		if (r == -ESRCH)
			error_set(&err, ESRCH, "nothing is known of process %s: warmd is not running",
				  args.argv[0]);
		return tool_fail(&err);
	}
	return explain_command(name, ready, &args, json);
}

const struct tool_command tool_explain = {
	.name = "explain",
	.run = run,
	.operands = "[--name N] [--ready P] [--json] [--] CMD [ARG...] | PID | NAME",
	.summary = "say what a launch would do, or did, and why",
	.details = "With a command: would 'warm run' run it warm or cold, why, and in what a launch must\n"
		   "agree with the template; in front of which call the template was taken early, and why a\n"
		   "build waits. Nothing is run or built. With a PID: how that process was launched. With a\n"
		   "template's name: what it stands on.\n"
		   "A single word is a PID if it is a number, else a template if one has that name, else a\n"
		   "command; '--' makes it a command.\n"
		   "\n"
		   "  --name N     as for 'warm run'\n"
		   "  --ready P    as for 'warm run'\n"
		   "  --json       as JSON\n"
		   "\n"
		   "Examples:\n"
		   "  warm explain python3 report.py --month 7\n"
		   "  warm explain 4711\n"
		   "  warm explain -- pytest\n",
};
