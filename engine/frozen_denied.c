/* SPDX-License-Identifier: MIT */
/* frozen_denied.c - who forbids to trace a process: ptrace(2), "Ptrace access mode checking" */
#include "engine/frozen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>

#include "engine/base/fd.h"
#include "engine/base/proc_path.h"
#include "engine/proc.h"

#define CAP_SYS_PTRACE_BIT 19
#define YAMA		   "/proc/sys/kernel/yama/ptrace_scope"

struct ids {
	unsigned int real, effective, saved;
};

static bool read_ids(const char *status, const char *key, struct ids *ret)
{
	const char *line = strstr(status, key);

	return line && sscanf(line + strlen(key), "%u %u %u", &ret->real, &ret->effective, &ret->saved) == 3;
}

static bool are(const struct ids *ids, unsigned int id)
{
	return ids->real == id && ids->effective == id && ids->saved == id;
}

static bool has_capability(void)
{
	_cleanup_free_ char *text = NULL;
	uint64_t caps;

	return read_file("/proc/self/status", &text, NULL) == 0 &&
	       proc_status_hex(text, "CapEff:", &caps) == 0 && caps >> CAP_SYS_PTRACE_BIT & 1;
}

static char yama_scope(void)
{
	_cleanup_free_ char *text = NULL;

	return read_file(YAMA, &text, NULL) == 0 ? text[0] : '0';
}

static int by_yama(pid_t pid, char scope, struct error *err)
{
	if (scope == '3')
		return error_set(
			err, EPERM,
			"kernel.yama.ptrace_scope is 3: no process may be traced until the next boot "
			"(set another value in /etc/sysctl.d and reboot)");
	return error_set(
		err, EPERM,
		"kernel.yama.ptrace_scope is %c: process %d may be traced by %s. Run 'warm attach --steal' "
		"as root, or as root 'sysctl kernel.yama.ptrace_scope=0', or 'setcap cap_sys_ptrace+ep' "
		"warm-tool",
		scope, pid, scope == '1' ? "its ancestors and root only" : "root only");
}

int frozen_denied(pid_t pid, int code, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	struct ids uid, gid;
	long tracer = 0;
	char scope;
	uint64_t caps = 0;
	struct stat st;

	code = abs(code);
	if (code == ESRCH || read_file(proc_path(pid, "status").text, &text, NULL) < 0)
		return error_set(err, ESRCH, "there is no process %d, or it may not be seen (hidepid)", pid);
	if (code != EPERM && code != EACCES)
		return error_errno(err, code, "tracing process %d", pid);
	if (proc_status_long(text, "TracerPid:", &tracer) == 0 && tracer)
		return error_set(err, EPERM,
				 "process %ld traces process %d already (a debugger, strace): end that first",
				 tracer, pid);
	if (has_capability())
		return error_set(
			err, EPERM,
			"process %d may not be traced, in spite of CAP_SYS_PTRACE: it is init, a kernel thread, "
			"in another user namespace, or guarded by a security module (see its policy and 'dmesg')",
			pid);
	if (!read_ids(text, "\nUid:", &uid) || !read_ids(text, "\nGid:", &gid))
		return error_errno(err, code, "tracing process %d", pid);
	if (!are(&uid, geteuid()))
		return error_set(
			err, EPERM,
			"process %d runs as user %u: run 'warm attach --steal' as that user or as root", pid,
			are(&uid, uid.real) ? uid.real : uid.effective);
	if (!are(&gid, getegid()))
		return error_set(
			err, EPERM,
			"process %d runs as group %u: run 'warm attach --steal' with that group (newgrp) or as root",
			pid, gid.effective);
	if (proc_status_hex(text, "CapPrm:", &caps) == 0 && caps)
		return error_set(err, EPERM, "process %d has capabilities: run 'warm attach --steal' as root",
				 pid);
	/* what may not be dumped belongs to root there: proc_pid(5) */
	if (stat(proc_path(pid, "fd").text, &st) == 0 && st.st_uid != uid.effective)
		return error_set(
			err, EPERM,
			"process %d is not dumpable (PR_SET_DUMPABLE, or a set-user-ID program, or one that may "
			"not be read): only root may trace it: run 'warm attach --steal' as root",
			pid);
	scope = yama_scope();
	if (scope != '0')
		return by_yama(pid, scope, err);
	return error_set(err, EPERM,
			 "process %d may not be traced: forbidden by a seccomp filter (containers: run with "
			 "--cap-add SYS_PTRACE) or a security module (see its policy and 'dmesg')",
			 pid);
}
