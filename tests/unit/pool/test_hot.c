/* SPDX-License-Identifier: MIT */
/* hot_take(): what clones tell of the pages they need, by kind of launch, and what is made ahead for all */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "engine/stub/image.h"
#include "warmd/pool/hot.h"
#include "warmd/template/store.h"

#define PAGE(n) (0x10000000ull + (n) * (uint64_t)sysconf(_SC_PAGESIZE))
#define PAGES(a, n)                                                                                          \
	{                                                                                                    \
		(a), (n) * (uint64_t)sysconf(_SC_PAGESIZE)                                                   \
	}
#define READ(a, n)                                                                                           \
	{                                                                                                    \
		(a), (n) * (uint64_t)sysconf(_SC_PAGESIZE) | STUB_HOT_READ                                   \
	}

struct fixture {
	struct store store;
	struct template template;
	Warm__BuildResult result;
	uint64_t key; /* that clones tell */
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct {
		struct stub_data head;
		struct stub_process root;
	} tables = { .head = { .processes = sizeof(tables.head), .nprocesses = 1 },
		     .root = { .hot = sizeof(tables), .hot_room = STUB_HOT_RANGES } };
	int fd = memfd_create("control", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	log_open(STDERR_FILENO, LOG_LEVEL_ERROR);
	if (!f || fd < 0 ||
	    ftruncate(fd, (off_t)(sizeof(tables) + sizeof(struct stub_range[STUB_HOT_RANGES]))) < 0 ||
	    pwrite_full(fd, &tables, sizeof(tables), 0) < 0)
		return -1;
	warm__build_result__init(&f->result);
	f->template.id = 7;
	f->template.learn_key = f->key = 0x123456789abcdef0;
	f->template.state = TEMPLATE_READY;
	f->template.result = &f->result;
	f->template.fds = calloc(1, sizeof(int));
	f->template.fds[0] = fd;
	f->store.list = &f->template;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	close(f->template.fds[0]);
	free(f->template.fds);
	hot_free(f->template.hot);
	free(f);
	return 0;
}

static int tell(struct fixture *f, uint32_t kind, const struct wire_range *ranges, uint32_t n)
{
	size_t size = sizeof(struct wire_learn) + n * sizeof(*ranges);
	struct wire_learn *m = calloc(1, size);
	int r;

	assert_non_null(m);
	m->learn_key = f->key;
	m->kind = kind;
	m->count = n;
	memcpy(m->ranges, ranges, n * sizeof(*ranges));
	r = hot_take(&f->store, m, size);
	free(m);
	return r;
}

static void expect(struct fixture *f, const struct wire_range *ranges, uint32_t n)
{
	const off_t root_at = sizeof(struct stub_data),
		    ranges_at = root_at + (off_t)sizeof(struct stub_process);
	struct stub_process root;
	struct stub_range got[16];

	assert_int_equal(pread_full(f->template.fds[0], &root, sizeof(root), root_at), 0);
	assert_int_equal(root.nhot, n);
	assert_int_equal(pread_full(f->template.fds[0], got, n * sizeof(got[0]), ranges_at), 0);
	assert_memory_equal(got, ranges, n * sizeof(got[0]));
}

static void test_one_kind_has_what_all_have(void **state)
{
	const struct wire_range a[] = { PAGES(PAGE(1), 4), PAGES(PAGE(8), 1), READ(PAGE(0), 1),
					READ(PAGE(5), 2) };
	const struct wire_range b[] = { PAGES(PAGE(3), 4), READ(PAGE(6), 2) };
	const struct wire_range both[] = { PAGES(PAGE(3), 2), READ(PAGE(6), 1) };

	assert_int_equal(tell(*state, WIRE_LEARN_SAME, a, 4), 0);
	expect(*state, a, 4);
	assert_int_equal(tell(*state, WIRE_LEARN_SAME, b, 2), 0);
	expect(*state, both, 2);
}

static void test_kinds_are_added_up(void **state)
{
	const struct wire_range same[] = { PAGES(PAGE(1), 2), PAGES(PAGE(9), 1), READ(PAGE(4), 1),
					   READ(PAGE(20), 1) };
	const struct wire_range other[] = { PAGES(PAGE(0), 2), PAGES(PAGE(3), 1), READ(PAGE(4), 2) };
	const struct wire_range all[] = { PAGES(PAGE(0), 3), PAGES(PAGE(3), 1), PAGES(PAGE(9), 1),
					  READ(PAGE(4), 2), READ(PAGE(20), 1) };

	for (unsigned int i = 0; i < HOT_SAMPLES; i++)
		assert_int_equal(tell(*state, WIRE_LEARN_SAME, same, 4), 0);
	expect(*state, same, 4);
	assert_int_equal(tell(*state, WIRE_LEARN_ENVIRONMENT, other, 3), 0);
	expect(*state, all, 5);
}

static void test_each_kind_is_asked_for_so_often(void **state)
{
	struct fixture *f = *state;
	const struct wire_range a[] = { PAGES(PAGE(1), 1) }, late[] = { PAGES(PAGE(2), 1) };

	assert_int_equal(hot_wanted(&f->template), (1u << WIRE_LEARN_KINDS) - 1);
	for (unsigned int i = 0; i < HOT_SAMPLES; i++)
		assert_int_equal(tell(f, WIRE_LEARN_ARGUMENTS, a, 1), 0);
	assert_int_equal(hot_wanted(&f->template), 1u << WIRE_LEARN_SAME | 1u << WIRE_LEARN_ENVIRONMENT);
	assert_int_equal(tell(f, WIRE_LEARN_ARGUMENTS, late, 1), 0);
	expect(f, a, 1);
	f->template.state = TEMPLATE_REFUSED;
	assert_int_equal(hot_wanted(&f->template), 0);
}

static void test_too_much_is_left_out(void **state)
{
	struct fixture *f = *state;
	const struct wire_range a[] = { PAGES(PAGE(1), 1) },
				huge[] = { PAGES(PAGE(8), HOT_BYTES_MAX / (uint64_t)sysconf(_SC_PAGESIZE)) };

	assert_int_equal(tell(f, WIRE_LEARN_SAME, a, 1), 0);
	assert_int_equal(tell(f, WIRE_LEARN_ENVIRONMENT, huge, 1), 0);
	expect(f, a, 1);
}

static void test_malformed(void **state)
{
	const struct wire_range turned[] = { PAGES(PAGE(2), 1), PAGES(PAGE(1), 1) };

	assert_int_equal(tell(*state, WIRE_LEARN_SAME, turned, 2), -EBADMSG);
	assert_int_equal(tell(*state, WIRE_LEARN_KINDS, turned, 1), -EBADMSG);
}

/* anybody can send: only those who were given the template count, whatever its number */
static void test_strangers_are_not_listened_to(void **state)
{
	const struct wire_range a[] = { PAGES(PAGE(1), 4) };
	struct fixture *f = *state;

	f->key = f->template.id;
	assert_int_equal(tell(f, WIRE_LEARN_SAME, a, 1), 0);
	assert_null(f->template.hot);
	f->key = f->template.learn_key;
	assert_int_equal(tell(f, WIRE_LEARN_SAME, a, 1), 0);
	expect(f, a, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_one_kind_has_what_all_have, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kinds_are_added_up, setup, teardown),
		cmocka_unit_test_setup_teardown(test_each_kind_is_asked_for_so_often, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_much_is_left_out, setup, teardown),
		cmocka_unit_test_setup_teardown(test_strangers_are_not_listened_to, setup, teardown),
		cmocka_unit_test_setup_teardown(test_malformed, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
