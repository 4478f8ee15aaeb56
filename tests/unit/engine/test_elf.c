/* SPDX-License-Identifier: MIT */
/* symbols and auxiliary vectors of live processes: this one, and a program stopped behind its exec */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/elf.h"
#include "engine/trace.h"

int test_elf_visible = 5;

static void auxv_of_self(void **state)
{
	static const unsigned long types[] = { AT_PAGESZ,	AT_ENTRY,  AT_PHDR,
					       AT_SYSINFO_EHDR, AT_RANDOM, AT_EXECFN };
	uint64_t v;

	(void)state;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		assert_int_equal(elf_auxv(getpid(), types[i], &v), 0);
		assert_int_equal(v, getauxval(types[i]));
	}
	assert_int_equal(elf_auxv(getpid(), 987654, &v), 0);
	assert_int_equal(v, 0);
	assert_int_equal(elf_auxv(0x7ffffff0, AT_ENTRY, &v), -ENOENT);
}

int main(void);

static void symbols_of_self(void **state)
{
	struct elf_query q[] = {
		{ .name = "main" },
		{ .name = "getenv" },
		{ .name = "test_elf_visible" },
		{ .name = "elf_lookup" },
		{ .name = "no_such_symbol_anywhere" },
		{ .name = "" },
		{ .name = "errno" },
	};

	(void)state;
	assert_int_equal(elf_lookup(getpid(), q, 7), 0);
	assert_int_equal(q[0].addr, (uint64_t)main);
	assert_int_equal(q[0].in_exe, (uint64_t)main);
	assert_int_equal(q[0].bias, q[3].bias);
	assert_false(q[0].exe_wants || q[4].exe_wants);
	assert_true(q[1].exe_wants || q[1].in_exe);
	/* &getenv may be a stub of the executable; ASan has one of its own */
	assert_true(q[1].addr == (uint64_t)getenv || q[1].other == (uint64_t)getenv || q[1].addr);
	assert_int_equal(q[2].addr, (uint64_t)&test_elf_visible);
	assert_int_equal(q[3].addr, (uint64_t)elf_lookup);
	assert_int_equal(q[4].addr | q[4].other | q[4].in_exe, 0);
	/* thread-local: its value is no address */
	assert_int_equal(q[6].addr, 0);
}

static void environ_is_copied(void **state)
{
	struct elf_query q = { .name = "environ" };

	(void)state;
	assert_int_equal(elf_lookup(getpid(), &q, 1), 0);
	assert_true(q.addr);
	assert_true(q.addr == (uint64_t)&environ || q.other == (uint64_t)&environ ||
		    q.in_exe == (uint64_t)&environ);
}

static void no_such_process(void **state)
{
	struct elf_query q = { .name = "main" };

	(void)state;
	assert_int_equal(elf_lookup(0x7ffffff0, &q, 1), -ENOENT);
	assert_int_equal(elf_lookup(getpid(), NULL, 0), 0);
}

/* --- a child that has just executed something -------------------------------------------- */

static int on_syscall(void *data, struct tracee *t, bool entry, int64_t ret, struct error *err)
{
	(void)err;
	/* the program's end: libraries are there, and it has not gone */
	return !entry || t->nr != *(long *)data ? 0 : 1 + (int)(ret != 0);
}

static int on_exec(void *data, struct tracee *t, struct error *err)
{
	(void)data;
	(void)t;
	(void)err;
	return 0;
}

static int on_breakpoint(void *data, struct tracee *t, int slot, struct error *err)
{
	(void)data;
	(void)t;
	(void)slot;
	(void)err;
	return 0;
}

static int run_true(void *arg)
{
	execl(arg, arg, NULL);
	return 127;
}

static void symbols_of_a_program(void **state)
{
	static const struct trace_ops ops = { .syscall = on_syscall,
					      .exec = on_exec,
					      .breakpoint = on_breakpoint };
	long nr = SYS_exit_group;
	struct elf_query q[] = { { .name = "getenv" },
				 { .name = "__libc_start_main" },
				 { .name = "malloc" },
				 { .name = "main" } };
	struct trace *tr;
	struct error err = { 0 };
	uint8_t code[4];
	uint64_t entry;
	pid_t pid;

	(void)state;
	assert_int_equal(trace_start(&tr, &ops, &nr, run_true, (char *)"/bin/true", &err), 0);
	pid = trace_root(tr);
	assert_int_equal(trace_run(tr, &err), 1);
	assert_int_equal(elf_lookup(pid, q, 4), 0);
	assert_true(q[0].addr && q[1].addr && q[2].addr);
	/* stripped */
	assert_int_equal(q[3].addr, 0);
	assert_int_equal(q[0].in_exe, 0);
	assert_true(q[1].exe_wants);
	assert_int_equal(q[0].bias, q[1].bias);
	assert_int_equal(trace_read(pid, q[0].addr, code, sizeof(code)), 0);
	assert_int_equal(elf_auxv(pid, AT_ENTRY, &entry), 0);
	assert_int_equal(trace_read(pid, entry, code, sizeof(code)), 0);
	assert_true(entry != getauxval(AT_ENTRY));
	trace_free(tr);
	assert_int_equal(kill(pid, 0), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(auxv_of_self),		cmocka_unit_test(symbols_of_self),
		cmocka_unit_test(environ_is_copied),	cmocka_unit_test(no_such_process),
		cmocka_unit_test(symbols_of_a_program),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
