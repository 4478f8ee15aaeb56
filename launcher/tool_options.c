/* SPDX-License-Identifier: MIT */
/* tool_options.c - options, and what every command says in the same way. */
#include "launcher/tool.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

void tool_help(const struct tool_command *command)
{
	printf("usage: warm %s %s\n\n%s", command->name, command->operands, command->details);
}

int tool_usage(const struct tool_command *command, const char *fmt, ...)
{
	va_list ap;

	fputs("warm: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\ntry 'warm %s%s--help'\n", command ? command->name : "", command ? " " : "");
	return TOOL_FAILED;
}

int tool_fail(const struct error *err)
{
	fputs("warm: ", stderr);
	tool_print_safe(stderr, err->text);
	fputc('\n', stderr);
	return TOOL_FAILED;
}

int tool_finish(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return 0;
	fprintf(stderr, "warm: cannot write the output: %s\n", strerror(errno));
	return TOOL_FAILED;
}

/* "--name" or "--name=VALUE". Return: 1 if @arg is @option; *ret_value is behind '=' or NULL */
static int matches(const struct tool_option *option, char *arg, char **ret_value)
{
	size_t len = strlen(option->name);

	if (strncmp(arg, option->name, len) != 0 || (arg[len] != '\0' && arg[len] != '='))
		return 0;
	*ret_value = arg[len] == '=' ? arg + len + 1 : NULL;
	return 1;
}

/* Return: how many entries of @argv were used, or -1 after a usage error */
static int take_option(const struct tool_command *command, const struct tool_option *options, char **argv)
{
	for (const struct tool_option *o = options; o->name; o++) {
		char *value;

		if (!matches(o, argv[0], &value))
			continue;
		if (!o->value) {
			if (value) {
				tool_usage(command, "option '%s' takes no value", o->name);
				return -1;
			}
			*o->flag = true;
			return 1;
		}
		if (!value && !argv[1]) {
			tool_usage(command, "option '%s' needs a value", o->name);
			return -1;
		}
		*o->value = value ? value : argv[1];
		return value ? 1 : 2;
	}
	tool_usage(command, "unknown option '%s'", argv[0]);
	return -1;
}

int tool_options(const struct tool_command *command, const struct tool_option *options,
		 enum tool_operands operands, int argc, char **argv, struct tool_args *ret)
{
	int kept = 1;

	*ret = (struct tool_args){ .argv = argv + 1 };
	for (int i = 1; i < argc;) {
		int used;

		if (ret->dashes || argv[i][0] != '-' || argv[i][1] == '\0') {
			if (operands == TOOL_OPERANDS_COMMAND) {
				ret->argv = argv + i;
				ret->argc = argc - i;
				return -1;
			}
			argv[kept++] = argv[i++];
			continue;
		}
		if (strcmp(argv[i], "--") == 0) {
			ret->dashes = true;
			i++;
			continue;
		}
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			tool_help(command);
			return tool_finish();
		}
		used = take_option(command, options, argv + i);
		if (used < 0)
			return TOOL_FAILED;
		i += used;
	}
	argv[kept] = NULL;
	ret->argc = kept - 1;
	if (operands == TOOL_OPERANDS_NONE && ret->argc > 0)
		return tool_usage(command, "%s takes no operand: '%s'", command->name, ret->argv[0]);
	return -1;
}

int tool_options_json(const struct tool_command *command, int argc, char **argv, bool *ret_json)
{
	const struct tool_option options[] = { { "--json", .flag = ret_json }, { 0 } };
	struct tool_args args;

	*ret_json = false;
	return tool_options(command, options, TOOL_OPERANDS_NONE, argc, argv, &args);
}
