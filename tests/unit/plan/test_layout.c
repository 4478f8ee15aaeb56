/* SPDX-License-Identifier: MIT */
/* plan_layout(): the rules of snapshot/plan/plan.h, each with its borders: what is stored, and which pieces join */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/base/fd.h"
#include "snapshot/kinds/vma.h"
#include "tests/unit/plan/laid_out.h"

static void nothing(void **state)
{
	(void)state;
	layout(0);
	assert_int_equal(l.pages_size, 0);
}

static void untouched_file(void **state)
{
	struct model_vma *v = vma(0, 10, RX, 0);

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
	struct model_vma *v = vma(0, 100, RW, 0);

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
	struct model_vma *v = vma(0, 200, RW, 0);

	(void)state;
	written(v, 50, 51);
	written(v, 51 + VMA_CLEAN_GAP - 1, 80);
	layout(3);
	is(1, STUB_FILE_PAGES, 50, 80, 0);
	/* what is written counts, not the filling */
	assert_int_equal(l.stored, (1 + 80 - (51 + VMA_CLEAN_GAP - 1)) * PAGE);

	v->runs[1].start += 2 * PAGE;
	layout(5);
	is(1, STUB_FILE_PAGES, 50, 51, 0);
	is(2, 3, 51, 51 + VMA_CLEAN_GAP + 1, 51);
	is(3, STUB_FILE_PAGES, 51 + VMA_CLEAN_GAP + 1, 80, 1);
	check_whole();
}

static void short_clean_edges(void **state)
{
	struct model_vma *v = vma(0, 40, RW, 0);

	(void)state;
	written(v, VMA_CLEAN_GAP - 1, 40 - VMA_CLEAN_GAP + 1);
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
	struct model_vma *v = vma(0, 1000, RW, -1);

	(void)state;
	/* shorter than the gap: a hole of the memfd, at both edges and between */
	written(v, VMA_HOLE_GAP - 1, 100);
	written(v, 100 + VMA_HOLE_GAP - 1, 1000 - VMA_HOLE_GAP + 1);
	layout(1);
	is(0, STUB_FILE_PAGES, 0, 1000, 0);
	assert_int_equal(l.stored,
			 (100 - (VMA_HOLE_GAP - 1) + 1000 - VMA_HOLE_GAP + 1 - (100 + VMA_HOLE_GAP - 1)) *
				 PAGE);
	assert_true(l.pages_size > 1000 * PAGE);
}

static void anonymous_long_holes(void **state)
{
	struct model_vma *v = vma(0, 1000, RW, -1);

	(void)state;
	written(v, VMA_HOLE_GAP, 100);
	written(v, 100 + VMA_HOLE_GAP, 1000 - VMA_HOLE_GAP);
	layout(5);
	is(0, STUB_FILE_NONE, 0, VMA_HOLE_GAP, 0);
	assert_int_equal(l.maps[1].file, STUB_FILE_PAGES);
	is(2, STUB_FILE_NONE, 100, 100 + VMA_HOLE_GAP, 0);
	assert_int_equal(l.maps[3].file, STUB_FILE_PAGES);
	is(4, STUB_FILE_NONE, 1000 - VMA_HOLE_GAP, 1000, 0);
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
	struct model_vma *a = vma(0, 4, RW, 0), *b = vma(4, 8, RW, -1), *c = vma(8, 12, RW, 1);

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
	struct model_vma *a = vma(0, 4, PROT_READ, 0), *b = vma(4, 8, RW, 0), *c = vma(8, 9, RW, 0);

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

static void large_pages(void **state)
{
	struct model_space space = { .vmas = vmas };
	struct model_vma *v = vma(0, 16 * 200, RW, 0);

	(void)state;
	/* the gaps are told in pages, whatever a page is: 64 KiB here */
	written(v, 16 * 50, 16 * 51);
	written(v, 16 * (51 + VMA_CLEAN_GAP - 1), 16 * 80);
	space.nvmas = nvmas;
	assert_int_equal(plan_layout(&space, file_index, 16 * PAGE, join_text, &l), 0);
	assert_int_equal(l.nmaps, 3);
}

static void many(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 60; i++) {
		struct model_vma *v = vma(i * 200, i * 200 + 199, i % 2 ? RW : PROT_READ, i % 3 ? 0 : -1);

		if (i % 4)
			written(v, i * 200 + 90, i * 200 + 92);
	}
	/* 15 untouched, 45 in three */
	layout(15 + 45 * 3);
	check_whole();
}

#define T(f) cmocka_unit_test_setup_teardown(f, laid_out_setup, laid_out_teardown)

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
		T(large_pages),
		T(many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
