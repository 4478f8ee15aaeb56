/* SPDX-License-Identifier: MIT */
/* builder_check.c - at the readiness point, all threads frozen: is the program one that a clone can be? */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "engine/base/proc_path.h"
#include "engine/proc.h"
#include "engine/trace.h"
#include "snapshot/model/model.h"
#include "warmd/build/builder_internal.h"
#include "warmd/build/observe.h"

/* whose exit status a clone could not ask for */
static int unwaited(struct builder *b, pid_t pid, unsigned int origin, struct error *err)
{
	char comm[PROC_COMM_SIZE], words[128];

	proc_comm(pid, comm);
	snprintf(words, sizeof(words), "starts a process (%s) that ends, and does not wait for it", comm);
	return builder_stop_before(b, origin, words, err);
}

/* children that ended and were not waited for: the tracer has seen their end, the program has not */
static int check_zombies(struct builder *b, struct error *err)
{
	unsigned int origin = 0;

	for (const struct tracee *t = trace_tracees(b->trace); t; t = t->next) {
		_cleanup_free_ char *children = NULL;
		pid_t pid;

		if (read_file(proc_path(t->tgid, "task/%d/children", t->tid).text, &children, NULL) < 0 ||
		    !children[0])
			continue;
		pid = (pid_t)strtol(children, NULL, 10);
		for (size_t i = 0; i < b->nended; i++)
			if (b->ended[i].pid == pid)
				origin = b->ended[i].origin;
		return unwaited(b, pid, origin, err);
	}
	return 0;
}

int builder_check_children(struct builder *b, struct error *err)
{
	pid_t pid;
	char comm[PROC_COMM_SIZE], words[128];
	unsigned int origin = 0;

	if (!trace_others(b->trace, &pid))
		return check_zombies(b, err);
	proc_comm(pid, comm);
	for (const struct tracee *t = trace_tracees(b->trace); t; t = t->next)
		if (t->tgid == pid)
			origin = t->origin;
	snprintf(words, sizeof(words), "starts a process (%s) that does not end", comm);
	return builder_stop_before(b, origin, words, err);
}

/* the standard descriptors must still be what they were, because a clone keeps its caller's */
int builder_check_stdio(struct builder *b, struct error *err)
{
	for (int i = 0; i < 3; i++) {
		char link[256];
		ssize_t n;

		n = readlink(proc_path(trace_root(b->trace), "fd/%d", i).text, link, sizeof(link) - 1);
		if (n < 0 && errno == EACCES)
			return error_set(
				err, EOPNOTSUPP,
				"it is not dumpable (PR_SET_DUMPABLE), so that only root could read its state");
		link[n > 0 ? n : 0] = '\0';
		if (strcmp(link, b->stdio_links[i]) != 0)
			return builder_stop_before_redirection(b, i, err);
	}
	for (int i = 3; i < 256; i++)
		if (request_inherits(b->req, i) &&
		    observe_fd_origin(b->observe, trace_root(b->trace), i) != i)
			return builder_stop_before_redirection(b, i, err);
	return 0;
}

/* a clone has its caller's identity: a program that changed its own would not be what it was */
int builder_check_identity(const struct builder *b, struct error *err)
{
	const struct model_process *p = &b->model->processes[0];
	_cleanup_free_ char *status = NULL;
	uint64_t eff = 0, prm = 0, seccomp = 0;
	char mine[256], theirs[256], path[64];
	static const char *const links[] = { "root",	"ns/mnt", "ns/net", "ns/pid",
					     "ns/user", "ns/uts", "ns/ipc", "ns/cgroup" };

	if (read_file("/proc/self/status", &status, NULL) < 0)
		return error_set(err, EIO, "cannot read /proc/self/status");
	proc_status_hex(status, "CapEff:", &eff);
	proc_status_hex(status, "CapPrm:", &prm);
	proc_status_hex(status, "Seccomp:", &seccomp);
	for (int i = 0; i < 4; i++)
		if (p->uid[i] != (i == 0 ? getuid() : geteuid()) ||
		    p->gid[i] != (i == 0 ? getgid() : getegid()))
			return error_set(err, EOPNOTSUPP,
					 "it changed its user or group ids before its readiness point");
	if (p->cap_effective != eff || p->cap_permitted != prm)
		return error_set(err, EOPNOTSUPP, "it changed its capabilities before its readiness point");
	if (p->seccomp != seccomp)
		return error_set(err, EOPNOTSUPP, "it installed a seccomp filter before its readiness point");
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		ssize_t n, m;

		snprintf(path, sizeof(path), "/proc/self/%s", links[i]);
		n = readlink(path, mine, sizeof(mine));
		m = readlink(proc_path(trace_root(b->trace), "%s", links[i]).text, theirs, sizeof(theirs));
		if (n != m || (n > 0 && memcmp(mine, theirs, (size_t)n) != 0))
			return error_set(
				err, EOPNOTSUPP,
				"it changed its root directory or namespaces (%s) before its readiness point",
				links[i]);
	}
	return 0;
}

/* env(1) does it, and a launcher's shell script: the environment that the process got with its last execve is not the request's */
bool builder_environment_changed(const struct builder *b)
{
	_cleanup_free_ char *env = NULL;
	char **had = b->req->envp;
	size_t len;

	if (read_file(proc_path(trace_root(b->trace), "environ").text, &env, &len) < 0)
		return true;
	for (const char *p = env; p < env + len; p += strlen(p) + 1) {
		if (b->child.announce && strncmp(p, "WARM_FD=", 8) == 0)
			continue;
		if (!*had || strcmp(*had++, p) != 0)
			return true;
	}
	return *had;
}

/* a clone opens them by their names: once one of them is gone or replaced there, the template is stale */
int builder_hold_files(struct builder *b, struct error *err)
{
	for (size_t i = 0; i < b->model->ndescriptions; i++) {
		const struct model_description *d = &b->model->descriptions[i];
		struct stat st = { .st_dev = d->path.dev, .st_ino = d->path.ino };
		int r;

		if (d->kind != MODEL_FD_PATH)
			continue;
		r = observe_held(b->observe, d->path.path, &st);
		if (r == 1)
			return error_set(err, EOPNOTSUPP, "%s, which it has open, was replaced meanwhile",
					 d->path.path);
		if (r < 0)
			return error_errno(err, r, "%s", d->path.path);
	}
	return 0;
}
