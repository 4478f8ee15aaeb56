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

#include "engine/base/array.h"
#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/proc_path.h"
#include "engine/elf.h"
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

static int dump_mm(struct frozen_process *frozen, const struct model_process *p, struct model_space *s,
		   struct error *err)
{
	_cleanup_free_ char *stat = NULL;
	struct proc_path path;
	int64_t brk;
	uint64_t f[9];
	static const int fields[9] = { 26, 27, 28, 45, 46, 47 };
	int r;

	path = proc_path(p->pid, "stat");
	r = read_file(path.text, &stat, NULL);
	for (int i = 0; i < 6 && r == 0; i++)
		r = proc_stat_field(stat, fields[i], &f[i]);
	if (r < 0)
		return error_errno(err, r, "reading %s", path.text);
	s->mm.start_code = f[0];
	s->mm.end_code = f[1];
	s->mm.start_stack = f[2];
	s->mm.start_data = f[3];
	s->mm.end_data = f[4];
	s->mm.start_brk = f[5];
	brk = dump_call(frozen, SYS_brk, 0, 0, 0, 0);
	if (brk <= 0)
		return error_set(err, EIO, "cannot ask the program for its break");
	s->mm.brk = (uint64_t)brk;

	path = proc_path(p->pid, "auxv");
	r = read_file(path.text, (char **)&s->auxv, &s->auxv_len);
	if (r < 0)
		return error_errno(err, r, "reading %s", path.text);
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

static int dump_attributes(struct frozen_process *frozen, struct model_process *p, struct model_fs *fs,
			   struct error *err)
{
	_cleanup_free_ char *status = NULL;
	struct proc_path path;
	char link[4096];
	uint64_t umask_octal = 0;
	const char *line;
	ssize_t n;
	int r;

	path = proc_path(p->pid, "status");
	r = read_file(path.text, &status, NULL);
	if (r < 0)
		return error_errno(err, r, "reading %s", path.text);
	line = strstr(status, "\nUmask:");
	if (line)
		umask_octal = strtoull(line + 7, NULL, 8);
	fs->umask = (uint32_t)umask_octal;
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

	path = proc_path(p->pid, "cwd");
	n = readlink(path.text, link, sizeof(link) - 1);
	if (n < 0)
		return error_errno(err, errno, "reading %s", path.text);
	link[n] = '\0';
	fs->cwd = strdup(link);
	return fs->cwd ? 0 : error_set(err, ENOMEM, "no memory");
}

int dump_object(struct model *m, struct model_files *files, struct model_object *o, int fd)
{
	size_t before = m->nobjects;
	struct stat st;
	int index = -ENOMEM;

	if (o->path && array_reserve(&files->fds, files->n, 1, sizeof(*files->fds)) == 0) {
		if (fstat(fd, &st) == 0) {
			o->size = (uint64_t)st.st_size;
			o->mtime_ns = timespec_ns(&st.st_mtim);
		}
		o->build_id_len = (uint32_t)elf_build_id(fd, o->build_id, sizeof(o->build_id));
		index = model_add_object(m, o);
	}
	if (index >= 0 && m->nobjects > before) {
		files->fds[files->n++] = fd;
		return index;
	}
	fd_close(fd);
	free(o->path);
	return index;
}

static int dump_exe(struct model *m, struct model_files *files, const struct model_process *p,
		    struct model_space *s, struct error *err)
{
	struct model_object o = { 0 };
	struct proc_path path;
	char link[4096];
	struct stat st;
	ssize_t n;
	int fd;

	path = proc_path(p->pid, "exe");
	n = readlink(path.text, link, sizeof(link) - 1);
	fd = open(path.text, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || n < 0 || fstat(fd, &st) < 0) {
		int code = errno;

		/* an executable that may be run but not read */
		fd_close(fd);
		return error_errno(err, code, "opening the program's executable");
	}
	link[n] = '\0';
	o.path = strdup(link);
	o.dev = st.st_dev;
	o.ino = st.st_ino;
	s->exe_object = dump_object(m, files, &o, fd);
	return s->exe_object < 0 ? error_set(err, ENOMEM, "no memory") : 0;
}

static int dump_process(struct frozen_process *frozen, const struct dump_options *o, struct model *m,
			struct model_files *files, struct model_process *p, struct error *err)
{
	struct model_space *s = &m->spaces[p->space];
	int r;

	p->pid = frozen->pid;
	/* threads first: what follows makes calls in the main thread */
	r = dump_threads(frozen, o, p, err);
	if (r == 0)
		r = dump_mm(frozen, p, s, err);
	if (r == 0)
		r = dump_attributes(frozen, p, &m->filesystems[p->fs], err);
	if (r == 0)
		r = dump_signals(frozen, m, p, err);
	if (r == 0 && o->resize)
		r = dump_resize(m, p, err);
	if (r == 0)
		r = dump_exe(m, files, p, s, err);
	if (r == 0)
		r = dump_descriptors(frozen, o, m, p, err);
	if (r == 0)
		r = dump_memory(frozen, m, files, p, err);
	if (r == 0)
		r = dump_pids(frozen, s, err);
	if (r == 0)
		r = dump_locks(frozen, p, s, err);
	if (r == 0)
		r = dump_generations(frozen, s, err);
	return r;
}

int dump_tree(const struct frozen_tree *tree, const struct dump_options *o, struct model **ret,
	      struct model_files *ret_files, struct error *err)
{
	struct model *m = model_new(tree->n);
	struct model_files files = { 0 };
	int r = m ? 0 : error_set(err, ENOMEM, "no memory for a model");

	for (size_t i = 0; r == 0 && i < tree->n; i++)
		r = dump_process(tree->processes[i], o, m, &files, &m->processes[i], err);
	if (r < 0) {
		model_free(m);
		model_files_done(&files);
		return r;
	}
	*ret = m;
	*ret_files = files;
	return 0;
}
