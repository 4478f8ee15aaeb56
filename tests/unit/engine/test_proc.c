/* SPDX-License-Identifier: MIT */
/* /proc as the kernel writes it: odd names, flags of mappings, fields of stat and status */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "engine/proc.h"

static char dir[] = "/tmp/test_proc.XXXXXX";
static struct proc_maps maps;
static size_t page;

static int setup_dir(void **state)
{
	(void)state;
	page = (size_t)sysconf(_SC_PAGESIZE);
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown_dir(void **state)
{
	(void)state;
	return rmdir(dir);
}

static const struct proc_map *find(bool flags, const void *at)
{
	proc_maps_done(&maps);
	assert_int_equal(proc_read_maps(getpid(), flags, &maps), 0);
	for (size_t i = 0; i < maps.n; i++)
		if (maps.v[i].start <= (uint64_t)at && (uint64_t)at < maps.v[i].end)
			return &maps.v[i];
	return NULL;
}

static int teardown(void **state)
{
	(void)state;
	proc_maps_done(&maps);
	return 0;
}

static void own_maps(void **state)
{
	uint64_t at = 0;
	bool stack = false, heap = false, vdso = false;

	(void)state;
	assert_true(sbrk((intptr_t)page) != (void *)-1); /* a sanitizer's malloc does without it */
	assert_int_equal(proc_read_maps(getpid(), false, &maps), 0);
	for (size_t i = 0; i < maps.n; i++) {
		const struct proc_map *m = &maps.v[i];

		assert_true(m->start >= at && m->end > m->start);
		assert_int_equal(m->vmflags, 0);
		at = m->end;
		stack |= strcmp(m->path, "[stack]") == 0 && m->start <= (uint64_t)&at &&
			 (uint64_t)&at < m->end;
		heap |= strcmp(m->path, "[heap]") == 0;
		vdso |= strcmp(m->path, "[vdso]") == 0 && m->prot == (PROT_READ | PROT_EXEC);
	}
	assert_true(stack && heap && vdso);
	assert_int_equal(proc_read_maps(0x7ffffff0, false, &maps), -ENOENT);
}

static void names(void **state)
{
	static const char *const list[] = {
		"plain",      "with space",  " leading",      "trailing ",	"(parens)",
		"a (b) c) d", "two  blanks", "colon: x",      "a-b 12-34 rw-p", "tab\there",
		"\xff\xfe",   "VmFlags: rd", "x (deleted) y",
	};
	char path[128];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(list); i++) {
		const struct proc_map *m;
		struct stat st;
		void *p;
		int fd;

		snprintf(path, sizeof(path), "%s/%s", dir, list[i]);
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		assert_true(fd >= 0);
		assert_int_equal(ftruncate(fd, (off_t)(4 * page)), 0);
		assert_int_equal(fstat(fd, &st), 0);
		p = mmap(NULL, 2 * page, PROT_READ, MAP_PRIVATE, fd, (off_t)page);
		assert_true(p != MAP_FAILED);
		m = find(false, p);
		assert_non_null(m);
		assert_string_equal(m->path, path);
		assert_int_equal(m->end - m->start, 2 * page);
		assert_int_equal(m->offset, page);
		assert_int_equal(m->ino, st.st_ino);
		assert_int_equal(m->prot, PROT_READ);
		assert_false(m->shared || m->deleted);
		unlink(path);
		m = find(true, p);
		assert_non_null(m);
		assert_string_equal(m->path, path);
		assert_true(m->deleted);
		munmap(p, 2 * page);
		close(fd);
	}
}

static void kinds(void **state)
{
	const struct proc_map *m;
	void *p;

	(void)state;
	p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	m = find(false, p);
	assert_true(m && m->shared && m->ino);
	assert_string_equal(m->path, "/dev/zero");
	assert_true(m->deleted);
	munmap(p, page);

	/* the two outer pages keep it from being merged with others */
	p = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mprotect((char *)p + page, page, PROT_READ | PROT_WRITE | PROT_EXEC);
	m = find(false, (char *)p + page);
	assert_non_null(m);
	assert_string_equal(m->path, "");
	assert_int_equal(m->prot, PROT_READ | PROT_WRITE | PROT_EXEC);
	assert_int_equal(m->ino, 0);
	assert_int_equal(m->end - m->start, page);
	assert_int_equal(find(false, p)->prot, PROT_NONE);
	munmap(p, 3 * page);
}

static void named_anonymous(void **state)
{
	const struct proc_map *m;
	void *p = mmap(NULL, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	/* names may hold blanks. Kernels without CONFIG_ANON_VMA_NAME have none, and warm does not need them: no skip */
	if (prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, page, "a name (x)") == 0) {
		m = find(false, p);
		assert_string_equal(m->path, "[anon:a name (x)]");
	}
	munmap(p, page);
}

static void flags(void **state)
{
	static const struct {
		int advice;
		uint32_t flag;
	} table[] = {
		{ MADV_DONTFORK, VMF_DONTFORK },     { MADV_DONTDUMP, VMF_DONTDUMP },
		{ MADV_WIPEONFORK, VMF_WIPEONFORK }, { MADV_NOHUGEPAGE, VMF_NOHUGEPAGE },
		{ MADV_SEQUENTIAL, VMF_SEQUENTIAL }, { MADV_RANDOM, VMF_RANDOM },
	};
	const struct proc_map *m;
	char *p;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (madvise(p, page, table[i].advice) == 0) {
			m = find(true, p);
			assert_true(m && m->vmflags & table[i].flag);
			assert_false(m->vmflags & (VMF_GROWSDOWN | VMF_LOCKED | VMF_IO | VMF_PFNMAP |
						   VMF_UFFD | VMF_HUGETLB));
		}
		munmap(p, page);
	}
	p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(find(true, p)->vmflags & VMF_NORESERVE);
	/* the call itself: ASan has an mlock() that does nothing */
	if (syscall(SYS_mlock, p, page) == 0)
		assert_true(find(true, p)->vmflags & VMF_LOCKED);
	munmap(p, page);
	assert_true(find(true, &p)->vmflags & VMF_GROWSDOWN);
}

static void stat_fields(void **state)
{
	static const char *const lines[] = {
		"17 (plain) S 1 17 16 0 -1 4194560 99",	     "17 (a b) S 1 17 16 0 -1 4194560 99",
		"17 (x) R 9 (y)) S 1 17 16 0 -1 4194560 99", "17 () S 1 17 16 0 -1 4194560 99\n",
		"17 (\n)) S 1 17 16 0 -1 4194560 99\n",
	};
	_cleanup_free_ char *text = NULL;
	uint64_t v;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		assert_int_equal(proc_stat_field(lines[i], 4, &v), 0);
		assert_int_equal(v, 1);
		assert_int_equal(proc_stat_field(lines[i], 5, &v), 0);
		assert_int_equal(v, 17);
		assert_int_equal(proc_stat_field(lines[i], 10, &v), 0);
		assert_int_equal(v, 99);
		assert_int_equal(proc_stat_field(lines[i], 11, &v), -EBADMSG);
		assert_int_equal(proc_stat_field(lines[i], 2, &v), -EBADMSG);
	}
	assert_int_equal(proc_stat_field("", 4, &v), -EBADMSG);
	prctl(PR_SET_NAME, "a) R 1 (b");
	assert_int_equal(read_file("/proc/self/stat", &text, NULL), 0);
	assert_int_equal(proc_stat_field(text, 4, &v), 0);
	assert_int_equal(v, getppid());
}

static void status_fields(void **state)
{
	static const char text[] =
		"Name:\tSigIgn:\tff\nUmask:\t0022\n\nSigIgn:\t0000000000001000\nPPid:\t-5\nSigIgnX:\t1\n";
	_cleanup_free_ char *status = NULL;
	uint64_t v;
	long n;

	(void)state;
	assert_int_equal(proc_status_hex(text, "SigIgn:", &v), 0);
	assert_int_equal(v, 0x1000);
	assert_int_equal(proc_status_hex(text, "SigIgnX:", &v), 0);
	assert_int_equal(v, 1);
	assert_int_equal(proc_status_long(text, "PPid:", &n), 0);
	assert_int_equal(n, -5);
	assert_int_equal(proc_status_hex(text, "SigCgt:", &v), -ENOENT);
	assert_int_equal(proc_status_long("", "PPid:", &n), -ENOENT);
	assert_int_equal(read_file("/proc/self/status", &status, NULL), 0);
	assert_int_equal(proc_status_long(status, "Tgid:", &n), 0);
	assert_int_equal(n, getpid());
}

#define T(f) cmocka_unit_test_teardown(f, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(own_maps), T(names),	     T(kinds),	       T(named_anonymous),
		T(flags),    T(stat_fields), T(status_fields),
	};

	return cmocka_run_group_tests(tests, setup_dir, teardown_dir);
}
