/* SPDX-License-Identifier: MIT */
#include "warmd/launch_command.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/fd.h"

/* the program's file as the template has found it: a caller with another PATH means the same program */
static int find_program(const struct request *had, char *ret, size_t size)
{
	const char *path = request_getenv(had, "PATH", 4), *name = had->argv[0];
	struct stat st;

	if (strchr(name, '/'))
		return snprintf(ret, size, "%s%s%s", name[0] == '/' ? "" : had->cwd,
				name[0] == '/' ? "" : "/", name) < (int)size
			       ? 0
			       : -ENAMETOOLONG;
	/* as builder_child.c has it */
	if (!path)
		path = "/usr/local/bin:/bin:/usr/bin";
	while (path) {
		const char *end = strchrnul(path, ':');
		int len = (int)(end - path);

		if (snprintf(ret, size, "%s%s%.*s/%s", *path == '/' ? "" : had->cwd, *path == '/' ? "" : "/",
			     len, path, name) < (int)size &&
		    stat(ret, &st) == 0 && S_ISREG(st.st_mode) && access(ret, X_OK) == 0)
			return 0;
		path = *end ? end + 1 : NULL;
	}
	return -ENOENT;
}

/* words that name something in the template's directory would name something else, or nothing, in another */
static bool depends_on_directory(const struct launch_request *l, const struct request *had)
{
	char path[2 * PATH_MAX], cwd[PATH_MAX];

	if (launch_request_directory(l, cwd, sizeof(cwd)) == 0 && strcmp(cwd, had->cwd) == 0)
		return false;
	for (uint32_t i = 1; i < had->run.argc; i++) {
		const char *word = had->argv[i];

		if (!word[0] || word[0] == '/' || word[0] == '-')
			continue;
		if (snprintf(path, sizeof(path), "%s/%s", had->cwd, word) < (int)sizeof(path) &&
		    access(path, F_OK) == 0)
			return true;
	}
	/* the module is looked for there */
	return had->run.argc > 1 && strcmp(had->argv[1], "-m") == 0;
}

static char *put(char *at, const char *word)
{
	size_t len = strlen(word) + 1;

	memcpy(at, word, len);
	return at + len;
}

int launch_command(const struct launch_request *l, const struct request *had, struct wire_command **ret)
{
	char program[2 * PATH_MAX];
	struct wire_command *m;
	size_t len = sizeof(*m);
	char *at;

	if (depends_on_directory(l, had))
		return -EXDEV;
	if (find_program(had, program, sizeof(program)) < 0)
		return -ENOENT;
	len += strlen(program) + 1;
	for (uint32_t i = 0; i < had->run.argc; i++)
		len += strlen(had->argv[i]) + 1;
	if (len > WIRE_MAX_SIZE)
		return -E2BIG;
	m = calloc(1, len);
	if (!m)
		return -ENOMEM;
	m->header = (struct wire_header){ WIRE_MAGIC, WIRE_VERSION_NUMBER, WIRE_COMMAND, (uint32_t)len, 0 };
	m->argc = had->run.argc;
	at = put((char *)(m + 1), program);
	for (uint32_t i = 0; i < had->run.argc; i++)
		at = put(at, had->argv[i]);
	*ret = m;
	return 0;
}
