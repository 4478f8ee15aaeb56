/* SPDX-License-Identifier: MIT */
#include "snapshot/dump/dump.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "engine/base/fd.h"
#include "engine/proc.h"

#define SCRATCH_BELOW 2048

int64_t dump_call(struct frozen_process *frozen, long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	int64_t ret;
	int r = frozen_call(frozen, NULL, &ret, NULL, nr, a, b, c, d, 0, 0);

	return r < 0 ? r : ret;
}

uint64_t dump_scratch(struct frozen_process *frozen)
{
	arch_regs regs;

	if (frozen_registers(frozen->threads, &regs) < 0)
		return 0;
	return (arch_sp(&regs) - SCRATCH_BELOW) & ~63ull;
}

static int dump_mm(struct frozen_process *frozen, struct record_process *p, struct error *err)
{
	_cleanup_free_ char *stat = NULL;
	char path[64];
	int64_t brk;
	uint64_t f[9];
	static const int fields[9] = { 26, 27, 28, 45, 46, 47 };
	int r;

	snprintf(path, sizeof(path), "/proc/%d/stat", p->pid);
	r = read_file(path, &stat, NULL);
	for (int i = 0; i < 6 && r == 0; i++)
		r = proc_stat_field(stat, fields[i], &f[i]);
	if (r < 0)
		return error_errno(err, r, "reading %s", path);
	p->mm.start_code = f[0];
	p->mm.end_code = f[1];
	p->mm.start_stack = f[2];
	p->mm.start_data = f[3];
	p->mm.end_data = f[4];
	p->mm.start_brk = f[5];
	brk = dump_call(frozen, SYS_brk, 0, 0, 0, 0);
	if (brk <= 0)
		return error_set(err, EIO, "cannot ask the program for its break");
	p->mm.brk = (uint64_t)brk;

	snprintf(path, sizeof(path), "/proc/%d/auxv", p->pid);
	r = read_file(path, (char **)&p->auxv, &p->auxv_len);
	if (r < 0)
		return error_errno(err, r, "reading %s", path);
	p->mm.auxv_size = p->auxv_len;
	return 0;
}

static int get_prctl(struct frozen_process *frozen, int option, uint32_t *ret, bool by_pointer)
{
	uint64_t at = by_pointer ? dump_scratch(frozen) : 0;
	int64_t v = dump_call(frozen, SYS_prctl, (uint64_t)option, at, 0, 0);

	if (v < 0)
		return (int)v;
	if (by_pointer)
		return frozen_read(frozen, at, ret, sizeof(*ret));
	*ret = (uint32_t)v;
	return 0;
}

static int dump_attributes(struct frozen_process *frozen, struct record_process *p, struct error *err)
{
	_cleanup_free_ char *status = NULL;
	char path[64], link[4096];
	uint64_t umask_octal = 0;
	const char *line;
	ssize_t n;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/status", p->pid);
	r = read_file(path, &status, NULL);
	if (r < 0)
		return error_errno(err, r, "reading %s", path);
	line = strstr(status, "\nUmask:");
	if (line)
		umask_octal = strtoull(line + 7, NULL, 8);
	p->umask = (uint32_t)umask_octal;
	proc_status_hex(status, "CapEff:", &p->cap_effective);
	proc_status_hex(status, "CapPrm:", &p->cap_permitted);
	proc_status_hex(status, "CapInh:", &p->cap_inheritable);
	proc_status_hex(status, "CapAmb:", &p->cap_ambient);
	proc_status_hex(status, "Seccomp:", &p->seccomp);
	line = strstr(status, "\nUid:");
	if (line)
		sscanf(line + 5, "%lu %lu %lu %lu", &p->uid[0], &p->uid[1], &p->uid[2], &p->uid[3]);
	line = strstr(status, "\nGid:");
	if (line)
		sscanf(line + 5, "%lu %lu %lu %lu", &p->gid[0], &p->gid[1], &p->gid[2], &p->gid[3]);
	if (strstr(status, "x86_Thread_features:\tshstk"))
		return error_set(
			err, EOPNOTSUPP,
			"process %d has a shadow stack (GLIBC_TUNABLES=glibc.cpu.x86_shstk=off runs it without)",
			p->pid);

	for (unsigned int i = 0; i < ARRAY_SIZE(p->rlimits); i++) {
		uint64_t at = dump_scratch(frozen);

		if (dump_call(frozen, SYS_prlimit64, 0, i, 0, at) < 0 ||
		    frozen_read(frozen, at, p->rlimits[i], sizeof(p->rlimits[i])) < 0)
			return error_set(err, EIO, "asking process %d for its resource limits", p->pid);
	}
	get_prctl(frozen, PR_GET_DUMPABLE, &p->dumpable, false);
	get_prctl(frozen, PR_GET_NO_NEW_PRIVS, &p->no_new_privs, false);
	get_prctl(frozen, PR_GET_PDEATHSIG, &p->pdeathsig, true);
	get_prctl(frozen, PR_GET_CHILD_SUBREAPER, &p->subreaper, true);
	get_prctl(frozen, PR_GET_THP_DISABLE, &p->thp_disable, false);
	p->timerslack_ns = (uint64_t)dump_call(frozen, SYS_prctl, PR_GET_TIMERSLACK, 0, 0, 0);
	p->personality = (uint32_t)dump_call(frozen, SYS_personality, 0xffffffff, 0, 0, 0);

	snprintf(path, sizeof(path), "/proc/%d/cwd", p->pid);
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		return error_errno(err, errno, "reading %s", path);
	link[n] = '\0';
	p->cwd = strdup(link);
	return p->cwd ? 0 : error_set(err, ENOMEM, "no memory");
}

static int dump_exe(struct record *rec, struct record_process *p, struct error *err)
{
	struct record_object o = { .fd = -EBADF };
	char path[64], link[4096];
	struct stat st;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/exe", p->pid);
	n = readlink(path, link, sizeof(link) - 1);
	o.fd = open(path, O_RDONLY | O_CLOEXEC);
	if (o.fd < 0 || n < 0 || fstat(o.fd, &st) < 0) {
		int code = errno;

		/* an executable that may be run but not read */
		fd_close(o.fd);
		return error_errno(err, code, "opening the program's executable");
	}
	link[n] = '\0';
	o.path = strdup(link);
	o.dev = st.st_dev;
	o.ino = st.st_ino;
	p->exe_object = record_add_object(rec, &o);
	if (p->exe_object < 0)
		return error_set(err, ENOMEM, "no memory");
	return 0;
}

static int dump_process(struct frozen_process *frozen, const struct dump_options *o, struct record *rec,
			struct record_process *p, struct error *err)
{
	int r;

	p->pid = frozen->pid;
	/* threads first: what follows makes calls in the main thread */
	r = dump_threads(frozen, o, p, err);
	if (r == 0)
		r = dump_mm(frozen, p, err);
	if (r == 0)
		r = dump_attributes(frozen, p, err);
	if (r == 0)
		r = dump_signals(frozen, p, err);
	if (r == 0 && o->resize)
		r = dump_resize(p, err);
	if (r == 0)
		r = dump_exe(rec, p, err);
	if (r == 0)
		r = dump_descriptors(frozen, o, rec, p, err);
	if (r == 0)
		r = dump_memory(frozen, rec, p, err);
	return r;
}

int dump_tree(const struct frozen_tree *tree, const struct dump_options *o, struct record **ret,
	      struct error *err)
{
	struct record *rec = record_new(tree->n);
	int r = rec ? 0 : error_set(err, ENOMEM, "no memory for a record");

	for (size_t i = 0; r == 0 && i < tree->n; i++)
		r = dump_process(tree->processes[i], o, rec, &rec->processes[i], err);
	if (r < 0) {
		record_free(rec);
		return r;
	}
	*ret = rec;
	return 0;
}
