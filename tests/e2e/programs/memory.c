/* SPDX-License-Identifier: MIT */
/* memory.c - mappings of all kinds made before the readiness point, used after it */
#include "program.h"

#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#define PAGE 4096ul

static char *map(size_t len, int prot, int flags)
{
	char *p = mmap(NULL, len, prot, flags | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

static uint64_t sum(const char *p, size_t len)
{
	uint64_t s = 0;

	for (size_t i = 0; i < len; i += 8) {
		uint64_t v;

		memcpy(&v, p + i, 8);
		s = s * 1099511628211u + v;
	}
	return s;
}

static int all_zero(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return 0;
	return 1;
}

static sigjmp_buf fault_jump;
static volatile int fault_signal;

static void on_fault(int sig)
{
	fault_signal = sig;
	siglongjmp(fault_jump, 1);
}

/* 0, or the signal that a touch of @p brings */
static int touch(volatile char *p, int write)
{
	struct sigaction sa = { .sa_handler = on_fault }, old[2];

	sigaction(SIGSEGV, &sa, &old[0]);
	sigaction(SIGBUS, &sa, &old[1]);
	fault_signal = 0;
	if (!sigsetjmp(fault_jump, 1)) {
		if (write)
			*p = 1;
		else
			(void)*p;
	}
	sigaction(SIGSEGV, &old[0], NULL);
	sigaction(SIGBUS, &old[1], NULL);
	return fault_signal;
}

static void case_heap(void)
{
	size_t len = 1ul << 30;
	char *p = malloc(len);
	uint64_t *words = (uint64_t *)p;

	for (size_t i = 0; i < len / 8; i += 64)
		words[i] = i * 0x9e3779b97f4a7c15u;
	ready();
	{
		uint64_t s = 0;

		for (size_t i = 0; i < len / 8; i += 64)
			s = s * 31 + words[i];
		printf("sum %lx\n", s);
	}
	memset(p + len / 2, 5, 1 << 20);
	printf("written %d %d\n", p[len / 2], p[len / 2 + (1 << 20) - 1]);
	free(p);
}

static void case_brk(void)
{
	char *start = sbrk(0), *p, *end;
	int moved = 0;
	uint64_t s = 0;

	p = malloc(1000);
	strcpy(p, "before");
	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	ready();
	end = sbrk(0);
	for (int i = 0; i < 20000; i++) {
		char *q = malloc(1000);

		memset(q, i, 1000);
		s += (unsigned char)q[i % 1000];
		moved |= (char *)sbrk(0) > end;
	}
	printf("%s, brk moved: %s, heap in brk: %s, sum %lu\n", p, moved ? "yes" : "no",
	       p >= start - (1 << 20) ? "yes" : "no", s);
	/* down below where it was, and up again: zeros */
	p = sbrk(0);
	MUST(brk(p + 64 * PAGE));
	memset(p, 1, 64 * PAGE);
	MUST(brk(p));
	MUST(brk(p + 64 * PAGE));
	SAY("zeros after brk went down and up", all_zero(p, 64 * PAGE));
}

/* what was on the heap at the checkpoint goes with brk, and comes back as zeros */
static void case_brk_down(void)
{
	char *p = MUST(sbrk(0));

	p = (char *)(((uintptr_t)p + PAGE - 1) & ~(PAGE - 1));
	MUST(brk(p + 256 * PAGE));
	memset(p, 7, 256 * PAGE);
	ready();
	printf("kept %d\n", p[255 * PAGE]);
	MUST(brk(p));
	MUST(brk(p + 512 * PAGE));
	SAY("zeros", all_zero(p, 512 * PAGE));
	memset(p, 1, 512 * PAGE);
	printf("written %d\n", p[511 * PAGE]);
}

static void case_mremap(void)
{
	size_t len = 8 << 20, more = 64 << 20;
	char *p = malloc(len), *q = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE), *moved;

	memset(p, 3, len);
	memset(q, 4, 4 * PAGE);
	ready();
	p = realloc(p, more);
	printf("kept %d %d, new part readable %d\n", p[0], p[len - 1], touch(p + more - 1, 1));
	SAY("grown part is zero", all_zero(p + len + PAGE, more - len - 2 * PAGE));
	memset(p, 9, more);
	moved = mremap(q, 4 * PAGE, 400 * PAGE, MREMAP_MAYMOVE);
	printf("mremap %s, kept %d\n", moved == MAP_FAILED ? "failed" : "worked", moved[4 * PAGE - 1]);
	SAY("zeros behind", all_zero(moved + 4 * PAGE, 396 * PAGE));
	moved = mremap(moved, 400 * PAGE, PAGE, 0);
	printf("shrunk %d\n", moved[PAGE - 1]);
	p = realloc(p, 1000);
	printf("shrunk %d\n", p[999]);
	free(p);
}

/* a process that forks at its start and waits for the word on standard input, so that clones can overlap */
static void case_shared(void)
{
	char *p = map(16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
	char line[64];
	pid_t pid;
	int status;

	strcpy(p, "template");
	ready();
	printf("%s\n", p);
	if (!fgets(line, sizeof(line), stdin))
		exit(96);
	pid = fork();
	if (pid == 0) {
		line[strcspn(line, "\n")] = '\0';
		strcpy(p, line);
		strcpy(p + 8 * PAGE, "far");
		_exit(0);
	}
	waitpid(pid, &status, 0);
	printf("child wrote: %s %s\n", p, p + 8 * PAGE);
	fflush(stdout);
	/* the other clone has written its word by now */
	if (fgets(line, sizeof(line), stdin))
		printf("still: %s\n", p);
}

static char path[] = "mapped-XXXXXX"; /* in the directory of the test */

static void case_files(void)
{
	int fd = MUST(mkstemp(path));
	char text[3 * PAGE], *private, *shared, *tail;

	memset(text, 'a', sizeof(text));
	MUST(write(fd, text, sizeof(text) - 100));
	close(fd);
	fd = MUST(open(path, O_RDONLY));
	private = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	shared = mmap(NULL, 3 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
	tail = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 2 * PAGE);
	close(fd);
	private[PAGE + 5] = 'B';
	ready();
	printf("%c%c%c%c tail %d\n", private[0], private[PAGE], private[PAGE + 5], private[2 * PAGE],
	       tail[PAGE - 1]);
	private[0] = 'C';
	printf("%c%c shared %c\n", private[0], private[PAGE + 5], shared[0]);
	fd = MUST(open(path, O_RDWR));
	MUST(pwrite(fd, "Z", 1, 10));
	printf("shared sees the file: %c\n", shared[10]);
	close(fd);
	unlink(path);
}

static void case_guards(void)
{
	char *p = map(32 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_NORESERVE);
	char *q = map(8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	char *ro = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	char *hidden = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	int guard = 0;

	MUST(mprotect(p + 8 * PAGE, 4 * PAGE, PROT_READ | PROT_WRITE));
	memset(p + 8 * PAGE, 8, 4 * PAGE);
	memset(q, 6, 8 * PAGE);
	guard = madvise(q + 2 * PAGE, PAGE, MADV_GUARD_INSTALL) == 0;
	memset(ro, 5, 4 * PAGE);
	MUST(mprotect(ro + PAGE, 2 * PAGE, PROT_READ));
	strcpy(hidden, "hidden");
	MUST(mprotect(hidden, PAGE, PROT_NONE));
	ready();
	printf("none %d middle %d %d above %d\n", touch(p + 7 * PAGE, 0), touch(p + 8 * PAGE, 1), p[9 * PAGE],
	       touch(p + 12 * PAGE, 1));
	MUST(mprotect(p, PAGE, PROT_READ | PROT_WRITE));
	printf("made writable %d\n", touch(p, 1));
	if (guard)
		printf("guard %d beside %d %d\n", touch(q + 2 * PAGE, 0), touch(q + PAGE, 1),
		       touch(q + 3 * PAGE, 1));
	printf("read-only: read %d write %d beside %d value %d\n", touch(ro + PAGE, 0), touch(ro + PAGE, 1),
	       touch(ro, 1), ro[2 * PAGE]);
	MUST(mprotect(hidden, PAGE, PROT_READ));
	printf("%s\n", hidden);
}

static void case_advice(void)
{
	char *wipe = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	char *stay = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	int warm, status;
	pid_t pid;

	MUST(madvise(wipe, 4 * PAGE, MADV_WIPEONFORK));
	MUST(madvise(stay, 4 * PAGE, MADV_DONTFORK));
	memset(wipe, 1, 4 * PAGE);
	memset(stay, 2, 4 * PAGE);
	warm = ready();
	/* a clone is a fork in this: a random generator's state must not be there twice */
	SAY("wiped in a clone", warm ? all_zero(wipe, 4 * PAGE) : 1);
	wipe[0] = 3;
	printf("kept %d\n", stay[PAGE]);
	pid = fork();
	if (pid == 0)
		_exit(wipe[0] * 10 + (touch(stay, 0) == SIGSEGV));
	waitpid(pid, &status, 0);
	printf("in a child: %d\n", WEXITSTATUS(status));
}

/*
 * A page of a private mapping that is given back must be zero. In a clone that page is a private copy of a page of the
 * template's file, and without its copy the template's shows through.
 */
static void case_dontneed(void)
{
	char *p = map(64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);

	memset(p, 1, 64 * PAGE);
	ready();
	MUST(madvise(p, 32 * PAGE, MADV_DONTNEED));
	SAY("zeros where nothing was written since", all_zero(p, 32 * PAGE));
	memset(p + 32 * PAGE, 2, 32 * PAGE);
	MUST(madvise(p + 32 * PAGE, 32 * PAGE, MADV_DONTNEED));
	SAY("zeros where it was written since", all_zero(p + 32 * PAGE, 32 * PAGE));
}

static void case_remap_fixed(void)
{
	char *p = map(64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);

	memset(p, 1, 64 * PAGE);
	ready();
	if (mmap(p + PAGE, 32 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		 0) == MAP_FAILED)
		die("mmap");
	printf("%d zero %d %d\n", p[0], all_zero(p + PAGE, 32 * PAGE), p[33 * PAGE]);
	MUST(munmap(p, 32 * PAGE));
	printf("unmapped %d rest %d\n", touch(p, 0), p[63 * PAGE]);
}

static int recurse(int n)
{
	volatile char frame[8192];

	frame[0] = (char)n;
	frame[sizeof(frame) - 1] = (char)(n + 1);
	if (n == 0)
		return 0;
	return recurse(n - 1) + (frame[0] == (char)n) + (frame[sizeof(frame) - 1] == (char)(n + 1));
}

static void case_stack(void)
{
	pthread_attr_t attr;
	void *base;
	size_t size;
	struct rlimit rl;

	printf("%d\n", recurse(50));
	ready();
	printf("%d\n", recurse(800)); /* 6.5 MB of the usual 8 */
	getrlimit(RLIMIT_STACK, &rl);
	pthread_getattr_np(pthread_self(), &attr);
	pthread_attr_getstack(&attr, &base, &size);
	SAY("this frame lies in the stack",
	    (char *)&attr > (char *)base && (char *)&attr < (char *)base + size);
	SAY("its size is near the limit",
	    rl.rlim_cur == RLIM_INFINITY || (size <= rl.rlim_cur && size > rl.rlim_cur / 2));
}

static void case_overflow(void)
{
	ready();
	recurse(1 << 20); /* SIGSEGV, cold and warm */
}

static void case_locked(void)
{
	char *p = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE), *line;
	char text[8192];
	int fd;

	memset(p, 1, 4 * PAGE);
	MUST(mlock(p, 4 * PAGE));
	ready();
	fd = MUST(open("/proc/self/status", O_RDONLY));
	text[MUST(read(fd, text, sizeof(text) - 1))] = '\0';
	line = strstr(text, "VmLck:");
	printf("%.*s %d\n", (int)strcspn(line, "\n"), line, p[0]);
	MUST(munlock(p, 4 * PAGE));
}

static void case_code(void)
{
	static const unsigned char code[] = { 0xb8, 42, 0, 0, 0, 0xc3 }; /* mov $42, %eax; ret */
	unsigned char *p = (unsigned char *)map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	int (*fn)(void) = (int (*)(void))p;

	memcpy(p, code, sizeof(code));
	MUST(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
	ready();
	printf("%d, writing brings %d\n", fn(), touch((char *)p, 1));
	MUST(mprotect(p, PAGE, PROT_READ | PROT_WRITE));
	p[1] = 43;
	MUST(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
	printf("%d\n", fn());
}

static int count_objects(struct dl_phdr_info *info, size_t size, void *data)
{
	(void)size;
	*(int *)data += info->dlpi_addr || info->dlpi_phnum;
	return 0;
}

static void case_vdso(void)
{
	uint64_t before = now_ns(CLOCK_MONOTONIC), real = now_ns(CLOCK_REALTIME), last, at;
	int n = 0, fine = 1;

	ready();
	last = now_ns(CLOCK_MONOTONIC);
	SAY("later than before", last >= before && now_ns(CLOCK_REALTIME) >= real);
	for (int i = 0; i < 100000; i++) {
		at = now_ns(CLOCK_MONOTONIC);
		fine &= at >= last;
		last = at;
	}
	SAY("monotonic", fine);
	SAY("agrees with the system call", ({
		    struct timespec ts;
		    syscall(SYS_clock_gettime, CLOCK_REALTIME, &ts);
		    (uint64_t) llabs((int64_t)(now_ns(CLOCK_REALTIME) - (uint64_t)ts.tv_sec * 1000000000u -
					       (uint64_t)ts.tv_nsec)) < 50000000;
	    }));
	dl_iterate_phdr(count_objects, &n);
	SAY("objects", n > 2);
	SAY("vDSO is an ELF file", memcmp((void *)getauxval(AT_SYSINFO_EHDR), "\177ELF", 4) == 0);
	printf("time %d getcpu %d\n", time(NULL) > 1600000000, sched_getcpu() >= 0);
}

/* many mappings, not just one: as many as the control file must carry */
static void case_many(void)
{
	char *p = map(4000 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	uint64_t s;

	for (unsigned int i = 0; i < 4000; i++)
		p[i * PAGE + i % PAGE] = (char)i;
	for (unsigned int i = 0; i < 4000; i += 2)
		MUST(mprotect(p + i * PAGE, PAGE, PROT_READ));
	s = sum(p, 4000 * PAGE);
	ready();
	SAY("same contents", sum(p, 4000 * PAGE) == s);
	printf("protected %d %d\n", touch(p + 2 * PAGE, 1), touch(p + 3 * PAGE, 1));
}

int main(int argc, char **argv)
{
	static const struct test_case cases[] = {
		{ "heap", case_heap },	       { "brk", case_brk },
		{ "brk_down", case_brk_down }, { "mremap", case_mremap },
		{ "shared", case_shared },     { "files", case_files },
		{ "guards", case_guards },     { "advice", case_advice },
		{ "dontneed", case_dontneed }, { "remap_fixed", case_remap_fixed },
		{ "stack", case_stack },       { "overflow", case_overflow },
		{ "locked", case_locked },     { "code", case_code },
		{ "vdso", case_vdso },	       { "many", case_many },
	};

	return RUN_CASE(cases);
}
