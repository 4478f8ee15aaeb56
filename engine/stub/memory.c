/* SPDX-License-Identifier: MIT */
/*
 * memory.c - the launcher's memory goes, the program's comes.
 *
 * Only [keep_start, keep_end) (text, data, context area) and the vDSO survive.
 * The vDSO's pages belong to the process, not to the launcher's program: they
 * are moved to where the template's program found them at its start.
 */
#include "engine/stub/stub.h"

#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <sys/syscall.h>

static int overlaps(uint64_t a, uint64_t alen, uint64_t b, uint64_t blen)
{
	return a < b + blen && b < a + alen;
}

static void move_vdso(const struct stub_launch *l, struct stub_process *p)
{
	int64_t shift = (int64_t)(p->vdso_addr - l->vdso_now);
	int64_t by = shift;
	int staged = 0;

	if (!p->vdso_addr || !l->vdso_now || !shift)
		return;
	/* mremap(2) refuses overlap of old and new: any part's new place on any part's old one goes by the staging area */
	for (int i = 0; i < STUB_VDSO_PARTS; i++) {
		const struct stub_vdso_part *v = &p->vdso[i];

		for (int j = 0; j < STUB_VDSO_PARTS && v->len; j++) {
			const struct stub_vdso_part *q = &p->vdso[j];

			if (q->len && overlaps(v->addr, v->len,
					       (uint64_t)((int64_t)l->vdso_now + q->from_vdso), q->len))
				staged = 1;
		}
	}
	for (int step = staged ? 0 : 1; step < 2; step++) {
		for (int i = 0; i < STUB_VDSO_PARTS; i++) {
			const struct stub_vdso_part *v = &p->vdso[i];
			uint64_t now = (uint64_t)((int64_t)l->vdso_now + v->from_vdso);
			uint64_t stage = (uint64_t)((int64_t)stub_data.staging + v->from_vdso);
			long r;

			if (!v->len)
				continue;
			r = SYSCALL5(SYS_mremap, step && staged ? stage : now, v->len, v->len,
				     MREMAP_MAYMOVE | MREMAP_FIXED,
				     step ? (uint64_t)((int64_t)now + by) : stage);
			if (r < 0)
				stub_fail(l, "moving the vDSO (mremap)", r);
		}
	}
}

static void unmap(uint64_t start, uint64_t end)
{
	if (start < end)
		SYSCALL2(SYS_munmap, start, end - start);
}

/* everything but the kept range and the vDSO at its final place */
static void drop_launcher(const struct stub_launch *l, struct stub_process *p)
{
	uint64_t vstart = UINT64_MAX, vend = 0;

	for (int i = 0; i < STUB_VDSO_PARTS; i++) {
		const struct stub_vdso_part *v = &p->vdso[i];

		if (!v->len)
			continue;
		if (v->addr < vstart)
			vstart = v->addr;
		if (v->addr + v->len > vend)
			vend = v->addr + v->len;
	}
	if (!l->vdso_now || vstart > vend)
		vstart = vend = stub_data.keep_end;
	if (vstart >= stub_data.keep_end) {
		unmap(0, stub_data.keep_start);
		unmap(stub_data.keep_end, vstart);
		unmap(vend, stub_data.task_size);
	} else {
		unmap(0, vstart);
		unmap(vend, stub_data.keep_start);
		unmap(stub_data.keep_end, stub_data.task_size);
	}
}

static void fill(const struct stub_launch *l, const struct stub_map *m)
{
	uint64_t done = 0;

	while (done < m->copy_len) {
		long n = SYSCALL4(SYS_pread64, l->pages_fd, m->copy_addr + done, m->copy_len - done,
				  m->off + done);

		if (n <= 0)
			stub_fail(l, "reading the template's pages", n);
		done += (uint64_t)n;
	}
}

static void map_one(const struct stub_launch *l, const struct stub_map *m)
{
	const int32_t *files = (const int32_t *)l->files;
	int fd = -1;
	uint32_t prot = m->prot;
	long r;

	if (m->file == STUB_FILE_PAGES)
		fd = l->pages_fd;
	else if (m->file > 0)
		fd = files[m->file - 1];
	if (m->flags & STUB_MAP_PROTECT)
		prot |= PROT_READ | PROT_WRITE;
	r = SYSCALL6(SYS_mmap, m->addr, m->len, prot, m->mmap_flags | MAP_FIXED, fd,
		     m->flags & STUB_MAP_COPY ? 0 : m->off);
	if (r < 0)
		stub_fail(l, "mapping the template's memory (mmap)", r);
	if (m->flags & STUB_MAP_COPY)
		fill(l, m);
	if (m->flags & STUB_MAP_PROTECT) {
		r = SYSCALL3(SYS_mprotect, m->addr, m->len, m->prot);
		if (r < 0)
			stub_fail(l, "protecting memory (mprotect)", r);
	}
	if (m->flags & (STUB_MAP_MLOCK | STUB_MAP_MLOCK_ONFAULT)) {
		r = SYSCALL3(SYS_mlock2, m->addr, m->len,
			     m->flags & STUB_MAP_MLOCK_ONFAULT ? MLOCK_ONFAULT : 0);
		if (r < 0)
			stub_fail(l, "locking memory (mlock2; see ulimit -l)", r);
	}
}

long stub_set_mm(struct stub_launch *l, struct stub_process *p)
{
	const struct stub_mm *mm = &p->mm;
	struct prctl_mm_map map;
	long r = -1;

	map.start_code = mm->start_code;
	map.end_code = mm->end_code;
	map.start_data = mm->start_data;
	map.end_data = mm->end_data;
	map.start_brk = mm->start_brk;
	map.brk = mm->brk;
	map.start_stack = mm->start_stack;
	map.arg_start = l->arg_start;
	map.arg_end = l->arg_end;
	map.env_start = l->env_start;
	map.env_end = l->env_end;
	map.auxv = stub_at(mm->auxv);
	map.auxv_size = (uint32_t)mm->auxv_size;
	/* an exe needs CAP_CHECKPOINT_RESTORE (prctl(2)); without it /proc/self/exe stays the launcher */
	if ((l->flags & STUB_LAUNCH_EXE) && p->exe_file >= 0) {
		/* for stub_fail() */
		l->launcher_exe = (int32_t)SYSCALL4(SYS_openat, AT_FDCWD, "/proc/self/exe",
						    O_PATH | O_CLOEXEC, 0);
		map.exe_fd = (uint32_t)((const int32_t *)l->files)[p->exe_file];
		if (l->launcher_exe >= 0)
			r = SYSCALL5(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, &map, sizeof(map), 0);
		p->exe_right = r == 0;
	}
	if (r < 0) {
		map.exe_fd = (uint32_t)-1;
		r = SYSCALL5(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, &map, sizeof(map), 0);
	}
	return r;
}

/* what two clones of one skeleton must not share, and what fork(2) does not pass on */
int stub_only_in_clones(const struct stub_map *m)
{
	int shared = m->file == STUB_FILE_NONE && (m->mmap_flags & MAP_SHARED);

	return shared || (m->flags & (STUB_MAP_COPY | STUB_MAP_MLOCK | STUB_MAP_MLOCK_ONFAULT));
}

#define FOR_CLONES 2u /* a second bit in stub_advice.ignore_errors, set here */

static void mark_advices(struct stub_process *p)
{
	const struct stub_map *m = stub_at(p->maps);
	struct stub_advice *a = stub_at(p->advices);

	for (uint32_t i = 0; i < p->nadvices; i++, a++) {
		int clones = a->advice == MADV_DONTFORK || a->advice == MADV_WIPEONFORK;

		for (uint32_t j = 0; j < p->nmaps && !clones; j++)
			clones = stub_only_in_clones(m + j) && overlaps(a->addr, a->len, m[j].addr, m[j].len);
		if (clones)
			a->ignore_errors |= FOR_CLONES;
	}
}

static void advise(const struct stub_launch *l, struct stub_process *p, uint32_t mark)
{
	const struct stub_advice *a = stub_at(p->advices);

	for (uint32_t i = 0; i < p->nadvices; i++, a++) {
		long r;

		if ((a->ignore_errors & FOR_CLONES) != mark)
			continue;
		r = SYSCALL3(SYS_madvise, a->addr, a->len, a->advice);
		if (r < 0 && !(a->ignore_errors & 1))
			stub_fail(l, "advising memory (madvise)", r);
	}
}

void stub_memory(struct stub_launch *l, struct stub_process *p)
{
	const struct stub_map *m = stub_at(p->maps);
	long r;

	move_vdso(l, p);
	drop_launcher(l, p);
	if (l->flags & STUB_LAUNCH_SKELETON)
		mark_advices(p);
	for (uint32_t i = 0; i < p->nmaps; i++)
		if (!(l->flags & STUB_LAUNCH_SKELETON) || !stub_only_in_clones(m + i))
			map_one(l, m + i);
	advise(l, p, 0);
	r = stub_set_mm(l, p);
	if (r < 0)
		stub_fail(l, "setting the program break (PR_SET_MM_MAP)", r);
}

void stub_memory_own(struct stub_launch *l, struct stub_process *p)
{
	const struct stub_map *m = stub_at(p->maps);

	for (uint32_t i = 0; (l->flags & STUB_LAUNCH_FORKED) && i < p->nmaps; i++)
		if (stub_only_in_clones(m + i))
			map_one(l, m + i);
	advise(l, p, FOR_CLONES);
	if (p->mlockall_flags)
		SYSCALL1(SYS_mlockall, p->mlockall_flags);
	stub_populate(l, p);
	for (uint32_t i = 0; i < p->nmaps; i++)
		if (m[i].flags & STUB_MAP_MSEAL)
			stub_syscall(STUB_NR_MSEAL, (long)m[i].addr, (long)m[i].len, 0, 0, 0, 0);
}
