/* SPDX-License-Identifier: MIT */
/* plan_layout_huge(): which stored memory goes into huge pages, with small ones of 8 pages */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/plan/laid_out.h"

#define HUGE  8ull /* pages; BASE is a multiple */
#define FILE_ 7

static uint64_t bytes;

/* plan_layout(), then the huge pages of it: @expected pieces, @pages in huge ones */
static void huge(size_t before, size_t expected, uint64_t pages)
{
	const struct model_space space = { .vmas = vmas, .nvmas = nvmas };
	uint64_t size;

	layout(before);
	size = l.pages_size;
	assert_int_equal(plan_layout_huge(&space, HUGE * PAGE, FILE_, &l, &bytes), 0);
	assert_int_equal(l.nmaps, expected);
	assert_int_equal(bytes, pages * PAGE);
	assert_int_equal(l.pages_size, size);
}

static void whole_pages_of_the_middle(void **state)
{
	struct model_vma *v = vma(3, 30, PROT_READ, -1);

	(void)state;
	written(v, 3, 30);
	huge(1, 3, 16);
	is(0, STUB_FILE_PAGES, 3, 8, 0);
	is(1, FILE_, 8, 24, 0);
	is(2, STUB_FILE_PAGES, 24, 30, 21);
	assert_int_equal(l.maps[1].mmap_flags, MAP_SHARED);
	assert_int_equal(l.maps[1].prot, PROT_READ);
	assert_int_equal(l.maps[2].mmap_flags, MAP_PRIVATE);
	check_whole();
}

static void exactly_one(void **state)
{
	struct model_vma *v = vma(8, 16, PROT_READ, -1);

	(void)state;
	written(v, 8, 16);
	huge(1, 1, 8);
	is(0, FILE_, 8, 16, 0);
	/* a page less at either end: none */
	vmas[0].start += PAGE;
	v->runs[0].start += PAGE;
	huge(1, 1, 0);
	is(0, STUB_FILE_PAGES, 9, 16, 0);
	vmas[0].start -= PAGE;
	v->runs[0].start -= PAGE;
	vmas[0].end -= PAGE;
	v->runs[0].end -= PAGE;
	huge(1, 1, 0);
}

static void protections(void **state)
{
	static const uint32_t others[] = { PROT_NONE, RW, RX, PROT_EXEC, RX | PROT_WRITE, PROT_WRITE };
	struct model_vma *v = vma(8, 24, PROT_READ, -1);

	(void)state;
	written(v, 8, 24);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		v->prot = others[i];
		huge(1, 1, 0);
	}
}

static void sparse_ones_stay(void **state)
{
	struct model_vma *v = vma(0, 40, PROT_READ, -1);

	(void)state;
	/* three quarters of the first and third, less of the second; the fourth and fifth whole */
	written(v, 2, 8);
	written(v, 8, 13);
	written(v, 16, 22);
	written(v, 24, 40);
	huge(1, 3, 32);
	is(0, FILE_, 0, 8, 0);
	is(1, STUB_FILE_PAGES, 8, 16, 8);
	is(2, FILE_, 16, 40, 8);
	check_whole();
}

static void a_files_pages_are_stored_whole(void **state)
{
	struct model_vma *v = vma(0, 32, PROT_READ, 0);

	(void)state;
	/* clean pages between written ones are stored: VMA_CLEAN_GAP */
	written(v, 1, 2);
	written(v, 15, 16);
	huge(2, 2, 16);
	is(0, FILE_, 0, 16, 0);
	is(1, 3, 16, 32, 16);
}

static void several_regions(void **state)
{
	(void)state;
	written(vma(0, 9, PROT_READ, -1), 0, 9);
	written(vma(64, 72, RW, -1), 64, 72);
	written(vma(80, 96, PROT_READ, -1), 80, 96);
	huge(3, 4, 24);
	is(0, FILE_, 0, 8, 0);
	assert_int_equal(l.maps[1].file, STUB_FILE_PAGES);
	assert_int_equal(l.maps[2].file, STUB_FILE_PAGES);
	is(3, FILE_, 80, 96, 8);
}

static void neighbours_are_one(void **state)
{
	(void)state;
	/* two mappings that the layout joined: a page may reach over both */
	written(vma(0, 4, PROT_READ, -1), 0, 4);
	written(vma(4, 16, PROT_READ, -1), 4, 16);
	huge(1, 1, 16);
	is(0, FILE_, 0, 16, 0);
}

static void kinds_that_stay(void **state)
{
	static const uint32_t flags[] = { VMF_LOCKED, VMF_SEALED, VMF_DONTFORK, VMF_GROWSDOWN };
	struct model_run guard = { BASE + 10 * PAGE, BASE + 11 * PAGE, MODEL_NO_OFFSET };
	struct model_vma *v = vma(0, 32, PROT_READ, -1);

	(void)state;
	written(v, 0, 32);
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		v->vmflags = flags[i];
		huge(1, 1, 0);
	}
	/* a guard page keeps its own alone */
	v->vmflags = 0;
	v->guards = &guard;
	v->nguards = 1;
	huge(1, 3, 24);
	is(1, STUB_FILE_PAGES, 8, 16, 8);
	/* advice that may fail does not count */
	v->nguards = 0;
	v->vmflags = VMF_DONTDUMP | VMF_RANDOM;
	huge(1, 1, 32);
}

static void nothing(void **state)
{
	(void)state;
	huge(0, 0, 0);
	vma(0, 32, PROT_READ, -1); /* never written */
	vma(32, 64, PROT_READ, 0);
	huge(2, 2, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, laid_out_setup, laid_out_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(whole_pages_of_the_middle),
		T(exactly_one),
		T(protections),
		T(sparse_ones_stay),
		T(a_files_pages_are_stored_whole),
		T(several_regions),
		T(neighbours_are_one),
		T(kinds_that_stay),
		T(nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
