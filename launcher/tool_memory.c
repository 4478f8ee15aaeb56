/* SPDX-License-Identifier: MIT */
/* tool_memory.c - memory of processes: proc_pid_smaps(5). Asked for here and not by warmd, which must not wait for it */
#include "launcher/tool.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/fd.h"
#include "engine/base/proc_path.h"

/* Return: false: there is no such line */
static bool field(const char *text, const char *name, uint64_t *ret)
{
	size_t len = strlen(name);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, name, len) != 0 || line[len] != ':')
			continue;
		*ret = strtoull(line + len + 1, NULL, 10) * 1024;
		return true;
	}
	return false;
}

bool tool_memory_parse(const char *text, struct tool_memory *ret)
{
	struct tool_memory m;

	if (!field(text, "Rss", &m.rss) || !field(text, "Pss", &m.pss) || !field(text, "Pss_Anon", &m.own))
		return false;
	m.shared = m.pss > m.own ? m.pss - m.own : 0;
	*ret = m;
	return true;
}

bool tool_memory(uint32_t pid, struct tool_memory *ret)
{
	_cleanup_free_ char *text = NULL;

	return read_file(proc_path((pid_t)pid, "smaps_rollup").text, &text, NULL) == 0 &&
	       tool_memory_parse(text, ret);
}
