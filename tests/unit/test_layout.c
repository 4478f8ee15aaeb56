/* SPDX-License-Identifier: MIT */
/* plan_layout(): the rules of snapshot/plan.h, each with its borders */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/base/fd.h"
#include "engine/proc.h"
#include "snapshot/plan.h"

#define PAGE 4096ull
#define BASE 0x10000000ull
#define RX   (PROT_READ | PROT_EXEC)
#define RW   (PROT_READ | PROT_WRITE)
#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

/* memory object 0 is launch file 3, object 1 is launch file 5 */
static const int file_index[] = { 3, 5 };
static struct record_vma vmas[64];
static struct record_run runs[64][64];
static size_t nvmas;
static struct plan_layout l;
static bool join_text;

static int setup(void **state)
{
	(void)state;
	nvmas = 0;
	join_text = false;
	memset(vmas, 0, sizeof(vmas));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	plan_layout_done(&l);
	return 0;
}

/* addresses in pages from BASE */
static struct record_vma *vma(uint64_t start, uint64_t end, uint32_t prot, int object)
{
	struct record_vma *v = &vmas[nvmas];

	*v = (struct record_vma){ .start = BASE + start * PAGE,
				  .end = BASE + end * PAGE,
				  .prot = prot,
				  .object = object,
				  .runs = runs[nvmas],
				  .name = (char *)"" };
	nvmas++;
	return v;
}

static void written(struct record_vma *v, uint64_t start, uint64_t end)
{
	v->runs[v->nruns++] = (struct record_run){ BASE + start * PAGE, BASE + end * PAGE };
}

/* every page of every mapping is made exactly once, in order, and stored pieces lie apart in the memfd */
static void check_whole(void)
{
	uint64_t at = 0, v = 0, off = 0;

	for (size_t i = 0; i < l.nmaps; i++) {
		const struct stub_map *m = &l.maps[i];

		assert_true(m->len > 0 && m->addr % PAGE == 0 && m->len % PAGE == 0);
		assert_true(m->addr >= at);
		at = m->addr;
		while (at < m->addr + m->len) {
			assert_true(v < nvmas && vmas[v].start == at);
			if (vmas[v].end > m->addr + m->len) {
				/* a mapping goes on in the next piece */
				vmas[v].start = m->addr + m->len;
				at = m->addr + m->len;
				break;
			}
			at = vmas[v++].end;
		}
		if (m->file == STUB_FILE_PAGES || m->flags & STUB_MAP_COPY) {
			assert_true(m->off >= off && m->off % PAGE == 0);
			off = m->off + (m->flags & STUB_MAP_COPY ? m->copy_len : m->len);
		}
	}
	assert_int_equal(v, nvmas);
	assert_true(l.pages_size >= off);
}

static void layout(size_t expected)
{
	struct record_process p = { .vmas = vmas, .nvmas = nvmas };
	struct record rec = { .processes = &p, .nprocesses = 1 };

	plan_layout_done(&l);
	assert_int_equal(plan_layout(&rec, &p, file_index, PAGE, join_text, &l), 0);
	assert_int_equal(l.nmaps, expected);
	for (size_t i = 0; i < nvmas; i++)
		assert_true(vmas[i].nruns <= 64);
}

static void is(size_t i, int file, uint64_t start, uint64_t end, uint64_t off_pages)
{
	const struct stub_map *m = &l.maps[i];

	assert_int_equal(m->file, file);
	assert_int_equal(m->addr, BASE + start * PAGE);
	assert_int_equal(m->len, (end - start) * PAGE);
	assert_int_equal(m->off, off_pages * PAGE);
}

static void nothing(void **state)
{
	(void)state;
	layout(0);
	assert_int_equal(l.pages_size, 0);
}

static void untouched_file(void **state)
{
	struct record_vma *v = vma(0, 10, RX, 0);

	(void)state;
	v->offset = 7 * PAGE;
	layout(1);
	is(0, 3, 0, 10, 7);
	assert_int_equal(l.maps[0].prot, RX);
	assert_int_equal(l.maps[0].mmap_flags, MAP_PRIVATE);
	assert_int_equal(l.pages_size, 0);
	assert_int_equal(l.stored, 0);
	check_whole();
}

static void written_file_pages(void **state)
{
	struct record_vma *v = vma(0, 100, RW, 0);

	(void)state;
	v->offset = 5 * PAGE;
	written(v, 40, 42);
	layout(3);
	is(0, 3, 0, 40, 5);
	is(1, STUB_FILE_PAGES, 40, 42, 0);
	is(2, 3, 42, 100, 47);
	assert_int_equal(l.stored, 2 * PAGE);
	/* a file's mapping does not grow into the memfd */
	assert_int_equal(l.pages_size, 2 * PAGE);
	check_whole();
}

static void short_clean_gaps(void **state)
{
	struct record_vma *v = vma(0, 200, RW, 0);

	(void)state;
	written(v, 50, 51);
	written(v, 51 + PLAN_CLEAN_GAP - 1, 80);
	layout(3);
	is(1, STUB_FILE_PAGES, 50, 80, 0);
	/* what is written counts, not the filling */
	assert_int_equal(l.stored, (1 + 80 - (51 + PLAN_CLEAN_GAP - 1)) * PAGE);

	v->runs[1].start += 2 * PAGE;
	layout(5);
	is(1, STUB_FILE_PAGES, 50, 51, 0);
	is(2, 3, 51, 51 + PLAN_CLEAN_GAP + 1, 51);
	is(3, STUB_FILE_PAGES, 51 + PLAN_CLEAN_GAP + 1, 80, 1);
	check_whole();
}

static void short_clean_edges(void **state)
{
	struct record_vma *v = vma(0, 40, RW, 0);

	(void)state;
	written(v, PLAN_CLEAN_GAP - 1, 40 - PLAN_CLEAN_GAP + 1);
	layout(1);
	is(0, STUB_FILE_PAGES, 0, 40, 0);
	check_whole();
}

static void anonymous_never_written(void **state)
{
	(void)state;
	vma(0, 10, RW, -1);
	layout(1);
	is(0, STUB_FILE_NONE, 0, 10, 0);
	assert_int_equal(l.maps[0].mmap_flags, MAP_PRIVATE | MAP_ANONYMOUS);
	assert_int_equal(l.pages_size, 0);
	check_whole();
}

static void anonymous_holes(void **state)
{
	struct record_vma *v = vma(0, 1000, RW, -1);

	(void)state;
	/* shorter than the gap: a hole of the memfd, at both edges and between */
	written(v, PLAN_HOLE_GAP - 1, 100);
	written(v, 100 + PLAN_HOLE_GAP - 1, 1000 - PLAN_HOLE_GAP + 1);
	layout(1);
	is(0, STUB_FILE_PAGES, 0, 1000, 0);
	assert_int_equal(l.stored,
			 (100 - (PLAN_HOLE_GAP - 1) + 1000 - PLAN_HOLE_GAP + 1 - (100 + PLAN_HOLE_GAP - 1)) *
				 PAGE);
	assert_true(l.pages_size > 1000 * PAGE);
}

static void anonymous_long_holes(void **state)
{
	struct record_vma *v = vma(0, 1000, RW, -1);

	(void)state;
	written(v, PLAN_HOLE_GAP, 100);
	written(v, 100 + PLAN_HOLE_GAP, 1000 - PLAN_HOLE_GAP);
	layout(5);
	is(0, STUB_FILE_NONE, 0, PLAN_HOLE_GAP, 0);
	assert_int_equal(l.maps[1].file, STUB_FILE_PAGES);
	is(2, STUB_FILE_NONE, 100, 100 + PLAN_HOLE_GAP, 0);
	assert_int_equal(l.maps[3].file, STUB_FILE_PAGES);
	is(4, STUB_FILE_NONE, 1000 - PLAN_HOLE_GAP, 1000, 0);
	check_whole();
}

static void joins_files(void **state)
{
	(void)state;
	/* one file, offsets that go on, equal protection: what the kernel would merge too */
	vma(0, 4, RX, 0);
	vma(4, 8, RX, 0)->offset = 4 * PAGE;
	layout(1);
	is(0, 3, 0, 8, 0);
	/* each of the conditions broken once */
	vmas[1].offset = 5 * PAGE;
	layout(2);
	vmas[1].offset = 4 * PAGE;
	vmas[1].prot = PROT_READ;
	layout(2);
	vmas[1].prot = RX;
	vmas[1].object = 1;
	layout(2);
	is(1, 5, 4, 8, 4);
	vmas[1].object = 0;
	vmas[1].shared = true;
	layout(2);
	vmas[1].shared = false;
	vmas[1].vmflags = VMF_LOCKED;
	layout(2);
	vmas[1].vmflags = VMF_NORESERVE;
	layout(2);
	vmas[1].vmflags = 0;
	vmas[1].start += PAGE;
	vmas[1].offset += PAGE;
	layout(2);
}

/* R, RX, R and what is relocated, as a linker lays out a library */
static void library(void)
{
	nvmas = 0;
	memset(runs, 0, sizeof(runs));
	vma(0, 4, PROT_READ, 0);
	vma(4, 50, RX, 0)->offset = 4 * PAGE;
	vma(50, 100, PROT_READ, 0)->offset = 50 * PAGE;
	vma(100, 101, PROT_READ, 0)->offset = 100 * PAGE;
	vma(101, 102, RW, 0)->offset = 101 * PAGE;
	written(&vmas[3], 100, 101);
	written(&vmas[4], 101, 102);
	join_text = true;
}

static void joins_text(void **state)
{
	(void)state;
	library();
	layout(3);
	is(0, 3, 0, 100, 0);
	assert_int_equal(l.maps[0].prot, RX);
	assert_int_equal(l.maps[0].mmap_flags, MAP_PRIVATE);
	/* what is relocated is never executable */
	is(1, STUB_FILE_PAGES, 100, 101, 0);
	assert_int_equal(l.maps[1].prot, PROT_READ);
	is(2, STUB_FILE_PAGES, 101, 102, 1);
	assert_int_equal(l.maps[2].prot, RW);
	assert_int_equal(l.stored, 2 * PAGE);
	check_whole();
}

static void joins_text_when_asked(void **state)
{
	(void)state;
	library();
	join_text = false;
	layout(5);
	assert_int_equal(l.maps[0].prot, PROT_READ);
	is(1, 3, 4, 50, 4);
	assert_int_equal(l.maps[1].prot, RX);
	assert_int_equal(l.maps[2].prot, PROT_READ);
	check_whole();
}

/* each of the conditions broken once at the second seam; the first joins all the same */
static void text_stays_apart(void **state)
{
	static const uint32_t others[] = { RW, PROT_NONE, PROT_READ | PROT_WRITE | PROT_EXEC, PROT_EXEC };

	(void)state;
	library();
	vmas[2].offset += PAGE; /* of a library whose segments share pages of the file */
	layout(4);
	is(0, 3, 0, 50, 0);
	is(1, 3, 50, 100, 51);
	assert_int_equal(l.maps[1].prot, PROT_READ);
	library();
	vmas[2].object = 1;
	layout(4);
	assert_int_equal(l.maps[1].file, 5);
	library();
	vmas[2].shared = true;
	layout(4);
	library();
	vmas[2].start += PAGE;
	vmas[2].offset += PAGE;
	layout(4);
	library();
	vmas[2].vmflags = VMF_LOCKED;
	layout(4);
	library();
	vmas[2].vmflags = VMF_SEALED;
	layout(4);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		library();
		vmas[2].prot = others[i];
		layout(4);
		assert_int_equal(l.maps[0].prot, RX);
		assert_int_equal(l.maps[1].prot, others[i]);
	}
	/* shared mappings of one file, side by side */
	library();
	vmas[0].shared = vmas[1].shared = vmas[2].shared = true;
	layout(5);
	assert_int_equal(l.maps[0].prot, PROT_READ);
	/* anonymous ones */
	library();
	vmas[0].object = vmas[1].object = vmas[2].object = -1;
	layout(5);
	assert_int_equal(l.maps[2].prot, PROT_READ);
}

static void text_around_a_stored_page(void **state)
{
	(void)state;
	/* between two segments */
	library();
	vmas[1].nruns = 0;
	written(&vmas[1], 49, 50);
	layout(5);
	is(0, 3, 0, 49, 0);
	assert_int_equal(l.maps[0].prot, RX);
	is(1, STUB_FILE_PAGES, 49, 50, 0);
	assert_int_equal(l.maps[1].prot, RX);
	is(2, 3, 50, 100, 50);
	assert_int_equal(l.maps[2].prot, PROT_READ);
	/* in the middle of the read-only data: its rest has no text beside it */
	library();
	vmas[2].nruns = 0;
	written(&vmas[2], 75, 76);
	layout(5);
	is(0, 3, 0, 75, 0);
	assert_int_equal(l.maps[0].prot, RX);
	is(1, STUB_FILE_PAGES, 75, 76, 0);
	assert_int_equal(l.maps[1].prot, PROT_READ);
	is(2, 3, 76, 100, 76);
	assert_int_equal(l.maps[2].prot, PROT_READ);
}

static void data_stays_data(void **state)
{
	(void)state;
	/* files that are only read, one behind the other: no text, nothing becomes executable */
	join_text = true;
	vma(0, 4, PROT_READ, 0);
	vma(4, 8, PROT_READ, 0)->offset = 4 * PAGE;
	layout(1);
	assert_int_equal(l.maps[0].prot, PROT_READ);
	vmas[1].prot = RW;
	layout(2);
	assert_int_equal(l.maps[0].prot, PROT_READ);
	assert_int_equal(l.maps[1].prot, RW);
}

static void joins_stored(void **state)
{
	struct record_vma *a = vma(0, 4, RW, 0), *b = vma(4, 8, RW, -1), *c = vma(8, 12, RW, 1);

	(void)state;
	written(a, 0, 4);
	written(b, 4, 8);
	written(c, 8, 12);
	/* a data segment, its bss and a neighbour: one behind the other in the memfd */
	layout(1);
	is(0, STUB_FILE_PAGES, 0, 12, 0);
	check_whole();
}

static void stored_of_other_protection(void **state)
{
	struct record_vma *a = vma(0, 4, PROT_READ, 0), *b = vma(4, 8, RW, 0), *c = vma(8, 9, RW, 0);

	(void)state;
	written(a, 0, 4);
	written(b, 4, 8);
	written(c, 8, 9);
	c->vmflags = VMF_LOCKED;
	layout(3);
	is(0, STUB_FILE_PAGES, 0, 4, 0);
	is(1, STUB_FILE_PAGES, 4, 8, 4);
	is(2, STUB_FILE_PAGES, 8, 9, 8);
	assert_int_equal(l.maps[0].prot, PROT_READ);
	assert_int_equal(l.maps[2].flags, STUB_MAP_MLOCK);
	check_whole();
}

static void joins_anonymous(void **state)
{
	(void)state;
	vma(0, 4, RW, -1);
	vma(4, 8, RW, -1);
	vma(8, 12, PROT_NONE, -1);
	vma(13, 14, PROT_NONE, -1);
	layout(3);
	is(0, STUB_FILE_NONE, 0, 8, 0);
	is(1, STUB_FILE_NONE, 8, 12, 0);
	is(2, STUB_FILE_NONE, 13, 14, 0);
}

/* bytes behind a stored piece until the next one */
static uint64_t gap_behind(size_t i, size_t next)
{
	return l.maps[next].off - (l.maps[i].off + l.maps[i].len);
}

static void growth(void **state)
{
	struct record_vma *a = vma(0, 4, RW, -1), *b = vma(100, 104, RW, -1), *c = vma(200, 201, RW, 0);

	(void)state;
	written(a, 0, 4);
	written(b, 100, 104);
	written(c, 200, 201);
	layout(3);
	assert_true(gap_behind(0, 1) >= 1ull << 30);
	assert_true(gap_behind(1, 2) >= 1ull << 30);
	/* the last is a file's: nothing behind it */
	assert_int_equal(l.pages_size, l.maps[2].off + l.maps[2].len);
	nvmas = 2;
	layout(2);
	assert_true(l.pages_size >= l.maps[1].off + l.maps[1].len + (1ull << 30));
	assert_int_equal(l.stored, 8 * PAGE);
	check_whole();
}

static void growth_before_a_stack(void **state)
{
	struct record_vma *a = vma(0, 4, RW, -1), *s = vma(100, 104, RW, -1), *b = vma(200, 204, RW, -1);

	(void)state;
	written(a, 0, 4);
	written(s, 102, 104);
	written(b, 200, 204);
	s->vmflags = VMF_GROWSDOWN;
	layout(3);
	assert_true(gap_behind(0, 1) >= 1ull << 30);
	/* a copy is not mapped: nothing is behind it but the next */
	assert_int_equal(l.maps[2].off, l.maps[1].off + l.maps[1].copy_len);
	check_whole();
}

static void stack(void **state)
{
	struct record_vma *v = vma(0, 33, RW, -1);

	(void)state;
	v->vmflags = VMF_GROWSDOWN;
	written(v, 20, 21);
	written(v, 30, 33);
	layout(1);
	is(0, STUB_FILE_NONE, 0, 33, 0);
	assert_int_equal(l.maps[0].mmap_flags, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_STACK);
	assert_int_equal(l.maps[0].flags, STUB_MAP_COPY);
	assert_int_equal(l.maps[0].copy_addr, BASE + 20 * PAGE);
	assert_int_equal(l.maps[0].copy_len, 13 * PAGE);
	assert_int_equal(l.pages_size, 13 * PAGE);
	/* nothing joins it */
	written(vma(33, 34, RW, -1), 33, 34);
	layout(2);
	assert_int_equal(l.maps[1].off, 13 * PAGE);
	check_whole();
}

static void shared_anonymous(void **state)
{
	struct record_vma *v = vma(0, 4, PROT_READ, -1);

	(void)state;
	v->shared = true;
	layout(1);
	is(0, STUB_FILE_NONE, 0, 4, 0);
	assert_int_equal(l.maps[0].mmap_flags, MAP_SHARED | MAP_ANONYMOUS);
	assert_int_equal(l.maps[0].flags, 0);
	written(v, 1, 2);
	layout(1);
	/* must be writable for the copy */
	assert_int_equal(l.maps[0].flags, STUB_MAP_COPY | STUB_MAP_PROTECT);
	assert_int_equal(l.maps[0].prot, PROT_READ);
	v->prot = RW;
	layout(1);
	assert_int_equal(l.maps[0].flags, STUB_MAP_COPY);
	v->prot = PROT_WRITE;
	layout(1);
	assert_int_equal(l.maps[0].flags, STUB_MAP_COPY | STUB_MAP_PROTECT);
}

static void shared_file(void **state)
{
	struct record_vma *v = vma(0, 4, RW, 1);

	(void)state;
	v->shared = true;
	v->offset = 2 * PAGE;
	layout(1);
	is(0, 5, 0, 4, 2);
	assert_int_equal(l.maps[0].mmap_flags, MAP_SHARED);
	assert_int_equal(l.pages_size, 0);
}

static bool has_advice(uint64_t start, uint64_t end, int advice)
{
	for (size_t i = 0; i < l.nadvices; i++)
		if (l.advices[i].addr == BASE + start * PAGE && l.advices[i].len == (end - start) * PAGE &&
		    l.advices[i].advice == advice)
			return true;
	return false;
}

static void wiped_on_fork(void **state)
{
	struct record_vma *v = vma(0, 4, RW, -1);

	(void)state;
	v->vmflags = VMF_WIPEONFORK;
	written(v, 0, 4);
	layout(1);
	is(0, STUB_FILE_NONE, 0, 4, 0);
	assert_int_equal(l.maps[0].flags, 0);
	assert_int_equal(l.pages_size, 0);
	assert_int_equal(l.nadvices, 1);
	assert_true(has_advice(0, 4, MADV_WIPEONFORK));
	assert_false(l.advices[0].ignore_errors);
}

static void droppable(void **state)
{
	struct record_vma *v;

	(void)state;
	vma(0, 4, RW, -1);
	v = vma(4, 8, RW, -1);
	v->vmflags = VMF_DROPPABLE | VMF_WIPEONFORK | VMF_DONTDUMP | VMF_NORESERVE;
	written(v, 4, 8);
	layout(2);
	is(1, STUB_FILE_NONE, 4, 8, 0);
	assert_int_equal(l.maps[1].mmap_flags, MAP_DROPPABLE | MAP_ANONYMOUS);
	assert_int_equal(l.nadvices, 0);
	assert_int_equal(l.pages_size, 0);
}

static void guards(void **state)
{
	struct record_run list[] = { { BASE, BASE + PAGE }, { BASE + 9 * PAGE, BASE + 10 * PAGE } };
	struct record_vma *v = vma(0, 10, RW, -1);

	(void)state;
	v->vmflags = VMF_GUARD;
	v->guards = list;
	v->nguards = 2;
	written(v, 1, 9);
	layout(1);
	assert_int_equal(l.nadvices, 2);
	assert_true(has_advice(0, 1, MADV_GUARD_INSTALL));
	assert_true(has_advice(9, 10, MADV_GUARD_INSTALL));
	assert_false(l.advices[0].ignore_errors);
}

static void all_advices(void **state)
{
	static const struct {
		uint32_t flag;
		int advice;
		bool must;
	} table[] = {
		{ VMF_DONTFORK, MADV_DONTFORK, true },	    { VMF_WIPEONFORK, MADV_WIPEONFORK, true },
		{ VMF_DONTDUMP, MADV_DONTDUMP, false },	    { VMF_HUGEPAGE, MADV_HUGEPAGE, false },
		{ VMF_NOHUGEPAGE, MADV_NOHUGEPAGE, false }, { VMF_MERGEABLE, MADV_MERGEABLE, false },
		{ VMF_SEQUENTIAL, MADV_SEQUENTIAL, false }, { VMF_RANDOM, MADV_RANDOM, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		nvmas = 0;
		vma(0, 4, RW, -1)->vmflags = table[i].flag;
		layout(1);
		assert_int_equal(l.nadvices, 1);
		assert_true(has_advice(0, 4, table[i].advice));
		assert_int_equal(l.advices[0].ignore_errors, !table[i].must);
	}
	nvmas = 0;
	for (uint64_t i = 0; i < 60; i++) /* the table grows */
		vma(i, i + 1, RW, -1)->vmflags = VMF_DONTFORK | VMF_DONTDUMP;
	layout(1);
	assert_int_equal(l.nadvices, 120);
}

static void locks_and_seals(void **state)
{
	struct record_vma *a = vma(0, 4, RW, -1), *b = vma(10, 14, RW, 0), *c = vma(20, 24, RW, -1),
			  *d = vma(30, 34, RW, -1);

	(void)state;
	a->vmflags = VMF_LOCKED;
	b->vmflags = VMF_LOCKED;
	written(b, 10, 14);
	c->vmflags = VMF_SEALED;
	d->vmflags = VMF_LOCKED | VMF_SEALED | VMF_GROWSDOWN;
	written(d, 33, 34);
	layout(4);
	assert_int_equal(l.maps[0].flags, STUB_MAP_MLOCK);
	assert_int_equal(l.maps[1].flags, STUB_MAP_MLOCK);
	assert_int_equal(l.maps[1].file, STUB_FILE_PAGES);
	assert_int_equal(l.maps[2].flags, STUB_MAP_MSEAL);
	assert_int_equal(l.maps[3].flags, STUB_MAP_MLOCK | STUB_MAP_MSEAL | STUB_MAP_COPY);
}

static void no_reserve(void **state)
{
	struct record_vma *a = vma(0, 4, RW, -1), *b = vma(10, 14, RW, -1), *c = vma(20, 24, RW, 0);

	(void)state;
	a->vmflags = b->vmflags = c->vmflags = VMF_NORESERVE;
	written(b, 10, 14);
	layout(3);
	for (size_t i = 0; i < 3; i++)
		assert_true(l.maps[i].mmap_flags & MAP_NORESERVE);
}

static void no_access(void **state)
{
	struct record_vma *v = vma(0, 4, PROT_NONE, -1);

	(void)state;
	/* contents behind PROT_NONE are kept */
	written(v, 1, 3);
	layout(1);
	is(0, STUB_FILE_PAGES, 0, 4, 0);
	assert_int_equal(l.maps[0].prot, PROT_NONE);
}

static void large_pages(void **state)
{
	struct record_process p = { .vmas = vmas };
	struct record rec = { .processes = &p, .nprocesses = 1 };
	struct record_vma *v = vma(0, 16 * 200, RW, 0);

	(void)state;
	/* the gaps are told in pages, whatever a page is: 64 KiB here */
	written(v, 16 * 50, 16 * 51);
	written(v, 16 * (51 + PLAN_CLEAN_GAP - 1), 16 * 80);
	p.nvmas = nvmas;
	assert_int_equal(plan_layout(&rec, &p, file_index, 16 * PAGE, join_text, &l), 0);
	assert_int_equal(l.nmaps, 3);
}

static void many(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 60; i++) {
		struct record_vma *v = vma(i * 200, i * 200 + 199, i % 2 ? RW : PROT_READ, i % 3 ? 0 : -1);

		if (i % 4)
			written(v, i * 200 + 90, i * 200 + 92);
	}
	/* 15 untouched, 45 in three */
	layout(15 + 45 * 3);
	check_whole();
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(nothing),
		T(untouched_file),
		T(written_file_pages),
		T(short_clean_gaps),
		T(short_clean_edges),
		T(anonymous_never_written),
		T(anonymous_holes),
		T(anonymous_long_holes),
		T(joins_files),
		T(joins_text),
		T(joins_text_when_asked),
		T(text_stays_apart),
		T(text_around_a_stored_page),
		T(data_stays_data),
		T(joins_stored),
		T(stored_of_other_protection),
		T(joins_anonymous),
		T(growth),
		T(growth_before_a_stack),
		T(stack),
		T(shared_anonymous),
		T(shared_file),
		T(wiped_on_fork),
		T(droppable),
		T(guards),
		T(all_advices),
		T(locks_and_seals),
		T(no_reserve),
		T(no_access),
		T(large_pages),
		T(many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
