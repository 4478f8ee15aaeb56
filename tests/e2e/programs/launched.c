/* SPDX-License-Identifier: MIT */
/*
 * launched.c - what a launch gives to its clone, and what it keeps from it. Knows nothing of warm: readiness
 * point main. The first argument names the case.
 */
#include "program.h"

#include <dirent.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

extern char **environ;

static char **words;
static int nwords;

static void strings(const char *path)
{
	static char text[1 << 20];
	int fd = MUST(open(path, O_RDONLY));
	size_t len = 0;
	ssize_t n;

	while ((n = read(fd, text + len, sizeof(text) - len)) > 0)
		len += (size_t)n;
	close(fd);
	printf("%s:", path);
	for (size_t i = 0; i < len; i++)
		putchar(text[i] ? text[i] : '|');
	putchar('\n');
}

static void descriptor(int fd)
{
	struct stat st;
	char link[4096];
	ssize_t n;
	char path[64];

	if (fstat(fd, &st) < 0) {
		printf("fd %d: %s\n", fd, strerrorname_np(errno));
		return;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, link, sizeof(link) - 1);
	link[n > 0 ? n : 0] = '\0';
	/* pipes of the cold run and of the launch are others */
	if (link[0] != '/')
		link[strcspn(link, ":")] = '\0';
	printf("fd %d: type %o flags %x fd flags %x offset %ld %s\n", fd, st.st_mode & S_IFMT,
	       fcntl(fd, F_GETFL), fcntl(fd, F_GETFD),
	       S_ISREG(st.st_mode) ? (long)lseek(fd, 0, SEEK_CUR) : 0l, link);
}

/* all that a program can have from its caller */
static void case_context(void)
{
	char cwd[8192];
	struct rlimit rl;
	struct sigaction sa;
	mode_t mask = umask(0);

	for (int fd = 0; fd < 300; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			descriptor(fd);
	for (int i = 0; i < nwords; i++)
		printf("argument %d: %s\n", i, words[i]);
	for (char **e = environ; *e; e++)
		printf("variable %s\n", *e);
	strings("/proc/self/cmdline");
	strings("/proc/self/environ");
	printf("cwd %s\n", getcwd(cwd, sizeof(cwd)) ? cwd : strerrorname_np(errno));
	printf("umask %o nice %d\n", mask, getpriority(PRIO_PROCESS, 0));
	for (int i = 0; i < 16; i++) {
		MUST(getrlimit((__rlimit_resource_t)i, &rl));
		printf("limit %d: %ld %ld\n", i, (long)rl.rlim_cur, (long)rl.rlim_max);
	}
	for (int s = 1; s < 65; s++)
		if (s != 32 && s != 33 && sigaction(s, NULL, &sa) == 0 && sa.sa_handler == SIG_IGN)
			printf("ignored %d\n", s);
}

/* what comes in on standard input, and on every other descriptor above 2 that can be read */
static void case_copy(void)
{
	char buf[65536];
	ssize_t n;

	while ((n = read(0, buf, sizeof(buf))) > 0)
		MUST(write(1, buf, (size_t)n));
	for (int fd = 3; fd < 256; fd++) {
		if (fcntl(fd, F_GETFD) < 0)
			continue;
		dprintf(1, "from %d: ", fd);
		while ((n = read(fd, buf, sizeof(buf))) > 0)
			MUST(write(1, buf, (size_t)n));
	}
}

static void case_exit(void)
{
	fflush(stdout);
	_exit(atoi(words[2]));
}

static void case_die(void)
{
	int sig = atoi(words[2]);

	signal(sig, SIG_DFL);
	raise(sig);
	pause();
}

/* says which signals come, until SIGTERM or the end of standard input; with a word: says so in that file, too */
static void case_signals(void)
{
	static const int which[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT };
	int out = nwords > 2 ? MUST(open(words[2], O_WRONLY | O_APPEND | O_CREAT, 0600)) : 1;
	siginfo_t info;
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(which) / sizeof(which[0]); i++)
		sigaddset(&set, which[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	dprintf(out, "ready %d\n", getpid());
	do {
		MUST(sigwaitinfo(&set, &info));
		dprintf(out, "SIG%s\n", sigabbrev_np(info.si_signo));
	} while (info.si_signo != SIGTERM);
	exit(3);
}

/* says that it runs, then waits for any signal, with default dispositions */
static void case_wait(void)
{
	printf("ready %d\n", getpid());
	fflush(stdout);
	for (;;)
		pause();
}

/* writes its word over all its memory of all kinds, when told to, and tells what it finds there, when told to */
#define PAGES (64 * 4096)
static char data[PAGES] = { 1 };
static char bss[PAGES];

static void fill(char *p, size_t n, const char *word)
{
	size_t len = strlen(word);

	for (size_t i = 0; i + len <= n; i += len)
		memcpy(p + i, word, len);
}

static int full_of(const char *p, size_t n, const char *word)
{
	size_t len = strlen(word);

	for (size_t i = 0; i + len <= n; i += len)
		if (memcmp(p + i, word, len) != 0)
			return 0;
	return 1;
}

static int all_are(const char *p, size_t n, char c)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != c)
			return 0;
	return 1;
}

/* readiness point call */
static void case_overwrite(void)
{
	char *heap = malloc(PAGES), *map, *shared, *untouched, line[64], stack[PAGES];

	map = mmap(NULL, PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	shared = mmap(NULL, PAGES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	untouched = mmap(NULL, PAGES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!heap || map == MAP_FAILED || shared == MAP_FAILED || untouched == MAP_FAILED)
		die("memory");
	memset(data, 'd', PAGES);
	memset(heap, 'h', PAGES);
	memset(map, 'm', PAGES);
	memset(shared, 's', PAGES);
	memset(stack, 't', PAGES);
	ready();
	printf("as in the template: %d%d%d%d%d%d%d\n", all_are(data, PAGES, 'd'), all_are(bss, PAGES, 0),
	       all_are(heap, PAGES, 'h'), all_are(map, PAGES, 'm'), all_are(shared, PAGES, 's'),
	       all_are(stack, PAGES, 't'), all_are(untouched, PAGES, 0));
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		exit(96);
	line[strcspn(line, "\n")] = '\0';
	fill(data, PAGES, line);
	fill(bss, PAGES, line);
	fill(heap, PAGES, line);
	fill(map, PAGES, line);
	fill(shared, PAGES, line);
	fill(stack, PAGES, line);
	fill(untouched, PAGES, line);
	printf("written\n");
	fflush(stdout);
	if (!fgets(stack + PAGES - 64, 64, stdin))
		exit(96);
	printf("own: %d%d%d%d%d%d%d\n", full_of(data, PAGES, line), full_of(bss, PAGES, line),
	       full_of(heap, PAGES, line), full_of(map, PAGES, line), full_of(shared, PAGES, line),
	       full_of(stack, PAGES - 64, line), full_of(untouched, PAGES, line));
}

/* --- tries to get at others: each line says what worked --- */

static void try_open(const char *path, const char *name)
{
	static const int modes[] = { O_RDWR, O_WRONLY };

	for (size_t i = 0; i < 2; i++) {
		int fd = open(path, modes[i] | O_CLOEXEC);

		if (fd < 0)
			continue;
		if (pwrite(fd, "X", 1, 0) == 1)
			printf("WRITTEN: %s\n", name);
		if (ftruncate(fd, 0) == 0)
			printf("CUT: %s\n", name);
		if (mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED)
			printf("MAPPED WRITABLE: %s\n", name);
		if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0)
			printf("SEALED: %s\n", name);
		if (fallocate(fd, 3, 0, 4096) == 0) /* FALLOC_FL_PUNCH_HOLE | KEEP_SIZE */
			printf("HOLE: %s\n", name);
		close(fd);
	}
}

/* every mapping: of a memfd (the template) none may be shared or be writable by another way */
static void case_attack(void)
{
	char line[8192], path[128], name[128];
	int shared = 0, memfds = 0;
	FILE *f;
	DIR *d;

	ready();
	f = fopen("/proc/self/maps", "r");
	if (!f)
		die("maps");
	while (fgets(line, sizeof(line), f)) {
		unsigned long from, to;
		char protection[8], file[4096] = "";

		sscanf(line, "%lx-%lx %7s %*s %*s %*s %4095[^\n]", &from, &to, protection, file);
		if (protection[3] == 's') {
			shared++;
			if (protection[1] == 'w')
				printf("SHARED WRITABLE: %s\n", line);
		}
		if (!strstr(file, "memfd:"))
			continue;
		memfds++;
		snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", from, to);
		snprintf(name, sizeof(name), "%s %s", protection, file);
		try_open(path, name);
		/* a page that cannot be written in place must not become so for others */
		if (protection[1] == 'w' && protection[2] != 'x') {
			volatile char *p = (volatile char *)from;

			*p = *p;
		}
	}
	fclose(f);
	d = opendir("/proc/self/fd");
	if (d) {
		struct dirent *e;

		while ((e = readdir(d))) {
			int fd = atoi(e->d_name);
			ssize_t n;

			if (e->d_name[0] == '.' || fd == dirfd(d))
				continue;
			snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
			n = readlink(path, line, sizeof(line) - 1);
			line[n > 0 ? n : 0] = '\0';
			if (strstr(line, "memfd:") || strstr(line, "socket:") || strstr(line, "anon_inode"))
				printf("DESCRIPTOR %d: %s\n", fd, line);
		}
		closedir(d);
	}
	printf("memfds %s shared %d\n", memfds ? "mapped" : "none", shared);
	/* its own group: nobody of warmd's is in it. It leads no session, as no program that a shell starts does */
	printf("group %d session %d\n", getpgrp() == getpid(), getsid(0) == getpid());
	signal(SIGTERM, SIG_IGN);
	MUST(kill(0, SIGTERM));
	/* io: the parent is not traced, and cannot be reached by what was inherited */
	printf("dumpable %d\n", prctl(PR_GET_DUMPABLE));
	printf("end\n");
}

/* an epoll that watches standard input and a dup of it, set up before there is any launch */
static void case_poll_input(void)
{
	struct epoll_event ev[4], set = { .events = EPOLLIN };
	int ep = MUST(epoll_create1(EPOLL_CLOEXEC)), d = MUST(dup(0)), n;
	char buf[64];

	set.data.u32 = 1;
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, 0, &set));
	set.data.u32 = 2;
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, d, &set));
	ready();
	n = epoll_wait(ep, ev, 4, 5000);
	printf("events %d: %u\n", n, n == 2 ? ev[0].data.u32 + ev[1].data.u32 : 0);
	n = (int)read(d, buf, sizeof(buf));
	printf("%.*s", n, buf);
}

/* are all three /dev/null? By the exit status */
static void case_null(void)
{
	struct stat null, st;
	int wrong = 0;

	MUST(stat("/dev/null", &null));
	for (int fd = 0; fd < 3; fd++)
		wrong |= (fstat(fd, &st) < 0 || st.st_rdev != null.st_rdev || !S_ISCHR(st.st_mode)) << fd;
	_exit(wrong);
}

int main(int argc, char **argv)
{
	static const struct test_case cases[] = {
		{ "context", case_context },
		{ "copy", case_copy },
		{ "exit", case_exit },
		{ "die", case_die },
		{ "signals", case_signals },
		{ "wait", case_wait },
		{ "overwrite", case_overwrite },
		{ "attack", case_attack },
		{ "poll_input", case_poll_input },
		{ "null", case_null },
	};

	words = argv;
	nwords = argc;
	return RUN_CASE(cases);
}
