/* SPDX-License-Identifier: MIT */
/* doctor_memory.c - can a template be kept in sealed memory, and a process become it? */
#include "launcher/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/prctl.h>

#include "engine/base/fd.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010u /* Linux 6.3 */
#endif
#ifndef PR_GET_TID_ADDRESS
#define PR_GET_TID_ADDRESS 40
#endif

#define ALL_SEALS	(F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define PAGEMAP_FILE	(1ull << 61) /* a file's page or shared anonymous: proc_pid_pagemap(5) */
#define PAGEMAP_PRESENT (1ull << 63)

/* <linux/fs.h> has these since 6.7 */
struct doctor_scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
struct doctor_region {
	uint64_t start, end, categories;
};
#define DOCTOR_PAGEMAP_SCAN    _IOWR('f', 16, struct doctor_scan)
#define DOCTOR_PAGE_IS_FILE    (1u << 2)
#define DOCTOR_PAGE_IS_PRESENT (1u << 3)

/* Return: a sealed memfd of @pages pages, or -1 with errno and *what */
static int sealed_memfd(size_t pages, const char **what)
{
	size_t size = pages * (size_t)sysconf(_SC_PAGESIZE);
	char *p;
	int fd;

	*what = "memfd_create";
	fd = (int)syscall(SYS_memfd_create, "warm-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
	if (fd < 0 && errno == EINVAL) /* before 6.3: all are executable */
		fd = (int)syscall(SYS_memfd_create, "warm-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -1;
	*what = "filling a memfd";
	if (ftruncate(fd, (off_t)size) < 0)
		return -1;
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -1;
	memset(p, 'w', size);
	munmap(p, size);
	*what = "sealing a memfd";
	return fcntl(fd, F_ADD_SEALS, ALL_SEALS) < 0 ? -1 : fd;
}

static void probe_memfd(struct doctor_finding *f)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	const char *what;
	char *data, *text, byte = 0;
	int fd = sealed_memfd(1, &what);

	if (fd < 0) {
		doctor_failed(f, what);
		return;
	}
	data = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED) {
		doctor_failed(f, "a private writable mapping of a sealed memfd");
		return;
	}
	data[0] = 'x';
	if (pread(fd, &byte, 1, 0) != 1 || byte != 'w') {
		doctor_found(f, DOCTOR_MISSING,
			     "a write to a private mapping went through to the sealed memfd");
		return;
	}
	text = mmap(NULL, page, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	if (text == MAP_FAILED) {
		doctor_failed(f, "an executable mapping of a sealed memfd");
		doctor_todo(f, "sysctl vm.memfd_noexec=0 or 1 (2 forbids it); SELinux: allow execmod");
		return;
	}
	doctor_found(f, DOCTOR_OK, "all four seals; private and executable mappings work");
}

/* a sealed memfd mapped privately: page 0 written, page 1 read. Return: its address, or NULL with a finding */
static volatile char *two_pages(struct doctor_finding *f)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	volatile char *p;
	const char *what;
	int fd = sealed_memfd(2, &what);

	if (fd < 0) {
		doctor_failed(f, what);
		return NULL;
	}
	p = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED) {
		doctor_failed(f, "a private mapping of a sealed memfd");
		return NULL;
	}
	(void)p[page];
	p[0] = 'x';
	return p;
}

static void probe_pagemap(struct doctor_finding *f)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint64_t entries[2];
	volatile char *p = two_pages(f);
	int fd;

	if (!p)
		return;
	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0 ||
	    pread(fd, entries, sizeof(entries), (off_t)((uintptr_t)p / page * 8)) != sizeof(entries))
		doctor_failed(f, "reading /proc/self/pagemap");
	else if (entries[0] & PAGEMAP_FILE || !(entries[0] & PAGEMAP_PRESENT))
		doctor_found(f, DOCTOR_MISSING, "a written page is not told from the file's");
	else if (!(entries[1] & PAGEMAP_FILE))
		doctor_found(f, DOCTOR_MISSING, "an unwritten page is not told from a copy");
	else
		doctor_found(f, DOCTOR_OK, "bit 61 tells written pages from the file's");
}

static void probe_pagemap_scan(struct doctor_finding *f)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	volatile char *p = two_pages(f);
	struct doctor_region region = { 0 };
	struct doctor_scan scan = {
		.size = sizeof(scan),
		.start = (uintptr_t)p,
		.end = (uintptr_t)p + 2 * page,
		.vec = (uintptr_t)&region,
		.vec_len = 1,
		.category_inverted = DOCTOR_PAGE_IS_FILE,
		.category_mask = DOCTOR_PAGE_IS_FILE | DOCTOR_PAGE_IS_PRESENT,
		.return_mask = DOCTOR_PAGE_IS_PRESENT,
	};
	int fd, n;

	if (!p)
		return;
	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : ioctl(fd, DOCTOR_PAGEMAP_SCAN, &scan);
	if (n < 0)
		doctor_failed(f, "PAGEMAP_SCAN");
	else if (n != 1 || region.start != (uintptr_t)p || region.end != (uintptr_t)p + page)
		doctor_found(f, DOCTOR_MISSING, "PAGEMAP_SCAN found other pages than the written one");
	else
		doctor_found(f, DOCTOR_OK, "PAGEMAP_SCAN finds the written pages");
}

/* fields of proc_pid_stat(5), numbered from 1 as there; 3 is the first behind the name */
static int stat_fields(uint64_t *fields, unsigned int max)
{
	_cleanup_free_ char *text = NULL;
	char *p;

	if (read_file("/proc/self/stat", &text, NULL) < 0)
		return -1;
	p = strrchr(text, ')');
	if (!p)
		return -1;
	p += 4; /* ") S " */
	for (unsigned int i = 4; i <= max; i++)
		fields[i] = strtoull(p, &p, 10);
	return 0;
}

static void probe_set_mm(struct doctor_finding *f)
{
	_cleanup_free_ char *auxv = NULL;
	size_t auxv_size;
	uint64_t s[52] = { 0 };
	struct prctl_mm_map map = { .exe_fd = (uint32_t)-1 };

	if (stat_fields(s, 51) < 0 || read_file("/proc/self/auxv", &auxv, &auxv_size) < 0) {
		doctor_found(f, DOCTOR_MISSING, "cannot read /proc/self/stat and auxv");
		return;
	}
	map.start_code = s[26];
	map.end_code = s[27];
	map.start_stack = s[28];
	map.start_data = s[45];
	map.end_data = s[46];
	map.start_brk = s[47];
	map.brk = (uintptr_t)sbrk(0);
	map.arg_start = s[48];
	map.arg_end = s[49];
	map.env_start = s[50];
	map.env_end = s[51];
	map.auxv = (void *)auxv;
	map.auxv_size = (uint32_t)auxv_size;
	if (prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof(map), 0) < 0)
		doctor_failed(f, "PR_SET_MM_MAP");
	else
		doctor_found(f, DOCTOR_OK, "PR_SET_MM_MAP works");
}

static void probe_tid_address(struct doctor_finding *f)
{
	int *address = NULL;

	if (prctl(PR_GET_TID_ADDRESS, &address, 0, 0, 0) < 0)
		doctor_failed(f, "PR_GET_TID_ADDRESS");
	else
		doctor_found(f, DOCTOR_OK, "PR_GET_TID_ADDRESS works");
}

/* Moves one mapping. Nothing may ask the time through libc afterwards: it would call the old vDSO. */
static int move_mapping(uintptr_t start, uintptr_t end)
{
	size_t size = end - start;
	void *to = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (to == MAP_FAILED)
		return -1;
	return mremap((void *)start, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED ? -1 : 0;
}

static void probe_vdso(struct doctor_finding *f)
{
	_cleanup_free_ char *maps = NULL;
	char *save = NULL;
	int moved = 0;

	if (read_file("/proc/self/maps", &maps, NULL) < 0) {
		doctor_found(f, DOCTOR_MISSING, "cannot read /proc/self/maps");
		return;
	}
	for (char *line = strtok_r(maps, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *name = strchr(line, '[');
		uintptr_t start, end;

		/* [vvar], [vvar_vclock] (Linux 6.13), [vdso] */
		if (!name || (strncmp(name, "[vvar", 5) != 0 && strcmp(name, "[vdso]") != 0) ||
		    sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &start, &end) != 2)
			continue;
		if (move_mapping(start, end) < 0) {
			char what[64];

			snprintf(what, sizeof(what), "moving %.32s", name);
			doctor_failed(f, what);
			if (errno == EPERM)
				doctor_todo(
					f,
					"the kernel seals them (CONFIG_MSEAL_SYSTEM_MAPPINGS): boot one without");
			return;
		}
		moved++;
	}
	if (moved == 0)
		doctor_found(f, DOCTOR_LIMITED, "this process has no vDSO");
	else
		doctor_found(f, DOCTOR_OK, "%d mappings of vvar and vdso were moved", moved);
}

static void probe_userfaultfd(struct doctor_finding *f)
{
	static const char path[] = "/proc/sys/vm/unprivileged_userfaultfd";
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | 1); /* UFFD_USER_MODE_ONLY, Linux 5.11 */

	if (fd < 0) {
		doctor_failed(f, "userfaultfd");
		if (errno == EPERM)
			doctor_todo(f, "sysctl vm.unprivileged_userfaultfd=1 (%s)", path);
		return;
	}
	doctor_found(f, DOCTOR_OK, "for faults from user mode");
}

static void probe_huge(struct doctor_finding *f)
{
	static const char path[] = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
	char line[128], *word, *end;

	if (doctor_read_line(path, line, sizeof(line)) < 0) {
		doctor_failed(f, path);
		doctor_todo(f, "a kernel with CONFIG_TRANSPARENT_HUGEPAGE");
		return;
	}
	word = strchr(line, '[');
	end = word ? strchr(word, ']') : NULL;
	if (!end) {
		doctor_found(f, DOCTOR_LIMITED, "%s is not understood: %s", path, line);
		return;
	}
	*end = '\0';
	word++;
	if (strcmp(word, "never") == 0 || strcmp(word, "deny") == 0) {
		doctor_found(f, DOCTOR_LIMITED, "shmem_enabled is '%s'", word);
		doctor_todo(f, "as root: echo advise > %s", path);
		return;
	}
	doctor_found(f, DOCTOR_OK, "shmem_enabled is '%s'", word);
}

/* a number of /proc/meminfo, proc_meminfo(5). Return: false if it is not there */
static bool meminfo(const char *text, const char *name, uint64_t *ret)
{
	const char *p = strstr(text, name);

	if (!p)
		return false;
	*ret = strtoull(p + strlen(name), NULL, 10);
	return true;
}

/* only looked at: one that was taken to try it could be the last one that a build wants */
static void probe_hugetlb(struct doctor_finding *f)
{
	_cleanup_free_ char *text = NULL;
	uint64_t size, total, unused, reserved = 0;
	int fd = (int)syscall(SYS_memfd_create, "warm-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);

	if (fd < 0) {
		doctor_failed(f, "a memfd of huge pages");
		doctor_todo(f, "a kernel with CONFIG_HUGETLBFS");
		return;
	}
	close(fd);
	if (read_file("/proc/meminfo", &text, NULL) < 0 || !meminfo(text, "\nHugepagesize:", &size) ||
	    !meminfo(text, "\nHugePages_Total:", &total) || !meminfo(text, "\nHugePages_Free:", &unused)) {
		doctor_found(f, DOCTOR_MISSING, "/proc/meminfo tells of none");
		return;
	}
	meminfo(text, "\nHugePages_Rsvd:", &reserved);
	unused -= reserved < unused ? reserved : unused;
	doctor_found(f, unused ? DOCTOR_OK : DOCTOR_LIMITED,
		     "%" PRIu64 " of %" PRIu64 " pages of %" PRIu64 " KiB are free", unused, total, size);
	if (!unused)
		doctor_todo(f, "as root: sysctl vm.nr_hugepages=N; templates use them if config.json has "
			       "\"hugetlb\": true");
}

#define CHECKPOINT_RESTORE "a kernel with CONFIG_CHECKPOINT_RESTORE (distributions have it)"

const struct doctor_probe doctor_memory_probes[] = {
	{ "memfd", true, "templates live in sealed memory that no clone can change", "Linux 5.10 or newer",
	  probe_memfd },
	{ "pagemap", true, "to store only the pages that differ from their file",
	  "mount /proc; Linux 5.10 or newer", probe_pagemap },
	{ "pagemap-scan", false, "finding written pages faster (Linux 6.7); else pagemap serves",
	  "Linux 6.7 or newer", probe_pagemap_scan },
	{ "set-mm-map", true, "a clone's heap, arguments and auxiliary vector", CHECKPOINT_RESTORE,
	  probe_set_mm },
	{ "tid-address", true, "to give a clone's threads their new ids", CHECKPOINT_RESTORE,
	  probe_tid_address },
	{ "vdso-move", true, "a clone needs the vDSO where the template had it", "Linux 5.10 or newer",
	  probe_vdso },
	{ "userfaultfd", false, "restoring large images lazily from disk", "Linux 5.11 or newer",
	  probe_userfaultfd },
	{ "shmem-huge-pages", false, "reading large heaps with fewer page faults", NULL, probe_huge },
	{ "hugetlb", false, "large memory that is only read, with the option of that name", NULL,
	  probe_hugetlb },
};
const size_t doctor_memory_count = ARRAY_SIZE(doctor_memory_probes);
