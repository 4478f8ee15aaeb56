/* SPDX-License-Identifier: MIT */
#include "launcher/tool.h"

#include <string.h>

#include "engine/base/fd.h"

/* what the launcher does itself; it comes here for its help only */
static const struct tool_command tool_run = {
	.name = "run",
	.operands = "[--name N] [--ready P] [--pool] [--strict] [--cold] [-v] [--] CMD [ARG...]",
	.summary = "run a program, warm if a template serves",
	.details = "Runs CMD in this very process: same PID, terminal, descriptors, exit status.\n"
		   "If no template serves, CMD runs cold at once and a template is built for the\n"
		   "next time. Builds have no effect outside: a template stands in front of the first\n"
		   "call that would have one. From a caller with other rights than warmd's (a sandbox,\n"
		   "another user, a container) CMD runs cold.\n"
		   "\n"
		   "  --name N     use the template named N, and name the one that is built so\n"
		   "  --ready P    readiness point: auto (default), main, import, call,\n"
		   "               delay=SECS, idle[=MS]\n"
		   "  --pool       have warmd launch a clone that it made ahead, where it can\n"
		   "  --strict     fail with status 125 rather than run cold\n"
		   "  --cold       run cold and build nothing\n"
		   "  -v           say on stderr why it ran warm or cold\n"
		   "\n"
		   "  WARM_DISABLE=1   run the command as if warm were not there\n"
		   "  WARM_EXIT=full   let an interpreter finalise itself completely\n"
		   "\n"
		   "Examples:\n"
		   "  warm run python3 report.py --month 7\n"
		   "  warm run -v -- flask --app shop routes\n"
		   "  WARM_DISABLE=1 warm run python3 report.py    # the same as without warm\n",
};

static const struct tool_command tool_launch = {
	.name = "launch",
	.operands = "[--env K=V]... [--cgroup DIR] [--detach] [--detach-keys KEYS] [-v] NAME [ARG...]",
	.summary = "launch a clone of a template by its name",
	.details =
		"Has warmd launch a clone of the template NAME, with ARG after the template's own\n"
		"arguments, in this directory, with this environment and these descriptors. Signals\n"
		"are passed on, the exit status is the clone's. If this process dies, the clone\n"
		"gets SIGHUP. Where no clone can be had, the template's command runs cold, in this\n"
		"process.\n"
		"\n"
		"  --env K=V     set a variable of the clone's environment; may be repeated\n"
		"  --cgroup DIR  start in this control group\n"
		"  -d, --detach  print the clone's PID and leave it running: warm attach, warm logs\n"
		"  --detach-keys KEYS  to leave it running: \"ctrl-\\\\,ctrl-d\" unless $WARM_DETACH_KEYS says\n"
		"                otherwise; \"\": none\n"
		"  -v            say on stderr how it was launched, or why it ran cold\n"
		"\n"
		"Examples:\n"
		"  warm build --name report --pool 4 -- python3 report.py\n"
		"  warm launch report --month 5 > may.txt\n"
		"  warm launch --env DEBUG=1 --detach server\n",
};

static const struct tool_command tool_logs = {
	.name = "logs",
	.operands = "[-f] PID",
	.summary = "print what a clone printed to its terminal",
	.details =
		"Prints what a clone printed to a terminal of its own, as it is: with escape sequences\n"
		"and lines that end in CR LF. The last 256 KiB are kept (scrollback in config.json), also\n"
		"of the last 16 clones that ended after they were detached.\n"
		"\n"
		"  -f, --follow  go on until it ends\n"
		"\n"
		"Example:\n"
		"  warm logs -f $(warm launch -d server)\n",
};

static const struct tool_command *const commands[] = {
	&tool_run,     &tool_build, &tool_load,	   &tool_launch, &tool_attach,
	&tool_logs,    &tool_ls,    &tool_ps,	   &tool_rm,	 &tool_inspect,
	&tool_restore, &tool_stats, &tool_explain, &tool_doctor, &tool_stop,
};

static const struct tool_command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	}
	return NULL;
}

static void print_commands(FILE *out)
{
	fputs("usage: warm COMMAND [OPTION...] [ARG...]\n\nMakes slow-starting programs start warm.\n\n",
	      out);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(out, "  %-10s%s\n", commands[i]->name, commands[i]->summary);
	fputs("\n'warm COMMAND --help' tells more, with examples; warm(1) tells all.\n", out);
}

static int help(int argc, char **argv)
{
	const struct tool_command *command;

	if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
		print_commands(stdout);
		return tool_finish();
	}
	command = find_command(argv[1]);
	if (!command)
		return tool_usage(NULL, "unknown command '%s'", argv[1]);
	tool_help(command);
	return tool_finish();
}

int main(int argc, char **argv)
{
	const struct tool_command *command;

	if (argc < 2) {
		print_commands(stderr);
		return TOOL_FAILED;
	}
	argc--;
	argv++;
	if (strcmp(argv[0], "help") == 0 || strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)
		return help(argc, argv);
	if (strcmp(argv[0], "--version") == 0) {
		printf("warm %s (protocol %u)\n", WARM_VERSION, WIRE_VERSION_NUMBER);
		return tool_finish();
	}
	command = find_command(argv[0]);
	if (!command)
		return tool_usage(NULL, argv[0][0] == '-' ? "unknown option '%s'" : "unknown command '%s'",
				  argv[0]);
	if (command->run)
		return command->run(command, argc, argv);
	if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		tool_help(command);
		return tool_finish();
	}
	return tool_usage(command, "'%s' is done by warm itself, not by warm-tool", command->name);
}
