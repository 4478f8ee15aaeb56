/* SPDX-License-Identifier: MIT */
/*
 * opened.c - files that are open at the readiness point, and what a clone has of them. The first argument names the case,
 * the second what to open.
 */
#include <dirent.h>
#include <pthread.h>
#include <sys/stat.h>

#include "program.h"

static const char *path;
static int changed = 1; /* after the readiness point: /proc/self/mem must show it */

/* a log: opened at the start, a line for each run */
static void case_log(void)
{
	int fd = MUST(open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
	struct stat st, there;

	ready();
	MUST(write(fd, "run\n", 4));
	MUST(fstat(fd, &st));
	MUST(stat(path, &there));
	printf("links %d, the file at its path: %d\n", (int)st.st_nlink,
	       st.st_ino == there.st_ino && st.st_dev == there.st_dev);
}

static void case_directory(void)
{
	int fd = MUST(open(path, O_RDONLY | O_DIRECTORY));

	ready();
	printf("the file in it: %d\n", faccessat(fd, "file", F_OK, 0) == 0);
}

static void case_read(void)
{
	int fd = MUST(open(path, O_RDONLY));

	ready();
	printf("open %d\n", fcntl(fd, F_GETFD) >= 0);
}

static void case_written(void)
{
	int fd = MUST(open(path, O_WRONLY));

	ready();
	printf("open %d\n", fcntl(fd, F_GETFD) >= 0);
}

/* its mode allows no second time, but for root */
static void case_closed(void)
{
	int fd = MUST(open(path, O_RDWR | O_CREAT, 0600));

	MUST(fchmod(fd, 0));
	ready();
	printf("open %d\n", fcntl(fd, F_GETFD) >= 0);
}

static char text[1 << 16];

static const char *content(int fd)
{
	size_t len = 0;
	ssize_t n;

	while (len < sizeof(text) - 1 && (n = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	return text;
}

static int names(int fd, const char *name)
{
	DIR *dir = fdopendir(fd);
	struct dirent *e;
	int found = 0;

	while (dir && (e = readdir(dir)))
		found |= strcmp(e->d_name, name) == 0;
	return found;
}

static int shows_address(int maps, const void *address)
{
	unsigned long start, end;

	for (const char *p = content(maps); *p; p += strcspn(p, "\n") + 1)
		if (sscanf(p, "%lx-%lx", &start, &end) == 2 && (unsigned long)address >= start &&
		    (unsigned long)address < end)
			return 1;
	return 0;
}

static void case_own_proc(void)
{
	int dir = MUST(open("/proc/self", O_RDONLY | O_DIRECTORY)),
	    fds = MUST(open("/proc/self/fd", O_RDONLY));
	int tasks = MUST(open("/proc/self/task", O_RDONLY)), stat = MUST(open("/proc/self/stat", O_RDONLY));
	int thread = MUST(open("/proc/thread-self/stat", O_RDONLY)),
	    maps = MUST(open("/proc/self/maps", O_RDONLY));
	int mem = MUST(open("/proc/self/mem", O_RDWR)), status = MUST(open("/proc/self/status", O_RDONLY));
	int mounts = MUST(open("/proc/mounts", O_RDONLY)), system = MUST(open("/proc/meminfo", O_RDONLY));
	char name[16], line[5];
	int value;

	MUST(read(status, line, 5)); /* "Name:" */
	ready();
	changed = getpid();
	snprintf(name, sizeof(name), "%d", getpid());
	SAY("stat is its own", atoi(content(stat)) == getpid());
	SAY("stat of its thread", atoi(content(thread)) == getpid());
	MUST(pread(mem, &value, sizeof(value), (off_t)(uintptr_t)&changed));
	SAY("mem is its own", value == getpid());
	SAY("maps are its own", shows_address(maps, &value));
	SAY("offset in status", lseek(status, 0, SEEK_CUR) == 5);
	MUST(lseek(status, 0, SEEK_SET));
	SAY("status from its beginning", strncmp(content(status), "Name:\topened", 12) == 0);
	SAY("task", names(tasks, name));
	snprintf(name, sizeof(name), "%d", maps);
	SAY("fd", names(fds, name));
	SAY("mounts", strstr(content(mounts), " / "));
	SAY("meminfo", strstr(content(system), "MemTotal:"));
	close(stat);
	stat = MUST(openat(dir, "stat", O_RDONLY));
	SAY("the directory is its own", atoi(content(stat)) == getpid());
}

static void case_other_proc(void)
{
	int fd = MUST(open("/proc/1/stat", O_RDONLY));

	ready();
	SAY("process 1", atoi(content(fd)) == 1);
}

static int of_thread;
static pthread_barrier_t barrier;

static void *opens(void *arg)
{
	of_thread = MUST(open("/proc/thread-self/comm", O_RDONLY));
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return arg;
}

static void case_thread_proc(void)
{
	pthread_t thread;

	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&thread, NULL, opens, NULL);
	pthread_barrier_wait(&barrier);
	ready();
	printf("%s", content(of_thread));
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
}

static const struct test_case cases[] = {
	{ "log", case_log },
	{ "directory", case_directory },
	{ "read", case_read },
	{ "written", case_written },
	{ "closed", case_closed },
	{ "own_proc", case_own_proc },
	{ "other_proc", case_other_proc },
	{ "thread_proc", case_thread_proc },
};

int main(int argc, char **argv)
{
	path = argc > 2 ? argv[2] : "";
	return RUN_CASE(cases);
}
