/* SPDX-License-Identifier: MIT */
/* each kind of memory: told by its facts, refused in words or laid out. How pieces join: test_layout*.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <sys/mman.h>

#include "engine/base/fd.h"
#include "engine/proc.h"
#include "snapshot/kinds/vma.h"

#define PAGE  4096ull
#define BASE  0x10000000ull
#define FILE_ 4 /* in a launch */

static const struct {
	struct vma_facts facts;
	const struct vma_kind *kind;
} told[] = {
	{ { "", 0, false, false, false }, &vma_kind_private },
	{ { "[heap]", 0, false, false, false }, &vma_kind_private },
	{ { "/lib/libc.so", 0, false, false, true }, &vma_kind_private },
	{ { "/tmp/file", VMF_MAYSHARE, true, false, true }, &vma_kind_shared_file },
	{ { "/dev/zero", 0, true, true, false }, &vma_kind_shared_anonymous },
	/* in a model nothing is deleted any more */
	{ { "/dev/zero", 0, true, false, false }, &vma_kind_shared_anonymous },
	/* with a name by PR_SET_VMA_ANON_NAME */
	{ { "[anon_shmem:cache]", 0, true, false, false }, &vma_kind_shared_anonymous },
	{ { "[stack]", VMF_GROWSDOWN, false, false, false }, &vma_kind_stack },
	{ { "", VMF_WIPEONFORK, false, false, false }, &vma_kind_fresh },
	{ { "", VMF_DROPPABLE | VMF_WIPEONFORK | VMF_GROWSDOWN, false, false, false }, &vma_kind_fresh },
	{ { "/dev/mem", VMF_PFNMAP, true, false, true }, &vma_kind_device },
	{ { "/dev/fb0", VMF_IO | VMF_WIPEONFORK, true, false, true }, &vma_kind_device },
	{ { "/anon_hugepage", VMF_HUGETLB, false, true, false }, &vma_kind_hugetlb },
	{ { "", VMF_UFFD, false, false, false }, &vma_kind_uffd },
	{ { "", VMF_SHADOWSTACK, false, false, false }, &vma_kind_shadow_stack },
	{ { "/SYSV00000000", 0, true, true, false }, &vma_kind_sysv },
	{ { "anon_inode:[io_uring]", 0, true, false, false }, &vma_kind_kernel_object },
	{ { "/memfd:x", 0, true, true, false }, &vma_kind_shared_memfd },
	{ { "/memfd:x", 0, false, true, false }, &vma_kind_deleted_file },
	{ { "/tmp/gone", 0, true, true, false }, &vma_kind_deleted_file },
	{ { "/dev/zero", 0, false, true, false }, &vma_kind_deleted_file },
};

static void kinds_are_told(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(told); i++)
		if (vma_kind(&told[i].facts) != told[i].kind)
			fail_msg("row %zu: %s", i, told[i].facts.name);
}

static void each_kind_is_refused_or_laid_out(void **state)
{
	static const struct vma_kind *const all[] = {
#define VMA_KIND(name) &vma_kind_##name,
#include "snapshot/kinds/vma_kinds.def"
#undef VMA_KIND
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		size_t row = 0;

		assert_true(!all[i]->refused != !all[i]->place);
		while (row < ARRAY_SIZE(told) && told[row].kind != all[i])
			row++;
		assert_true(row < ARRAY_SIZE(told));
	}
}

static struct place place;

static const struct stub_map *laid_out(struct model_vma *v, int file)
{
	place = (struct place){ .page = PAGE };
	assert_int_equal(vma_kind_of(v)->place(&place, v, file), 0);
	assert_true(place.nmaps > 0);
	return place.maps;
}

static struct model_vma vma(struct model_run *runs, size_t n)
{
	return (struct model_vma){ .start = BASE,
				   .end = BASE + 200 * PAGE,
				   .prot = PROT_READ | PROT_WRITE,
				   .object = MODEL_NONE,
				   .name = (char *)"",
				   .runs = runs,
				   .nruns = n };
}

static void fresh_memory_is_empty(void **state)
{
	struct model_run run = { BASE, BASE + PAGE, MODEL_NO_OFFSET };
	struct model_vma v = vma(&run, 1);

	(void)state;
	v.vmflags = VMF_WIPEONFORK;
	assert_int_equal(vma_kind_of(&v)->scan, VMA_SCAN_NONE);
	assert_int_equal(laid_out(&v, STUB_FILE_NONE)->mmap_flags, MAP_PRIVATE | MAP_ANONYMOUS);
	assert_int_equal(place.nmaps, 1);
	assert_int_equal(place.pages_size, 0);
	free(place.maps);
}

static void stacks_are_copied(void **state)
{
	struct model_run runs[] = { { BASE + 190 * PAGE, BASE + 191 * PAGE, MODEL_NO_OFFSET },
				    { BASE + 199 * PAGE, BASE + 200 * PAGE, MODEL_NO_OFFSET } };
	struct model_vma v = vma(runs, 2);
	const struct stub_map *map;

	(void)state;
	v.vmflags = VMF_GROWSDOWN;
	assert_int_equal(vma_kind_of(&v)->scan, VMA_SCAN_OWN);
	map = laid_out(&v, STUB_FILE_NONE);
	assert_int_equal(map->flags, STUB_MAP_COPY);
	assert_int_equal(map->copy_addr, BASE + 190 * PAGE);
	assert_int_equal(map->copy_len, 10 * PAGE);
	assert_int_equal(place.pages_size, 10 * PAGE);
	free(place.maps);
}

static void shared_memory_is_shared_with_children(void **state)
{
	struct model_vma v = vma(NULL, 0);

	(void)state;
	v.shared = true;
	v.name = (char *)"/dev/zero";
	assert_int_equal(vma_kind_of(&v)->scan, VMA_SCAN_ALL);
	assert_int_equal(laid_out(&v, STUB_FILE_NONE)->mmap_flags, MAP_SHARED | MAP_ANONYMOUS);
	free(place.maps);
	v.object = 0;
	v.name = (char *)"/tmp/file";
	assert_int_equal(vma_kind_of(&v)->scan, VMA_SCAN_NONE);
	assert_int_equal(laid_out(&v, FILE_)->mmap_flags, MAP_SHARED);
	assert_int_equal(place.maps[0].file, FILE_);
	free(place.maps);
}

static void private_memory_takes_turns(void **state)
{
	struct model_run run = { BASE + 100 * PAGE, BASE + 101 * PAGE, MODEL_NO_OFFSET };
	struct model_vma v = vma(&run, 1);

	(void)state;
	v.object = 0;
	v.offset = 8 * PAGE;
	assert_int_equal(vma_kind_of(&v)->scan, VMA_SCAN_OWN);
	laid_out(&v, FILE_);
	assert_int_equal(place.nmaps, 3);
	assert_int_equal(place.maps[0].file, FILE_);
	assert_int_equal(place.maps[1].file, STUB_FILE_PAGES);
	assert_int_equal(place.maps[2].file, FILE_);
	assert_int_equal(place.maps[2].off, (8 + 101) * PAGE);
	free(place.maps);
}

/* an image's: where its bytes lie was decided when it was written */
static void what_was_laid_out_before_stays(void **state)
{
	struct model_run runs[] = { { BASE, BASE + 2 * PAGE, 5 * PAGE },
				    { BASE + 3 * PAGE, BASE + 4 * PAGE, 7 * PAGE } };
	struct model_vma v = vma(runs, 2);

	(void)state;
	laid_out(&v, STUB_FILE_NONE);
	assert_int_equal(place.nmaps, 4);
	assert_int_equal(place.maps[0].off, 5 * PAGE);
	assert_int_equal(place.maps[0].len, 2 * PAGE);
	assert_int_equal(place.maps[1].file, STUB_FILE_NONE);
	assert_int_equal(place.maps[2].off, 7 * PAGE);
	assert_int_equal(place.pages_size, 8 * PAGE);
	free(place.maps);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kinds_are_told),
		cmocka_unit_test(each_kind_is_refused_or_laid_out),
		cmocka_unit_test(fresh_memory_is_empty),
		cmocka_unit_test(stacks_are_copied),
		cmocka_unit_test(shared_memory_is_shared_with_children),
		cmocka_unit_test(private_memory_takes_turns),
		cmocka_unit_test(what_was_laid_out_before_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
