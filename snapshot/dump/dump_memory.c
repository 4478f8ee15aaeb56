/* SPDX-License-Identifier: MIT */
/*
 * dump_memory.c - the mappings, and which of their pages hold something that
 * neither the file nor a fresh anonymous page would.
 *
 * /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst): bit 63 present,
 * 62 swapped, 61 file or shared page, 58 guard region (since 6.15). In a private
 * mapping a page with bit 61 clear was written.
 */
#include "snapshot/dump/dump.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "engine/base/array.h"
#include "engine/base/fd.h"
#include "engine/base/proc_path.h"
#include "engine/proc.h"
#include "snapshot/kinds/vma.h"

#define PM_PRESENT (1ull << 63)
#define PM_SWAP	   (1ull << 62)
#define PM_FILE	   (1ull << 61)
#define PM_GUARD   (1ull << 58)

#define CHUNK_PAGES 256

struct scan {
	const struct frozen_process *frozen;
	int pagemap;
	uint64_t page;
	uint8_t *have, *want; /* CHUNK_PAGES each: the process's bytes, the file's */
	uint64_t *entries;
};

static int push_run(struct model_run **runs, size_t *n, uint64_t start, uint64_t end)
{
	struct model_run *run;

	if (*n && (*runs)[*n - 1].end == start) {
		(*runs)[*n - 1].end = end;
		return 0;
	}
	run = array_append(runs, n, sizeof(*run));
	if (!run)
		return -ENOMEM;
	*run = (struct model_run){ start, end, MODEL_NO_OFFSET };
	return 0;
}

/* pages of a chunk that differ from @want; both hold @n pages from @addr on */
static int compare(struct scan *s, struct model_vma *v, uint64_t addr, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t at = addr + i * s->page;
		int r;

		if (memcmp(s->have + i * s->page, s->want + i * s->page, s->page) == 0)
			continue;
		r = push_run(&v->runs, &v->nruns, at, at + s->page);
		if (r < 0)
			return r;
	}
	return 0;
}

static int scan_candidates(struct scan *s, struct model_vma *v, int fd, uint64_t addr, size_t n)
{
	int r = frozen_read(s->frozen, addr, s->have, n * s->page);

	if (r == -EFAULT) {
		/* PROT_NONE: /proc/PID/mem reads what process_vm_readv may not */
		_cleanup_close_ int mem = -EBADF;

		mem = proc_open(s->frozen->pid, O_RDONLY, "mem");
		if (mem < 0)
			return mem;
		r = pread_full(mem, s->have, n * s->page, (off_t)addr);
	}
	if (r < 0)
		return r;
	memset(s->want, 0, n * s->page);
	/* pages behind the end of the file stay zero */
	if (fd >= 0 && pread(fd, s->want, n * s->page, (off_t)(v->offset + (addr - v->start))) < 0)
		return -errno;
	return compare(s, v, addr, n);
}

static int scan_vma(struct scan *s, struct model_vma *v, int fd, bool all)
{
	for (uint64_t at = v->start; at < v->end;) {
		size_t n = (v->end - at) / s->page, from = 0;
		int r;

		if (n > CHUNK_PAGES)
			n = CHUNK_PAGES;
		r = pread_full(s->pagemap, s->entries, n * 8, (off_t)(at / s->page * 8));
		if (r < 0)
			return r;
		for (size_t i = 0; i <= n; i++) {
			bool candidate = false;

			if (i < n) {
				uint64_t e = s->entries[i];

				if (e & PM_GUARD) {
					r = push_run(&v->guards, &v->nguards, at + i * s->page,
						     at + (i + 1) * s->page);
					if (r < 0)
						return r;
				} else {
					candidate = (e & (PM_PRESENT | PM_SWAP)) && (all || !(e & PM_FILE));
				}
			}
			if (candidate)
				continue;
			if (i > from) {
				r = scan_candidates(s, v, fd, at + from * s->page, i - from);
				if (r < 0)
					return r;
			}
			from = i + 1;
		}
		at += n * s->page;
	}
	return 0;
}

static int refuse(struct error *err, const struct model_process *p, const struct proc_map *m,
		  const char *what)
{
	return error_set(err, EOPNOTSUPP, "process %d maps %s at %lx%s%s", p->pid, what,
			 (unsigned long)m->start, m->path[0] ? ": " : "", m->path);
}

static int open_object(struct model *m, struct model_files *files, const struct model_process *p,
		       const struct proc_map *map, struct model_vma *v, struct error *err)
{
	struct model_object o = { .writable = map->shared && (map->prot & PROT_WRITE) };
	char path[4352];
	struct stat st;
	int fd;

	for (size_t i = 0; i < m->nobjects; i++) {
		const struct model_object *have = &m->objects[i];

		if (have->ino == map->ino && have->writable == o.writable && have->path &&
		    strcmp(have->path, map->path) == 0) {
			v->object = (int)i;
			return 0;
		}
	}
	snprintf(path, sizeof(path), "/proc/%d/root%s", p->pid, map->path);
	fd = open(path, (o.writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0) {
		int code = errno;

		fd_close(fd);
		return error_errno(err, code, "process %d maps %s, which cannot be opened", p->pid,
				   map->path);
	}
	if (st.st_ino != map->ino) {
		fd_close(fd);
		return error_set(err, EOPNOTSUPP, "process %d maps %s, which was replaced meanwhile", p->pid,
				 map->path);
	}
	o.path = strdup(map->path);
	o.dev = st.st_dev;
	o.ino = st.st_ino;
	v->object = dump_object(m, files, &o, fd);
	return v->object < 0 ? error_set(err, ENOMEM, "no memory") : 0;
}

static const struct vma_kind *kind_of(const struct proc_map *map, bool *ret_file)
{
	struct vma_facts f = {
		.name = map->path,
		.vmflags = map->vmflags,
		.shared = map->shared,
		.deleted = map->deleted,
		.file = map->ino && map->path[0] == '/' && !map->deleted,
	};

	*ret_file = f.file;
	return vma_kind(&f);
}

static int add_vma(struct scan *s, struct model *m, struct model_files *files, const struct model_process *p,
		   const struct proc_map *map, struct error *err)
{
	struct model_space *space = &m->spaces[p->space];
	struct model_vma *v = &space->vmas[space->nvmas++];
	bool is_file;
	const struct vma_kind *kind = kind_of(map, &is_file);
	int r = 0;

	*v = (struct model_vma){
		.start = map->start,
		.end = map->end,
		.offset = map->offset,
		.prot = map->prot,
		.vmflags = map->vmflags,
		.shared = map->shared,
		.object = MODEL_NONE,
		.name = strdup(map->path),
	};
	if (!v->name)
		return error_set(err, ENOMEM, "no memory");
	if (kind->refused)
		return refuse(err, p, map, kind->refused);
	if (is_file)
		r = open_object(m, files, p, map, v, err);
	if (r < 0 || kind->scan == VMA_SCAN_NONE)
		return r;
	r = scan_vma(s, v, v->object >= 0 ? files->fds[v->object] : -EBADF, kind->scan == VMA_SCAN_ALL);
	if (r < 0)
		return error_errno(err, r, "reading the memory of process %d at %lx", p->pid,
				   (unsigned long)map->start);
	return 0;
}

static bool vdso_part(struct model_space *s, const struct proc_map *m)
{
	if (strncmp(m->path, "[vvar", 5) != 0 && strcmp(m->path, "[vdso]") != 0)
		return false;
	for (int i = 0; i < MODEL_VDSO_PARTS; i++) {
		if (s->vdso[i].len)
			continue;
		s->vdso[i].addr = m->start;
		s->vdso[i].len = m->end - m->start;
		if (strcmp(m->path, "[vdso]") == 0)
			s->vdso_addr = m->start;
		return true;
	}
	return false;
}

static int scan_new(struct scan *s)
{

	s->page = (uint64_t)sysconf(_SC_PAGESIZE);
	s->have = malloc(CHUNK_PAGES * s->page);
	s->want = malloc(CHUNK_PAGES * s->page);
	s->entries = malloc(CHUNK_PAGES * 8);
	s->pagemap = proc_open(s->frozen->pid, O_RDONLY, "pagemap");
	if (s->pagemap < 0)
		return s->pagemap;
	return s->have && s->want && s->entries ? 0 : -ENOMEM;
}

int dump_memory(const struct frozen_process *frozen, struct model *m, struct model_files *files,
		struct model_process *p, struct error *err)
{
	struct model_space *space = &m->spaces[p->space];
	struct proc_maps maps = { 0 };
	struct scan s = { .frozen = frozen, .pagemap = -EBADF };
	int r = proc_read_maps(p->pid, true, &maps);

	if (r == 0)
		r = scan_new(&s);
	if (r == 0) {
		space->vmas = calloc(maps.n + 1, sizeof(*space->vmas));
		r = space->vmas ? 0 : -ENOMEM;
	}
	if (r < 0)
		error_errno(err, r, "reading the mappings of process %d", p->pid);
	for (size_t i = 0; i < maps.n && r == 0; i++) {
		if (strcmp(maps.v[i].path, "[vsyscall]") == 0 || vdso_part(space, &maps.v[i]))
			continue;
		r = add_vma(&s, m, files, p, &maps.v[i], err);
	}
	for (int i = 0; i < MODEL_VDSO_PARTS && space->vdso_addr; i++)
		space->vdso[i].from_vdso = (int64_t)(space->vdso[i].addr - space->vdso_addr);
	fd_close(s.pagemap);
	free(s.have);
	free(s.want);
	free(s.entries);
	proc_maps_done(&maps);
	return r;
}
