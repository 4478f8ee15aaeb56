/* SPDX-License-Identifier: MIT */
#include "engine/proc.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include "engine/base/array.h"
#include "engine/base/fd.h"
#include "engine/base/proc_path.h"

static const struct {
	char code[3];
	uint32_t flag;
} vmflag_names[] = {
	{ "gd", VMF_GROWSDOWN },   { "lo", VMF_LOCKED },     { "dc", VMF_DONTFORK }, { "dd", VMF_DONTDUMP },
	{ "wf", VMF_WIPEONFORK },  { "ht", VMF_HUGETLB },    { "hg", VMF_HUGEPAGE }, { "nh", VMF_NOHUGEPAGE },
	{ "mg", VMF_MERGEABLE },   { "sr", VMF_SEQUENTIAL }, { "rr", VMF_RANDOM },   { "nr", VMF_NORESERVE },
	{ "ss", VMF_SHADOWSTACK }, { "sl", VMF_SEALED },     { "io", VMF_IO },	     { "pf", VMF_PFNMAP },
	{ "dp", VMF_DROPPABLE },   { "um", VMF_UFFD },	     { "uw", VMF_UFFD },     { "ui", VMF_UFFD },
	{ "gu", VMF_GUARD },	   { "ms", VMF_MAYSHARE },
};

static void parse_vmflags(const char *line, struct proc_map *m)
{
	for (const char *p = line; (p = strchr(p, ' '));) {
		while (*p == ' ')
			p++;
		for (size_t i = 0; i < ARRAY_SIZE(vmflag_names); i++)
			if (strncmp(p, vmflag_names[i].code, 2) == 0)
				m->vmflags |= vmflag_names[i].flag;
	}
}

static int parse_line(const char *line, struct proc_map *m)
{
	unsigned int major, minor;
	char perms[5];
	int at = 0;
	size_t len;

	memset(m, 0, sizeof(*m));
	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64 " %n", &m->start, &m->end,
		   perms, &m->offset, &major, &minor, &m->ino, &at) < 7)
		return -EBADMSG;
	m->dev = makedev(major, minor);
	m->prot = (perms[0] == 'r' ? PROT_READ : 0) | (perms[1] == 'w' ? PROT_WRITE : 0) |
		  (perms[2] == 'x' ? PROT_EXEC : 0);
	m->shared = perms[3] == 's';
	m->path = strdup(at ? line + at : "");
	if (!m->path)
		return -ENOMEM;
	len = strlen(m->path);
	if (len > 10 && strcmp(m->path + len - 10, " (deleted)") == 0) {
		m->path[len - 10] = '\0';
		m->deleted = true;
	}
	return 0;
}

static bool is_map_line(const char *line)
{
	const char *p = line;

	/* smaps' other lines begin with a word and a colon */
	while ((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'f'))
		p++;
	return p > line && *p == '-';
}

int proc_read_maps(pid_t pid, bool flags, struct proc_maps *ret)
{
	_cleanup_free_ char *text = NULL;
	struct proc_maps maps = { 0 };
	char *save = NULL;
	int r;

	r = read_file(proc_path(pid, "%s", flags ? "smaps" : "maps").text, &text, NULL);
	if (r < 0)
		return r;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (is_map_line(line)) {
			r = array_reserve(&maps.v, maps.n, 1, sizeof(*maps.v));
			if (r == 0)
				r = parse_line(line, &maps.v[maps.n]);
			if (r < 0) {
				proc_maps_done(&maps);
				return r;
			}
			maps.n++;
		} else if (maps.n && strncmp(line, "VmFlags:", 8) == 0) {
			parse_vmflags(line, &maps.v[maps.n - 1]);
		}
	}
	*ret = maps;
	return 0;
}

void proc_maps_done(struct proc_maps *maps)
{
	for (size_t i = 0; i < maps->n; i++)
		free(maps->v[i].path);
	free(maps->v);
	maps->v = NULL;
	maps->n = 0;
}

static const char *find_key(const char *status, const char *key)
{
	size_t len = strlen(key);

	for (const char *p = status; p; p = strchr(p, '\n')) {
		if (*p == '\n')
			p++;
		if (strncmp(p, key, len) == 0)
			return p + len;
	}
	return NULL;
}

int proc_status_hex(const char *status, const char *key, uint64_t *ret)
{
	const char *p = find_key(status, key);

	if (!p)
		return -ENOENT;
	*ret = strtoull(p, NULL, 16);
	return 0;
}

int proc_status_long(const char *status, const char *key, long *ret)
{
	const char *p = find_key(status, key);

	if (!p)
		return -ENOENT;
	*ret = strtol(p, NULL, 10);
	return 0;
}

int proc_stat_field(const char *stat, int n, uint64_t *ret)
{
	/* field 2 is the name in parentheses, which may hold anything */
	const char *p = strrchr(stat, ')');

	if (!p || n < 3)
		return -EBADMSG;
	p++;
	for (int i = 3; i <= n; i++) {
		p = strchr(p, ' ');
		if (!p)
			return -EBADMSG;
		while (*p == ' ')
			p++;
	}
	*ret = strtoull(p, NULL, 10);
	return 0;
}

void proc_comm(pid_t pid, char ret[PROC_COMM_SIZE])
{
	_cleanup_free_ char *comm = NULL;

	if (read_file(proc_path(pid, "comm").text, &comm, NULL) == 0)
		comm[strcspn(comm, "\n")] = '\0';
	snprintf(ret, PROC_COMM_SIZE, "%s", comm ? comm : "?");
}
