/* SPDX-License-Identifier: MIT */
/*
 * huge.c - a large piece of memory that is written, then only read: MIB and one page more on each side of a multiple of
 * 2 MiB. Argument 1: the case; 2: MiB.
 */
#include "program.h"

#include <sys/mman.h>
#include <sys/wait.h>

#define HUGE (2ul << 20)

static unsigned char *area;
static size_t size, page;

static void make(size_t mib)
{
	char *at;

	page = (size_t)sysconf(_SC_PAGESIZE);
	size = (mib << 20) + 2 * page;
	at = mmap(NULL, size + 3 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED)
		die("mmap");
	at = (char *)(((uintptr_t)at + 2 * HUGE - 1) & ~(HUGE - 1)) - page;
	area = (unsigned char *)at;
	MUST(mprotect(area, size, PROT_READ | PROT_WRITE));
	for (size_t i = 0; i < size; i += 8) {
		uint64_t word = i * 0x9e3779b97f4a7c15u + 1;

		memcpy(area + i, &word, 8);
	}
	/* a page that is zero, and one that was never touched, lie in it too */
	memset(area + page + 17 * page, 0, page);
	MUST(mprotect(area, size, PROT_READ));
}

static uint64_t sum(const unsigned char *p, size_t len)
{
	uint64_t h = 14695981039346656037u, word;

	for (size_t i = 0; i < len; i += 8) {
		memcpy(&word, p + i, 8);
		h = (h ^ word) * 1099511628211u;
	}
	return h;
}

/* bytes of the area that lie in pages of @kib KiB, and their protection */
static unsigned long in_pages_of(unsigned long kib)
{
	unsigned long from, to, n, bytes = 0, length = 0;
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[512];

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx", &from, &to) == 2 && strchr(line, ' ') > strchr(line, '-'))
			length = from >= (uintptr_t)area && to <= (uintptr_t)area + size ? to - from : 0;
		if (sscanf(line, "KernelPageSize: %lu kB", &n) == 1 && n == kib)
			bytes += length;
	}
	if (f)
		fclose(f);
	return bytes;
}

static void reads(void)
{
	unsigned char vec[1];
	pid_t child;
	int status;

	printf("sum %lx, edges %lx %lx\n", (unsigned long)sum(area, size), (unsigned long)sum(area, page),
	       (unsigned long)sum(area + size - page, page));
	SAY("mapped", mincore(area + page, page, vec) == 0);
	fflush(stdout);
	child = MUST(fork());
	if (!child)
		_exit(sum(area, size) & 0x7f);
	MUST(waitpid(child, &status, 0));
	SAY("the same in a child", WEXITSTATUS(status) == (int)(sum(area, size) & 0x7f));
}

/* a write is a fault, and a system call that would write there fails */
static void faults(void)
{
	int zero = MUST(open("/dev/zero", O_RDONLY));

	SAY("read(2) into it: EFAULT", read(zero, area + page, 8) < 0 && errno == EFAULT);
	close(zero);
	reads();
}

/* what is dropped is zero */
static void drops(void)
{
	unsigned long zero = 0;

	MUST(madvise(area + page, HUGE, MADV_DONTNEED));
	for (size_t i = 0; i < HUGE; i++)
		zero += !area[page + i];
	SAY("zero", zero == HUGE);
	printf("the rest %lx\n", (unsigned long)sum(area + page + HUGE, size - page - HUGE));
	MUST(munmap(area + page + HUGE, HUGE));
	printf("the end %lx\n", (unsigned long)sum(area + page + 2 * HUGE, size - page - 2 * HUGE));
}

/* what differs from cold: documented, and an error rather than a signal */
static void protects(void)
{
	printf("writable: %s\n",
	       mprotect(area + page, HUGE, PROT_READ | PROT_WRITE) ? strerrorname_np(errno) : "yes");
	printf("a small part: %s\n",
	       mprotect(area + 2 * page, page, PROT_READ | PROT_EXEC) ? strerrorname_np(errno) : "yes");
	reads();
}

static void counts(void)
{
	printf("%lu of %zu\n", in_pages_of(HUGE >> 10), size);
}

static const struct test_case cases[] = {
	{ "reads", reads },	  { "faults", faults }, { "drops", drops },
	{ "protects", protects }, { "counts", counts },
};

int main(int argc, char **argv)
{
	make(strtoul(argc > 2 ? argv[2] : "8", NULL, 10));
	ready();
	return RUN_CASE(cases);
}
