/* SPDX-License-Identifier: MIT */
/* process.c - what belongs to the process as a whole, set before the readiness point or by the caller */
#include "program.h"

#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <grp.h>

static void file(const char *path, const char *only)
{
	char text[65536], *line, *rest = text;
	int fd = open(path, O_RDONLY);
	ssize_t n;

	if (fd < 0) {
		printf("%s: %s\n", path, strerror(errno));
		return;
	}
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	while ((line = strsep(&rest, "\n")))
		if (*line && (!only || strncmp(line, only, strlen(only)) == 0))
			printf("%s\n", line);
}

static void case_attributes(void)
{
	char cwd[4096];
	int v = 0;
	mode_t mask;

	prctl(PR_SET_NAME, "new name (x) y");
	umask(0137);
	MUST(chdir("/usr/lib"));
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	prctl(PR_SET_PDEATHSIG, 10);
	prctl(PR_SET_TIMERSLACK, 123456);
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	ready();
	mask = umask(0);
	printf("cwd %s umask %o\n", getcwd(cwd, sizeof(cwd)), mask);
	file("/proc/self/comm", NULL);
	prctl(PR_GET_CHILD_SUBREAPER, &v);
	printf("subreaper %d\n", v);
	prctl(PR_GET_PDEATHSIG, &v);
	printf("pdeathsig %d slack %d thp %d nnp %d dumpable %d\n", v, prctl(PR_GET_TIMERSLACK),
	       prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0),
	       prctl(PR_GET_DUMPABLE));
}

static void case_dumpable(void)
{
	prctl(PR_SET_DUMPABLE, 0);
	ready();
	printf("dumpable %d\n", prctl(PR_GET_DUMPABLE));
}

static void case_scheduling(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	MUST(setpriority(PRIO_PROCESS, 0, 7));
	MUST(sched_setaffinity(0, sizeof(one), &one));
	MUST(sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){ 0 }));
	ready();
	sched_getaffinity(0, sizeof(one), &one);
	printf("nice %d cpus %d policy %d\n", getpriority(PRIO_PROCESS, 0), CPU_COUNT(&one),
	       sched_getscheduler(0));
}

static void case_limits(void)
{
	struct rlimit rl;

	MUST(getrlimit(RLIMIT_CORE, &rl));
	rl.rlim_cur = 0;
	MUST(setrlimit(RLIMIT_CORE, &rl));
	getrlimit(RLIMIT_NOFILE, &rl);
	rl.rlim_cur = 100;
	MUST(setrlimit(RLIMIT_NOFILE, &rl));
	ready();
	getrlimit(RLIMIT_CORE, &rl);
	printf("core %ld\n", (long)rl.rlim_cur);
	getrlimit(RLIMIT_NOFILE, &rl);
	printf("nofile %ld\n", (long)rl.rlim_cur);
}

/* all limits, the oom score and the nice value are the caller's */
static void case_inherited(void)
{
	ready();
	for (int i = 0; i < 16; i++) {
		struct rlimit rl;

		getrlimit((__rlimit_resource_t)i, &rl);
		printf("limit %d: %ld %ld\n", i, (long)rl.rlim_cur, (long)rl.rlim_max);
	}
	file("/proc/self/oom_score_adj", NULL);
	file("/proc/self/cgroup", NULL);
	printf("nice %d session %d group %d ppid %d\n", getpriority(PRIO_PROCESS, 0),
	       getsid(0) == getsid(getppid()), getpgrp() == getpid() || getpgrp() == getpgid(getppid()),
	       getppid() > 1);
	printf("personality %x\n", personality(0xffffffff));
}

static void case_personality(void)
{
	personality(ADDR_NO_RANDOMIZE);
	ready();
	printf("personality %x\n", personality(0xffffffff));
}

static void case_oom(void)
{
	int fd = MUST(open("/proc/self/oom_score_adj", O_WRONLY));

	MUST(write(fd, "500", 3));
	close(fd);
	ready();
	file("/proc/self/oom_score_adj", NULL);
}

/* changes of identity must not be lost */
static void case_setuid(void)
{
	MUST(setgroups(0, NULL));
	MUST(setresgid(65534, 65534, 65534));
	MUST(setresuid(65534, 65534, 65534));
	ready();
	printf("%d %d\n", getuid(), getgid());
	file("/proc/self/status", "Cap");
}

static void case_seccomp(void)
{
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	MUST(prctl(PR_SET_KEEPCAPS, 0));
	/* a filter that allows all: BPF_RET | BPF_K, SECCOMP_RET_ALLOW */
	{
		struct {
			unsigned short code;
			unsigned char jt, jf;
			unsigned int k;
		} allow = { 6, 0, 0, 0x7fff0000 };
		struct {
			unsigned short len;
			void *filter;
		} prog = { 1, &allow };

		MUST(prctl(22 /* PR_SET_SECCOMP */, 2, &prog));
	}
	ready();
	file("/proc/self/status", "Seccomp:");
}

static void case_proc(void)
{
	char link[4096], text[65536];
	unsigned long aux[2];
	int fd, launcher = 0, stack = 0, heap = 0, n;
	FILE *f;

	free(malloc(1000));
	ready();
	f = fopen("/proc/self/cmdline", "r");
	n = (int)fread(text, 1, sizeof(text), f);
	fclose(f);
	for (int i = 0; i < n; i++)
		putchar(text[i] ? text[i] : ' ');
	putchar('\n');
	f = fopen("/proc/self/environ", "r");
	n = (int)fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	for (char *p = text; p < text + n; p += strlen(p) + 1)
		if (strncmp(p, "TEST_", 5) == 0)
			printf("environ %s getenv %s\n", p, getenv("TEST_VARIABLE"));
	fd = MUST(open("/proc/self/auxv", O_RDONLY));
	while (read(fd, aux, sizeof(aux)) == sizeof(aux))
		if (aux[0] == 9 || aux[0] == 6 || aux[0] == 17)
			printf("auxv %lu %s\n", aux[0], aux[1] ? "set" : "not set");
	close(fd);
	n = (int)readlink("/proc/self/exe", link, sizeof(link) - 1);
	link[n > 0 ? n : 0] = '\0';
	/* the caller says whether it can be right: without privilege it stays the launcher */
	if (getenv("TEST_EXE"))
		printf("exe %s\n", link);
	f = fopen("/proc/self/maps", "r");
	while (fgets(text, sizeof(text), f)) {
		launcher |= strstr(text, "/warm\n") != NULL;
		stack |= strstr(text, "[stack]") != NULL;
		heap |= strstr(text, "[heap]") != NULL;
	}
	fclose(f);
	printf("maps: launcher %d stack %d heap %d\n", launcher, stack, heap);
}

/* CONTEXT=raw: into the buffer of the read, docs/adaptor.md */
static void case_raw(void)
{
	const char *word = getenv("WARM_FD");
	uint32_t head[8] = { 0x58544357, 0, 2 }, pair[2] = { 1, (uint32_t)gettid() };
	uint64_t generation = 1;
	ssize_t n = 0;

	if (word) {
		int fd = atoi(word);

		MUST(write(fd, "CONTEXT=raw\nREADY=1\n", 20));
		n = MUST(read(fd, ready_context, sizeof(ready_context)));
		memcpy(head, ready_context, sizeof(head));
		memcpy(&generation, ready_context + 24, 8);
		memcpy(pair, ready_context + 32, 8);
		SAY("closed", fcntl(fd, F_GETFD) < 0);
		SAY("argv is there", strcmp(ready_context + 40 + strlen(ready_context + 40) + 1, "raw") == 0);
	} else {
		SAY("closed", 1);
		SAY("argv is there", 1);
	}
	printf("magic %x argc %u threads %d\n", head[0], head[2], head[4] <= 1);
	SAY("size", head[1] == (uint32_t)n);
	SAY("generation", generation != 0);
	SAY("this thread", pair[1] == (uint32_t)gettid() && pair[0] != pair[1]);
}

int main(int argc, char **argv)
{
	static const struct test_case cases[] = {
		{ "attributes", case_attributes },
		{ "dumpable", case_dumpable },
		{ "scheduling", case_scheduling },
		{ "limits", case_limits },
		{ "inherited", case_inherited },
		{ "personality", case_personality },
		{ "oom", case_oom },
		{ "setuid", case_setuid },
		{ "seccomp", case_seccomp },
		{ "proc", case_proc },
		{ "raw", case_raw },
	};

	return RUN_CASE(cases);
}
