/* SPDX-License-Identifier: MIT */
/* plan_layout(): kinds of memory that are made in a way of their own: stacks, shared memory, advice, locks */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/base/fd.h"
#include "tests/unit/plan/laid_out.h"

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

/* bytes behind a stored piece until the next one */
static uint64_t gap_behind(size_t i, size_t next)
{
	return l.maps[next].off - (l.maps[i].off + l.maps[i].len);
}

static void growth(void **state)
{
	struct model_vma *a = vma(0, 4, RW, -1), *b = vma(100, 104, RW, -1), *c = vma(200, 201, RW, 0);

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
	struct model_vma *a = vma(0, 4, RW, -1), *s = vma(100, 104, RW, -1), *b = vma(200, 204, RW, -1);

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
	struct model_vma *v = vma(0, 33, RW, -1);

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
	struct model_vma *v = vma(0, 4, PROT_READ, -1);

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
	struct model_vma *v = vma(0, 4, RW, 1);

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
	struct model_vma *v = vma(0, 4, RW, -1);

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
	struct model_vma *v;

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
	struct model_run list[] = { { BASE, BASE + PAGE, MODEL_NO_OFFSET },
				    { BASE + 9 * PAGE, BASE + 10 * PAGE, MODEL_NO_OFFSET } };
	struct model_vma *v = vma(0, 10, RW, -1);

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
	struct model_vma *a = vma(0, 4, RW, -1), *b = vma(10, 14, RW, 0), *c = vma(20, 24, RW, -1),
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
	struct model_vma *a = vma(0, 4, RW, -1), *b = vma(10, 14, RW, -1), *c = vma(20, 24, RW, 0);

	(void)state;
	a->vmflags = b->vmflags = c->vmflags = VMF_NORESERVE;
	written(b, 10, 14);
	layout(3);
	for (size_t i = 0; i < 3; i++)
		assert_true(l.maps[i].mmap_flags & MAP_NORESERVE);
}

static void no_access(void **state)
{
	struct model_vma *v = vma(0, 4, PROT_NONE, -1);

	(void)state;
	/* contents behind PROT_NONE are kept */
	written(v, 1, 3);
	layout(1);
	is(0, STUB_FILE_PAGES, 0, 4, 0);
	assert_int_equal(l.maps[0].prot, PROT_NONE);
}

#define T(f) cmocka_unit_test_setup_teardown(f, laid_out_setup, laid_out_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(growth),	T(growth_before_a_stack), T(stack),	 T(shared_anonymous),
		T(shared_file), T(wiped_on_fork),	  T(droppable),	 T(guards),
		T(all_advices), T(locks_and_seals),	  T(no_reserve), T(no_access),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
