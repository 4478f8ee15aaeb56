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

#include "engine/base/fd.h"
#include "engine/proc.h"

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

static int push_run(struct record_run **runs, size_t *n, uint64_t start, uint64_t end)
{
	struct record_run *more;

	if (*n && (*runs)[*n - 1].end == start) {
		(*runs)[*n - 1].end = end;
		return 0;
	}
	/* grown by doubling at powers of two */
	if ((*n & (*n - 1)) == 0) {
		more = realloc(*runs, (*n ? *n * 2 : 1) * sizeof(*more));
		if (!more)
			return -ENOMEM;
		*runs = more;
	}
	(*runs)[*n].start = start;
	(*runs)[*n].end = end;
	(*n)++;
	return 0;
}

/* pages of a chunk that differ from @want; both hold @n pages from @addr on */
static int compare(struct scan *s, struct record_vma *v, uint64_t addr, size_t n)
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

static int scan_candidates(struct scan *s, struct record_vma *v, int fd, uint64_t addr, size_t n)
{
	int r = frozen_read(s->frozen, addr, s->have, n * s->page);

	if (r == -EFAULT) {
		/* PROT_NONE: /proc/PID/mem reads what process_vm_readv may not */
		char path[64];
		_cleanup_close_ int mem = -EBADF;

		snprintf(path, sizeof(path), "/proc/%d/mem", s->frozen->pid);
		mem = open(path, O_RDONLY | O_CLOEXEC);
		if (mem < 0)
			return -errno;
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

static int scan_vma(struct scan *s, struct record_vma *v, int fd, bool shared_anon)
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
					candidate = (e & (PM_PRESENT | PM_SWAP)) &&
						    (shared_anon || !(e & PM_FILE));
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

static int refuse(struct error *err, const struct record_process *p, const struct proc_map *m,
		  const char *what)
{
	return error_set(err, EOPNOTSUPP, "process %d maps %s at %lx%s%s", p->pid, what,
			 (unsigned long)m->start, m->path[0] ? ": " : "", m->path);
}

static int open_object(struct record *rec, const struct record_process *p, const struct proc_map *m,
		       struct record_vma *v, struct error *err)
{
	struct record_object o = { .fd = -EBADF };
	char path[4352];
	struct stat st;

	o.writable = m->shared && (m->prot & PROT_WRITE);
	for (size_t i = 0; i < rec->nobjects; i++) {
		const struct record_object *have = &rec->objects[i];

		if (have->ino == m->ino && have->writable == o.writable &&
		    have->path && strcmp(have->path, m->path) == 0) {
			v->object = (int)i;
			return 0;
		}
	}
	snprintf(path, sizeof(path), "/proc/%d/root%s", p->pid, m->path);
	o.fd = open(path, (o.writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
	if (o.fd < 0 || fstat(o.fd, &st) < 0) {
		int code = errno;

		fd_close(o.fd);
		return error_errno(err, code, "process %d maps %s, which cannot be opened", p->pid, m->path);
	}
	if (st.st_ino != m->ino) {
		fd_close(o.fd);
		return error_set(err, EOPNOTSUPP, "process %d maps %s, which was replaced meanwhile", p->pid,
				 m->path);
	}
	o.path = strdup(m->path);
	o.dev = st.st_dev;
	o.ino = st.st_ino;
	v->object = record_add_object(rec, &o);
	if (!o.path || v->object < 0)
		return error_set(err, ENOMEM, "no memory");
	if ((size_t)v->object != rec->nobjects - 1) {
		fd_close(o.fd);
		free(o.path);
	}
	return 0;
}

static int add_vma(struct scan *s, struct record *rec, struct record_process *p, const struct proc_map *m,
		   struct error *err)
{
	struct record_vma *v = &p->vmas[p->nvmas];
	bool shared_anon = false;
	int fd = -EBADF, r = 0;

	memset(v, 0, sizeof(*v));
	v->start = m->start;
	v->end = m->end;
	v->offset = m->offset;
	v->prot = m->prot;
	v->vmflags = m->vmflags;
	v->shared = m->shared;
	v->object = -1;
	v->name = strdup(m->path);
	p->nvmas++;
	if (!v->name)
		return error_set(err, ENOMEM, "no memory");
	if (m->vmflags & (VMF_IO | VMF_PFNMAP))
		return refuse(err, p, m, "device memory");
	if (m->vmflags & VMF_HUGETLB)
		return refuse(err, p, m, "huge pages of hugetlbfs");
	if (m->vmflags & VMF_UFFD)
		return refuse(err, p, m, "memory watched by userfaultfd");
	if (m->vmflags & VMF_SHADOWSTACK)
		return refuse(err, p, m, "a shadow stack");
	if (m->shared && strcmp(m->path, "/dev/zero") == 0 && m->deleted)
		shared_anon = true;
	else if (m->shared && strncmp(m->path, "/SYSV", 5) == 0)
		return refuse(err, p, m, "System V shared memory");
	else if (m->deleted && strncmp(m->path, "/memfd:", 7) == 0 && m->shared)
		return refuse(err, p, m, "a memfd shared");
	else if (m->deleted)
		return refuse(err, p, m, "a deleted file");
	else if (m->ino && m->path[0] == '/')
		r = open_object(rec, p, m, v, err);
	if (r < 0)
		return r;
	if (v->vmflags & (VMF_WIPEONFORK | VMF_DROPPABLE))
		return 0;
	if (v->shared && !shared_anon)
		return 0;
	if (v->object >= 0)
		fd = rec->objects[v->object].fd;
	r = scan_vma(s, v, fd, shared_anon);
	if (r < 0)
		return error_errno(err, r, "reading the memory of process %d at %lx", p->pid,
				   (unsigned long)m->start);
	return 0;
}

static bool vdso_part(struct record_process *p, const struct proc_map *m)
{
	if (strncmp(m->path, "[vvar", 5) != 0 && strcmp(m->path, "[vdso]") != 0)
		return false;
	for (int i = 0; i < STUB_VDSO_PARTS; i++) {
		if (p->vdso[i].len)
			continue;
		p->vdso[i].addr = m->start;
		p->vdso[i].len = m->end - m->start;
		if (strcmp(m->path, "[vdso]") == 0)
			p->vdso_addr = m->start;
		return true;
	}
	return false;
}

static int scan_new(struct scan *s)
{
	char path[64];

	s->page = (uint64_t)sysconf(_SC_PAGESIZE);
	s->have = malloc(CHUNK_PAGES * s->page);
	s->want = malloc(CHUNK_PAGES * s->page);
	s->entries = malloc(CHUNK_PAGES * 8);
	snprintf(path, sizeof(path), "/proc/%d/pagemap", s->frozen->pid);
	s->pagemap = open(path, O_RDONLY | O_CLOEXEC);
	if (s->pagemap < 0)
		return -errno;
	return s->have && s->want && s->entries ? 0 : -ENOMEM;
}

int dump_memory(const struct frozen_process *frozen, struct record *rec, struct record_process *p,
		struct error *err)
{
	struct proc_maps maps = { 0 };
	struct scan s = { .frozen = frozen, .pagemap = -EBADF };
	int r = proc_read_maps(p->pid, true, &maps);

	if (r == 0)
		r = scan_new(&s);
	if (r == 0) {
		p->vmas = calloc(maps.n + 1, sizeof(*p->vmas));
		r = p->vmas ? 0 : -ENOMEM;
	}
	if (r < 0)
		error_errno(err, r, "reading the mappings of process %d", p->pid);
	for (size_t i = 0; i < maps.n && r == 0; i++) {
		if (strcmp(maps.v[i].path, "[vsyscall]") == 0 || vdso_part(p, &maps.v[i]))
			continue;
		r = add_vma(&s, rec, p, &maps.v[i], err);
	}
	for (int i = 0; i < STUB_VDSO_PARTS && p->vdso_addr; i++)
		p->vdso[i].from_vdso = (int64_t)(p->vdso[i].addr - p->vdso_addr);
	fd_close(s.pagemap);
	free(s.have);
	free(s.want);
	free(s.entries);
	proc_maps_done(&maps);
	return r;
}
